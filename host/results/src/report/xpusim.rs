//! A run's results in XpuSim's schema. Under its own rules with its figures; else with figures of
//! ours: a request's last token counts, and the accelerators are busy while they compute.

use super::Results;
use super::rows::write_rows;
use crate::metrics::measured::Measured;
use crate::metrics::stats::{Ints, Sample, mean, percentile};
use crate::metrics::xpusim::XpuSimFigures;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::Path;
use windtunnel_base::input::{InputError, Staging};
use windtunnel_base::record::{InstanceTotals, Outcome};

/// The object: seconds, and GiB of one accelerator.
#[must_use]
pub fn value(results: &Results<'_>) -> Value {
    match &results.inputs.xpusim {
        Some(figures) => under_its_rules(figures),
        None => under_ours(results),
    }
}

/// Its own figures, and behind them, as `extra`, what it prints or counts besides.
fn under_its_rules(figures: &XpuSimFigures) -> Value {
    let seconds = figures.simulated_s;
    let per_s = |n: u64| (seconds > 0.0).then(|| n as f64 / seconds);
    let memory = |k: usize| figures.memory_gib.map(|gib| gib[k]);
    let mut all = json!({
        "total_requests": figures.total,
        "completed_requests": figures.completed,
        // It knows no way to refuse one.
        "rejected_requests": 0,
        "simulation_time": seconds,
        "throughput": {
            "requests_per_sec": per_s(figures.completed),
            "tokens_per_sec": per_s(figures.tokens),
        },
        // Busy time over busy and idle time, of which it counts none.
        "xpu_utilization": f64::from(u8::from(figures.busy_s > 0.0)),
        "memory": {
            "peak_memory_gb": memory(0),
            "p95_memory_gb": memory(1),
            "p50_memory_gb": memory(2),
        },
    });
    for (key, times) in [
        ("first_token_latency", &figures.first_token),
        ("end_to_end_latency", &figures.end_to_end),
    ] {
        if times.count() > 0 {
            all[key] = latencies(times, figures.clock_per_s);
        }
    }
    all["extra"] = json!({
        "gpu_busy_time": figures.busy_s,
        "total_tokens_generated": figures.tokens,
        "prefill_latency_mean": figures.prefill_mean_s,
        "events": figures.events,
        "end_time": figures.end_s,
        "printed_utilization": figures.utilization(),
    });
    all
}

/// Writes what happened to each request when, seconds, to a `.json` or `.csv` file.
///
/// # Errors
/// When the name has another ending, or the file cannot be written.
pub fn write_timelines(
    staging: &mut Staging,
    figures: &XpuSimFigures,
    path: &Path,
) -> Result<(), InputError> {
    write_rows(staging, figures.requests.iter(), path)
}

fn under_ours(results: &Results<'_>) -> Value {
    let record = results.record;
    let whole = [0, results.summary.cluster.ended_us.max(1)];
    let measured = Measured::of(record, results.inputs.measured_us.unwrap_or(whole));
    let refused = |outcome: Outcome| {
        matches!(
            outcome,
            Outcome::Rejected
                | Outcome::Unroutable
                | Outcome::Dropped
                | Outcome::RequestsQueued
                | Outcome::TokensQueued
                | Outcome::GatewayFull
                | Outcome::Shed
                | Outcome::Expired
                | Outcome::Evicted
        )
    };
    let rejected = record.requests.iter().filter(|r| refused(r.outcome));
    let (mut busy, mut time) = (0, 0);
    for totals in &record.instances {
        busy += totals.busy_us;
        time += totals.ended_us;
    }
    let mut map = Map::new();
    let mut add = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    add("total_requests", json!(results.summary.arrivals));
    add("completed_requests", json!(measured.completed));
    add("rejected_requests", json!(rejected.count()));
    add("simulation_time", json!(measured.seconds()));
    add(
        "throughput",
        json!({
            "requests_per_sec": measured.responses_per_sec(),
            "tokens_per_sec": measured.tokens_per_sec(),
        }),
    );
    add(
        "xpu_utilization",
        json!((time > 0).then(|| busy as f64 / time as f64)),
    );
    add("memory", json!({ "peak_memory_gb": peak_memory(results) }));
    for (key, times) in [
        ("first_token_latency", &measured.ttft_us),
        ("end_to_end_latency", &measured.e2e_us),
    ] {
        if times.count() > 0 {
            add(key, latencies(times, 1e6));
        }
    }
    Value::Object(map)
}

/// Writes the object, with a final line break.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(results: &Results<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:#}", value(results))
}

fn latencies(times: &Ints, clock_per_s: f64) -> Value {
    json!({
        "mean": mean(times) / clock_per_s,
        "p50": percentile(times, 50.0) / clock_per_s,
        "p90": percentile(times, 90.0) / clock_per_s,
        "p95": percentile(times, 95.0) / clock_per_s,
        "p99": percentile(times, 99.0) / clock_per_s,
    })
}

/// Weights and the most KV in use on one accelerator, GiB: of the pool with the most. `None` where
/// the memory of some pool is not known.
fn peak_memory(results: &Results<'_>) -> Option<f64> {
    let setup = &results.inputs.setup;
    let one = std::slice::from_ref(setup);
    let pools = setup["pools"].as_array().map_or(one, Vec::as_slice);
    let record = results.record;
    let mut most: Option<f64> = None;
    for pool in pools {
        let memory = &pool["memory_gib_per_gpu"];
        let (weights, kv) = (memory["weights"].as_f64()?, memory["kv_cache"].as_f64()?);
        let name = pool["name"].as_str().unwrap_or_default();
        let own =
            |totals: &&InstanceTotals| pools.len() == 1 || record.symbols.name(totals.pool) == name;
        let shares =
            record.instances.iter().filter(own).map(|totals| {
                totals.kv_peak_blocks as f64 / (totals.kv_total_blocks as f64).max(1.0)
            });
        let used = weights + kv * shares.fold(0.0, f64::max);
        most = Some(most.map_or(used, |most| most.max(used)));
    }
    most
}
