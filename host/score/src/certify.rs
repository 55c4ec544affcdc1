//! The certificate of a suite: whether it tells good policies from bad ones and leaves room for
//! better ones.
//!
//! Costs are compared as in scores: 100 x differences of logarithms, so about per cent.

use super::aggregate::{TOLERANCE, mean};
use super::candidate::Candidate;
use super::objective::{Objective, log_cost};
use super::protocol::RunKey;
use super::run::RunSummary;
use super::score_request::ScoringError;
use super::scorer::Scorer;
use super::suite::{Split, Suite};
use super::targets::misled;
use super::version::engine;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_policy::Hook;
use windtunnel_policy::registry::names;
use windtunnel_results::metrics::stats::spearman;

/// Least difference between the worst and the best reference.
pub const SPREAD: f64 = 5.0;
/// Scorings, each with other seeds, whose ranks are compared.
pub const SCORINGS: u32 = 4;
/// Least rank correlation of the references' costs between scorings.
pub const STABILITY: f64 = 0.9;
/// Least distance from the best reference to the best policy with exact information.
pub const HEADROOM: f64 = 3.0;
/// Rank correlation of the references' costs from which two scenarios are the same one twice.
pub const DUPLICATE: f64 = 0.95;
/// Offered work over capacity: for suites that open admission, and for others.
pub const LOADS: [(f64, f64); 2] = [(1.1, 2.0), (0.6, 1.1)];
/// The same where a policy scales pools: computing time over the time that instances were there.
pub const LOAD_SCALED: (f64, f64) = (0.4, 1.1);

/// The certificate of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioCertificate {
    /// Split.
    pub split: Split,
    /// Scenario.
    pub id: String,
    /// Seeds that were run.
    pub seeds: usize,
    /// Worst to best reference.
    pub spread: f64,
    /// Best reference.
    pub best: String,
    /// Mean rank correlation of the references' costs between scorings with other seeds; none with
    /// a single seed.
    pub stability: Option<f64>,
    /// From the best reference to the best policy under exact information.
    pub headroom: f64,
    /// That policy; with a star, a shipped policy with its default parameters.
    pub clairvoyant: String,
    /// Computing time over the time of arrivals: of the best reference; where admission is open, of
    /// the one that admits most. It is offered work over capacity, as long as the drain is long
    /// enough. Where pools are scaled, over the time that instances were there.
    pub load: f64,
    /// The scenario of the same split that is most like it, and the rank correlation.
    pub nearest: Option<(String, f64)>,
    /// By reference: how much more it costs than the best.
    pub costs: BTreeMap<String, f64>,
    /// Criteria that it does not meet.
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
    /// Hash of the salt that the holdout was drawn with; none without scenarios of the holdout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holdout_salt: Option<String>,
    /// Every scenario passes.
    pub passes: bool,
    /// By scenario.
    pub scenarios: Vec<ScenarioCertificate>,
}

/// Costs by policy, then by seed.
type Costs = BTreeMap<String, Vec<f64>>;

/// Results of runs by policy.
type RunsByPolicy = BTreeMap<String, Vec<Option<RunSummary>>>;

/// A scenario under examination.
struct Examined<'a> {
    split: Split,
    id: &'a str,
    /// Its runs among those of the references.
    runs: Range<usize>,
    /// Its runs among those with exact information, which have the first half of the seeds.
    exact: Range<usize>,
    /// Seeds of one scoring.
    scoring: usize,
}

impl Examined<'_> {
    /// Computing time over the time of arrivals.
    fn load(&self, summaries: &[Option<RunSummary>]) -> f64 {
        let summaries = summaries[self.runs.clone()].iter().flatten();
        mean(&summaries.map(|f| f.metrics.utilization).collect::<Vec<_>>())
    }
}

/// The logarithms of the costs of the policies that complete all of some runs.
fn costs(objectives: &[Objective], summaries: &RunsByPolicy, runs: &Range<usize>) -> Costs {
    let cost = |f: &Option<RunSummary>| Some(log_cost(objectives, &f.as_ref()?.logs));
    let of_policy = |(name, all): (&String, &Vec<Option<RunSummary>>)| {
        let by_seed: Option<Vec<f64>> = all[runs.clone()].iter().map(cost).collect();
        Some((name.clone(), by_seed?))
    };
    summaries.iter().filter_map(of_policy).collect()
}

