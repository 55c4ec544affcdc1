//! Which share of the requests met its targets, on both sides.

use super::pair::Side;
use crate::metrics::slo::{DEFAULT_CLASS, Dimension, SloTargets};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Targets are looked at in this order, up to the first that is missed.
const ORDER: [Dimension; 3] = [Dimension::Ttft, Dimension::E2e, Dimension::Itl];

/// Goodput of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassGoodput {
    /// Requests that both sides have, failed ones included.
    pub count: usize,
    /// Share that met every target, as observed.
    pub real_slo_attainment: f64,
    /// The same, as simulated.
    pub sim_slo_attainment: f64,
    /// These requests per second of the observation.
    pub real_goodput_rps: f64,
    /// The same, as simulated, over the same time.
    pub sim_goodput_rps: f64,
    /// Share that met a target, of those that met the ones before it: TTFT, E2E, ITL.
    pub real_attainment_by_dim: BTreeMap<&'static str, f64>,
    /// The same, as simulated.
    pub sim_attainment_by_dim: BTreeMap<&'static str, f64>,
}

/// Goodput by class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goodput {
    /// The targets, milliseconds.
    pub targets: BTreeMap<String, Value>,
    /// The classes that have some.
    pub per_class: BTreeMap<String, ClassGoodput>,
}

fn value(side: &Side, dimension: Dimension) -> Option<f64> {
    match dimension {
        Dimension::Ttft => Some(side.ttft_us),
        Dimension::E2e => Some(side.e2e_us),
        // An answer of one token has no gap that could be too long.
        Dimension::Itl => Some(side.tpot_us.unwrap_or(0.0)),
    }
}

/// Requests that met all gates, and by gate the share of those that came so far.
fn met(sides: &[Option<Side>], gates: &[(Dimension, f64)]) -> (usize, BTreeMap<&'static str, f64>) {
    let mut left: Vec<&Option<Side>> = sides.iter().collect();
    let mut by_dimension = BTreeMap::new();
    for (dimension, target) in gates {
        let reached = left.len();
        left.retain(|side| {
            let value = side.as_ref().and_then(|s| value(s, *dimension));
            value.is_some_and(|us| us <= *target)
        });
        if reached > 0 {
            by_dimension.insert(dimension.name(), left.len() as f64 / reached as f64);
        }
    }
    (left.len(), by_dimension)
}

/// Goodput of the requests that both sides have, `None` of a side that did not answer; absent
/// without targets for any of them.
pub(super) fn goodput(
    both: &[(&str, Option<Side>, Option<Side>)],
    targets: &SloTargets,
) -> Option<Goodput> {
    let real = || both.iter().filter_map(|(_, real, _)| *real);
    let from = real().map(|s| s.at_us).fold(f64::INFINITY, f64::min);
    let until = real().map(|s| s.at_us + s.e2e_us).fold(0.0, f64::max);
    let seconds = (until - from) / 1e6;
    let mut classes: BTreeMap<&str, [Vec<Option<Side>>; 2]> = BTreeMap::new();
    for (class, real, simulated) in both {
        let class = if class.is_empty() {
            DEFAULT_CLASS
        } else {
            class
        };
        let sides = classes.entry(class).or_default();
        sides[0].push(*real);
        sides[1].push(*simulated);
    }
    let mut goodput = Goodput {
        targets: BTreeMap::new(),
        per_class: BTreeMap::new(),
    };
    for (class, [real, simulated]) in classes {
        let gates = ORDER
            .into_iter()
            .filter_map(|d| Some((d, targets.target_us(class, d)?)));
        let gates: Vec<(Dimension, f64)> = gates.collect();
        if gates.is_empty() || seconds.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            continue;
        }
        let keys = gates
            .iter()
            .map(|(d, us)| (format!("{}_ms", d.name()), json!(us / 1e3)));
        let keys: Map<String, Value> = keys.collect();
        goodput
            .targets
            .insert(class.to_owned(), Value::Object(keys));
        let (real_met, real_by) = met(&real, &gates);
        let (simulated_met, simulated_by) = met(&simulated, &gates);
        let count = real.len();
        let of_class = ClassGoodput {
            count,
            real_slo_attainment: real_met as f64 / count as f64,
            sim_slo_attainment: simulated_met as f64 / count as f64,
            real_goodput_rps: real_met as f64 / seconds,
            sim_goodput_rps: simulated_met as f64 / seconds,
            real_attainment_by_dim: real_by,
            sim_attainment_by_dim: simulated_by,
        };
        goodput.per_class.insert(class.to_owned(), of_class);
    }
    (!goodput.per_class.is_empty()).then_some(goodput)
}
