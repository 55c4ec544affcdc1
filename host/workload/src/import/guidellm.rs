//! Results of GuideLLM: a JSON object with benchmarks, each with its requests. Releases put times
//! and counts in different places; all are looked at.

use super::row_errors::RowErrors;
use super::rows::Rows;
use super::vllm_bench::{choose, row, several};
use crate::json::read_json;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;

/// Key that tells the format.
pub(crate) const KEY: &str = "benchmarks";

#[derive(Deserialize)]
struct Results {
    benchmarks: Vec<Benchmark>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Benchmark {
    requests: Option<Requests>,
    /// Of later releases.
    metrics: Option<BenchmarkMetrics>,
    /// Of earlier ones.
    request_totals: Option<Totals>,
    scheduler_metrics: Option<Made>,
    run_stats: Option<Made>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BenchmarkMetrics {
    request_totals: Option<Totals>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Made {
    requests_made: Option<Totals>,
}

/// How many requests there were, whether the report keeps them or not.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Totals {
    successful: Option<u64>,
}

impl Benchmark {
    /// Successful requests of the benchmark; `None` = it does not say.
    fn successful(&self) -> Option<u64> {
        let measured = self.metrics.as_ref().and_then(|m| m.request_totals);
        // What was made counts warm-up, too, so it comes last.
        let made = |made: &Option<Made>| made.as_ref().and_then(|m| m.requests_made);
        let totals = measured
            .or(self.request_totals)
            .or_else(|| made(&self.scheduler_metrics))
            .or_else(|| made(&self.run_stats));
        totals?.successful
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Requests {
    successful: Option<Vec<Request>>,
    errored: Option<Vec<serde::de::IgnoredAny>>,
    incomplete: Option<Vec<serde::de::IgnoredAny>>,
}

impl Requests {
    /// How many were not answered to their end.
    fn failed(&self) -> usize {
        let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
        count(&self.errored) + count(&self.incomplete)
    }
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
    request_id: Option<String>,
    end_time: Option<f64>,
    request_end_time: Option<f64>,
    first_token_time: Option<f64>,
    /// Seconds.
    request_latency: Option<f64>,
    time_to_first_token_ms: Option<f64>,
    inter_token_latency_ms: Option<f64>,
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
    first_iteration: Option<f64>,
    first_token_iteration: Option<f64>,
    request_end: Option<f64>,
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

    /// What was measured of it.
    fn measured(&self) -> MeasuredRequest {
        let timings = self.info.as_ref().map(|i| &i.timings);
        let start = self.start();
        let end = self.end_time.or(self.request_end_time);
        let end = end.or_else(|| timings.and_then(|t| t.request_end));
        let first = self
            .first_token_time
            .or_else(|| timings.and_then(|t| t.first_token_iteration.or(t.first_iteration)));
        let since = |end: Option<f64>| Some((end? - start?) * 1e6);
        let e2e = self.request_latency.map(|s| s * 1e6).or(since(end));
        let ttft = self.time_to_first_token_ms.map(|ms| ms * 1e3);
        let tokens = |n: Option<f64>| n.filter(|n| (0.0..1e9).contains(n)).map(|n| n as u32);
        MeasuredRequest {
            id: self.request_id.clone(),
            arrival_us: start.map(|s| s * 1e6),
            ttft_us: ttft.or(since(first)),
            itl_us: self.inter_token_latency_ms.map(|ms| ms * 1e3),
            e2e_us: e2e,
            prompt_tokens: tokens(self.prompt()),
            output_tokens: tokens(self.output()),
            ..MeasuredRequest::default()
        }
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
/// row errors. Time 0 is the first. A report that keeps a sample of its requests is read if their
/// rate is changed (`scaled`): as they were sent, they are less than the load was.
///
/// # Errors
/// When the file cannot be read, has several benchmarks and none is chosen, keeps a sample, or a
/// row has an error and `errors` is strict.
pub fn open(
    path: &Path,
    run: Option<usize>,
    scaled: bool,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Rows, InputError> {
    let refuse = |what: String| InputError::in_file(path.display(), what);
    let results: Results = read_json(path, "result of GuideLLM")?;
    let benchmark = choose(&results.benchmarks, run)
        .ok_or_else(|| refuse(several("benchmarks", results.benchmarks.len(), run)))?;
    let none = Requests::default();
    let requests = benchmark.requests.as_ref().unwrap_or(&none);
    let successful = requests.successful.as_deref().unwrap_or_default();
    if let Some(note) = sampled(successful.len() as u64, benchmark.successful(), scaled) {
        notes.push(note.map_err(refuse)?);
    }
    let mut rows = Vec::new();
    for (k, r) in successful.iter().enumerate() {
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
    for k in 0..requests.failed() {
        let _ = errors.take(Err::<(), _>(refuse(format!(
            "the request failed or was not finished, found request {k}"
        ))))?;
    }
    Ok(Rows::of(rows))
}

/// What was measured of the requests of every benchmark, and how many of each failed.
///
/// # Errors
/// When the file cannot be read, or a benchmark keeps a sample of its requests.
pub(crate) fn measured(path: &Path) -> Result<Vec<Vec<MeasuredRequest>>, InputError> {
    let refuse = |what: String| InputError::in_file(path.display(), what);
    let results: Results = read_json(path, "result of GuideLLM")?;
    let requests = results.benchmarks.iter().map(|benchmark| {
        let none = Requests::default();
        let requests = benchmark.requests.as_ref().unwrap_or(&none);
        let successful = requests.successful.as_deref().unwrap_or_default();
        let kept = successful.len() as u64;
        if let Some(all) = benchmark.successful().filter(|all| kept < *all) {
            return Err(refuse(format!(
                "the report keeps {kept} of {all} successful requests; expected one that is written with all of them"
            )));
        }
        let mut measured: Vec<MeasuredRequest> =
            successful.iter().map(Request::measured).collect();
        let failed = MeasuredRequest {
            failed: true,
            ..MeasuredRequest::default()
        };
        measured.extend(std::iter::repeat_n(failed, requests.failed()));
        Ok(measured)
    });
    requests.collect()
}

/// What to say of a report that keeps fewer requests than there were: a note if their rate is
/// changed, else why it is refused.
fn sampled(kept: u64, all: Option<u64>, scaled: bool) -> Option<Result<String, String>> {
    let all = all.filter(|all| kept < *all)?;
    let what = format!("the report keeps {kept} of {all} successful requests");
    if kept == 0 {
        return Some(Err(format!(
            "{what}; expected one that is written with all of them"
        )));
    }
    if scaled {
        return Some(Ok(format!("{what}, which are replayed at `rate_scale`")));
    }
    let scale = (all as f64 / kept as f64 * 1e3).round() / 1e3;
    Some(Err(format!(
        "{what}, a sample that is less load than they all were; expected a report with all of them, or \
         `rate_scale` {scale} to replay the sample at the rate of all"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::Source;

    fn opened(benchmark: &str, scaled: bool) -> Result<(Rows, Vec<String>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        std::fs::write(&path, format!("{{\"benchmarks\": [{benchmark}]}}")).unwrap();
        let mut notes = Vec::new();
        open(&path, None, scaled, &mut RowErrors::new(true), &mut notes)
            .map(|rows| (rows, notes))
            .map_err(|e| e.message().to_owned())
    }

    const REQUESTS: &str = r#""requests": {"successful": [
        {"request_latency": NaN, "request_start_time": 5.5, "prompt_tokens": 512, "output_tokens": 64},
        {"request_start_time": 7.5, "prompt_tokens": 512, "output_tokens": 64, "total": Infinity}], "incomplete": null}"#;

    #[test]
    fn a_sample_of_requests_is_not_taken_for_all_of_them() {
        for totals in [
            r#""metrics": {"request_totals": {"successful": 5}}, "run_stats": {"requests_made": {"successful": 2}}"#,
            r#""request_totals": {"successful": 5, "total": 6}"#,
            r#""scheduler_metrics": {"requests_made": {"successful": 5}}"#,
            r#""run_stats": {"requests_made": {"successful": 5}}"#,
        ] {
            let text = format!("{{{totals}, {REQUESTS}}}");
            let error = opened(&text, false).unwrap_err();
            assert_eq!(
                error,
                "the report keeps 2 of 5 successful requests, a sample that is less load than they all were; expected a \
                 report with all of them, or `rate_scale` 2.5 to replay the sample at the rate of all"
            );
            let (rows, notes) = opened(&text, true).unwrap();
            assert_eq!(rows.size_hint(), Some(2));
            assert_eq!(
                notes,
                ["the report keeps 2 of 5 successful requests, which are replayed at `rate_scale`"]
            );
        }
        for empty in [r#""requests": null"#, r#""requests": {"successful": []}"#] {
            let text = format!(
                "{{\"metrics\": {{\"request_totals\": {{\"successful\": 400}}}}, {empty}}}"
            );
            for scaled in [false, true] {
                assert_eq!(
                    opened(&text, scaled).unwrap_err(),
                    "the report keeps 0 of 400 successful requests; expected one that is written with all of them"
                );
            }
        }
    }

    #[test]
    fn bare_words_of_python_stand_for_no_number() {
        let text = format!(
            "{{\"metrics\": {{\"request_totals\": {{\"successful\": 2}}, \"rate\": NaN}}, {REQUESTS}}}"
        );
        let (mut rows, notes) = opened(&text, false).unwrap();
        let arrivals: Vec<i64> = std::iter::from_fn(|| rows.next_request())
            .map(|r| r.arrival_us)
            .collect();
        assert_eq!((arrivals, notes.len()), (vec![0, 2_000_000], 0));
    }
}
