//! Searches the parameters that a policy declares.
//!
//! Many points are evaluated on a few short runs, the best of them on more, the best of those in
//! full (successive halving). Each batch of the search runs other scenarios, and the value of a
//! point is its score minus that of the present values on the same runs. So the search cannot
//! overfit to a few scenarios, and values of different batches compare. Finalists are ranked by the
//! mean of their scores on `train` and `val`. The result does not depend on the number of
//! processes.

mod axis;
mod cma_es;
mod search;
mod tpe;
mod tunables;

pub use tunables::{Tunable, as_script, script, tunables};

use super::aggregate::penalised;
use super::candidate::Candidate;
use super::compare::{ComparisonRequest, Difference, compare};
use super::plan::{QUICK_SCENARIOS, quick_runs, selected_scenarios};
use super::protocol::RunKey;
use super::runner::WorkerSlots;
use super::score_request::{LastStage, Progress, Salts, ScoreRequest, ScoringError, Seeds};
use super::scorer::Scorer;
use super::suite::{ScenarioKeys, Split, Suite};
use axis::Axis;
use search::Search;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use windtunnel_base::input::InputError;

/// One of this many points is evaluated on short runs of all scenarios.
const SECOND_ROUND: usize = 4;
/// One of this many points is evaluated in full.
const THIRD_ROUND: usize = 16;
/// Most points that are evaluated in full.
const MOST_FINALISTS: usize = 6;

/// Value of a point that does not work: less than that of any that does.
const BROKEN: f64 = -1e6;

/// How points are proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A normal distribution that moves and stretches towards what works; it sees how parameters
    /// depend on each other.
    #[default]
    #[value(name = "cma-es")]
    CmaEs,
    /// Each parameter for itself: values like those of the good points.
    Tpe,
}

/// What to tune, and how.
#[derive(Clone, Debug)]
pub struct TuneRequest {
    /// The policy.
    pub candidate: Candidate,
    /// The suite.
    pub suite: Arc<Suite>,
    /// Points to try.
    pub budget: usize,
    /// Seed of the search; scenarios have their own.
    pub seed: u64,
    /// How points are proposed.
    pub method: Method,
    /// Compare the result with the present values on the holdout.
    pub holdout: bool,
}

/// Values of the parameters, by name.
pub type Values = BTreeMap<String, f64>;

/// Progress of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneProgress {
    /// What the runs are for.
    pub what: &'static str,
    /// Points done.
    pub done: usize,
    /// Points to evaluate.
    pub of: usize,
    /// Gain of the best point over the present values, in points of the score; none if they are
    /// best.
    pub best: Option<f64>,
}

/// A score with its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// The score.
    pub score: f64,
    /// Its 95 % confidence interval over seeds.
    pub ci95: Option<[f64; 2]>,
}

/// Values that were evaluated in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finalist {
    /// The values.
    pub params: Values,
    /// Gain over the present values on short runs.
    pub gain: f64,
    /// On `train`, in full.
    pub train: Scored,
    /// On `val`; none where the suite has none.
    pub val: Option<Scored>,
}

