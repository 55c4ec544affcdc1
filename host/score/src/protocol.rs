//! What is said between a scorer and the processes in which candidates work: one JSON object a line
//! each way.

use super::candidate::Candidate;
use super::flight::Flight;
use super::regret::Look;
use super::report::Problem;
use super::suite::Origin;
use super::watch::Watched;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use windtunnel_policy::Hook;

/// A suite on its way to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuiteText {
    /// Where it comes from.
    pub origin: Origin,
    /// Its text.
    pub text: String,
    /// Folder of traces.
    pub traces: Option<PathBuf>,
}

/// One run to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flying {
    /// Scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Requests.
    pub requests: u64,
    /// All signals are fresh and output lengths are predicted exactly: for finding out what could
    /// be reached.
    #[serde(default)]
    pub exact: bool,
}

/// What a worker is to do with a candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Look at its text and let it fly small clusters.
    Check,
    /// Make runs, up to the first that breaks off.
    Fly(Vec<Flying>),
    /// Make a run and look closely.
    Watch(Flying, Look),
}

/// A line to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The suite, unless it is the one of the job before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<SuiteText>,
    /// The candidate.
    pub candidate: Candidate,
    /// What to do.
    pub task: Task,
    /// CPU time that it may take, seconds.
    pub cpu_s: u64,
}

/// A line from a worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// What is wrong with the candidate.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// What it is warned of.
    #[serde(default)]
    pub warnings: Vec<Problem>,
    /// The hooks it fills.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// Numbers that tell candidates apart.
    #[serde(default)]
    pub features: BTreeMap<String, f64>,
    /// The runs, as far as they were made.
    #[serde(default)]
    pub flights: Vec<Flight>,
    /// Fingerprint of what it decided on its first flight.
    #[serde(default)]
    pub behaviour: String,
    /// What was seen in a run that was watched.
    #[serde(default)]
    pub watched: Option<Watched>,
    /// The suite or a scenario is wrong: nothing that the candidate could help.
    #[serde(default)]
    pub suite_error: Option<String>,
}

/// No figure of a run is beyond this.
const LARGEST: f64 = 1e15;
/// And no count: sums of many, and products with small numbers, stay far from where counting ends.
const MOST: u64 = 1 << 40;

impl Answer {
    /// Is it an answer to `task`? A candidate's process may say anything.
    #[must_use]
    pub fn is_sane(&self, task: &Task, objectives: usize) -> bool {
        let failed = !self.problems.is_empty() || self.suite_error.is_some();
        let flown = match task {
            Task::Check => self.flights.is_empty(),
            Task::Watch(..) => self.flights.is_empty() && (failed || self.watched.is_some()),
            Task::Fly(all) => {
                self.flights.len() <= all.len() && (failed || self.flights.len() == all.len())
            }
        };
        let fits = |f: &Flight| {
            let (m, facts) = (&f.metrics, &f.facts);
            f.logs.len() == objectives
                && m.completed + m.rejected + m.timed_out + m.unfinished <= m.offered
                && facts.classes.values().all(|(good, all)| good <= all)
                && facts
                    .crowd
                    .is_none_or(|c| (c.instance as usize) < facts.instances.len())
        };
        // The numbers first: these sums have room then.
        flown
            && serde_json::to_value(self).is_ok_and(|all| are_bounded(&all))
            && self.flights.iter().all(fits)
    }
}

/// Are all numbers in it such as a run can have?
fn are_bounded(value: &Value) -> bool {
    match value {
        Value::Number(n) if n.is_f64() => n.as_f64().is_some_and(|x| x.abs() < LARGEST),
        Value::Number(n) => n.as_i64().is_some_and(|n| n.unsigned_abs() < MOST),
        Value::Array(all) => all.iter().all(are_bounded),
        Value::Object(all) => all.values().all(are_bounded),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::facts::{Crowd, Facts, Place};
    use crate::flight::{InstanceShare, Metrics};

    fn flight() -> Flight {
        Flight {
            logs: vec![1.0],
            metrics: Metrics {
                offered: 10,
                completed: 7,
                rejected: 3,
                ..Metrics::default()
            },
            instances: vec![InstanceShare {
                id: 0,
                requests: 7,
                busy: 0.5,
            }],
            digest: String::new(),
            fault: None,
            violations: Vec::new(),
            facts: Facts {
                instances: vec![Place::default()],
                classes: BTreeMap::from([("batch".to_owned(), (7, 10))]),
                ..Facts::default()
            },
        }
    }

    fn is_sane(change: impl FnOnce(&mut Flight)) -> bool {
        let mut flight = flight();
        change(&mut flight);
        let answer = Answer {
            flights: vec![flight],
            ..Answer::default()
        };
        answer.is_sane(&Task::Fly(vec![Flying::default()]), 1)
    }

    #[test]
    fn figures_that_no_run_can_have_make_no_sense() {
        assert!(is_sane(|_| {}));
        assert!(!is_sane(|f| f.metrics.completed = 8));
        assert!(!is_sane(|f| f.metrics.offered = 9));
        assert!(!is_sane(|f| f.metrics.completed = u64::MAX));
        assert!(!is_sane(|f| f.metrics.preemptions = u64::MAX));
        assert!(!is_sane(|f| f.instances[0].requests = MOST));
        assert!(!is_sane(|f| f.facts.instances[0].requests = u64::MAX));
        assert!(!is_sane(|f| f.facts.classes = [("a".into(), (2, 1))].into()));
        assert!(!is_sane(|f| f.metrics.ttft_ms.p99 = 1e16));
        assert!(!is_sane(|f| f.logs[0] = -1e15));
        assert!(!is_sane(|f| f.logs.push(0.0)));
        let crowd = |instance| Crowd {
            instance,
            from_s: 0.0,
            to_s: 1.0,
            share: 1.0,
            wait_ms: 1.0,
            elsewhere_ms: 0.0,
        };
        assert!(is_sane(|f| f.facts.crowd = Some(crowd(0))));
        assert!(!is_sane(|f| f.facts.crowd = Some(crowd(u32::MAX))));
    }

    #[test]
    fn a_look_has_seen_something_or_says_why_not() {
        let look = Look {
            spread: 0,
            worst: 0,
            others: 0,
        };
        let task = Task::Watch(Flying::default(), look);
        let mut answer = Answer::default();
        assert!(!answer.is_sane(&task, 1));
        answer.watched = Some(Watched::default());
        assert!(answer.is_sane(&task, 1));
        answer.watched.as_mut().expect("seen").units = i64::MIN;
        assert!(!answer.is_sane(&task, 1));
    }
}
