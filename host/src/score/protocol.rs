//! What is said between a scorer and the processes in which candidates work: one JSON object a line each way.

use super::candidate::Candidate;
use super::flight::Flight;
use super::regret::Look;
use super::report::Problem;
use super::suite::Origin;
use super::watch::Watched;
use crate::policy::Hook;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// All signals are fresh and output lengths are predicted exactly: for finding out what could be reached.
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

impl Answer {
    /// Is it an answer to `task`? A candidate's process may say anything.
    #[must_use]
    pub fn is_sane(&self, task: &Task, objectives: usize) -> bool {
        let flown = match task {
            Task::Check | Task::Watch(..) => self.flights.is_empty(),
            Task::Fly(all) => {
                let failed = !self.problems.is_empty() || self.suite_error.is_some();
                self.flights.len() <= all.len() && (failed || self.flights.len() == all.len())
            }
        };
        let fine = |x: &f64| x.abs() < LARGEST;
        flown
            && self.features.values().all(fine)
            && self.flights.iter().all(|f| {
                f.logs.len() == objectives
                    && f.logs.iter().all(fine)
                    && f.metrics.figures().all(|x| fine(&x))
                    && f.instances.iter().all(|i| fine(&i.busy))
            })
    }
}
