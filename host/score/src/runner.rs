//! Makes runs of candidates in worker processes, and the runs of reference policies that they are
//! compared with.

use super::aggregate::ScenarioComparison;
use super::candidate::Candidate;
use super::protocol::{Answer, RunKey, Task};
use super::references::References;
use super::repeat;
use super::report::{Problem, ProblemKind};
use super::run::RunSummary;
use super::score_request::{Progress, ScoreRequest, ScoringError};
use super::suite::ScenarioKeys;
use super::workers::{WorkerCommand, Workers};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use windtunnel_base::input::InputError;

/// Default limit of the time that a run takes, seconds.
pub const TIME_LIMIT: u64 = 20;

/// Where and how candidates are scored.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker processes that run at once.
    pub jobs: usize,
    /// How they are started.
    pub worker: WorkerCommand,
    /// Compiled plugins may run.
    pub allow_native: bool,
    /// Folder in which reports and the runs of references are cached.
    pub cache: Option<PathBuf>,
    /// Cached reports are used.
    pub reuse_reports: bool,
    /// Longest time that a worker has for one run.
    pub time_limit: Duration,
}

impl Settings {
    /// One worker per core, started from this program; nothing is cached.
    ///
    /// # Errors
    /// When the path of this program is unknown.
    pub fn for_this_host() -> std::io::Result<Self> {
        Ok(Self {
            jobs: windtunnel_base::parallel::default_jobs(),
            worker: WorkerCommand::for_this_program()?,
            allow_native: false,
            cache: None,
            reuse_reports: false,
            time_limit: Duration::from_secs(TIME_LIMIT),
        })
    }
}

/// Results of the runs of one candidate.
pub struct RunResults {
    /// One per requested run; `None` where the run failed or was not made.
    pub summaries: Vec<Option<RunSummary>>,
    /// Why runs failed.
    pub problems: Vec<Problem>,
    /// How many runs were attempted.
    pub attempted: usize,
}

impl RunResults {
    /// (successful runs, attempted runs).
    #[must_use]
    pub fn worked(&self) -> (usize, usize) {
        (self.summaries.iter().flatten().count(), self.attempted)
    }
}

/// Runs of a candidate with their comparison to the references.
#[derive(Clone, Copy)]
pub struct ComparedRuns<'a> {
    /// The scenarios.
    pub scenarios: &'a [&'a ScenarioKeys],
    /// The requested runs.
    pub run_keys: &'a [RunKey],
    /// Their results, in the same order.
    pub summaries: &'a [Option<RunSummary>],
    /// Comparisons, in the order of the scenarios.
    pub comparisons: &'a [ScenarioComparison],
}

impl<'a> ComparedRuns<'a> {
    /// The successful runs of a scenario: index, key and result.
    pub fn of_scenario(
        &self,
        id: &'a str,
    ) -> impl Iterator<Item = (usize, &'a RunKey, &'a RunSummary)> {
        let all = self.run_keys.iter().zip(self.summaries).enumerate();
        all.filter(move |(_, (run_key, _))| run_key.scenario == id)
            .filter_map(|(k, (run_key, summary))| Some((k, run_key, summary.as_ref()?)))
    }
}

/// The worker slots that serve one candidate.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSlots {
    /// Index of the first slot.
    pub first: usize,
    /// Number of slots, at least 1.
    pub count: usize,
}

/// Runs candidates in worker processes and knows the results of the references.
pub struct Runner {
    /// Its settings.
    pub settings: Settings,
    /// The worker processes.
    pub workers: Workers,
    /// Results of the suites' reference policies.
    pub references: References,
}

