//! The worker process, in which candidates run. It enters a [sandbox] and answers jobs until its
//! input ends.

use super::candidate::Candidate;
use super::features;
use super::fuel::Fuel;
use super::inspect::{self, Inspection};
use super::protocol::{Answer, Job, Ready, RunKey, SuiteText, Task};
use super::regret::InspectionPlan;
use super::report::{Problem, ProblemKind};
use super::run::{self, RunSummary};
use super::sandbox::{self, Sandbox};
use super::scenario::Scenario;
use super::smoke::{self, SmokeRun};
use super::suite::Suite;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_policy::{Hook, PolicySpec};

/// Says on standard output that it is ready, then answers jobs from standard input, until the input
/// ends.
///
/// # Errors
/// When standard input or output fails, or the sandbox cannot be entered.
pub fn serve(limits: &Sandbox) -> io::Result<()> {
    let (input, mut output) = sandbox::take_stdio()?;
    let ready = Ready {
        ready: true,
        low_limits: sandbox::enter(limits)?,
    };
    write_line(&mut output, &ready)?;
    let mut worker = Worker::default();
    for line in io::BufReader::new(input).lines() {
        let job: Job = serde_json::from_str(&line?)?;
        sandbox::grant_cpu(limits, job.cpu_s)?;
        let answer = worker.answer(job);
        write_line(&mut output, &answer)?;
    }
    Ok(())
}

fn write_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    output.write_all(&text)?;
    output.flush()
}

#[derive(Default)]
struct Worker {
    suite: Option<Arc<Suite>>,
    /// Scenarios of the suite, by id and whether signals are exact.
    scenarios: HashMap<(String, bool), Scenario>,
    /// What lies between the tables of script engines, where memory is laid out otherwise.
    between: Vec<Vec<u8>>,
}

impl Worker {
    fn answer(&mut self, job: Job) -> Answer {
        if job.elsewhere {
            self.lay_out_otherwise();
        }
        if let Some(suite) = job.suite
            && let Err(e) = self.set_suite(suite)
        {
            return Answer {
                suite_error: Some(e.to_string()),
                ..Answer::default()
            };
        }
        let Some(suite) = self.suite.clone() else {
            return Answer {
                suite_error: Some("no suite was given".into()),
                ..Answer::default()
            };
        };
        let candidate = job.candidate;
        if candidate.is_native()
            && let Err(e) = self.prepare(&suite, &job.task)
        {
            return Answer {
                suite_error: Some(e.to_string()),
                ..Answer::default()
            };
        }
        let resolved = match candidate.resolve(&suite, sandbox::before_machine_code) {
            Ok(resolved) => resolved,
            Err(problems) => {
                return Answer {
                    problems,
                    ..Answer::default()
                };
            }
        };
        // Only runs are made again, and once.
        let may_be_repeated = matches!(job.task, Task::Run(_)) && !job.elsewhere;
        let mut answer = Answer {
            warnings: resolved.warnings,
            hooks: resolved.hooks,
            may_follow_addresses: may_be_repeated && candidate.may_follow_addresses(&suite),
            ..Answer::default()
        };
        match job.task {
            Task::Check => {
                smoke_check(&candidate, &resolved.spec, &suite.hooks, &mut answer);
            }
            Task::Inspect(key, plan) => match self.inspect(&suite, &resolved.spec, &key, plan) {
                Ok(inspection) => answer.inspection = Some(inspection),
                Err(e) => answer.suite_error = Some(e.to_string()),
            },
            Task::Run(keys) => {
                for key in &keys {
                    match self.run(&suite, &candidate, &resolved.spec, key) {
                        Ok(Ok(summary)) => answer.summaries.push(summary),
                        Ok(Err(problem)) => {
                            answer.problems.push(problem);
                            break;
                        }
                        Err(e) => {
                            answer.suite_error = Some(e.to_string());
                            break;
                        }
                    }
                }
            }
        }
        answer
    }

