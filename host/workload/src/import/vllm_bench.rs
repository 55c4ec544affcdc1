//! Results of `vllm bench serve`: one JSON object, with a line per run in append mode. Only those
//! written with `--save-detailed` tell about single requests.

use super::row::Row;
use super::row_errors::RowErrors;
use super::rows::Rows;
use crate::json::read_json_values;
use crate::limits::MAX_TOKENS;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;

/// Keys that tell the format.
pub(crate) const KEYS: [&str; 4] = ["input_lens", "output_lens", "start_times", "errors"];

/// What matters of a result; texts and statistics are not kept.
#[derive(Deserialize)]
struct Results {
    input_lens: Option<Vec<u64>>,
    output_lens: Option<Vec<u64>>,
    start_times: Option<Vec<f64>>,
    #[serde(default)]
    errors: Vec<String>,
}

/// Reads the requests of run `run` (from 1; `None` = the only one). Time 0 is the first request;
/// failed ones are row errors.
///
/// # Errors
/// When the file cannot be read, has no details or several runs and none is chosen, or a row is
/// in error and `errors` is strict.
pub fn open(path: &Path, run: Option<usize>, errors: &mut RowErrors) -> Result<Rows, InputError> {
    let refuse = |what: String| Err(InputError::in_file(path.display(), what));
    let runs: Vec<Results> = read_json_values(path, "result of vllm bench serve")?;
    let Some(results) = choose(&runs, run) else {
        return refuse(several("runs", runs.len(), run));
    };
    let (Some(inputs), Some(outputs)) = (&results.input_lens, &results.output_lens) else {
        return refuse(
            "input_lens and output_lens are missing: bench with --save-detailed writes them".into(),
        );
    };
    let Some(starts) = &results.start_times else {
        return refuse("start_times is missing: newer releases of vllm bench serve write it with --save-detailed".into());
    };
    if inputs.len() != outputs.len() || inputs.len() != starts.len() {
        return refuse(format!(
            "input_lens, output_lens and start_times have {}, {} and {} entries; expected as many of each",
            inputs.len(),
            outputs.len(),
            starts.len()
        ));
    }
    let mut rows = Vec::new();
    for (k, start) in starts.iter().enumerate() {
        let failed = results.errors.get(k).is_some_and(|e| !e.is_empty());
        rows.extend(errors.take(row(path, k, failed, *start, inputs[k], outputs[k]))?);
    }
    Ok(Rows::of(rows))
}

/// One of several, by number from 1.
pub(super) fn choose<T>(all: &[T], number: Option<usize>) -> Option<&T> {
    match number {
        Some(n) => all.get(n.checked_sub(1)?),
        None if all.len() == 1 => all.first(),
        None => None,
    }
}

pub(super) fn several(what: &str, found: usize, wanted: Option<usize>) -> String {
    match wanted {
        Some(n) => format!("there is no run {n}: the file has {found} {what}"),
        None => format!("the file has {found} {what}; choose one with `trace_run` 1 to {found}"),
    }
}

/// A request of a result file, checked; `seconds` are of any clock.
pub(super) fn row(
    path: &Path,
    k: usize,
    failed: bool,
    seconds: f64,
    prompt: u64,
    output: u64,
) -> Result<Row, InputError> {
    let refuse = |what: &str| {
        Err(InputError::in_file(
            path.display(),
            format!("{what}, found request {k}"),
        ))
    };
    if failed || output == 0 {
        return refuse("the request failed");
    }
    if !(0.0..1e11).contains(&seconds) {
        return refuse("expected a start time in seconds of 0 or more");
    }
    if prompt > MAX_TOKENS / 2 || output > MAX_TOKENS / 2 {
        return refuse("too many tokens");
    }
    Ok(Row {
        ticks: (seconds * 1e7).round() as i64,
        prompt: prompt as u32,
        output: output as u32,
        ..Row::default()
    })
}
