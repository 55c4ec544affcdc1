//! Takes candidates through the stages: lint, smoke, quick, full.
//!
//! A candidate that is stopped early gets -100, whatever it seemed to be worth: full could not give less, so no framework can keep a
//! stage's score for a candidate that would have failed later.

use super::aggregate::{Compared, Total, is_regression, total};
use super::candidate::Candidate;
use super::feed::{Flown, feed};
use super::flight::{Flight, Metrics};
use super::pool::{Pool, WorkerCommand};
use super::protocol::{Answer, Flying, Task};
use super::references::References;
use super::report::{
    FAILED, Key, Problem, ProblemKind, Report, SCHEMA, ScenarioReport, Stage, Stopped, Versus,
    Worst,
};
use super::store::Store;
use super::suite::{ScenarioKeys, Split, Suite};
use super::watch::Look;
use crate::input::InputError;
use crate::policy::Hook;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Scenarios of the stage quick.
const QUICK_SCENARIOS: usize = 4;
/// Requests of each of them.
const QUICK_REQUESTS: u64 = 1000;
/// A candidate that looks worse than this after the stage quick is not taken further.
const HOPELESS: f64 = -50.0;
/// A candidate that is surely so much below the incumbent after the stage quick is not taken further.
const MARGIN: f64 = 1.0;
/// With automatic seeds: half the confidence interval that is enough.
const SURE: f64 = 0.5;
/// Most problems in a report.
const MOST_PROBLEMS: usize = 5;

/// How far a candidate is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Until {
    /// As far as it is worth it.
    #[default]
    Auto,
    /// Its first flight.
    Smoke,
    /// A few scenarios.
    Quick,
    /// Everything, however bad it looks.
    Full,
}

/// Random seeds per scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seeds {
    /// As many as the suite says.
    #[default]
    Suite,
    /// So many.
    Fixed(u32),
    /// More and more, until the score is certain to half a point.
    Auto,
}

/// What is to be scored, and how.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What.
    pub candidate: Candidate,
    /// On which suite.
    pub suite: Arc<Suite>,
    /// On which scenarios.
    pub split: Split,
    /// How far.
    pub until: Until,
    /// Seeds per scenario.
    pub seeds: Seeds,
    /// Only these scenarios of the split.
    pub scenarios: Option<Vec<String>>,
    /// The score to beat: a candidate that surely does not is stopped.
    pub incumbent: Option<f64>,
}

impl Ask {
    /// A candidate on the train split of a suite, the usual way.
    #[must_use]
    pub fn new(candidate: Candidate, suite: Arc<Suite>) -> Self {
        Self {
            candidate,
            suite,
            split: Split::Train,
            until: Until::Auto,
            seeds: Seeds::Suite,
            scenarios: None,
            incumbent: None,
        }
    }
}

/// Where and how candidates are scored.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Processes at once.
    pub jobs: usize,
    /// How they are started.
    pub worker: WorkerCommand,
    /// Compiled plugins may run.
    pub allow_native: bool,
    /// Folder for what is worth keeping: reports, and what the references achieve.
    pub cache: Option<PathBuf>,
    /// Reports of the cache may be given again.
    pub reuse_reports: bool,
    /// Longest time for a run.
    pub wall: Duration,
}

impl Settings {
    /// As many processes as cores, this program as worker, nothing kept.
    ///
    /// # Errors
    /// When this program's place is unknown.
    pub fn usual() -> std::io::Result<Self> {
        Ok(Self {
            jobs: crate::pool::default_jobs(),
            worker: WorkerCommand::own()?,
            allow_native: false,
            cache: None,
            reuse_reports: false,
            wall: Duration::from_secs(20),
        })
    }
}

/// How far a scoring has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being flown.
    pub what: &'static str,
    /// Runs made.
    pub done: u64,
    /// Runs to make.
    pub of: u64,
}

/// Why no report could be made: never the candidate's fault.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The suite or the question is wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A process could not be started.
    #[error("cannot start a process for candidates: {0}")]
    Start(#[from] std::io::Error),
}

/// Scores candidates.
pub struct Scorer {
    settings: Settings,
    pool: Pool,
    references: References,
    store: Store,
}