/// The policy with the least mean cost.
fn best(costs: &Costs) -> (&String, f64) {
    let means = costs.iter().map(|(name, by_seed)| (name, mean(by_seed)));
    means
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .expect("a suite has references")
}

/// Examines some splits of a suite, each scenario with `seeds` seeds or as many as [`SCORINGS`]
/// scorings take. `progress` is called with (done, all) policies.
///
/// # Errors
/// When the suite is wrong or a process cannot be started.
pub fn certify(
    scorer: &Scorer,
    suite: &Arc<Suite>,
    splits: &[Split],
    seeds: Option<u32>,
    progress: &dyn Fn(u64, u64),
) -> Result<Certificate, ScoringError> {
    let (mut plain, mut exact): (Vec<RunKey>, Vec<RunKey>) = (Vec::new(), Vec::new());
    let mut scenarios: Vec<Examined<'_>> = Vec::new();
    for split in splits {
        let a_scoring = suite.file.seeds_of(*split);
        let seeds = seeds.unwrap_or(SCORINGS * a_scoring);
        for scenario in suite.scenarios(*split) {
            let from = (plain.len(), exact.len());
            for k in 0..seeds {
                let key = RunKey {
                    scenario: scenario.id.clone(),
                    seed: suite.seed(*split, scenario, k)?,
                    requests: suite.file.requests,
                    exact: false,
                };
                if k < seeds.div_ceil(2) {
                    exact.push(RunKey {
                        exact: true,
                        ..key.clone()
                    });
                }
                plain.push(key);
            }
            scenarios.push(Examined {
                split: *split,
                id: &scenario.id,
                runs: from.0..plain.len(),
                exact: from.1..exact.len(),
                scoring: a_scoring.min(seeds / 2).max(1) as usize,
            });
        }
    }
    let (known, informed) = run_all(scorer, suite, &plain, &exact, progress)?;
    let objectives = &suite.file.objectives;
    let of = |s: &Examined<'_>| costs(objectives, &known, &s.runs);
    let run_keys = plain;
    let plain: Vec<Costs> = scenarios.iter().map(of).collect();
    let one = |k: usize| -> Result<ScenarioCertificate, InputError> {
        let scenario = &scenarios[k];
        let (best_name, least) = best(&plain[k]);
        let exact = costs(objectives, &informed, &scenario.exact);
        let (clairvoyant, reached) = best(&exact);
        let on_these_seeds = mean(&plain[k][best_name][..scenario.exact.len()]);
        let most = plain[k].values().map(|c| mean(c)).fold(f64::MIN, f64::max);
        let mut certificate = ScenarioCertificate {
            split: scenario.split,
            id: scenario.id.to_owned(),
            seeds: scenario.runs.len(),
            spread: 100.0 * (most - least),
            best: best_name.clone(),
            stability: stability(&plain[k], scenario.scoring),
            headroom: 100.0 * (on_these_seeds - reached),
            clairvoyant: clairvoyant.clone(),
            load: if suite.hooks.contains(&Hook::Admission) {
                known.values().map(|f| scenario.load(f)).fold(0.0, f64::max)
            } else {
                scenario.load(&known[best_name])
            },
            nearest: nearest(&scenarios, &plain, k),
            costs: plain[k]
                .iter()
                .map(|(n, c)| (n.clone(), 100.0 * (mean(c) - least)))
                .collect(),
            failures: Vec::new(),
        };
        certificate.failures = failures(&certificate, suite);
        let seed = run_keys[scenario.runs.start].seed;
        certificate
            .failures
            .extend(misled(suite, scenario.id, seed)?);
        Ok(certificate)
    };
    let certificates: Result<Vec<ScenarioCertificate>, InputError> =
        (0..scenarios.len()).map(one).collect();
    let certificates = certificates?;
    Ok(Certificate {
        suite: suite.label(),
        digest: suite.digest(),
        engine: engine(),
        holdout_salt: match splits.contains(&Split::Holdout) {
            true => Some(suite.holdout_salt()?.hash().to_owned()),
            false => None,
        },
        passes: certificates.iter().all(|c| c.failures.is_empty()),
        scenarios: certificates,
    })
}

