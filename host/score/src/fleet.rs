//! The processes and what they were asked to fly: runs of candidates, and those of the references
//! that they are compared with.

use super::aggregate::Compared;
use super::ask::{Ask, Progress, Trouble};
use super::candidate::Candidate;
use super::flight::Flight;
use super::pool::{Pool, WorkerCommand};
use super::protocol::{Answer, Flying, Task};
use super::references::References;
use super::report::{Problem, ProblemKind};
use super::suite::ScenarioKeys;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use windtunnel_base::input::InputError;

/// Seconds that a run may take, unless somebody says otherwise.
pub const TIME_LIMIT: u64 = 20;

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
            jobs: windtunnel_base::parallel::default_jobs(),
            worker: WorkerCommand::own()?,
            allow_native: false,
            cache: None,
            reuse_reports: false,
            wall: Duration::from_secs(TIME_LIMIT),
        })
    }
}

/// What a candidate's runs brought.
pub struct Runs {
    /// One for each that was asked for, as far as they were made.
    pub flights: Vec<Option<Flight>>,
    /// Why some were not.
    pub problems: Vec<Problem>,
    /// How many were tried.
    pub tried: usize,
}

impl Runs {
    /// Runs that worked, of those that were tried.
    #[must_use]
    pub fn worked(&self) -> (usize, usize) {
        (self.flights.iter().flatten().count(), self.tried)
    }
}

/// A candidate's runs, compared.
#[derive(Clone, Copy)]
pub struct Flown<'a> {
    /// The scenarios.
    pub scenarios: &'a [&'a ScenarioKeys],
    /// The runs that were asked for.
    pub flyings: &'a [Flying],
    /// What came of them.
    pub flights: &'a [Option<Flight>],
    /// By scenario.
    pub compared: &'a [Compared],
}

impl<'a> Flown<'a> {
    /// The runs of a scenario.
    pub fn of_scenario(
        &self,
        id: &'a str,
    ) -> impl Iterator<Item = (usize, &'a Flying, &'a Flight)> {
        let all = self.flyings.iter().zip(self.flights).enumerate();
        all.filter(move |(_, (flying, _))| flying.scenario == id)
            .filter_map(|(k, (flying, flight))| Some((k, flying, flight.as_ref()?)))
    }
}

/// The part of the pool that works for one candidate.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// First of its places.
    pub first: usize,
    /// How many.
    pub places: usize,
}

/// The processes, and what is known of the references.
pub struct Fleet {
    /// How it was set up.
    pub settings: Settings,
    /// The processes.
    pub pool: Pool,
    /// What the suites' references achieve.
    pub references: References,
}

impl Fleet {
    /// A fleet; no process runs yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            pool: Pool::new(settings.worker.clone(), settings.wall, settings.jobs),
            references: References::new(settings.cache.as_deref()),
            settings,
        }
    }

    /// All of it.
    #[must_use]
    pub fn all(&self) -> Share {
        Share {
            first: 0,
            places: self.pool.places(),
        }
    }

    /// Does several pieces of work at a time, each with a process of its own; results come in the
    /// order of the items. `done` hears of each as it is finished.
    pub fn several<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T, Share) -> R + Sync,
        done: impl FnMut(usize, &R) + Send,
    ) -> Vec<R> {
        let at_once = self.pool.places().min(items.len()).max(1);
        let free: Mutex<Vec<usize>> = Mutex::new((0..at_once).collect());
        windtunnel_base::parallel::map(
            items,
            at_once,
            |item| {
                let first = free.lock().expect("no panic before").pop();
                let first = first.expect("as many as there are threads");
                let result = work(item, Share { first, places: 1 });
                free.lock().expect("no panic before").push(first);
                result
            },
            done,
        )
    }

    /// Measures what is not known yet of the suite's references, and waits for what others measure.
    ///
    /// # Errors
    /// Only trouble that is not a candidate's.
    pub fn know_references(
        &self,
        ask: &Ask,
        wanted: &[Flying],
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Trouble> {
        while let Some(claim) = self.references.claim(&ask.suite, wanted) {
            self.measure(ask, &claim.flyings, share, progress)?;
        }
        Ok(())
    }

    /// Measures runs of the suite's references.
    fn measure(
        &self,
        ask: &Ask,
        missing: &[Flying],
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Trouble> {
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
            let runs = self.fly(&reference, missing, share, &|done| {
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

    /// Makes runs with the processes of `share`, each always with the same scenarios.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn fly(
        &self,
        ask: &Ask,
        flyings: &[Flying],
        share: Share,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Runs, Trouble> {
        let places = share.places.min(flyings.len()).max(1);
        // The first run, in their order, that makes those after it not worth their while.
        let last = AtomicUsize::new(usize::MAX);
        let count = std::sync::atomic::AtomicU64::new(0);
        let lanes: Vec<usize> = (0..places).collect();
        let answers = windtunnel_base::parallel::map(
            &lanes,
            places,
            |&lane| -> Result<Vec<(usize, Answer)>, Trouble> {
                let mut answers = Vec::new();
                for k in (lane..flyings.len()).step_by(places) {
                    if k > last.load(Ordering::Relaxed) {
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
                            last.fetch_min(k, Ordering::Relaxed);
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
        // Others may have been made in the meantime; how many must not depend on the number of
        // processes.
        let last = last.into_inner();
        all.retain(|(k, _)| *k <= last);
        let mut runs = Runs {
            flights: vec![None; flyings.len()],
            problems: Vec::new(),
            tried: all.len(),
        };
        for (k, answer) in all {
            runs.problems.extend(answer.problems);
            runs.flights[k] = answer.flights.into_iter().next();
        }
        Ok(runs)
    }

    /// Compares runs with those of the references, scenario by scenario, as scores see it.
    #[must_use]
    pub fn compare(
        &self,
        ask: &Ask,
        scenarios: &[&ScenarioKeys],
        flyings: &[Flying],
        flights: &[Option<Flight>],
    ) -> Vec<Compared> {
        let all = self.compare_all(ask, scenarios, flyings, flights);
        all.into_iter().map(Compared::floored).collect()
    }

    /// The same, however bad they are.
    #[must_use]
    pub fn compare_all(
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
}

/// The suite's own mistakes, which no candidate can help.
///
/// # Errors
/// When there is one.
pub fn suite_trouble(answer: &Answer) -> Result<(), InputError> {
    match &answer.suite_error {
        Some(message) => Err(InputError::new(message.clone())),
        None => Ok(()),
    }
}
