//! The process in which candidates work. It has walls around it (`walls`), takes jobs from its
//! input until that ends, and answers each.

use super::candidate::Candidate;
use super::features;
use super::flight::{self, Flight};
use super::protocol::{Answer, Flying, Job, SuiteText, Task};
use super::regret::Look;
use super::report::{Problem, ProblemKind};
use super::scenario::Scenario;
use super::smoke::{self, FirstFlight};
use super::suite::Suite;
use super::walls::{self, Walls};
use super::watch::{self, Watched};
use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_policy::PolicySpec;

/// Takes jobs from standard input and answers them on standard output until the input ends.
///
/// # Errors
/// When the channels fail or the walls cannot be built.
pub fn serve(walls: &Walls) -> io::Result<()> {
    let (input, mut output) = walls::take_channels()?;
    walls::build(walls)?;
    let mut worker = Worker::default();
    for line in io::BufReader::new(input).lines() {
        let job: Job = serde_json::from_str(&line?)?;
        walls::grant_cpu(walls, job.cpu_s)?;
        let answer = worker.answer(job);
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        output.write_all(&text)?;
        output.flush()?;
    }
    Ok(())
}

#[derive(Default)]
struct Worker {
    suite: Option<Arc<Suite>>,
    /// Of the suite, by name and whether signals are exact.
    scenarios: HashMap<(String, bool), Scenario>,
}

impl Worker {
    fn answer(&mut self, job: Job) -> Answer {
        if let Some(suite) = job.suite
            && let Err(e) = self.take(suite)
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
        let opened = match candidate.resolve(&suite) {
            Ok(opened) => opened,
            Err(problems) => {
                return Answer {
                    problems,
                    ..Answer::default()
                };
            }
        };
        let mut answer = Answer {
            warnings: opened.warnings,
            hooks: opened.hooks,
            ..Answer::default()
        };
        match job.task {
            Task::Check => first_flight(&candidate, &opened.spec, &mut answer),
            Task::Watch(flying, look) => match self.watch(&suite, &opened.spec, &flying, look) {
                Ok(watched) => answer.watched = Some(watched),
                Err(e) => answer.suite_error = Some(e.to_string()),
            },
            Task::Fly(flights) => {
                for flying in &flights {
                    match self.fly(&suite, &candidate, &opened.spec, flying) {
                        Ok(Ok(flight)) => answer.flights.push(flight),
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

    fn take(&mut self, suite: SuiteText) -> Result<(), InputError> {
        let suite = Suite::of_text(suite.origin, suite.text, suite.traces.as_deref())?;
        self.suite = Some(Arc::new(suite));
        self.scenarios.clear();
        Ok(())
    }

    fn scenario(&mut self, suite: &Suite, flying: &Flying) -> Result<&mut Scenario, InputError> {
        use std::collections::hash_map::Entry;
        match self
            .scenarios
            .entry((flying.scenario.clone(), flying.exact))
        {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                Ok(place.insert(Scenario::open(suite, &flying.scenario, flying.exact)?))
            }
        }
    }

    /// One run, watched.
    fn watch(
        &mut self,
        suite: &Suite,
        spec: &PolicySpec,
        flying: &Flying,
        look: Look,
    ) -> Result<Watched, InputError> {
        let scenario = self.scenario(suite, flying)?;
        let traffic = scenario.traffic(suite, flying.seed, flying.requests)?;
        watch::watch(spec, scenario, &traffic, flying.seed, look)
    }

    /// One run: an error is the suite's, a problem the candidate's.
    fn fly(
        &mut self,
        suite: &Suite,
        candidate: &Candidate,
        spec: &PolicySpec,
        flying: &Flying,
    ) -> Result<Result<Flight, Problem>, InputError> {
        let scenario = self.scenario(suite, flying)?;
        let traffic = scenario.traffic(suite, flying.seed, flying.requests)?;
        let here = |kind, message: &str| Problem {
            scenario: Some(flying.scenario.clone()),
            ..Problem::of_message(kind, message, &candidate.texts)
        };
        let record = match flight::fly(spec, scenario, &traffic, flying.seed) {
            Ok(record) => record,
            Err(e) => return Ok(Err(here(ProblemKind::Policy, &e.to_string()))),
        };
        let flight = Flight::of(&record, &traffic, scenario, &suite.file.objectives);
        Ok(match (&flight.fault, flight.violations.first()) {
            (Some(fault), _) => Err(here(ProblemKind::Runtime, fault)),
            (None, Some(broken)) => Err(here(ProblemKind::Invariant, broken)),
            (None, None) => Ok(flight),
        })
    }
}

/// Whether a second flight differs whose memory is laid out otherwise.
fn flies_otherwise_elsewhere(spec: &PolicySpec, behaviour: &str) -> bool {
    let mut filled: Vec<Vec<u8>> = (0..4000).map(|k| vec![0; 16 + 16 * (k * 7 % 41)]).collect();
    // Holes of all sizes, into which the second engine's tables go.
    let mut k = 0;
    filled.retain(|_| {
        k += 1;
        k % 3 != 0
    });
    let again = smoke::fly(spec);
    drop(filled);
    again.is_ok_and(|flights| features::fingerprint(&flights) != behaviour)
}

fn first_flight(candidate: &Candidate, spec: &PolicySpec, answer: &mut Answer) {
    let flights = match smoke::fly(spec) {
        Ok(flights) => flights,
        Err(e) => {
            answer
                .problems
                .push(candidate.problem(ProblemKind::Policy, &e));
            return;
        }
    };
    (answer.features, answer.behaviour) = features::of(&candidate.texts, &flights);
    let sound = flights.iter().all(|f| f.fault.is_none());
    let scripts = !candidate.texts.is_empty();
    if sound && scripts && flies_otherwise_elsewhere(spec, &answer.behaviour) {
        answer.problems.push(Problem::new(
            ProblemKind::Policy,
            "",
            "the policy decides differently on the same traffic when it lies elsewhere in memory: it goes over a table whose keys are \
             tables or functions, in the order of their addresses; use numbers or names as keys, such as inst.index, or an array",
        ));
    }
    let problem = |flight: FirstFlight| {
        let fault = flight.fault?;
        Some(Problem {
            scenario: Some(format!("first flight, {}", flight.name)),
            ..Problem::of_message(ProblemKind::Runtime, &fault.to_string(), &candidate.texts)
        })
    };
    answer
        .problems
        .extend(flights.into_iter().filter_map(problem));
}