/// What a candidate's runs brought.
struct Runs {
    flights: Vec<Option<Flight>>,
    problems: Vec<Problem>,
    /// Runs that worked, of those that were tried.
    worked: Option<(usize, usize)>,
}

/// What the stage quick brought.
struct Quick<'a> {
    total: Total,
    picked: Vec<&'a ScenarioKeys>,
    flyings: Vec<Flying>,
    flights: Vec<Option<Flight>>,
    compared: Vec<Compared>,
}

/// The part of the pool that works for one candidate.
#[derive(Clone, Copy)]
pub(super) struct Share {
    first: usize,
    places: usize,
}

impl Scorer {
    /// A scorer; no process runs yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            pool: Pool::new(settings.worker.clone(), settings.wall, settings.jobs),
            references: References::new(settings.cache.as_deref()),
            store: Store::new(settings.cache.as_deref().filter(|_| settings.reuse_reports)),
            settings,
        }
    }

    /// Scores a candidate with all processes.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn score(
        &self,
        ask: &Ask,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, Trouble> {
        let all = Share {
            first: 0,
            places: self.pool.places(),
        };
        self.score_with(ask, all, progress)
    }

    /// Scores many candidates, several at a time; reports come in the order of the asks. `done` hears of each as it is finished.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_batch(
        &self,
        asks: &[Ask],
        done: &mut (dyn FnMut(usize, &Report) + Send),
    ) -> Result<Vec<Report>, Trouble> {
        let places = self.pool.places();
        let at_once = places.min(asks.len()).max(1);
        // The references are measured by all processes, once.
        for ask in asks {
            let flyings = self.all_flyings(ask)?;
            let all = Share { first: 0, places };
            self.know_references(ask, &flyings, all, &|_| {})?;
        }
        let free: Mutex<Vec<usize>> = Mutex::new((0..at_once).collect());
        let reports = crate::pool::map(
            asks,
            at_once,
            |ask| {
                let first = free.lock().expect("no panic before").pop();
                let first = first.expect("as many as there are threads");
                let report = self.score_with(ask, Share { first, places: 1 }, &|_| {});
                free.lock().expect("no panic before").push(first);
                report
            },
            |k, report| {
                if let Ok(report) = report {
                    done(k, report);
                }
            },
        );
        reports.into_iter().collect()
    }

    fn score_with(
        &self,
        ask: &Ask,
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, Trouble> {
        let start = Instant::now();
        if let Some(mut known) = self.store.get(ask) {
            known.candidate.clone_from(&ask.candidate.name);
            return Ok(known);
        }
        let mut report = self.stages(ask, share, progress)?;
        report.key = Key {
            candidate: ask.candidate.digest().unwrap_or_default(),
            suite: ask.suite.digest(),
            engine: super::engine(),
            ..report.key
        };
        tell_no_more_than(&mut report, ask.split);
        report.wall_ms = start.elapsed().as_millis() as u64;
        self.store.keep(ask, &report);
        Ok(report)
    }

    /// Looks at a candidate's text and lets it fly small clusters.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub(super) fn check(&self, ask: &Ask, share: Share) -> Result<Answer, Trouble> {
        if ask.candidate.is_native() && !self.settings.allow_native {
            let message = "compiled plugins run only with --allow-native: machine code can be walled in, but not trusted with its own score";
            return Ok(Answer {
                problems: vec![Problem::new(ProblemKind::Native, "", message)],
                ..Answer::default()
            });
        }
        self.task(ask, share, Task::Check)
    }

    /// Has one process do something with a candidate.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub(super) fn task(&self, ask: &Ask, share: Share, task: Task) -> Result<Answer, Trouble> {
        let answer = self
            .pool
            .run(share.first, &ask.suite, &ask.candidate, task)?;
        suite_trouble(&answer)?;
        Ok(answer)
    }

    /// The whole pool.
    pub(super) fn all(&self) -> Share {
        Share {
            first: 0,
            places: self.pool.places(),
        }
    }

    fn stages(
        &self,
        ask: &Ask,
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, Trouble> {
        let scenarios = chosen(ask)?;
        let check = self.check(ask, share)?;
        if !check.problems.is_empty() {
            let early = |p: &Problem| !matches!(p.kind, ProblemKind::Runtime | ProblemKind::Limit);
            let stage = if check.problems.iter().all(early) {
                Stage::Lint
            } else {
                Stage::Smoke
            };
            return Ok(failed(ask, stage, check.problems, check.warnings, None));
        }
        if ask.until == Until::Smoke {
            let reason = "only the stage smoke was asked for";
            return Ok(stopped(ask, Stage::Smoke, reason, None, &check));
        }
        let in_stages = ask.split == Split::Train && ask.until == Until::Auto;
        if (in_stages && scenarios.len() > 1) || ask.until == Until::Quick {
            let quick = self.quick(ask, &scenarios, share, progress)?;
            let quick = match quick {
                Ok(quick) => quick,
                Err(runs) => {
                    return Ok(failed(
                        ask,
                        Stage::Quick,
                        runs.problems,
                        check.warnings,
                        runs.worked,
                    ));
                }
            };
            let estimate = quick.total.score;
            let surely_below = ask.incumbent.is_some_and(|best| {
                estimate + quick.total.half_width.unwrap_or(0.0) < best - MARGIN
            });
            let reason = if ask.until == Until::Quick {
                Some("only the stage quick was asked for".to_owned())
            } else if surely_below {
                Some("surely below the score to beat".to_owned())
            } else if estimate < HOPELESS {
                Some(format!("far behind the references: below {HOPELESS}"))
            } else {
                None
            };
            if let Some(reason) = reason {
                let mut report = stopped(ask, Stage::Quick, &reason, Some(estimate), &check);
                let flown = Flown {
                    suite: &ask.suite,
                    scenarios: &quick.picked,
                    flyings: &quick.flyings,
                    flights: &quick.flights,
                    compared: &quick.compared,
                };
                let rows = self.rows(ask, flown);
                self.feed(&mut report, &rows, ask, flown, &check.hooks, share);
                return Ok(report);
            }
        }
        self.full(ask, &scenarios, share, progress, check)
    }

    /// What is flown in the stage quick.
    fn quick<'a>(
        &self,
        ask: &Ask,
        scenarios: &[&'a ScenarioKeys],
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Result<Quick<'a>, Runs>, Trouble> {
        let picked = pick(scenarios);
        let flyings = quick_flyings(ask, &picked);
        self.know_references(ask, &flyings, share, progress)?;
        let runs = self.fly(ask, &flyings, share, &|done| {
            progress(Progress {
                what: "quick",
                done,
                of: flyings.len() as u64,
            });
        })?;
        if !runs.problems.is_empty() {
            return Ok(Err(runs));
        }
        let compared = self.compare(ask, &picked, &flyings, &runs.flights);
        let mut total = total(&compared, ask.suite.file.regression_weight);
        // One seed says nothing of its error: the scenarios' own spread stands in for it.
        let scores: Vec<f64> = compared.iter().map(Compared::score).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let spread = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>();
        total.half_width = Some((spread / scores.len() as f64).sqrt().max(MARGIN));
        Ok(Ok(Quick {
            total,
            picked,
            flyings,
            flights: runs.flights,
            compared,
        }))
    }

    fn full(
        &self,
        ask: &Ask,
        scenarios: &[&ScenarioKeys],
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
        check: Answer,
    ) -> Result<Report, Trouble> {
        let file = &ask.suite.file;
        let most = match ask.seeds {
            Seeds::Suite => file.seeds,
            Seeds::Fixed(n) => n.max(1),
            Seeds::Auto => file.max_seeds,
        };
        let mut seeds = if ask.seeds == Seeds::Auto {
            file.seeds.min(most)
        } else {
            most
        };
        let mut flyings = Vec::new();
        let mut flights: Vec<Option<Flight>> = Vec::new();
        let mut from = 0;
        loop {
            let new = full_flyings(ask, scenarios, from..seeds);
            self.know_references(ask, &new, share, progress)?;
            let runs = self.fly(ask, &new, share, &|done| {
                progress(Progress {
                    what: "full",
                    done,
                    of: new.len() as u64,
                });
            })?;
            if !runs.problems.is_empty() {
                let (problems, warnings) = (runs.problems, check.warnings);
                return Ok(failed(ask, Stage::Full, problems, warnings, runs.worked));
            }
            flyings.extend(new);
            flights.extend(runs.flights);
            let compared = self.compare(ask, scenarios, &flyings, &flights);
            let total = total(&compared, file.regression_weight);
            let sure = total.half_width.is_some_and(|w| w < SURE)
                || ask
                    .incumbent
                    .zip(total.half_width)
                    .is_some_and(|(best, w)| total.score + w < best - MARGIN);
            if seeds >= most || sure {
                let flown = Flown {
                    suite: &ask.suite,
                    scenarios,
                    flyings: &flyings,
                    flights: &flights,
                    compared: &compared,
                };
                let rows = self.rows(ask, flown);
                let hooks = check.hooks.clone();
                let mut report = told(ask, rows.clone(), flown, total, check);
                self.feed(&mut report, &rows, ask, flown, &hooks, share);
                return Ok(report);
            }
            from = seeds;
            seeds += 1;
        }
    }

    /// Measures what is not known yet of the suite's references.
    fn know_references(
        &self,
        ask: &Ask,
        wanted: &[Flying],
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Trouble> {
        let missing = self.references.missing(&ask.suite, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&String> = ask.suite.file.references.keys().collect();
        let of = (missing.len() * names.len()) as u64;
        let mut learned: Vec<(Flying, BTreeMap<String, Flight>)> = missing
            .iter()
            .map(|f| (f.clone(), BTreeMap::new()))
            .collect();
        for (k, name) in names.iter().enumerate() {
            let reference = Ask {
                candidate: Candidate::reference(name),
                ..ask.clone()
            };
            let runs = self.fly(&reference, &missing, share, &|done| {
                progress(Progress {
                    what: "references",
                    done: (k * missing.len()) as u64 + done,
                    of,
                });
            })?;
            if let Some(problem) = runs.problems.first() {
                let message = format!("references.{name}: {}", problem.message);
                return Err(InputError::in_file(ask.suite.label(), message).into());
            }
            for ((_, flights), flight) in learned.iter_mut().zip(runs.flights) {
                flights.insert((*name).clone(), flight.expect("no problem, so a flight"));
            }
        }
        self.references.learn(&ask.suite, learned);
        Ok(())
    }

    /// Makes runs of a candidate with all processes, without comparing them to anything. `None` where one broke off.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn flights(
        &self,
        suite: &Arc<Suite>,
        candidate: Candidate,
        flyings: &[Flying],
    ) -> Result<Vec<Option<Flight>>, Trouble> {
        let ask = Ask::new(candidate, Arc::clone(suite));
        let all = Share {
            first: 0,
            places: self.pool.places(),
        };
        Ok(self.fly(&ask, flyings, all, &|_| {})?.flights)
    }

    /// All runs that a full scoring starts with.
    fn all_flyings(&self, ask: &Ask) -> Result<Vec<Flying>, Trouble> {
        let scenarios = chosen(ask)?;
        let seeds = match ask.seeds {
            Seeds::Fixed(n) => n.max(1),
            Seeds::Suite | Seeds::Auto => ask.suite.file.seeds,
        };
        let mut flyings = full_flyings(ask, &scenarios, 0..seeds);
        flyings.extend(quick_flyings(ask, &pick(&scenarios)));
        Ok(flyings)
    }

    /// Makes runs with the processes of `share`, each always with the same scenarios.
    fn fly(
        &self,
        ask: &Ask,
        flyings: &[Flying],
        share: Share,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Runs, Trouble> {
        let places = share.places.min(flyings.len()).max(1);
        let stop = AtomicBool::new(false);
        let count = std::sync::atomic::AtomicU64::new(0);
        let lanes: Vec<usize> = (0..places).collect();
        let answers = crate::pool::map(
            &lanes,
            places,
            |&lane| -> Result<Vec<(usize, Answer)>, Trouble> {
                let mut answers = Vec::new();
                for k in (lane..flyings.len()).step_by(places) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let task = Task::Fly(vec![flyings[k].clone()]);
                    let place = share.first + lane;
                    let mut answer = self.pool.run(place, &ask.suite, &ask.candidate, task)?;
                    suite_trouble(&answer)?;
                    for problem in &mut answer.problems {
                        problem.scenario.get_or_insert(flyings[k].scenario.clone());
                        // What hangs once hangs again, and each time costs its limit.
                        if matches!(problem.kind, ProblemKind::Limit | ProblemKind::Crash) {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    answers.push((k, answer));
                    done(count.fetch_add(1, Ordering::Relaxed) + 1);
                }
                Ok(answers)
            },
            |_, _| {},
        );
        let mut all = Vec::new();
        for lane in answers {
            all.extend(lane?);
        }
        all.sort_by_key(|(k, _)| *k);
        let mut runs = Runs {
            flights: vec![None; flyings.len()],
            problems: Vec::new(),
            worked: None,
        };
        let tried = all.len();
        for (k, answer) in all {
            runs.problems.extend(answer.problems);
            runs.flights[k] = answer.flights.into_iter().next();
        }
        runs.worked = Some((runs.flights.iter().flatten().count(), tried));
        Ok(runs)
    }

    fn compare(
        &self,
        ask: &Ask,
        scenarios: &[&ScenarioKeys],
        flyings: &[Flying],
        flights: &[Option<Flight>],
    ) -> Vec<Compared> {
        let compare = |keys: &&ScenarioKeys| {
            let of_scenario = flyings.iter().zip(flights);
            let of_scenario = of_scenario.filter(|(f, _)| f.scenario == keys.id);
            let mut ours = Vec::new();
            let mut references: BTreeMap<String, Vec<Flight>> = BTreeMap::new();
            for (flying, flight) in of_scenario {
                let Some(flight) = flight else { continue };
                ours.push(flight);
                for (name, theirs) in self.references.get(&ask.suite, flying) {
                    references.entry(name).or_default().push(theirs);
                }
            }
            Compared::of(keys.weight, &ask.suite.file.objectives, &ours, &references)
        };
        scenarios.iter().map(compare).collect()
    }

    /// The scenarios as they are told.
    fn rows(&self, ask: &Ask, flown: Flown<'_>) -> Vec<ScenarioReport> {
        let names = names(ask);
        let row = |(keys, compared): (&&ScenarioKeys, &Compared)| {
            let runs: Vec<(usize, &Flying, &Flight)> = flown.of_scenario(&keys.id).collect();
            let ours: Vec<&Metrics> = runs.iter().map(|(.., f)| &f.metrics).collect();
            let theirs: Vec<Flight> = runs
                .iter()
                .map(|(_, f, _)| self.references.get(&ask.suite, f)[&compared.best].clone())
                .collect();
            let theirs: Vec<&Metrics> = theirs.iter().map(|f| &f.metrics).collect();
            ScenarioReport {
                id: keys.id.clone(),
                family: Some(keys.family.clone()),
                score: compared.score(),
                ci95: compared.ci95(),
                best_builtin: Some(compared.best.clone()),
                objectives: named(&names, &compared.objectives),
                metrics: Some(Metrics::of_seeds(&ours)),
                reference_metrics: Some(Metrics::of_seeds(&theirs)),
                instances: runs
                    .first()
                    .map_or(Vec::new(), |(.., f)| f.instances.clone()),
            }
        };
        flown
            .scenarios
            .iter()
            .zip(flown.compared)
            .map(row)
            .collect()
    }

    /// Writes the feedback. Only those who may know everything get any, and only routers are watched: what is seen is about routing.
    fn feed(
        &self,
        report: &mut Report,
        rows: &[ScenarioReport],
        ask: &Ask,
        flown: Flown<'_>,
        hooks: &[Hook],
        share: Share,
    ) {
        if ask.split != Split::Train {
            return;
        }
        let watch = |k: usize, look: Look| {
            if !hooks.contains(&Hook::Routing) {
                return None;
            }
            // The place at which that run was made has its traffic.
            let place = share.first + k % share.places.min(flown.flyings.len()).max(1);
            let task = Task::Watch(flown.flyings[k].clone(), look);
            // Whatever happens here is no part of the score.
            let answer = self
                .pool
                .run(place, &ask.suite, &ask.candidate, task)
                .ok()?;
            answer.watched
        };
        feed(report, rows, flown, &self.references, &watch);
    }
}

/// Names of the objectives.
fn names(ask: &Ask) -> Vec<String> {
    ask.suite.file.objectives.iter().map(|o| o.name()).collect()
}

fn named(names: &[String], values: &[f64]) -> BTreeMap<String, f64> {
    names.iter().cloned().zip(values.iter().copied()).collect()
}

/// The report on a candidate that went all the way.
fn told(
    ask: &Ask,
    told: Vec<ScenarioReport>,
    flown: Flown<'_>,
    total: Total,
    check: Answer,
) -> Report {
    let names = names(ask);
    let mut hasher = blake3::Hasher::new();
    for keys in flown.scenarios {
        for (.., flight) in flown.of_scenario(&keys.id) {
            hasher.update(flight.digest.as_bytes());
        }
    }
    let compared = flown.compared;
    let weights: f64 = compared.iter().map(|c| c.weight).sum();
    let by_objective: Vec<f64> = (0..names.len())
        .map(|o| {
            let part = |c: &Compared| c.weight * c.objectives[o];
            compared.iter().map(part).sum::<f64>() / weights
        })
        .collect();
    let worst = told.iter().min_by(|a, b| a.score.total_cmp(&b.score));
    Report {
        ok: true,
        score: total.score,
        score_ci95: total.half_width.map(|w| [total.score - w, total.score + w]),
        stage: Stage::Full,
        objectives: named(&names, &by_objective),
        worst: worst.map(|s| Worst {
            scenario: s.id.clone(),
            score: s.score,
        }),
        regressions: told
            .iter()
            .filter(|s| is_regression(s.score))
            .map(|s| s.id.clone())
            .collect(),
        vs: Versus {
            reference: "best_builtin".into(),
            per_scenario_best: told
                .iter()
                .filter_map(|s| Some((s.id.clone(), s.best_builtin.clone()?)))
                .collect(),
        },
        scenarios: told,
        features: check.features,
        warnings: check.warnings,
        key: Key {
            runs: hasher.finalize().to_hex()[..16].to_owned(),
            behaviour: check.behaviour,
            ..Key::default()
        },
        ..blank(ask)
    }
}

/// The scenarios that are asked for.
fn chosen(ask: &Ask) -> Result<Vec<&ScenarioKeys>, InputError> {
    let all: Vec<&ScenarioKeys> = ask.suite.scenarios(ask.split).collect();
    if all.is_empty() {
        let message = format!("the split {} has no scenarios", ask.split);
        return Err(InputError::in_file(ask.suite.label(), message));
    }
    let Some(wanted) = &ask.scenarios else {
        return Ok(all);
    };
    let ids: Vec<&str> = all.iter().map(|s| s.id.as_str()).collect();
    wanted
        .iter()
        .map(|id| {
            let found = all.iter().find(|s| s.id == *id).copied();
            found.ok_or_else(|| {
                InputError::new(crate::input::unknown(
                    &format!("scenario of {} {}", ask.suite.label(), ask.split),
                    id,
                    &ids,
                ))
            })
        })
        .collect()
}

/// The scenarios of the stage quick, spread evenly over all.
fn pick<'a>(scenarios: &[&'a ScenarioKeys]) -> Vec<&'a ScenarioKeys> {
    let n = QUICK_SCENARIOS.min(scenarios.len());
    (0..n).map(|k| scenarios[k * scenarios.len() / n]).collect()
}