    /// Takes memory of all sizes and leaves holes between it, which the tables of the next script
    /// engine fill. That differs from job to job, and from a process that does nothing of the kind,
    /// even where the system gives every process the same addresses.
    fn lay_out_otherwise(&mut self) {
        let shift = self.between.len() % 7;
        let sizes = (0..4000).map(|k| 16 + 16 * ((k + shift) * 7 % 41));
        let mut filled: Vec<Vec<u8>> = sizes.map(|size| vec![1; size]).collect();
        let mut k = 0;
        filled.retain(|_| {
            k += 1;
            k % 3 != 0
        });
        // The odd block shifts what comes after it.
        filled.push(vec![1; 48 + 32 * shift]);
        self.between = filled;
    }

    fn set_suite(&mut self, suite: SuiteText) -> Result<(), InputError> {
        let suite = Suite::of_text(suite.source, suite.text, suite.traces.as_deref())?;
        self.suite = Some(Arc::new(suite));
        self.scenarios.clear();
        Ok(())
    }

    /// Reads all that a task needs. Beside machine code, no file can be opened.
    fn prepare(&mut self, suite: &Suite, task: &Task) -> Result<(), InputError> {
        let keys = match task {
            Task::Check => &[][..],
            Task::Run(keys) => keys,
            Task::Inspect(key, _) => std::slice::from_ref(key),
        };
        for key in keys {
            let scenario = self.scenario(suite, key)?;
            scenario.traffic(suite, key.seed, key.requests)?;
        }
        Ok(())
    }

    fn scenario(&mut self, suite: &Suite, key: &RunKey) -> Result<&mut Scenario, InputError> {
        use std::collections::hash_map::Entry;
        match self.scenarios.entry((key.scenario.clone(), key.exact)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                Ok(place.insert(Scenario::open(suite, &key.scenario, key.exact)?))
            }
        }
    }

    /// Makes a run and inspects it.
    fn inspect(
        &mut self,
        suite: &Suite,
        spec: &PolicySpec,
        key: &RunKey,
        plan: InspectionPlan,
    ) -> Result<Inspection, InputError> {
        let scenario = self.scenario(suite, key)?;
        let traffic = scenario.traffic(suite, key.seed, key.requests)?;
        inspect::inspect(spec, scenario, &traffic, key.seed, plan)
    }

    /// Makes a run. An error is the fault of the suite, a problem that of the candidate.
    fn run(
        &mut self,
        suite: &Suite,
        candidate: &Candidate,
        spec: &PolicySpec,
        key: &RunKey,
    ) -> Result<Result<RunSummary, Problem>, InputError> {
        let scenario = self.scenario(suite, key)?;
        let traffic = scenario.traffic(suite, key.seed, key.requests)?;
        let here = |problem: Problem| Problem {
            scenario: Some(key.scenario.clone()),
            ..problem
        };
        let (record, used) = match run::simulate(spec, scenario, &traffic, key.seed) {
            Ok(run) => run,
            Err(e) => return Ok(Err(here(candidate.problem(ProblemKind::Policy, &e)))),
        };
        if let Some(fault) = &record.fault {
            return Ok(Err(here(Problem::of_fault(fault, &candidate.texts))));
        }
        if let Err(violation) = run::check_invariants(&record, &traffic) {
            return Ok(Err(here(Problem {
                request: violation.request,
                ..Problem::new(ProblemKind::Invariant, "", violation.message)
            })));
        }
        let objectives = &suite.file.objectives;
        let summary = RunSummary::of(&record, used, &traffic, scenario, objectives);
        Ok(Ok(summary))
    }
}

fn smoke_check(candidate: &Candidate, spec: &PolicySpec, hooks: &[Hook], answer: &mut Answer) {
    let runs = match smoke::run_all(spec, hooks) {
        Ok(runs) => runs,
        Err(e) => {
            answer
                .problems
                .push(candidate.problem(ProblemKind::Policy, &e));
            return;
        }
    };
    (answer.features, answer.behaviour) = features::of(&candidate.texts, &runs);
    answer.fuel = Fuel::largest(runs.iter().filter_map(|run| Fuel::of(run.used)));
    let problem = |run: SmokeRun| {
        let fault = run.fault?;
        Some(Problem {
            scenario: Some(format!("first run, {}", run.name)),
            ..Problem::of_fault(&fault, &candidate.texts)
        })
    };
    answer.problems.extend(runs.into_iter().filter_map(problem));
}
