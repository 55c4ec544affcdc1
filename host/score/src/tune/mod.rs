//! Searching the parameters that a policy declares.
//!
//! Many points are flown at a small size, the best of them at a larger one, the best of those in
//! full (successive halving). While searching, every batch of points flies other scenarios, and
//! what counts of a point is its score less that of the present values on the same runs; so the
//! search cannot fit itself to a few scenarios, and values of different batches compare. Finalists
//! are chosen by the mean of their scores on `train` and `val`. Nothing depends on the number of
//! processes.

mod axis;
mod cma_es;
mod search;
mod tpe;
mod tunables;

pub use tunables::{Tunable, as_script, script, tunables};

use super::aggregate::penalised;
use super::ask::{Ask, Progress, Trouble, Until};
use super::candidate::Candidate;
use super::compare::{Contest, Difference, compare};
use super::fleet::Share;
use super::plan::{QUICK_SCENARIOS, chosen, quick_flyings};
use super::protocol::Flying;
use super::scorer::Scorer;
use super::suite::{ScenarioKeys, Split, Suite};
use axis::Axis;
use search::Search;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use windtunnel_base::input::InputError;

/// One of so many points is flown on all scenarios, at the small size.
const SECOND: usize = 4;
/// One of so many is flown in full.
const THIRD: usize = 16;
/// Most points that are flown in full.
const MOST_FINALISTS: usize = 6;

/// What a point is worth that does not work: less than any that does.
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

/// What is to be tuned, and how.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The policy.
    pub candidate: Candidate,
    /// On which suite.
    pub suite: Arc<Suite>,
    /// Points to try.
    pub budget: usize,
    /// Seed of the search; scenarios have their own.
    pub seed: u64,
    /// How.
    pub method: Method,
    /// Compare the result with the present values on the holdout.
    pub holdout: bool,
}

/// Values of the parameters, by name.
pub type Values = BTreeMap<String, f64>;

/// How far the search is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct News {
    /// What is being flown.
    pub what: &'static str,
    /// Points done.
    pub done: usize,
    /// Of how many.
    pub of: usize,
    /// What the best so far gains on the present values, in points; none when it is they.
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

/// Values that went all the way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finalist {
    /// The values.
    pub params: Values,
    /// What they gain on the present ones at the small size.
    pub gain: f64,
    /// On `train`, in full.
    pub train: Scored,
    /// On `val`; none where the suite has none.
    pub val: Option<Scored>,
}

