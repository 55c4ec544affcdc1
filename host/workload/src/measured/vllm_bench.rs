//! What `vllm bench serve` and sglang's `bench_serving` measured: lists with an entry per request,
//! in seconds.

use crate::json::read_json_values;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;

#[derive(Deserialize)]
struct Results {
    input_lens: Option<Vec<u32>>,
    output_lens: Option<Vec<u32>>,
    ttfts: Option<Vec<f64>>,
    itls: Option<Vec<Vec<f64>>>,
    start_times: Option<Vec<f64>>,
    #[serde(default)]
    errors: Vec<String>,
}

/// The requests of each run.
pub(super) fn read(path: &Path) -> Result<Vec<Vec<MeasuredRequest>>, InputError> {
    let runs: Vec<Results> = read_json_values(path, "result of vllm bench serve")?;
    let runs = runs.iter().map(of);
    runs.collect::<Result<_, String>>()
        .map_err(|what| InputError::in_file(path.display(), what))
}

/// Failed requests have an error and no times.
fn of(results: &Results) -> Result<Vec<MeasuredRequest>, String> {
    let (Some(ttfts), Some(itls)) = (&results.ttfts, &results.itls) else {
        return Err(
            "ttfts and itls are missing: vllm bench serve writes them where it saves details"
                .into(),
        );
    };
    let lists = [
        ("itls", Some(itls.len())),
        ("input_lens", results.input_lens.as_ref().map(Vec::len)),
        ("output_lens", results.output_lens.as_ref().map(Vec::len)),
        ("start_times", results.start_times.as_ref().map(Vec::len)),
    ];
    for (name, entries) in lists {
        if let Some(entries) = entries.filter(|n| *n != ttfts.len()) {
            return Err(format!(
                "ttfts and {name} have {} and {entries} entries; expected as many of each",
                ttfts.len()
            ));
        }
    }
    let of = |list: &Option<Vec<u32>>, k: usize| list.as_ref().map(|list| list[k]);
    let requests = ttfts.iter().zip(itls).enumerate().map(|(k, (ttft, gaps))| {
        let start = results.start_times.as_ref().map(|starts| starts[k]);
        let request = MeasuredRequest {
            arrival_us: start.map(|s| s * 1e6),
            prompt_tokens: of(&results.input_lens, k),
            output_tokens: of(&results.output_lens, k),
            ..MeasuredRequest::default()
        };
        if results.errors.get(k).is_some_and(|e| !e.is_empty()) {
            return MeasuredRequest {
                failed: true,
                ..request
            };
        }
        let gaps: Vec<f64> = gaps.iter().map(|s| s * 1e6).collect();
        let sum: f64 = gaps.iter().sum();
        MeasuredRequest {
            ttft_us: Some(ttft * 1e6),
            itl_us: (!gaps.is_empty()).then(|| sum / gaps.len() as f64),
            e2e_us: Some(ttft * 1e6 + sum),
            gaps_us: gaps,
            ..request
        }
    });
    Ok(requests.collect())
}