fn quick_flyings(ask: &Ask, scenarios: &[&ScenarioKeys]) -> Vec<Flying> {
    let flying = |s: &&ScenarioKeys| Flying {
        scenario: s.id.clone(),
        seed: s.seed,
        requests: QUICK_REQUESTS.min(ask.suite.file.requests),
        exact: false,
    };
    scenarios.iter().map(flying).collect()
}

fn full_flyings(
    ask: &Ask,
    scenarios: &[&ScenarioKeys],
    seeds: std::ops::Range<u32>,
) -> Vec<Flying> {
    let flying = |s: &&ScenarioKeys| {
        let (scenario, first) = (s.id.clone(), s.seed);
        seeds.clone().map(move |k| Flying {
            scenario: scenario.clone(),
            seed: nth_seed(first, k),
            requests: ask.suite.file.requests,
            exact: false,
        })
    };
    scenarios.iter().flat_map(flying).collect()
}

/// The seeds of a scenario. Scenarios whose first seeds are neighbours share none.
pub(super) fn nth_seed(first: u64, k: u32) -> u64 {
    first + 1_000_003 * u64::from(k)
}

fn suite_trouble(answer: &Answer) -> Result<(), InputError> {
    match &answer.suite_error {
        Some(message) => Err(InputError::new(message.clone())),
        None => Ok(()),
    }
}

