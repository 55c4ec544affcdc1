//! The certificate of a suite: does it tell good policies from bad ones, and is there something to find?
//!
//! Costs are compared as everywhere: 100 x differences of logarithms, so about per cent.

use super::ask::Trouble;
use super::candidate::Candidate;
use super::flight::Flight;
use super::objective::log_cost;
use super::plan::nth_seed;
use super::protocol::Flying;
use super::scorer::Scorer;
use super::suite::{Split, Suite};
use crate::metrics::stats::spearman;
use crate::policy::Hook;
use crate::policy::external::names;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Least difference between the worst and the best reference.
pub const SPREAD: f64 = 5.0;
/// Least rank correlation of the references' costs between seeds.
pub const STABILITY: f64 = 0.9;
/// Least distance from the best reference to the best policy with exact information.
pub const HEADROOM: f64 = 3.0;
/// Rank correlation of the references' costs from which two scenarios are the same one twice.
pub const DUPLICATE: f64 = 0.95;
/// Offered work over capacity: for suites that open admission, and for others.
pub const LOADS: [(f64, f64); 2] = [(1.1, 2.0), (0.6, 1.1)];

/// What was found out of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioCertificate {
    /// Split.
    pub split: Split,
    /// Scenario.
    pub id: String,
    /// Worst to best reference.
    pub spread: f64,
    /// Best reference.
    pub best: String,
    /// Mean rank correlation of the references' costs between seeds; none with a single seed.
    pub stability: Option<f64>,
    /// From the best reference to the best policy under exact information.
    pub headroom: f64,
    /// That policy; with a star, a policy of the library as it is shipped.
    pub clairvoyant: String,
    /// Computing time over the time of arrivals: of the best reference; where admission is open, of the one that takes in most. It is offered
    /// work over capacity, as long as the drain is long enough.
    pub load: f64,
    /// The scenario of the same split that is most like it, and the rank correlation.
    pub nearest: Option<(String, f64)>,
    /// What it falls short of.
    pub failures: Vec<String>,
}

/// The certificate of a suite.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// Suite and version.
    pub suite: String,
    /// Fingerprint of the suite.
    pub digest: String,
    /// Engine.
    pub engine: String,
    /// Seeds per scenario.
    pub seeds: u32,
    /// Every scenario passes.
    pub passes: bool,
    /// By scenario.
    pub scenarios: Vec<ScenarioCertificate>,
}

/// Costs by policy, then by seed.
type Costs = BTreeMap<String, Vec<f64>>;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The policy with the least mean cost.
fn best(costs: &Costs) -> (&String, f64) {
    let means = costs.iter().map(|(name, by_seed)| (name, mean(by_seed)));
    means
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .expect("a suite has references")
}

