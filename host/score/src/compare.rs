//! Policies against each other: the same scenarios, the same seeds, and what one costs relative to
//! the other.
//!
//! Scenario k, seed s: d = 100 x (ln J_baseline - ln J_candidate), the formula of scores with a
//! baseline in place of the best reference. Losses are not weighed more than gains, so the
//! difference of a pair has the same size both ways.

use super::aggregate::{Compared, Total, plain_total};
use super::ask::{Ask, Progress, Seeds, Trouble, Until};
use super::candidate::Candidate;
use super::fleet::Fleet;
use super::flight::Flight;
use super::plan::{chosen, full_flyings};
use super::protocol::Flying;
use super::report::Problem;
use super::stages::SURE;
use super::suite::{ScenarioKeys, Split, Suite};
use super::tell::{by_objective, guarded};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which policies are to be compared, and on what.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The policies; the first is the baseline.
    pub candidates: Vec<Candidate>,
    /// The suite.
    pub suite: Arc<Suite>,
    /// The scenarios.
    pub split: Split,
    /// Seeds per scenario.
    pub seeds: Seeds,
}

/// A difference of costs, 100 x mean log-ratio baseline to candidate: above 0 the candidate is
/// better, and +1 is about 1 % less cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The difference.
    pub difference: f64,
    /// Its 95 % confidence interval over seeds; none of a single seed.
    pub ci95: Option<[f64; 2]>,
    /// The interval excludes 0.
    pub significant: bool,
}

impl Difference {
    fn of(total: Total) -> Self {
        let ci95 = total.ci95();
        Self {
            difference: total.score,
            ci95,
            significant: ci95.is_some_and(|[low, high]| low > 0.0 || high < 0.0),
        }
    }
}

/// A difference on one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnScenario {
    /// The scenario.
    pub id: String,
    /// The difference there.
    #[serde(flatten)]
    pub difference: Difference,
}

/// A policy against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The policy.
    pub candidate: String,
    /// It works.
    pub ok: bool,
    /// Over all scenarios, weighted as in scores; none when one of the two does not work.
    pub total: Option<Difference>,
    /// By objective, without intervals; train only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub objectives: BTreeMap<String, f64>,
    /// By scenario; not of the holdout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scenarios: Vec<OnScenario>,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem>,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Form of the document: `windtunnel.compare/1`.
    pub schema: &'static str,
    /// Suite and its version.
    pub suite: String,
    /// Which scenarios.
    pub split: Split,
    /// Seeds per scenario that were flown.
    pub seeds: u32,
    /// What the others are compared with.
    pub baseline: String,
    /// The baseline itself first.
    pub candidates: Vec<Standing>,
}

/// One of the policies with its runs.
struct Contestant {
    name: String,
    flights: Vec<Flight>,
    /// As far as they may be told: up to the first flight it has seen nothing of the split.
    problems: Vec<Problem>,
}

/// Compares policies on the same scenarios and seeds.
///
/// # Errors
/// Only trouble that is not a candidate's.
pub fn compare(
    fleet: &Fleet,
    contest: &Contest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, Trouble> {
    let asks: Vec<Ask> = contest.candidates.iter().map(|c| ask(contest, c)).collect();
    let file = &contest.suite.file;
    let first = asks.first().expect("there are candidates");
    let scenarios = chosen(first)?;
    let most = contest.seeds.most(file, contest.split);
    let (mut from, mut seeds) = (0, contest.seeds.first(file, contest.split).min(most));
    let mut flyings: Vec<Flying> = Vec::new();
    let mut contestants = Vec::new();
    for ask in &asks {
        contestants.push(Contestant {
            name: ask.candidate.name.clone(),
            flights: Vec::new(),
            problems: fleet.check(ask, fleet.all())?.problems,
        });
    }
    loop {
        let new = full_flyings(first, &scenarios, from..seeds);
        let of = (new.len() * asks.len()) as u64;
        for (k, (ask, ours)) in asks.iter().zip(&mut contestants).enumerate() {
            if !ours.problems.is_empty() {
                continue;
            }
            let runs = fleet.fly(ask, &new, fleet.all(), &|done| {
                progress(Progress {
                    what: "comparing",
                    done: (k * new.len()) as u64 + done,
                    of,
                });
            })?;
            ours.problems = guarded(&runs.problems, contest.split);
            ours.flights.extend(runs.flights.into_iter().flatten());
        }
        flyings.extend(new);
        let standings: Vec<Standing> = asks
            .iter()
            .zip(&contestants)
            .map(|(ask, ours)| standing(ask, &scenarios, &flyings, ours, &contestants[0]))
            .collect();
        let width = |s: &Standing| {
            let ci = s.total.as_ref()?.ci95?;
            Some((ci[1] - ci[0]) / 2.0)
        };
        let unsure = |s: &&Standing| s.total.is_some() && width(s).is_none_or(|w| w >= SURE);
        if seeds >= most || standings.iter().skip(1).find(unsure).is_none() {
            return Ok(Comparison {
                schema: "windtunnel.compare/1",
                suite: contest.suite.label(),
                split: contest.split,
                seeds,
                baseline: first.candidate.name.clone(),
                candidates: standings,
            });
        }
        from = seeds;
        seeds += 1;
    }
}

fn ask(contest: &Contest, candidate: &Candidate) -> Ask {
    Ask {
        split: contest.split,
        seeds: contest.seeds,
        until: Until::Full,
        ..Ask::new(candidate.clone(), Arc::clone(&contest.suite))
    }
}

/// One policy against the baseline, told as far as the split allows.
fn standing(
    ask: &Ask,
    scenarios: &[&ScenarioKeys],
    flyings: &[Flying],
    ours: &Contestant,
    baseline: &Contestant,
) -> Standing {
    let mut standing = Standing {
        candidate: ask.candidate.name.clone(),
        ok: ours.problems.is_empty(),
        total: None,
        objectives: BTreeMap::new(),
        scenarios: Vec::new(),
        errors: ours.problems.clone(),
    };
    if !standing.ok || !baseline.problems.is_empty() {
        return standing;
    }
    let objectives = &ask.suite.file.objectives;
    let compared: Vec<Compared> = scenarios
        .iter()
        .map(|keys| {
            let ours = of_scenario(&keys.id, flyings, &ours.flights);
            let theirs = of_scenario(&keys.id, flyings, &baseline.flights);
            Compared::to(keys.weight, objectives, &ours, &baseline.name, &theirs)
        })
        .collect();
    standing.total = Some(Difference::of(plain_total(&compared)));
    if ask.split != Split::Holdout {
        let of = scenarios.iter().zip(&compared);
        standing.scenarios = of
            .map(|(keys, c)| OnScenario {
                id: keys.id.clone(),
                difference: Difference::of(c.difference()),
            })
            .collect();
    }
    if ask.split == Split::Train {
        standing.objectives = by_objective(objectives, &compared);
    }
    standing
}

fn of_scenario<'a>(id: &str, flyings: &[Flying], flights: &'a [Flight]) -> Vec<&'a Flight> {
    let pairs = flyings.iter().zip(flights);
    pairs
        .filter(|(flying, _)| flying.scenario == id)
        .map(|(_, flight)| flight)
        .collect()
}
