//! One row per request, in ticks.

use crate::metrics::ticks::TickInputs;
use crate::report::instance_name;
use crate::report::rows::{Column, outcome_word, write_rows};
use serde::Serialize;
use std::path::Path;
use windtunnel_base::input::{InputError, Staging};
use windtunnel_base::record::{RequestRecord, RunRecord};

#[derive(Serialize)]
struct Row {
    request_id: String,
    outcome: &'static str,
    instance: Option<String>,
    arrival_ticks: f64,
    scheduling_delay_ticks: Option<f64>,
    ttft_ticks: Option<f64>,
    e2e_ticks: Option<f64>,
    completion_ticks: Option<f64>,
    mean_itl_ticks: Option<f64>,
    prefill_chunks: u32,
    output_tokens: u32,
}

impl Row {
    fn of(r: &RequestRecord, tick_us: i64) -> Self {
        let ticks = |us: i64| us as f64 / tick_us as f64;
        Self {
            request_id: r.id.to_string(),
            outcome: outcome_word(r.outcome),
            instance: r.instance.map(instance_name),
            arrival_ticks: ticks(r.arrival_us),
            scheduling_delay_ticks: r.scheduling_delay_us.map(ticks),
            ttft_ticks: r.ttft_us.map(ticks),
            e2e_ticks: r.e2e_us.map(ticks),
            completion_ticks: r.completion_us().map(ticks),
            mean_itl_ticks: r.mean_itl_us.map(|us| us / tick_us as f64),
            prefill_chunks: r.prompt_tokens,
            output_tokens: r.output_tokens,
        }
    }
}

/// The rows as columns, by name.
#[must_use]
pub fn columns(record: &RunRecord, inputs: &TickInputs) -> Vec<(&'static str, Column)> {
    let rows: Vec<Row> = record
        .requests
        .iter()
        .map(|r| Row::of(r, inputs.tick_us))
        .collect();
    let text = |of: fn(&Row) -> Option<String>| Column::Text(rows.iter().map(of).collect());
    let whole = |of: fn(&Row) -> i64| Column::Whole(rows.iter().map(|r| Some(of(r))).collect());
    let number = |of: fn(&Row) -> Option<f64>| Column::Number(rows.iter().map(of).collect());
    vec![
        ("request_id", text(|r| Some(r.request_id.clone()))),
        ("outcome", text(|r| Some(r.outcome.to_owned()))),
        ("instance", text(|r| r.instance.clone())),
        ("arrival_ticks", number(|r| Some(r.arrival_ticks))),
        (
            "scheduling_delay_ticks",
            number(|r| r.scheduling_delay_ticks),
        ),
        ("ttft_ticks", number(|r| r.ttft_ticks)),
        ("e2e_ticks", number(|r| r.e2e_ticks)),
        ("completion_ticks", number(|r| r.completion_ticks)),
        ("mean_itl_ticks", number(|r| r.mean_itl_ticks)),
        ("prefill_chunks", whole(|r| r.prefill_chunks.into())),
        ("output_tokens", whole(|r| r.output_tokens.into())),
    ]
}

/// Writes a row per request to a `.json` or `.csv` file, in order of arrival.
///
/// # Errors
/// When the name has another ending, or the file cannot be written.
pub fn write_file(
    staging: &mut Staging,
    record: &RunRecord,
    inputs: &TickInputs,
    path: &Path,
) -> Result<(), InputError> {
    let rows = record.requests.iter().map(|r| Row::of(r, inputs.tick_us));
    write_rows(staging, rows, path)
}
