//! A page that shows a run in abstract time: places of the batch over time, the queue, latencies.
//! It needs nothing but itself.

use super::page::{FOOT, HEAD};
use super::value;
use crate::metrics::ticks::{TickInputs, places, steps};
use crate::report::{Results, instance_name};
use serde_json::{Value, json};

/// Steps of an instance that a page holds at most; a browser shows no more either.
const MOST_STEPS: usize = 20_000;

/// The page, in one piece.
#[must_use]
pub fn html(results: &Results<'_>, inputs: &TickInputs) -> String {
    let record = results.record;
    let tick = inputs.tick_us as f64;
    let instances: Vec<Value> = (0..record.instances.len())
        .map(|i| {
            let steps = steps(record, inputs, i);
            let places = places(record, inputs, i);
            let shown = steps.len().min(MOST_STEPS);
            let cell = |place: &Option<crate::metrics::ticks::Place>| match place {
                None => Value::Null,
                Some(place) => json!([place.serial, place.tokens]),
            };
            let row = |(step, places): (&crate::metrics::ticks::Step, &Vec<_>)| {
                let cells: Vec<Value> = places.iter().map(cell).collect();
                json!([
                    step.start_us as f64 / tick,
                    step.end_us as f64 / tick,
                    step.waiting,
                    cells
                ])
            };
            let rows: Vec<Value> = steps.iter().zip(&places).take(shown).map(row).collect();
            json!({
                "name": instance_name(i as u32),
                "steps": rows,
                "left_out": steps.len() - shown,
            })
        })
        .collect();
    let requests: Vec<Value> = record
        .requests
        .iter()
        .map(|r| {
            let ticks = |us: i64| us as f64 / tick;
            json!([
                r.serial,
                ticks(r.arrival_us),
                r.ttft_us.map(ticks),
                r.e2e_us.map(ticks),
                r.output_tokens
            ])
        })
        .collect();
    let data = json!({
        "title": results.inputs.header,
        "figures": value(results, inputs),
        "instances": instances,
        "requests": requests,
    });
    // No name in it ends the script that holds it.
    let data = data.to_string().replace('<', "\\u003c");
    format!("{HEAD}{data}{FOOT}")
}
