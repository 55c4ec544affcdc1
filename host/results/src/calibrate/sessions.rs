//! Sessions on both sides.

use super::compare::Metric;
use super::pair::Pair;
use std::collections::BTreeMap;

/// TTFT of first and of later rounds, and how long sessions take from their first request to their
/// last token; empty without sessions.
pub(super) fn metrics(pairs: &[Pair]) -> BTreeMap<&'static str, Metric> {
    let mut found = BTreeMap::new();
    let ttft = |is_cold: bool| {
        let rounds = pairs
            .iter()
            .filter(|p| !p.session.is_empty() && (p.round == 0) == is_cold);
        rounds
            .map(|p| (p.real.ttft_us, p.simulated.ttft_us))
            .collect::<Vec<_>>()
    };
    let mut sessions: BTreeMap<&str, [(f64, f64); 2]> = BTreeMap::new();
    for pair in pairs.iter().filter(|p| !p.session.is_empty()) {
        let session = sessions.entry(&pair.session);
        let session = session.or_insert([(f64::INFINITY, f64::NEG_INFINITY); 2]);
        for ((from, until), side) in session.iter_mut().zip([pair.real, pair.simulated]) {
            *from = from.min(side.at_us);
            *until = until.max(side.at_us + side.e2e_us);
        }
    }
    let durations = sessions
        .values()
        .map(|[real, simulated]| (real.1 - real.0, simulated.1 - simulated.0));
    let lists = [
        ("cold_ttft", ttft(true)),
        ("warm_ttft", ttft(false)),
        ("duration", durations.collect()),
    ];
    for (name, both) in lists {
        let (real, simulated): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
        if !real.is_empty() {
            found.insert(name, Metric::of(real, simulated));
        }
    }
    found
}