impl Finalist {
    /// What finalists are chosen by: scenarios that were searched, and such that were not.
    fn worth(&self) -> f64 {
        match &self.val {
            Some(val) => (self.train.score + val.score) / 2.0,
            None => self.train.score,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
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
    /// Points tried.
    pub evaluations: usize,
    /// Something better than the present values was found.
    pub improved: bool,
    /// The best values.
    pub params: Values,
    /// The present values.
    pub default: Finalist,
    /// Those that were flown in full, the best first; the present ones are among them.
    pub finalists: Vec<Finalist>,
    /// The best against the present values on the holdout, if that was asked for and there is
    /// something better.
    pub holdout: Option<Difference>,
}

/// A point that was tried.
struct Point {
    values: Values,
    gain: f64,
}

/// Searches better values.
///
/// # Errors
/// When the policy has nothing to tune or does not work, and trouble that is not its fault.
pub fn tune(
    scorer: &Scorer,
    wish: &Wish,
    news: &mut dyn FnMut(&News),
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Tuned, Trouble> {
    let parameters = searchable(&wish.candidate)?;
    let ask = Ask {
        until: Until::Full,
        ..Ask::new(wish.candidate.clone(), Arc::clone(&wish.suite))
    };
    if wish.holdout {
        let split = Split::Holdout;
        chosen(&Ask {
            split,
            ..ask.clone()
        })?;
    }
    let tuner = Tuner {
        scorer,
        wish,
        ask,
        scenarios: wish.suite.scenarios(Split::Train).collect(),
        parameters,
        progress,
    };
    let check = scorer.fleet().check(&tuner.ask, scorer.fleet().all())?;
    if let Some(problem) = check.problems.first() {
        let message = format!("does not work: {}", problem.message);
        return Err(InputError::in_file(&wish.candidate.name, message).into());
    }
    let mut points = tuner.search(news)?;
    let evaluations = points.len();
    // The best by a few scenarios each, then by all of them.
    keep_best(&mut points, (wish.budget / SECOND).max(MOST_FINALISTS));
    if tuner.scenarios.len() > QUICK_SCENARIOS {
        let all = tuner.batch(0, tuner.scenarios.len());
        let values: Vec<Values> = points.iter().map(|p| p.values.clone()).collect();
        let gains = tuner.gains(&values, &all)?;
        for (point, gain) in points.iter_mut().zip(gains) {
            point.gain = gain;
        }
    }
    keep_best(&mut points, (wish.budget / THIRD).clamp(1, MOST_FINALISTS));
    news(&News {
        what: "the best in full",
        done: evaluations,
        of: evaluations,
        best: points.first().map(|p| p.gain).filter(|gain| *gain > 0.0),
    });
    tuner.finals(points, evaluations)
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
    wish: &'a Wish,
    ask: Ask,
    scenarios: Vec<&'a ScenarioKeys>,
    parameters: Vec<Tunable>,
    progress: &'a (dyn Fn(Progress) + Sync),
}

/// Some scenarios and their runs.
struct Batch<'a> {
    scenarios: Vec<&'a ScenarioKeys>,
    flyings: Vec<Flying>,
}

impl<'a> Tuner<'a> {
    fn start(&self) -> Values {
        let start = |t: &Tunable| (t.key.clone(), t.start);
        self.parameters.iter().map(start).collect()
    }

    /// Tries as many points as there may be.
    fn search(&self, news: &mut dyn FnMut(&News)) -> Result<Vec<Point>, Trouble> {
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
        let mut search: Box<dyn Search> = match self.wish.method {
            Method::CmaEs => Box::new(cma_es::CmaEs::new(self.wish.seed, start)),
            Method::Tpe => Box::new(tpe::Tpe::new(self.wish.seed, &start)),
        };
        let of = self.wish.budget;
        let mut points: Vec<Point> = Vec::new();
        let mut best: Option<f64> = None;
        for generation in 0.. {
            let mut asked = search.ask();
            asked.truncate(of - points.len());
            let values: Vec<Values> = asked.iter().map(|u| self.values(&axes, u)).collect();
            let gains = self.gains(&values, &self.batch(generation, QUICK_SCENARIOS))?;
            search.tell(&asked, &gains);
            for (values, gain) in values.into_iter().zip(gains) {
                if gain > best.unwrap_or(0.0) {
                    best = Some(gain);
                }
                points.push(Point { values, gain });
            }
            news(&News {
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

    /// `n` scenarios at the small size, others for each generation.
    fn batch(&self, generation: usize, n: usize) -> Batch<'a> {
        let all = self.scenarios.len();
        let n = n.min(all);
        let scenarios: Vec<&ScenarioKeys> = (0..n)
            .map(|k| self.scenarios[(k * all / n + generation) % all])
            .collect();
        let flyings = quick_flyings(&self.ask, &scenarios);
        Batch { scenarios, flyings }
    }

    /// What each of several points gains on the present values.
    fn gains(&self, points: &[Values], batch: &Batch<'_>) -> Result<Vec<f64>, Trouble> {
        let fleet = self.scorer.fleet();
        fleet.know_references(&self.ask, &batch.flyings, fleet.all(), self.progress)?;
        let mut all = vec![self.start()];
        all.extend_from_slice(points);
        let scores = fleet.several(
            &all,
            |values, share| self.estimate(values, batch, share),
            |_, _| {},
        );
        let scores: Vec<f64> = scores.into_iter().collect::<Result<_, Trouble>>()?;
        Ok(scores[1..].iter().map(|s| s - scores[0]).collect())
    }

    fn with(&self, values: &Values) -> Ask {
        let mut ask = self.ask.clone();
        ask.candidate.params.clone_from(values);
        ask
    }

    /// The score of a point on some runs.
    fn estimate(&self, values: &Values, batch: &Batch<'_>, share: Share) -> Result<f64, Trouble> {
        let (fleet, ask) = (self.scorer.fleet(), self.with(values));
        let runs = fleet.fly(&ask, &batch.flyings, share, &|_| {})?;
        if !runs.problems.is_empty() {
            return Ok(BROKEN);
        }
        let compared = fleet.compare_all(&ask, &batch.scenarios, &batch.flyings, &runs.flights);
        Ok(penalised(&compared, self.wish.suite.file.regression_weight).score)
    }

    /// Flies the best and the present values in full, and chooses.
    fn finals(&self, points: Vec<Point>, evaluations: usize) -> Result<Tuned, Trouble> {
        let start = Point {
            values: self.start(),
            gain: 0.0,
        };
        let mut points: Vec<Point> = std::iter::once(start).chain(points).collect();
        each_once(&mut points);
        let has_val = self.wish.suite.scenarios(Split::Val).next().is_some();
        let splits = [Some(Split::Train), has_val.then_some(Split::Val)];
        let asks: Vec<Ask> = points
            .iter()
            .flat_map(|p| splits.iter().flatten().map(move |split| (p, *split)))
            .map(|(p, split)| Ask {
                split,
                ..self.with(&p.values)
            })
            .collect();
        let of = asks.len() as u64;
        let mut done = 0;
        let mut reports = self
            .scorer
            .score_batch(&asks, &mut |_, _| {
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
        let mut scored = || reports.next().expect("a report for each question");
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
        finalists.sort_by(|a, b| b.worth().total_cmp(&a.worth()));
        let best = finalists[0].params.clone();
        let improved = best != default.params;
        Ok(Tuned {
            schema: "windtunnel.tune/1",
            policy: self.wish.candidate.name.clone(),
            suite: self.wish.suite.label(),
            method: self.wish.method,
            seed: self.wish.seed,
            evaluations,
            improved,
            holdout: if improved && self.wish.holdout {
                self.on_holdout(&best)?
            } else {
                None
            },
            params: best,
            default,
            finalists,
        })
    }

    /// The best against the present values, with as many seeds as it takes.
    fn on_holdout(&self, best: &Values) -> Result<Option<Difference>, Trouble> {
        let contest = Contest {
            candidates: vec![
                self.with(&self.start()).candidate,
                self.with(best).candidate,
            ],
            suite: Arc::clone(&self.wish.suite),
            split: Split::Holdout,
            seeds: super::ask::Seeds::Auto,
        };
        let outcome = compare(self.scorer.fleet(), &contest, self.progress)?;
        Ok(outcome.candidates.into_iter().nth(1).and_then(|s| s.total))
    }
}