/// A report in which nothing is said yet.
fn blank(ask: &Ask) -> Report {
    Report {
        schema: SCHEMA.into(),
        ok: false,
        score: FAILED,
        score_ci95: None,
        stage: Stage::Lint,
        stopped: None,
        suite: ask.suite.label(),
        split: ask.split,
        candidate: ask.candidate.name.clone(),
        objectives: BTreeMap::new(),
        worst: None,
        regressions: Vec::new(),
        vs: Versus {
            reference: "best_builtin".into(),
            ..Versus::default()
        },
        scenarios: Vec::new(),
        features: BTreeMap::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        invariants: super::report::Invariants::default(),
        feedback: String::new(),
        feedback_items: Vec::new(),
        key: Key::default(),
        wall_ms: 0,
    }
}

/// A candidate that does not work.
fn failed(
    ask: &Ask,
    stage: Stage,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    worked: Option<(usize, usize)>,
) -> Report {
    let mut errors: Vec<Problem> = Vec::new();
    for problem in problems {
        let same =
            |e: &Problem| (e.kind, e.line, &e.hook) == (problem.kind, problem.line, &problem.hook);
        if !errors.iter().any(same) {
            errors.push(problem);
        }
    }
    errors.truncate(MOST_PROBLEMS);
    let broken = errors.iter().filter(|e| e.kind == ProblemKind::Invariant);
    let violations = broken.map(|e| e.message.clone()).collect();
    let (feedback, feedback_items) = super::feedback::failed(stage, &errors, worked);
    Report {
        feedback,
        feedback_items,
        stage,
        errors,
        warnings,
        invariants: super::report::Invariants { violations },
        ..blank(ask)
    }
}

