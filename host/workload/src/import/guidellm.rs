//! Results of GuideLLM: a JSON object with benchmarks, each with its requests. Releases put times
//! and counts in different places; all are looked at.

use super::row_errors::RowErrors;
use super::rows::Rows;
use super::vllm_bench::{choose, row, several};
use crate::json::read_json;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;

/// Key that tells the format.
pub(crate) const KEY: &str = "benchmarks";

#[derive(Deserialize)]
struct Results {
    benchmarks: Vec<Benchmark>,
}

#[derive(Deserialize)]
struct Benchmark {
    #[serde(default)]
    requests: Requests,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Requests {
    successful: Vec<Request>,
    errored: Vec<serde::de::IgnoredAny>,
    incomplete: Vec<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Request {
    start_time: Option<f64>,
    request_start_time: Option<f64>,
    info: Option<Info>,
    prompt_tokens: Option<f64>,
    output_tokens: Option<f64>,
    input_metrics: Option<Metrics>,
    output_metrics: Option<Metrics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    timings: Timings,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Timings {
    request_start: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    text_tokens: Option<f64>,
    total_tokens: Option<f64>,
}

impl Metrics {
    fn tokens(&self) -> Option<f64> {
        self.total_tokens.or(self.text_tokens)
    }
}

impl Request {
    fn start(&self) -> Option<f64> {
        let timings = self.info.as_ref().map(|i| &i.timings);
        self.start_time
            .or(self.request_start_time)
            .or_else(|| timings.and_then(|t| t.request_start))
    }

    fn prompt(&self) -> Option<f64> {
        self.prompt_tokens
            .or_else(|| self.input_metrics.as_ref().and_then(Metrics::tokens))
    }

    fn output(&self) -> Option<f64> {
        self.output_tokens
            .or_else(|| self.output_metrics.as_ref().and_then(Metrics::tokens))
    }
}

/// Reads the successful requests of benchmark `run` (from 1; `None` = the only one); others are
/// row errors. Time 0 is the first.
///
/// # Errors
/// When the file cannot be read, has several benchmarks and none is chosen, or a row has an error
/// and `errors` is strict.
pub fn open(path: &Path, run: Option<usize>, errors: &mut RowErrors) -> Result<Rows, InputError> {
    let refuse = |what: String| InputError::in_file(path.display(), what);
    let results: Results = read_json(path, "result of GuideLLM")?;
    let benchmark = choose(&results.benchmarks, run)
        .ok_or_else(|| refuse(several("benchmarks", results.benchmarks.len(), run)))?;
    let requests = &benchmark.requests;
    let mut rows = Vec::new();
    for (k, r) in requests.successful.iter().enumerate() {
        let found = match (r.start(), r.prompt(), r.output()) {
            (Some(start), Some(prompt), Some(output)) => {
                row(path, k, false, start, prompt as u64, output as u64)
            }
            _ => Err(refuse(format!(
                "start time, prompt_tokens or output_tokens is missing, found request {k}"
            ))),
        };
        rows.extend(errors.take(found)?);
    }
    for k in 0..requests.errored.len() + requests.incomplete.len() {
        let _ = errors.take(Err::<(), _>(refuse(format!(
            "the request failed or was not finished, found request {k}"
        ))))?;
    }
    Ok(Rows::of(rows))
}