/// Runs the references with the signals of the suite, and the references and the shipped policies
/// with exact information.
fn run_all(
    scorer: &Scorer,
    suite: &Arc<Suite>,
    plain: &[RunKey],
    exact: &[RunKey],
    progress: &dyn Fn(u64, u64),
) -> Result<(RunsByPolicy, RunsByPolicy), ScoringError> {
    let references: Vec<&String> = suite.file.references.keys().collect();
    let named: Vec<&str> = suite.hooks.iter().flat_map(|h: &Hook| names(*h)).collect();
    let all = (2 * references.len() + named.len()) as u64;
    let mut done = 0;
    let mut run = |candidate: Candidate, run_keys: &[RunKey]| {
        let summaries = scorer.runs(suite, candidate, run_keys);
        done += 1;
        progress(done, all);
        summaries
    };
    let (mut known, mut informed) = (RunsByPolicy::new(), RunsByPolicy::new());
    for name in references {
        known.insert(name.clone(), run(Candidate::reference(name), plain)?);
        informed.insert(name.clone(), run(Candidate::reference(name), exact)?);
    }
    for name in named {
        if let Ok(candidate) = Candidate::open(name) {
            informed.insert(format!("{name}*"), run(candidate, exact)?);
        }
    }
    Ok((known, informed))
}

/// The other scenario of the same split in which the references rank most alike.
fn nearest(scenarios: &[Examined<'_>], costs: &[Costs], k: usize) -> Option<(String, f64)> {
    let others = scenarios.iter().zip(costs).enumerate();
    let others = others.filter(|(other, (s, _))| *other != k && s.split == scenarios[k].split);
    let alike = others.filter_map(|(_, (s, theirs))| {
        let pairs = costs[k].iter();
        let pairs = pairs.filter_map(|(policy, a)| Some((mean(a), mean(theirs.get(policy)?))));
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
        Some((s.id.to_owned(), agreement(&a, &b)?))
    });
    alike.max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// Mean rank correlation of the policies' costs over all pairs of disjoint scorings of `scoring`
/// seeds.
fn stability(costs: &Costs, scoring: usize) -> Option<f64> {
    let scorings = costs.values().next()?.len() / scoring;
    let of = |k: usize| -> Vec<f64> {
        let seeds = k * scoring..(k + 1) * scoring;
        costs.values().map(|c| mean(&c[seeds.clone()])).collect()
    };
    let pairs = (0..scorings).flat_map(|a| (a + 1..scorings).map(move |b| (a, b)));
    let all: Vec<f64> = pairs
        .filter_map(|(a, b)| agreement(&of(a), &of(b)))
        .collect();
    (!all.is_empty()).then(|| mean(&all))
}

/// Rank correlation of costs; those that differ by less than scores can tell are equal.
fn agreement(a: &[f64], b: &[f64]) -> Option<f64> {
    spearman(&tied(a), &tied(b))
}

/// The number of the group that each cost belongs to: a gap wider than a point begins another.
fn tied(costs: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|i, j| costs[*i].total_cmp(&costs[*j]));
    let mut groups = vec![0.0; costs.len()];
    for pair in order.windows(2) {
        let wide = 100.0 * (costs[pair[1]] - costs[pair[0]]) > TOLERANCE;
        groups[pair[1]] = groups[pair[0]] + f64::from(u8::from(wide));
    }
    groups
}

fn failures(c: &ScenarioCertificate, suite: &Suite) -> Vec<String> {
    let mut failures = Vec::new();
    if c.spread < SPREAD {
        failures.push(format!("spread below {SPREAD}"));
    }
    match c.stability {
        Some(s) if s < STABILITY => failures.push(format!("ranks agree less than {STABILITY}")),
        Some(_) => {}
        // What was not measured is not met.
        None => failures.push(
            "ranks were not compared: that takes two scorings which tell references apart".into(),
        ),
    }
    if c.headroom < HEADROOM {
        failures.push(format!("headroom below {HEADROOM}"));
    }
    let opens_admission = suite.hooks.contains(&Hook::Admission);
    let only_admission = opens_admission && suite.hooks.len() == 1;
    let (low, high) = match (only_admission, opens_admission) {
        (true, _) => LOADS[0],
        _ if suite.hooks.contains(&Hook::Scale) => LOAD_SCALED,
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
