//! The metrics that the oldest releases of BLIS printed for their GuideLLM-style generator, by
//! their names.

use super::inputs::GeneratorInputs;
use super::results::Results;
use std::fmt::Write;
use windtunnel_base::record::State;

/// The lines, `label : value` each; nothing but counts when nobody was served.
#[must_use]
pub fn text(results: &Results<'_>, inputs: GeneratorInputs) -> String {
    let (record, cluster) = (results.record, &results.summary.cluster);
    let served: Vec<_> = record
        .requests
        .iter()
        .filter(|r| r.state == State::Completed && r.e2e_us.is_some())
        .collect();
    let left = served.iter().filter_map(|r| {
        let after = inputs.left_us[0] * f64::from(r.prompt_tokens) + inputs.left_us[1];
        Some(r.completion_us()? + after as i64)
    });
    let ended_us = record
        .instances
        .iter()
        .map(|t| t.ended_us)
        .chain(left)
        .max()
        .unwrap_or(0);
    let seconds = ended_us as f64 / 1e6;
    let input: u64 = record
        .requests
        .iter()
        .map(|r| u64::from(r.prompt_tokens))
        .sum();
    let decodes: u64 = served
        .iter()
        .map(|r| u64::from(r.output_tokens.max(1) - 1))
        .sum();
    let mut text = String::from("=== Simulation Metrics ===\n");
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label} : {value}");
    };
    line("Completed Requests", served.len().to_string());
    line("Request Rate(req/s)", format!("{}", inputs.rate as u64));
    line("Total Input Tokens", input.to_string());
    line("Total Output Tokens", decodes.to_string());
    line("vLLM estimated Duration(s)", format!("{seconds:.3}"));
    if !served.is_empty() && ended_us > 0 {
        let throughput = served.len() as f64 / seconds;
        let e2e = &cluster.latency_ms.e2e;
        let batches: u64 = record.instances.iter().map(|t| t.batch_size_sum).sum();
        let blocks: i128 = record.instances.iter().map(|t| t.kv_block_time).sum();
        let peak: u64 = record.instances.iter().map(|t| t.kv_peak_blocks).sum();
        line("Request throughput (req/s)", format!("{throughput:.3}"));
        line("Mean E2E(ms)", format!("{:.3}", e2e.mean));
        line("Median E2E(ms)", format!("{:.3}", e2e.p50));
        line("P99 E2E(ms)", format!("{:.3}", e2e.p99));
        // From the first step of a request to its last.
        let active = batches as f64 / served.len() as f64 - 1.0;
        line("Mean Active Steps", format!("{active:.3}"));
        line("Sim Ended Time", ended_us.to_string());
        line(
            "Avg KV Blocks Usage",
            format!("{:.3}", blocks as f64 / ended_us as f64),
        );
        line("Peak KV Usage", format!("{peak} blocks"));
        let ratio = throughput / inputs.rate;
        let _ = writeln!(
            text,
            "=== Saturation Metrics ===\nThroughput to arrival rate ratio : {ratio:.3}"
        );
    }
    text
}
