//! A run's results in XpuSim's schema, with figures of ours: a request's last token counts, and the
//! accelerators are busy while they compute.

use super::Results;
use crate::metrics::measured::Measured;
use crate::metrics::stats::{Ints, Sample, mean, percentile};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use windtunnel_base::record::{InstanceTotals, Outcome};

/// The object: seconds, and GiB of one accelerator.
#[must_use]
pub fn value(results: &Results<'_>) -> Value {
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
            add(key, latencies(times));
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

fn latencies(us: &Ints) -> Value {
    json!({
        "mean": mean(us) / 1e6,
        "p50": percentile(us, 50.0) / 1e6,
        "p90": percentile(us, 90.0) / 1e6,
        "p95": percentile(us, 95.0) / 1e6,
        "p99": percentile(us, 99.0) / 1e6,
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
