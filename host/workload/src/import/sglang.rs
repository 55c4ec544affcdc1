//! Results of sglang's `bench_serving`: an object per run, a line each. Only those written with
//! details tell about single requests, and none say when requests were sent.

use super::fields;
use super::held::{Turn, Turns};
use super::row_errors::RowErrors;
use super::vllm_bench::{choose, several};
use crate::json::read_json_values;
use rand_distr::{Distribution, Exp1};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::rng;

/// Keys that sglang writes and `vllm bench serve` does not.
pub(crate) const KEYS: [&str; 8] = [
    "total_output_tokens_retokenized",
    "mean_e2e_latency_ms",
    "median_e2e_latency_ms",
    "input_throughput",
    "accept_length",
    "sharegpt_output_len",
    "random_range_ratio",
    "dataset_name",
];

#[derive(Deserialize)]
struct Results {
    /// Null is infinity.
    request_rate: Option<Rate>,
    max_concurrency: Option<f64>,
    input_lens: Option<Vec<Option<f64>>>,
    output_lens: Option<Vec<Option<f64>>>,
    start_times: Option<Vec<Option<f64>>>,
    #[serde(default)]
    ttfts: Vec<Option<f64>>,
    #[serde(default)]
    itls: Vec<Vec<Option<f64>>>,
    #[serde(default)]
    errors: Vec<Option<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rate {
    Number(f64),
    /// `"inf"`.
    Text(String),
}

/// Reads the requests of run `run` (from 1; `None` = the only one); failed ones are row errors.
///
/// # Errors
/// When the file cannot be read, has no details or several runs and none is chosen, or a row is in
/// error and `errors` is strict.
pub(super) fn read(
    path: &Path,
    run: Option<usize>,
    seed: u64,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let refuse = |what: String| InputError::in_file(path.display(), what);
    let runs: Vec<Results> = read_json_values(path, "result of sglang's bench_serving")?;
    let results = choose(&runs, run).ok_or_else(|| refuse(several("runs", runs.len(), run)))?;
    let (Some(inputs), Some(outputs)) = (&results.input_lens, &results.output_lens) else {
        return Err(refuse(
            "input_lens and output_lens are missing: bench_serving writes them when it is asked for output details".into(),
        ));
    };
    if inputs.len() != outputs.len() {
        return Err(refuse(format!(
            "input_lens and output_lens have {} and {} entries; expected as many of each",
            inputs.len(),
            outputs.len()
        )));
    }
    let known = results
        .start_times
        .as_ref()
        .filter(|t| t.len() == inputs.len());
    let sent = match known {
        Some(times) => times.clone(),
        None => {
            let (times, note) = results.send_times(inputs.len(), seed);
            notes.push(note);
            times.into_iter().map(Some).collect()
        }
    };
    let mut turns = Turns::default();
    for (k, (input, output)) in inputs.iter().zip(outputs).enumerate() {
        let failed = results
            .errors
            .get(k)
            .is_some_and(|e| e.as_ref().is_some_and(|e| !e.is_empty()));
        let row = if failed || *output == Some(0.0) {
            Err("the request failed".to_owned())
        } else {
            results.turn(sent[k], *input, *output)
        };
        let row = row.map_err(|what| refuse(format!("{what}, found request {k}")));
        turns.list.extend(errors.take(row)?);
    }
    Ok(turns)
}

impl Results {
    fn turn(
        &self,
        sent: Option<f64>,
        input: Option<f64>,
        output: Option<f64>,
    ) -> Result<Turn, String> {
        Ok(Turn {
            sent_ns: Some(fields::time_ns("start time", sent, 1e9)?),
            new: fields::tokens("input_lens", input)?,
            output: fields::tokens("output_lens", output)?,
            streaming: true,
            ..Turn::default()
        })
    }

    /// Requests per second; infinity for all at once.
    fn rate(&self) -> f64 {
        match &self.request_rate {
            Some(Rate::Number(rate)) if *rate > 0.0 => *rate,
            Some(Rate::Text(text)) => text.parse().unwrap_or(f64::INFINITY),
            _ => f64::INFINITY,
        }
    }

    /// When requests were sent, as the benchmark sends them: with exponential gaps, and each only
    /// when fewer than `max_concurrency` are under way.
    fn send_times(&self, count: usize, seed: u64) -> (Vec<f64>, String) {
        let rate = self.rate();
        let most = self
            .max_concurrency
            .filter(|n| *n >= 1.0)
            .map(|n| n as usize);
        let latency = |k: usize| {
            let gaps = self
                .itls
                .get(k)
                .map_or(0.0, |gaps| gaps.iter().flatten().sum::<f64>());
            (self.ttfts.get(k).copied().flatten().unwrap_or(0.0) + gaps).max(0.0)
        };
        let mut at = 0.0;
        let mut under_way: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
        let mut times = Vec::with_capacity(count);
        for k in 0..count {
            if k > 0 && rate.is_finite() {
                let gap: f64 = Exp1.sample(&mut rng::stream(seed, "sglang", 0, k as u64));
                at += gap / rate;
            }
            let mut sent = at;
            if let Some(most) = most {
                if under_way.len() >= most
                    && let Some(Reverse(end)) = under_way.pop()
                {
                    sent = f64::max(sent, end as f64 / 1e9);
                }
                under_way.push(Reverse(((sent + latency(k)) * 1e9) as u64));
            }
            times.push(sent);
        }
        let gaps = match rate.is_finite() {
            true => format!("with exponential gaps at its {rate} requests/s"),
            false => "all at once".to_owned(),
        };
        let limit = most.map_or(String::new(), |n| {
            format!(", at most {n} at a time as long as their measured latencies say")
        });
        let note = format!(
            "results of bench_serving do not say when requests were sent; they are sent as it sends them: {gaps}{limit}"
        );
        (times, note)
    }
}
