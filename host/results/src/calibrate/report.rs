//! The report in the layout of BLIS's `calibrate`.

use super::compare::Metric;
use super::{Calibration, Network};
use serde_json::{Map, Value, json};

/// Limits that a report says are kept or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Largest MAPE of TTFT.
    pub ttft_mape: f64,
    /// Largest difference of hit rates, percentage points.
    pub hit_rate_pp: f64,
}

/// Hit rates of the prefix cache on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Hits {
    /// Observed, 0 to 1.
    pub real: f64,
    /// Simulated, 0 to 1.
    pub simulated: f64,
    /// Which counters were observed.
    pub source: String,
}

/// The report: latencies in microseconds, errors as shares, under BLIS's keys.
#[must_use]
pub fn report(
    found: &Calibration,
    hits: Option<&Hits>,
    tolerances: Tolerances,
    network: Network,
) -> Value {
    let metrics = ["ttft", "e2e", "itl"].into_iter();
    let metrics =
        metrics.filter_map(|name| Some((name.to_owned(), metric(found.metrics.get(name)?))));
    let metrics: Map<String, Value> = metrics.collect();
    let requests = &found.requests;
    let mut report = json!({
        "trace_info": {
            "num_requests": requests.num_requests,
            "warm_up_excluded": requests.warm_up_excluded,
            "matched_pairs": requests.matched_pairs,
            "token_mismatches": requests.token_mismatches,
        },
        "metrics": metrics,
        "config_match": {},
        "known_limitations": limitations(found, network),
    });
    let mut add = |key: &str, value: Value| {
        if let Some(report) = report.as_object_mut() {
            report.insert(key.to_owned(), value);
        }
    };
    if let Some(goodput) = &found.goodput {
        add("goodput", json!(goodput));
    }
    if let Some(hits) = hits {
        let error_pp = (hits.simulated - hits.real).abs() * 100.0;
        add(
            "hit_rate",
            json!({
                "real_hit_rate": hits.real,
                "sim_hit_rate": hits.simulated,
                "abs_error_pp": error_pp,
                "tolerance_pp": tolerances.hit_rate_pp,
                "within": error_pp <= tolerances.hit_rate_pp + 1e-9,
                "source": hits.source,
            }),
        );
    }
    if let Some(mape) = found.metrics.get("ttft").and_then(|m| m.mape) {
        add(
            "ttft_tolerance",
            json!({
                "mape": mape,
                "threshold": tolerances.ttft_mape,
                "within": mape <= tolerances.ttft_mape,
            }),
        );
    }
    report
}

fn metric(m: &Metric) -> Value {
    let mut level = Map::new();
    let both = m.real_us.list().into_iter().zip(m.simulated_us.list());
    let names = ["mean", "median", "p50", "p90", "p95", "p99"];
    let figure = |name: &str| {
        let wanted = if name == "median" { "p50" } else { name };
        both.clone().find(|((found, _), _)| *found == wanted)
    };
    for name in names {
        let Some(((_, real), (_, simulated))) = figure(name) else {
            continue;
        };
        let error = simulated - real;
        let percent = if real > 0.0 { error.abs() / real } else { 0.0 };
        level.insert(format!("real_{name}"), json!(real));
        level.insert(format!("sim_{name}"), json!(simulated));
        level.insert(format!("{name}_error"), json!(error));
        level.insert(format!("{name}_percent_error"), json!(percent));
    }
    json!({
        "workload_level": level,
        "request_level": {
            "mape": m.mape.unwrap_or(0.0),
            "pearson_r": m.pearson_r,
            "bias_direction": m.bias,
            "quality": m.quality,
        },
        "count": m.count,
    })
}

fn limitations(found: &Calibration, network: Network) -> Vec<String> {
    let r = &found.requests;
    let mut all = Vec::new();
    if network == Network::default() {
        all.push(
            "what the network takes between client and server is not in the simulation".to_owned(),
        );
    }
    for (n, what) in [
        (
            r.unmatched_real,
            "observed requests are not in the simulation",
        ),
        (
            r.unmatched_simulated,
            "simulated requests were not observed",
        ),
        (
            r.failed_real,
            "requests were not answered whole by the server",
        ),
        (
            r.failed_simulated,
            "requests were not answered by the simulation",
        ),
        (
            r.token_mismatches,
            "requests have other numbers of tokens in the simulation",
        ),
    ] {
        if n > 0 {
            all.push(format!("{n} {what}"));
        }
    }
    all
}