/// A candidate that works but is not taken further.
fn stopped(ask: &Ask, stage: Stage, reason: &str, estimate: Option<f64>, check: &Answer) -> Report {
    Report {
        ok: true,
        stage,
        stopped: Some(Stopped {
            reason: reason.to_owned(),
            estimate,
        }),
        features: check.features.clone(),
        warnings: check.warnings.clone(),
        key: Key {
            behaviour: check.behaviour.clone(),
            ..Key::default()
        },
        ..blank(ask)
    }
}

/// Of `val` only scores are told, of `holdout` only the total: a candidate must not learn them by its feedback, nor by what it
/// writes into its own errors.
fn tell_no_more_than(report: &mut Report, split: Split) {
    if split == Split::Train {
        return;
    }
    report.objectives.clear();
    report.worst = None;
    report.regressions.clear();
    report.vs.per_scenario_best.clear();
    report.feedback.clear();
    report.feedback_items.clear();
    for error in &mut report.errors {
        *error = Problem {
            line: error.line,
            ..Problem::new(
                error.kind,
                error.file.as_deref().unwrap_or_default(),
                format!("it fails in the split {split}, of which no details are told"),
            )
        };
    }
    report.invariants.violations.clear();
    if split == Split::Holdout {
        report.scenarios.clear();
        return;
    }
    for scenario in &mut report.scenarios {
        *scenario = ScenarioReport {
            id: std::mem::take(&mut scenario.id),
            family: None,
            score: scenario.score,
            ci95: None,
            best_builtin: None,
            objectives: BTreeMap::new(),
            metrics: None,
            reference_metrics: None,
            instances: Vec::new(),
        };
    }
}
