//! A run's results as one JSON object: the reference's keys first, in its order, then what it does
//! not report.

use super::upkeep::RunUpkeep;
use super::{Results, blis, gateway, go, scaling, tiers};
use crate::metrics::adapters::of_adapters;
use crate::metrics::drafts::Drafts;
use crate::metrics::groups::{Group, fairness};
use crate::metrics::measured::Measured;
use crate::metrics::saturation::Labels;
use crate::metrics::slo::Goodput;
use crate::metrics::stats::{Distribution, Ints};
use crate::metrics::summary::{Latencies, Summary};
use crate::metrics::transfers::Transfers;
use crate::metrics::window::ArrivalWindow;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// Raised when a key changes its meaning or goes away; new keys do not raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// The object. Units are in the keys: `_ms`, `_us`, `_s`; rates and utilisations are fractions.
#[must_use]
pub fn value(results: &Results<'_>) -> Value {
    let summary = &results.summary;
    let cluster = &summary.cluster;
    let mut map = match serde_json::to_value(blis::Aggregate::ours(results)) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mut add = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    add("schema_version", json!(SCHEMA_VERSION));
    add("setup", results.inputs.setup.clone());
    add("arrivals", json!(summary.arrivals));
    add(
        "rejected_by_admission",
        json!(summary.rejected_by_admission),
    );
    add("rejected_by_routing", json!(summary.rejected_by_routing));
    add(
        "refused_by_queued_reqs",
        json!(summary.refused_by_queued_reqs),
    );
    add(
        "refused_by_queued_tokens",
        json!(summary.refused_by_queued_tokens),
    );
    add("admission_delays", json!(summary.put_off.delays));
    add("routing_holds", json!(summary.put_off.holds));
    add("in_transit", json!(summary.in_transit));
    if let Some(g) = &summary.gateway {
        add("gateway", gateway::value(g));
    }
    if let Some(scaled) = scaling::value(results.record) {
        add("scaling", scaled);
    }
    let window = summary.arrival_window.as_ref();
    add("arrival_window", json!(window.map(arrival_window)));
    if let Some(window) = results.inputs.measured_us {
        add("measured", measured(&Measured::of(results.record, window)));
    }
    add("cache_hit_rate", json!(cluster.cache_hit_rate));
    add(
        "infinite_cache_hit_rate",
        json!(results.inputs.infinite_cache_hit_rate),
    );
    if let Some(moved) = tiers::json(&results.record.instances) {
        add("kv_tiers", moved);
    }
    add("preemption_rate", json!(cluster.preemption_rate()));
    add("kv_peak_utilization", json!(cluster.kv_peak_utilization));
    add("kv_mean_utilization", json!(cluster.kv_mean_utilization));
    add("steps", json!(cluster.steps));
    if let Some(d) = Drafts::of(&results.record.instances) {
        add(
            "speculation",
            json!({
                "verifications": d.verifications,
                "drafted_tokens": d.drafted,
                "accepted_tokens": d.accepted,
                "acceptance_rate": d.acceptance_rate(),
                "mean_acceptance_length": d.mean_acceptance_length(),
            }),
        );
    }
    add("latency_ms", latencies(&cluster.latency_ms));
    let blocked = &results.anomalies.hol_blocked;
    let record = results.record;
    let instances: Vec<Value> = (0u32..)
        .zip(summary.instances.iter().zip(&record.instances))
        .map(|(k, (s, totals))| {
            let mut value = instance(s, blocked.contains(&k));
            if record.transfers.is_some() {
                value["prefills_for_others"] = totals.prefills.into();
            }
            if record.names_pools() {
                value["pool"] = record.symbols.name(totals.pool).into();
            }
            if let Some(moved) = tiers::json(std::slice::from_ref(totals)) {
                value["kv_tiers"] = moved;
            }
            if !results.adapters.is_empty() {
                value["adapter_loads"] = s.adapter_loads.into();
            }
            value
        })
        .collect();
    add("instances", json!(instances));
    if record.names_pools() {
        add("pools", pools(results));
    }
    if let Some(t) = &results.transfers {
        add("disaggregation", transfers(t));
    }
    add("classes", groups(&results.classes));
    add("models", groups(&results.models));
    add("tenants", groups(&results.tenants));
    if !results.adapters.is_empty() {
        add("adapters", groups(&results.adapters));
        add("adapter_loads", cluster.adapter_loads.into());
        if let Some(moves) = adapter_moves(results) {
            add("adapter_moves", moves);
        }
    }
    if !results.tenants.is_empty() {
        add("tenant_fairness_jain", json!(fairness(&results.tenants)));
    }
    if let Some(s) = &results.sessions {
        add(
            "sessions",
            json!({
                "count": s.count,
                "ttft_cold_ms": s.ttft_cold_ms,
                "ttft_warm_ms": s.ttft_warm_ms,
                "duration_ms": s.duration_ms,
            }),
        );
    }
    if results.saturation.as_ref().is_some_and(Labels::is_empty) {
        add("saturation", Value::Null);
    }
    let a = &results.anomalies;
    let shed: Map<String, Value> = a
        .shed_by_class
        .iter()
        .map(|(class, n)| (class.clone(), json!(n)))
        .collect();
    add(
        "anomalies",
        json!({
            "priority_inversions": a.priority_inversions,
            "hol_blocked_instances": a.hol_blocked.len(),
            "shed_by_class": shed,
        }),
    );
    if let Some(g) = &results.goodput {
        add("goodput", goodput(g));
    }
    if let Some(f) = &results.fitness {
        let components: Map<String, Value> = f
            .components
            .iter()
            .map(|&(key, value, weight)| {
                (key.to_owned(), json!({"value": value, "weight": weight}))
            })
            .collect();
        add(
            "fitness",
            json!({"score": f.score, "components": components}),
        );
    }
    if let Some(t) = &results.trace {
        add("trace_summary", json!(t));
    }
    if let Some(upkeep) = RunUpkeep::of(results) {
        upkeep.write(&mut map);
    }
    Value::Object(map)
}