impl Finalist {
    /// Finalists are ranked by the scores of scenarios that were searched and of some that were
    /// not.
    fn rank_score(&self) -> f64 {
        match &self.val {
            Some(val) => (self.train.score + val.score) / 2.0,
            None => self.train.score,
        }
    }
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneResult {
    /// Form of the document: `windtunnel.tune/1`.
    pub schema: &'static str,
    /// The policy.
    pub policy: String,
    /// Suite and its version.
    pub suite: String,
    /// How points were proposed.
    pub method: Method,
    /// Seed of the search.
    pub seed: u64,
    /// What the seeds of train were drawn from, and those of the holdout, where that is not the
    /// suite.
    #[serde(flatten)]
    pub salts: Salts,
    /// Points tried.
    pub evaluations: usize,
    /// Something better than the present values was found.
    pub improved: bool,
    /// The best values.
    pub params: Values,
    /// The present values.
    pub default: Finalist,
    /// The values that were evaluated in full, the best first; the present ones are among them.
    pub finalists: Vec<Finalist>,
    /// The best compared with the present values on the holdout, if that was requested and
    /// something better was found.
    pub holdout: Option<Difference>,
}

/// A point that was evaluated.
struct Point {
    values: Values,
    gain: f64,
}

/// Searches better values of the parameters.
///
/// # Errors
/// When the policy has nothing to tune or does not work, the suite is wrong, a process cannot be
/// started, or the scoring is cancelled.
pub fn tune(
    scorer: &Scorer,
    tuning: &TuneRequest,
    on_progress: &mut dyn FnMut(&TuneProgress),
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<TuneResult, ScoringError> {
    let parameters = searchable(&tuning.candidate)?;
    let request = ScoreRequest {
        last_stage: LastStage::Full,
        ..ScoreRequest::new(tuning.candidate.clone(), Arc::clone(&tuning.suite))
    };
    if tuning.holdout {
        let split = Split::Holdout;
        selected_scenarios(&ScoreRequest {
            split,
            ..request.clone()
        })?;
    }
    let tuner = Tuner {
        scorer,
        tuning,
        request,
        scenarios: tuning.suite.scenarios(Split::Train).collect(),
        parameters,
        progress,
    };
    let check = scorer
        .runner()
        .check(&tuner.request, scorer.runner().all_slots())?;
    if let Some(problem) = check.problems.first() {
        let message = format!("does not work: {}", problem.message);
        return Err(InputError::in_file(&tuning.candidate.name, message).into());
    }
    let mut points = tuner.search(on_progress)?;
    let evaluations = points.len();
    // The best by a few scenarios each, then by all of them.
    keep_best(
        &mut points,
        (tuning.budget / SECOND_ROUND).max(MOST_FINALISTS),
    );
    if tuner.scenarios.len() > QUICK_SCENARIOS {
        let all = tuner.batch(0, tuner.scenarios.len())?;
        let values: Vec<Values> = points.iter().map(|p| p.values.clone()).collect();
        let gains = tuner.gains(&values, &all)?;
        for (point, gain) in points.iter_mut().zip(gains) {
            point.gain = gain;
        }
    }
    keep_best(
        &mut points,
        (tuning.budget / THIRD_ROUND).clamp(1, MOST_FINALISTS),
    );
    on_progress(&TuneProgress {
        what: "the best in full",
        done: evaluations,
        of: evaluations,
        best: points.first().map(|p| p.gain).filter(|gain| *gain > 0.0),
    });
    tuner.evaluate_in_full(points, evaluations)
}

/// The parameters that have more than one value.
fn searchable(candidate: &Candidate) -> Result<Vec<Tunable>, InputError> {
    let mut all = tunables(candidate)?;
    all.retain(|t| t.param.least < t.param.most);
    if all.is_empty() {
        return Err(InputError::in_file(
            &candidate.name,
            "has nothing to tune: no script of it declares a parameter; expected lines like --@param weight = 2, 0..10",
        ));
    }
    Ok(all)
}

/// The best first, no values twice, at most so many.
fn keep_best(points: &mut Vec<Point>, most: usize) {
    points.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    each_once(points);
    points.truncate(most);
}

/// No values twice.
fn each_once(points: &mut Vec<Point>) {
    let mut seen: Vec<Values> = Vec::new();
    points.retain(|p| {
        let new = !seen.contains(&p.values);
        if new {
            seen.push(p.values.clone());
        }
        new
    });
}

struct Tuner<'a> {
    scorer: &'a Scorer,
    tuning: &'a TuneRequest,
    request: ScoreRequest,
    scenarios: Vec<&'a ScenarioKeys>,
    parameters: Vec<Tunable>,
    progress: &'a (dyn Fn(Progress) + Sync),
}

/// Scenarios and their runs.
struct Batch<'a> {
    scenarios: Vec<&'a ScenarioKeys>,
    run_keys: Vec<RunKey>,
}

impl<'a> Tuner<'a> {
    fn start(&self) -> Values {
        let start = |t: &Tunable| (t.key.clone(), t.start);
        self.parameters.iter().map(start).collect()
    }

    /// Evaluates as many points as the budget allows.
    fn search(
        &self,
        on_progress: &mut dyn FnMut(&TuneProgress),
    ) -> Result<Vec<Point>, ScoringError> {
        let axes: Vec<Axis> = self
            .parameters
            .iter()
            .map(|t| Axis::new(&t.param, t.start))
            .collect();
        let start: Vec<f64> = axes
            .iter()
            .zip(&self.parameters)
            .map(|(axis, t)| axis.position(t.start))
            .collect();
        let mut search: Box<dyn Search> = match self.tuning.method {
            Method::CmaEs => Box::new(cma_es::CmaEs::new(self.tuning.seed, start)),
            Method::Tpe => Box::new(tpe::Tpe::new(self.tuning.seed, &start)),
        };
        let of = self.tuning.budget;
        let mut points: Vec<Point> = Vec::new();
        let mut best: Option<f64> = None;
        for generation in 0.. {
            let mut asked = search.ask();
            asked.truncate(of - points.len());
            let values: Vec<Values> = asked.iter().map(|u| self.values(&axes, u)).collect();
            let gains = self.gains(&values, &self.batch(generation, QUICK_SCENARIOS)?)?;
            search.tell(&asked, &gains);
            for (values, gain) in values.into_iter().zip(gains) {
                if gain > best.unwrap_or(0.0) {
                    best = Some(gain);
                }
                points.push(Point { values, gain });
            }
            on_progress(&TuneProgress {
                what: "searching",
                done: points.len(),
                of,
                best,
            });
            if points.len() >= of {
                break;
            }
        }
        Ok(points)
    }

    fn values(&self, axes: &[Axis], u: &[f64]) -> Values {
        let named = self.parameters.iter().zip(axes).zip(u);
        named
            .map(|((t, axis), u)| (t.key.clone(), axis.value(*u)))
            .collect()
    }

