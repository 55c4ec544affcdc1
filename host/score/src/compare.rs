//! Compares policies with a baseline on the same scenarios and seeds.
//!
//! Scenario k, seed s: d = 100 x (ln J_baseline - ln J_candidate), the formula of scores with a
//! baseline in place of the best reference. Losses are not weighed more than gains, so the
//! difference of a pair has the same size both ways.

use super::aggregate::{ScenarioComparison, Total, by_objective, plain_total};
use super::candidate::Candidate;
use super::plan::{full_runs, selected_scenarios};
use super::protocol::RunKey;
use super::redact::redacted_problems;
use super::report::Problem;

use super::run::RunSummary;
use super::runner::Runner;
use super::score_request::{LastStage, Progress, Salts, ScoreRequest, ScoringError, Seeds};
use super::stages::SURE;
use super::suite::{ScenarioKeys, Split, Suite};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Policies to compare, and on what.
#[derive(Clone, Debug)]
pub struct ComparisonRequest {
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

/// The difference on one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioDifference {
    /// The scenario.
    pub id: String,
    /// The difference there.
    #[serde(flatten)]
    pub difference: Difference,
}

/// A policy compared with the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateComparison {
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
    pub scenarios: Vec<ScenarioDifference>,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem>,
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Form of the document: `windtunnel.compare/1`.
    pub schema: &'static str,
    /// Suite and its version.
    pub suite: String,
    /// Which scenarios.
    pub split: Split,
    /// Seeds per scenario that were run.
    pub seeds: u32,
    /// What they were drawn from, where that is not the suite.
    #[serde(flatten)]
    pub salts: Salts,
    /// The policy that the others are compared with.
    pub baseline: String,
    /// All policies, the baseline first.
    pub candidates: Vec<CandidateComparison>,
}

/// A policy with its runs.
struct Measured {
    name: String,
    summaries: Vec<RunSummary>,
    /// Why it does not work; problems of runs are redacted for the split.
    problems: Vec<Problem>,
}

/// Compares policies on the same scenarios and seeds.
///
/// # Errors
/// When the suite is wrong, a process cannot be started, or the scoring is cancelled.
pub fn compare(
    runner: &Runner,
    comparison: &ComparisonRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, ScoringError> {
    let requests: Vec<ScoreRequest> = comparison
        .candidates
        .iter()
        .map(|c| score_request(comparison, c))
        .collect();
    let file = &comparison.suite.file;
    let first = requests.first().expect("there are candidates");
    let scenarios = selected_scenarios(first)?;
    let max_seeds = comparison.seeds.max(file, comparison.split);
    let (mut from, mut seeds) = (
        0,
        comparison
            .seeds
            .initial(file, comparison.split)
            .min(max_seeds),
    );
    let mut run_keys: Vec<RunKey> = Vec::new();
    let mut measured = Vec::new();
    for request in &requests {
        measured.push(Measured {
            name: request.candidate.name.clone(),
            summaries: Vec::new(),
            problems: runner.check(request, runner.all_slots())?.problems,
        });
    }
    loop {
        let new = full_runs(first, &scenarios, from..seeds)?;
        let of = (new.len() * requests.len()) as u64;
        for (k, (request, ours)) in requests.iter().zip(&mut measured).enumerate() {
            if !ours.problems.is_empty() {
                continue;
            }
            let runs = runner.run(request, &new, runner.all_slots(), &|done| {
                progress(Progress {
                    what: "comparing",
                    done: (k * new.len()) as u64 + done,
                    of,
                });
            })?;
            ours.problems = redacted_problems(&runs.problems, comparison.split);
            ours.summaries.extend(runs.summaries.into_iter().flatten());
        }
        run_keys.extend(new);
        let candidates: Vec<CandidateComparison> = requests
            .iter()
            .zip(&measured)
            .map(|(request, ours)| compare_one(request, &scenarios, &run_keys, ours, &measured[0]))
            .collect();
        let width = |s: &CandidateComparison| {
            let ci = s.total.as_ref()?.ci95?;
            Some((ci[1] - ci[0]) / 2.0)
        };
        let unsure =
            |s: &&CandidateComparison| s.total.is_some() && width(s).is_none_or(|w| w >= SURE);
        if seeds >= max_seeds || candidates.iter().skip(1).find(unsure).is_none() {
            return Ok(Comparison {
                schema: "windtunnel.compare/1",
                suite: comparison.suite.label(),
                split: comparison.split,
                seeds,
                salts: first.salts()?,
                baseline: first.candidate.name.clone(),
                candidates,
            });
        }
        from = seeds;
        seeds += 1;
    }
}

fn score_request(comparison: &ComparisonRequest, candidate: &Candidate) -> ScoreRequest {
    ScoreRequest {
        split: comparison.split,
        seeds: comparison.seeds,
        last_stage: LastStage::Full,
        ..ScoreRequest::new(candidate.clone(), Arc::clone(&comparison.suite))
    }
}

/// Compares one policy with the baseline, as far as the split shows it.
fn compare_one(
    request: &ScoreRequest,
    scenarios: &[&ScenarioKeys],
    run_keys: &[RunKey],
    ours: &Measured,
    baseline: &Measured,
) -> CandidateComparison {
    let mut result = CandidateComparison {
        candidate: request.candidate.name.clone(),
        ok: ours.problems.is_empty(),
        total: None,
        objectives: BTreeMap::new(),
        scenarios: Vec::new(),
        errors: ours.problems.clone(),
    };
    if !result.ok || !baseline.problems.is_empty() {
        return result;
    }
    let objectives = &request.suite.file.objectives;
    let compared: Vec<ScenarioComparison> = scenarios
        .iter()
        .map(|keys| {
            let ours = of_scenario(&keys.id, run_keys, &ours.summaries);
            let theirs = of_scenario(&keys.id, run_keys, &baseline.summaries);
            ScenarioComparison::against(keys.weight, objectives, &ours, &baseline.name, &theirs)
        })
        .collect();
    result.total = Some(Difference::of(plain_total(&compared)));
    if request.split != Split::Holdout {
        let of = scenarios.iter().zip(&compared);
        result.scenarios = of
            .map(|(keys, c)| ScenarioDifference {
                id: keys.id.clone(),
                difference: Difference::of(c.difference()),
            })
            .collect();
    }
    if request.split == Split::Train {
        result.objectives = by_objective(objectives, &compared);
    }
    result
}

fn of_scenario<'a>(
    id: &str,
    run_keys: &[RunKey],
    summaries: &'a [RunSummary],
) -> Vec<&'a RunSummary> {
    let pairs = run_keys.iter().zip(summaries);
    pairs
        .filter(|(run_key, _)| run_key.scenario == id)
        .map(|(_, summary)| summary)
        .collect()
}