/// Writes [`value`], indented, with a final line break.
///
/// # Errors
/// When `out` fails.
pub fn write(results: &Results<'_>, out: &mut dyn Write) -> io::Result<()> {
    go::write_pretty(out, &value(results))?;
    out.write_all(b"\n")
}

/// A part of the run.
fn measured(m: &Measured) -> Value {
    let ms = |us: &Ints| json!(Distribution::of(us).divided_by(1000.0));
    json!({
        "start_s": m.start_us as f64 / 1e6,
        "end_s": m.end_us as f64 / 1e6,
        "completed": m.completed,
        "responses_per_sec": m.responses_per_sec(),
        "tokens_per_sec": m.tokens_per_sec(),
        "ttft_ms": ms(&m.ttft_us),
        "e2e_ms": ms(&m.e2e_us),
    })
}

/// Rates without the drain, beside those of the whole run.
fn arrival_window(w: &ArrivalWindow) -> Value {
    json!({
        "start_s": w.start_us as f64 / 1e6,
        "end_s": w.end_us as f64 / 1e6,
        "arrivals_per_sec": w.arrivals_per_sec(),
        "responses_per_sec": w.responses_per_sec(),
        "tokens_per_sec": w.tokens_per_sec(),
    })
}

fn latencies(l: &Latencies) -> Value {
    json!({
        "ttft": l.ttft,
        "itl": l.itl,
        "tpot": l.tpot,
        "e2e": l.e2e,
        "scheduling_delay": l.scheduling_delay,
    })
}

fn instance(s: &Summary, hol_blocked: bool) -> Value {
    json!({
        "instance_id": s.name,
        "routed_requests": s.routed,
        "share": s.share,
        "completed_requests": s.completed,
        "still_queued": s.still_queued,
        "still_running": s.still_running,
        "dropped_unservable": s.dropped,
        "timed_out_requests": s.timed_out,
        "length_capped_requests": s.length_capped,
        "total_input_tokens": s.input_tokens,
        "total_output_tokens": s.output_tokens,
        "responses_per_sec": s.responses_per_sec(),
        "tokens_per_sec": s.tokens_per_sec(),
        "ended_s": s.duration_s(),
        "steps": s.steps,
        "mean_queue_length": s.mean_queue_length,
        "hol_blocked": hol_blocked,
        "preemption_count": s.preemptions,
        "kv_allocation_failures": s.kv_allocation_failures,
        "kv_peak_utilization": s.kv_peak_utilization,
        "kv_peak_blocks": s.kv_peak_blocks,
        "kv_block_us": u64::try_from(s.kv_block_time).unwrap_or(u64::MAX),
        "kv_mean_utilization": s.kv_mean_utilization,
        "cache_hit_rate": s.cache_hit_rate,
        "latency_ms": latencies(&s.latency_ms),
    })
}

fn milliseconds(d: &Distribution) -> Value {
    json!(d.divided_by(1000.0))
}

fn groups(groups: &[Group]) -> Value {
    let by_name = groups.iter().map(|g| (g.name.clone(), group(g)));
    Value::Object(by_name.collect())
}

fn group(g: &Group) -> Value {
    json!({
        "arrivals": g.arrivals,
        "completed_requests": g.completed,
        "output_tokens": g.output_tokens,
        "ttft_ms": milliseconds(&g.ttft_us),
        "itl_ms": milliseconds(&g.itl_us),
        "e2e_ms": milliseconds(&g.e2e_us),
    })
}

/// What each pool is made of and what came of the requests sent to it; a pool that was sent none
/// has no figures.
fn pools(results: &Results<'_>) -> Value {
    let record = results.record;
    let by_name = record.pools.iter().map(|pool| {
        let name = record.symbols.name(pool.name);
        let mut value = json!({
            "role": pool.role.name(),
            "instances": pool.instances,
            "gpu": (!pool.gpu.is_empty()).then_some(&pool.gpu),
            "gpus_per_instance": (pool.gpus_per_instance > 0).then_some(pool.gpus_per_instance),
        });
        let figures = results.pools.iter().find(|g| g.name == name).map(group);
        if let (Value::Object(map), Some(Value::Object(figures))) = (&mut value, figures) {
            map.extend(figures);
        }
        (name.to_owned(), value)
    });
    Value::Object(by_name.collect())
}