    /// Short runs of `n` scenarios, others for each generation.
    fn batch(&self, generation: usize, n: usize) -> Result<Batch<'a>, InputError> {
        let all = self.scenarios.len();
        let n = n.min(all);
        let scenarios: Vec<&ScenarioKeys> = (0..n)
            .map(|k| self.scenarios[(k * all / n + generation) % all])
            .collect();
        let run_keys = quick_runs(&self.request, &scenarios)?;
        Ok(Batch {
            scenarios,
            run_keys,
        })
    }

    /// Gains of points over the present values.
    fn gains(&self, points: &[Values], batch: &Batch<'_>) -> Result<Vec<f64>, ScoringError> {
        let runner = self.scorer.runner();
        runner.ensure_references(
            &self.request,
            &batch.run_keys,
            runner.all_slots(),
            self.progress,
        )?;
        let mut all = vec![self.start()];
        all.extend_from_slice(points);
        let scores = runner.map_parallel(
            &all,
            |values, slots| self.estimate(values, batch, slots),
            |_, _| {},
        );
        let scores: Vec<f64> = scores.into_iter().collect::<Result<_, ScoringError>>()?;
        Ok(scores[1..].iter().map(|s| s - scores[0]).collect())
    }

    fn with(&self, values: &Values) -> ScoreRequest {
        let mut request = self.request.clone();
        request.candidate.params.clone_from(values);
        request
    }

    /// The score of a point on a batch of runs, without a floor.
    fn estimate(
        &self,
        values: &Values,
        batch: &Batch<'_>,
        slots: WorkerSlots,
    ) -> Result<f64, ScoringError> {
        let (runner, request) = (self.scorer.runner(), self.with(values));
        let runs = runner.run(&request, &batch.run_keys, slots, &|_| {})?;
        if !runs.problems.is_empty() {
            return Ok(BROKEN);
        }
        let compared =
            runner.compare_unfloored(&request, &batch.scenarios, &batch.run_keys, &runs.summaries);
        Ok(penalised(&compared, self.tuning.suite.file.regression_weight).score)
    }

    /// Evaluates the best points and the present values in full, and ranks them.
    fn evaluate_in_full(
        &self,
        points: Vec<Point>,
        evaluations: usize,
    ) -> Result<TuneResult, ScoringError> {
        let start = Point {
            values: self.start(),
            gain: 0.0,
        };
        let mut points: Vec<Point> = std::iter::once(start).chain(points).collect();
        each_once(&mut points);
        let has_val = self.tuning.suite.scenarios(Split::Val).next().is_some();
        let splits = [Some(Split::Train), has_val.then_some(Split::Val)];
        let requests: Vec<ScoreRequest> = points
            .iter()
            .flat_map(|p| splits.iter().flatten().map(move |split| (p, *split)))
            .map(|(p, split)| ScoreRequest {
                split,
                ..self.with(&p.values)
            })
            .collect();
        let of = requests.len() as u64;
        let mut done = 0;
        let mut reports = self
            .scorer
            .score_batch(&requests, &mut |_, _| {
                done += 1;
                (self.progress)(Progress {
                    what: "the best in full",
                    done,
                    of,
                });
            })?
            .into_iter()
            .map(|r| Scored {
                score: r.score,
                ci95: r.score_ci95,
            });
        let mut scored = || reports.next().expect("a report for each request");
        let mut finalists: Vec<Finalist> = points
            .into_iter()
            .map(|p| Finalist {
                params: p.values,
                gain: p.gain,
                train: scored(),
                val: has_val.then(&mut scored),
            })
            .collect();
        let default = finalists[0].clone();
        // Equal ones stay in order: the present values first.
        finalists.sort_by(|a, b| b.rank_score().total_cmp(&a.rank_score()));
        let best = finalists[0].params.clone();
        let improved = best != default.params;
        Ok(TuneResult {
            schema: "windtunnel.tune/1",
            policy: self.tuning.candidate.name.clone(),
            suite: self.tuning.suite.label(),
            method: self.tuning.method,
            seed: self.tuning.seed,
            salts: Salts {
                train: self.tuning.suite.train_salt.clone(),
                holdout: match improved && self.tuning.holdout {
                    true => Some(self.tuning.suite.holdout_salt()?.hash().to_owned()),
                    false => None,
                },
            },
            evaluations,
            improved,
            holdout: if improved && self.tuning.holdout {
                self.on_holdout(&best)?
            } else {
                None
            },
            params: best,
            default,
            finalists,
        })
    }

    /// Compares the best with the present values on the holdout, with automatic seeds.
    fn on_holdout(&self, best: &Values) -> Result<Option<Difference>, ScoringError> {
        let comparison = ComparisonRequest {
            candidates: vec![
                self.with(&self.start()).candidate,
                self.with(best).candidate,
            ],
            suite: Arc::clone(&self.tuning.suite),
            split: Split::Holdout,
            seeds: Seeds::Auto,
        };
        let outcome = compare(self.scorer.runner(), &comparison, self.progress)?;
        Ok(outcome.candidates.into_iter().nth(1).and_then(|s| s.total))
    }
}
