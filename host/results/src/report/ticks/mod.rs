//! Reports of a run in abstract time: every time is in ticks.

mod html;
mod page;
mod rows;

pub use html::html;
pub use rows::{columns, write_file};

use super::Results;
use super::table::styled;
use crate::metrics::ticks::{TickFigures, TickInputs, Times};
use serde_json::{Value, json};
use std::fmt::Write;

/// The figures as JSON, with what was simulated (`setup`). Figures of nothing are null.
#[must_use]
pub fn value(results: &Results<'_>, inputs: &TickInputs) -> Value {
    let figures = TickFigures::of(results.record, inputs);
    let times = |times: Option<Times>| {
        json!({
            "count": times.map_or(0, |t| t.count),
            "mean": times.map(|t| t.mean),
            "median": times.map(|t| t.median),
        })
    };
    json!({
        "time_unit": "ticks",
        "ttft_ticks": times(figures.ttft),
        "itl_ticks": times(figures.itl),
        "e2e_ticks": times(figures.e2e),
        "transfer_ticks": times(figures.moved),
        "transfer_wait_ticks": times(figures.waited),
        "requests_per_1000_ticks": figures.requests_per_1k(),
        "tokens_per_1000_ticks": figures.tokens_per_1k(),
        "created_requests": figures.created,
        "completed_requests": figures.completed,
        "completed_tokens": figures.completed_tokens,
        "running_tokens": figures.running_tokens,
        "end_ticks": figures.end,
        "steps": figures.steps,
        "final_queue": figures.last.0,
        "final_batch": figures.last.1,
        "max_queue": figures.max_queue,
        "setup": results.inputs.setup,
    })
}

/// A figure with all its digits, or a dash for one of nothing.
fn shown(x: Option<f64>) -> String {
    x.map_or_else(|| "-".to_owned(), |x| x.to_string())
}

/// The report for people, with a final line break.
#[must_use]
pub fn text(results: &Results<'_>, inputs: &TickInputs) -> String {
    let figures = TickFigures::of(results.record, inputs);
    let mut text = results.inputs.header.join("\n");
    let mut latencies = styled(&["Ticks", "Mean", "Median", "Of"]);
    let moved = figures.moved.map(|moved| ("KV cache moved", Some(moved)));
    let waited = figures
        .waited
        .map(|waited| ("KV cache waited", Some(waited)));
    for (name, times) in [
        ("TTFT", figures.ttft),
        ("ITL", figures.itl),
        ("E2E", figures.e2e),
    ]
    .into_iter()
    .chain(waited)
    .chain(moved)
    {
        latencies.add_row([
            name.to_owned(),
            shown(times.map(|t| t.mean)),
            shown(times.map(|t| t.median)),
            times.map_or(0, |t| t.count).to_string(),
        ]);
    }
    let mut run = styled(&["Run", ""]);
    for (name, value) in [
        ("Requests per 1,000 ticks", shown(figures.requests_per_1k())),
        ("Tokens per 1,000 ticks", shown(figures.tokens_per_1k())),
        (
            "Completed of created",
            format!("{} of {}", figures.completed, figures.created),
        ),
        (
            "Steps, end",
            format!("{}, {} ticks", figures.steps, figures.end),
        ),
        (
            "Queue at the end, at most",
            format!("{}, {}", figures.last.0, figures.max_queue),
        ),
        ("Batch at the end", figures.last.1.to_string()),
    ] {
        run.add_row([name, &value]);
    }
    let _ = write!(text, "\n\n{latencies}\n\n{run}\n");
    text
}

/// A run of a comparison: what it is called, its time limit, and its figures.
#[derive(Clone, Debug)]
pub struct Grown {
    /// Name.
    pub name: String,
    /// Time limit, ticks.
    pub time_limit: f64,
    /// Figures.
    pub figures: TickFigures,
}

/// How queues grow, as a table.
#[must_use]
pub fn growth_text(runs: &[Grown]) -> String {
    let mut table = styled(&["Run", "Ticks", "Queue", "TTFT", "E2E", "Completed"]);
    for run in runs {
        let figures = &run.figures;
        let digits = |times: Option<Times>| {
            times.map_or_else(|| "-".to_owned(), |t| format!("{:.2}", t.mean))
        };
        table.add_row([
            run.name.clone(),
            run.time_limit.to_string(),
            figures.last.0.to_string(),
            digits(figures.ttft),
            digits(figures.e2e),
            format!("{} of {}", figures.completed, figures.created),
        ]);
    }
    format!("{table}\nQueue: requests that wait at the end. TTFT, E2E: means, ticks.\n")
}

/// The same as JSON.
#[must_use]
pub fn growth_value(runs: &[Grown]) -> Value {
    let row = |run: &Grown| {
        json!({
            "run": run.name,
            "time_limit_ticks": run.time_limit,
            "final_queue": run.figures.last.0,
            "ttft_mean_ticks": run.figures.ttft.map(|t| t.mean),
            "e2e_mean_ticks": run.figures.e2e.map(|t| t.mean),
            "completed_requests": run.figures.completed,
            "created_requests": run.figures.created,
        })
    };
    json!({ "time_unit": "ticks", "runs": runs.iter().map(row).collect::<Vec<_>>() })
}