fn transfers(t: &Transfers) -> Value {
    json!({
        "moved_requests": t.requests,
        "dropped_requests": t.dropped,
        "prefills_per_sec": t.prefills_per_sec,
        "decodes_per_sec": t.decodes_per_sec,
        "ttft_ms": milliseconds(&t.ttft_us),
        "wait_for_blocks_ms": milliseconds(&t.wait_us),
        "transfer_ms": milliseconds(&t.transfer_us),
        "peak_transfers": t.peak,
        "mean_transfers_at_start": t.mean_depth,
    })
}

fn goodput(g: &Goodput) -> Value {
    json!({
        "arrivals": g.arrivals,
        "good_requests": g.good,
        "attainment": g.attainment,
        "requests_per_sec": g.rps,
    })
}

/// How often each LoRA adapter was loaded and had to go; none where they are not loaded for the
/// requests that wait for them.
fn adapter_moves(results: &Results<'_>) -> Option<Value> {
    let record = results.record;
    let mut instances = record.instances.iter();
    instances.any(|i| !i.adapter_moves.is_empty()).then(|| {
        let moves = of_adapters(record, None).into_iter();
        let moves = moves.map(
            |(name, of)| json!({ "name": name, "loads": of.loads, "evictions": of.evictions }),
        );
        moves.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::ReportInputs;
    use super::*;
    use crate::metrics::fitness::Weights;
    use crate::metrics::saturation::Detectors;
    use crate::metrics::slo::Dimension;
    use crate::metrics::summary::tests::{done, refused, run};

    #[test]
    fn the_references_keys_come_first_and_keep_their_values() {
        let record = run(vec![done(0, 0, 1000, 3000, 0), refused(1, 10)], 1);
        let mut inputs = ReportInputs {
            fitness: Some(Weights::parse("f", "mean_ttft:2").unwrap()),
            trace_summary: true,
            setup: json!({"model": "m"}),
            ..ReportInputs::default()
        };
        inputs.slo_targets.set("default", Dimension::E2e, 5000.0);
        let results = Results::new(&record, &inputs);
        let v = value(&results);
        let keys: Vec<&str> = v.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys[..3],
            ["instance_id", "completed_requests", "still_queued"]
        );
        assert_eq!(v["setup"]["model"], "m");
        assert_eq!(v["arrivals"], 2);
        assert_eq!(v["goodput"]["attainment"], 0.5);
        assert_eq!(v["per_class"]["default"]["count"], 2);
        // Half of the requests were served, in 1 ms.
        assert_eq!(v["fitness"]["components"]["mean_ttft"]["value"], 0.25);
        assert_eq!(v["latency_ms"]["tpot"]["mean"], 1.0);
        assert_eq!(v["instances"][0]["share"], 1.0);
        let mut out = Vec::new();
        write(&results, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\n  \"e2e_mean_ms\": 3,\n"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["steps"], 0);
    }

    #[test]
    fn figures_of_nothing_are_null_and_counts_are_0() {
        let mut record = run(vec![refused(0, 0), refused(1, 1_000_000)], 2);
        record.requests[0].tenant = record.symbols.intern("a");
        let mut inputs = ReportInputs {
            fitness: Some(Weights::parse("f", "throughput:1,p99_ttft:2").unwrap()),
            detectors: Some(Detectors::parse("f", "all").unwrap()),
            trace_summary: true,
            ..ReportInputs::default()
        };
        inputs.slo_targets.set("default", Dimension::Ttft, 5000.0);
        let v = value(&Results::new(&record, &inputs));
        for key in [
            "/itl_mean_ms",
            "/ttft_p99_ms",
            "/e2e_p90_ms",
            "/scheduling_delay_p99_ms",
            "/cache_hit_rate",
            "/infinite_cache_hit_rate",
            "/preemption_rate",
            "/kv_mean_utilization",
            "/saturation",
            "/tenant_fairness_jain",
            "/trace_summary/mean_regret",
            "/latency_ms/tpot/mean",
            "/instances/1/latency_ms/ttft/p99",
            "/instances/1/cache_hit_rate",
            "/instances/1/mean_queue_length",
            "/classes/default/e2e_ms/p50",
        ] {
            assert_eq!(v.pointer(key), Some(&Value::Null), "{key}");
        }
        assert_eq!(v["latency_ms"]["tpot"]["count"], 0);
        assert_eq!(v["arrival_window"]["arrivals_per_sec"], 1.0);
        for key in [
            "/fitness/score",
            "/responses_per_sec",
            "/goodput_rps",
            "/slo_attainment",
        ] {
            assert_eq!(v.pointer(key).and_then(Value::as_f64), Some(0.0), "{key}");
        }
    }
}