impl Runner {
    /// A runner. Processes are started when they are needed.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            workers: Workers::new(settings.worker.clone(), settings.time_limit, settings.jobs),
            references: References::new(settings.cache.as_deref()),
            settings,
        }
    }

    /// All slots.
    #[must_use]
    pub fn all_slots(&self) -> WorkerSlots {
        WorkerSlots {
            first: 0,
            count: self.workers.slots(),
        }
    }

    /// Maps items in parallel, each with a worker slot of its own. Results are in the order of the
    /// items; `done` is called with (index, result) as each finishes.
    pub fn map_parallel<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T, WorkerSlots) -> R + Sync,
        done: impl FnMut(usize, &R) + Send,
    ) -> Vec<R> {
        let at_once = self.workers.slots().min(items.len()).max(1);
        let free: Mutex<Vec<usize>> = Mutex::new((0..at_once).collect());
        windtunnel_base::parallel::map(
            items,
            at_once,
            |item| {
                let first = free.lock().expect("no panic before").pop();
                let first = first.expect("as many as there are threads");
                let result = work(item, WorkerSlots { first, count: 1 });
                free.lock().expect("no panic before").push(first);
                result
            },
            done,
        )
    }

    /// Makes the runs of the suite's references that are not known yet, and waits for those that
    /// other threads are making.
    ///
    /// # Errors
    /// When the suite is wrong, a process cannot be started, or the scoring is cancelled.
    pub fn ensure_references(
        &self,
        request: &ScoreRequest,
        wanted: &[RunKey],
        slots: WorkerSlots,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ScoringError> {
        while let Some(claim) = self.references.claim(&request.suite, wanted) {
            self.run_references(request, &claim.run_keys, slots, progress)?;
        }
        Ok(())
    }

    /// Runs every reference of the suite on `missing` and stores the results.
    fn run_references(
        &self,
        request: &ScoreRequest,
        missing: &[RunKey],
        slots: WorkerSlots,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ScoringError> {
        let names: Vec<&String> = request.suite.file.references.keys().collect();
        let of = (missing.len() * names.len()) as u64;
        let mut results: Vec<(RunKey, BTreeMap<String, RunSummary>)> = missing
            .iter()
            .map(|key| (key.clone(), BTreeMap::new()))
            .collect();
        for (k, name) in names.iter().enumerate() {
            let reference = ScoreRequest {
                candidate: Candidate::reference(name),
                ..request.clone()
            };
            let runs = self.run(&reference, missing, slots, &|done| {
                progress(Progress {
                    what: "references",
                    done: (k * missing.len()) as u64 + done,
                    of,
                });
            })?;
            if let Some(problem) = runs.problems.first() {
                let message = format!("references.{name}: {}", problem.message);
                return Err(InputError::in_file(request.suite.label(), message).into());
            }
            for ((_, summaries), summary) in results.iter_mut().zip(runs.summaries) {
                summaries.insert(
                    (*name).clone(),
                    summary.expect("a run without a problem has a summary"),
                );
            }
        }
        self.references.insert(&request.suite, results);
        Ok(())
    }

    /// Makes runs with the workers in `slots`. Run k always goes to slot k modulo the number of
    /// slots, so that a worker finds the traffic of its scenarios in memory. What may depend on
    /// where it lies in memory is run once more in other processes, and has to decide the same.
    /// `done` is called with the number of finished runs.
    ///
    /// # Errors
    /// When the suite is wrong, a process cannot be started, or the scoring is cancelled.
    pub fn run(
        &self,
        request: &ScoreRequest,
        run_keys: &[RunKey],
        slots: WorkerSlots,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<RunResults, ScoringError> {
        let (mut runs, doubtful) = self.run_once(request, run_keys, slots, false, done)?;
        if doubtful && runs.problems.is_empty() {
            let (again, _) = self.run_once(request, run_keys, slots, true, &|_| {})?;
            let again = (&again.summaries[..], &again.problems[..]);
            let native = request.candidate.is_native();
            runs.problems = repeat::compare(run_keys, &mut runs.summaries, again, native);
        }
        Ok(runs)
    }

    /// Makes runs once, in other processes if `elsewhere`. Tells, too, whether they may depend on
    /// where the candidate lies in memory.
    fn run_once(
        &self,
        request: &ScoreRequest,
        run_keys: &[RunKey],
        slots: WorkerSlots,
        elsewhere: bool,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<(RunResults, bool), ScoringError> {
        let count = slots.count.min(run_keys.len()).max(1);
        // The first run after which no more are made.
        let last = AtomicUsize::new(usize::MAX);
        let finished = AtomicU64::new(0);
        let lanes: Vec<usize> = (0..count).collect();
        let (suite, candidate) = (&request.suite, &request.candidate);
        let answers = windtunnel_base::parallel::map(
            &lanes,
            count,
            |&lane| -> Result<Vec<(usize, Answer)>, ScoringError> {
                let mut answers = Vec::new();
                for k in (lane..run_keys.len()).step_by(count) {
                    if k > last.load(Ordering::Relaxed) {
                        break;
                    }
                    let task = Task::Run(vec![run_keys[k].clone()]);
                    let slot = slots.first + lane;
                    let slot = if elsewhere {
                        self.workers.elsewhere(slot)
                    } else {
                        slot
                    };
                    let mut answer = self.workers.run(slot, suite, candidate, task)?;
                    check_suite(&answer)?;
                    for problem in &mut answer.problems {
                        problem.scenario.get_or_insert(run_keys[k].scenario.clone());
                        // A candidate that hangs once hangs again, and each time takes the whole
                        // limit.
                        if matches!(problem.kind, ProblemKind::Limit | ProblemKind::Crash) {
                            last.fetch_min(k, Ordering::Relaxed);
                        }
                    }
                    answers.push((k, answer));
                    done(finished.fetch_add(1, Ordering::Relaxed) + 1);
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
        // Other workers may have made later runs already. Results must not depend on the number of
        // workers, so those are dropped.
        let last = last.into_inner();
        all.retain(|(k, _)| *k <= last);
        let mut runs = RunResults {
            summaries: vec![None; run_keys.len()],
            problems: Vec::new(),
            attempted: all.len(),
        };
        // Machine code can say anything.
        let mut doubtful = candidate.is_native();
        for (k, answer) in all {
            doubtful |= answer.may_follow_addresses;
            runs.problems.extend(answer.problems);
            runs.summaries[k] = answer.summaries.into_iter().next();
        }
        Ok((runs, doubtful))
    }

    /// Compares runs with those of the references, scenario by scenario, with the floor of scores.
    #[must_use]
    pub fn compare(
        &self,
        request: &ScoreRequest,
        scenarios: &[&ScenarioKeys],
        run_keys: &[RunKey],
        summaries: &[Option<RunSummary>],
    ) -> Vec<ScenarioComparison> {
        let all = self.compare_unfloored(request, scenarios, run_keys, summaries);
        all.into_iter().map(ScenarioComparison::floored).collect()
    }

    /// As [`compare`](Self::compare), without a floor.
    #[must_use]
    pub fn compare_unfloored(
        &self,
        request: &ScoreRequest,
        scenarios: &[&ScenarioKeys],
        run_keys: &[RunKey],
        summaries: &[Option<RunSummary>],
    ) -> Vec<ScenarioComparison> {
        let compare = |keys: &&ScenarioKeys| {
            let of_scenario = run_keys.iter().zip(summaries);
            let of_scenario = of_scenario.filter(|(key, _)| key.scenario == keys.id);
            let mut ours = Vec::new();
            let mut references: BTreeMap<String, Vec<RunSummary>> = BTreeMap::new();
            for (run_key, summary) in of_scenario {
                let Some(summary) = summary else { continue };
                ours.push(summary);
                for (name, theirs) in self.references.get(&request.suite, run_key) {
                    references.entry(name).or_default().push(theirs);
                }
            }
            ScenarioComparison::of(
                keys.weight,
                &request.suite.file.objectives,
                &ours,
                &references,
            )
        };
        scenarios.iter().map(compare).collect()
    }
}

/// Checks that a worker found nothing wrong with the suite.
///
/// # Errors
/// What is wrong with the suite or a scenario.
pub fn check_suite(answer: &Answer) -> Result<(), InputError> {
    match &answer.suite_error {
        Some(message) => Err(InputError::new(message.clone())),
        None => Ok(()),
    }
}