/// Examines some splits of a suite. `progress` hears of (done, all) policies.
///
/// # Errors
/// When the suite is wrong or a process cannot be started.
pub fn certify(
    scorer: &Scorer,
    suite: &Arc<Suite>,
    splits: &[Split],
    seeds: u32,
    progress: &dyn Fn(u64, u64),
) -> Result<Certificate, Trouble> {
    let scenarios: Vec<(Split, &str, u64)> = splits
        .iter()
        .flat_map(|split| {
            suite
                .scenarios(*split)
                .map(|s| (*split, s.id.as_str(), s.seed))
        })
        .collect();
    let flyings = |exact: bool| -> Vec<Flying> {
        scenarios
            .iter()
            .flat_map(|(_, id, first)| {
                (0..seeds).map(move |k| Flying {
                    scenario: (*id).to_owned(),
                    seed: nth_seed(*first, k),
                    requests: suite.file.requests,
                    exact,
                })
            })
            .collect()
    };
    let references: Vec<&String> = suite.file.references.keys().collect();
    let named: Vec<&str> = suite.hooks.iter().flat_map(|h: &Hook| names(*h)).collect();
    let all = (2 * references.len() + named.len()) as u64;
    let mut done = 0;
    let mut fly = |candidate: Candidate, flyings: &[Flying]| {
        let flights = scorer.flights(suite, candidate, flyings);
        done += 1;
        progress(done, all);
        flights
    };
    let (plain, exact) = (flyings(false), flyings(true));
    let mut known: BTreeMap<String, Vec<Option<Flight>>> = BTreeMap::new();
    let mut informed: BTreeMap<String, Vec<Option<Flight>>> = BTreeMap::new();
    for name in references {
        known.insert(name.clone(), fly(Candidate::reference(name), &plain)?);
        informed.insert(name.clone(), fly(Candidate::reference(name), &exact)?);
    }
    for name in named {
        if let Ok(candidate) = Candidate::open(name) {
            informed
                .entry(format!("{name}*"))
                .or_insert(fly(candidate, &exact)?);
        }
    }
    let objectives = &suite.file.objectives;
    let costs = |of: &BTreeMap<String, Vec<Option<Flight>>>, k: usize| -> Costs {
        let seeds = seeds as usize;
        of.iter()
            .filter_map(|(name, flights)| {
                let of_scenario = &flights[k * seeds..(k + 1) * seeds];
                let cost = |f: &Option<Flight>| Some(log_cost(objectives, &f.as_ref()?.logs));
                let by_seed: Option<Vec<f64>> = of_scenario.iter().map(cost).collect();
                Some((name.clone(), by_seed?))
            })
            .collect()
    };
    let by_scenario: Vec<Costs> = (0..scenarios.len()).map(|k| costs(&known, k)).collect();
    let mut certificates = Vec::new();
    for (k, (split, id, _)) in scenarios.iter().enumerate() {
        let ours = &by_scenario[k];
        let (best_name, least) = best(ours);
        let most = ours.values().map(|c| mean(c)).fold(f64::MIN, f64::max);
        let exact_costs = costs(&informed, k);
        let (clairvoyant, reached) = best(&exact_costs);
        let load = |flights: &Vec<Option<Flight>>| {
            let of_scenario = &flights[k * seeds as usize..(k + 1) * seeds as usize];
            let loads = of_scenario.iter().flatten();
            mean(&loads.map(|f| f.metrics.utilization).collect::<Vec<_>>())
        };
        let nearest = scenarios
            .iter()
            .enumerate()
            .filter(|(other, (s, ..))| *other != k && s == split);
        let nearest = nearest
            .filter_map(|(other, (_, name, _))| {
                let pairs = ours.iter().filter_map(|(policy, a)| {
                    Some((mean(a), mean(by_scenario[other].get(policy)?)))
                });
                let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
                Some(((*name).to_owned(), spearman(&a, &b)?))
            })
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        let mut certificate = ScenarioCertificate {
            split: *split,
            id: (*id).to_owned(),
            spread: 100.0 * (most - least),
            best: best_name.clone(),
            stability: stability(ours, seeds as usize),
            headroom: 100.0 * (least - reached),
            clairvoyant: clairvoyant.clone(),
            load: if suite.hooks.contains(&Hook::Admission) {
                known.values().map(load).fold(0.0, f64::max)
            } else {
                load(&known[best_name])
            },
            nearest,
            failures: Vec::new(),
        };
        certificate.failures = failures(&certificate, suite);
        certificates.push(certificate);
    }
    Ok(Certificate {
        suite: suite.label(),
        digest: suite.digest(),
        engine: super::engine(),
        seeds,
        passes: certificates.iter().all(|c| c.failures.is_empty()),
        scenarios: certificates,
    })
}

/// Mean rank correlation of the policies' costs over all pairs of seeds.
fn stability(costs: &Costs, seeds: usize) -> Option<f64> {
    let of_seed = |s: usize| -> Vec<f64> { costs.values().map(|by_seed| by_seed[s]).collect() };
    let pairs = (0..seeds).flat_map(|a| (a + 1..seeds).map(move |b| (a, b)));
    let all: Vec<f64> = pairs
        .filter_map(|(a, b)| spearman(&of_seed(a), &of_seed(b)))
        .collect();
    (!all.is_empty()).then(|| mean(&all))
}

fn failures(c: &ScenarioCertificate, suite: &Suite) -> Vec<String> {
    let mut failures = Vec::new();
    if c.spread < SPREAD {
        failures.push(format!("spread below {SPREAD}"));
    }
    if c.stability.is_some_and(|s| s < STABILITY) {
        failures.push(format!("ranks agree less than {STABILITY}"));
    }
    if c.headroom < HEADROOM {
        failures.push(format!("headroom below {HEADROOM}"));
    }
    let opens_admission = suite.hooks.contains(&Hook::Admission);
    let only_admission = opens_admission && suite.hooks.len() == 1;
    let (low, high) = match (only_admission, opens_admission) {
        (true, _) => LOADS[0],
        (false, true) => (LOADS[1].0, LOADS[0].1),
        (false, false) => LOADS[1],
    };
    if !(low..=high).contains(&c.load) {
        failures.push(format!("load outside {low} to {high}"));
    }
    if let Some((other, alike)) = &c.nearest
        && *alike >= DUPLICATE
    {
        failures.push(format!("like {other}"));
    }
    failures
}
