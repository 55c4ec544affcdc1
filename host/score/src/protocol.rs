//! The protocol between a scorer and its worker processes: one JSON object per line in each
//! direction.

use super::candidate::Candidate;
use super::fuel::Fuel;
use super::inspect::Inspection;
use super::regret::InspectionPlan;
use super::report::Problem;
use super::run::RunSummary;
use super::suite::SuiteSource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use windtunnel_policy::Hook;

/// A suite as it is sent to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuiteText {
    /// Where it comes from.
    pub source: SuiteSource,
    /// Its text.
    pub text: String,
    /// Folder of traces.
    pub traces: Option<PathBuf>,
}

/// Identifies a run of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// Id of the scenario.
    pub scenario: String,
    /// Seed of its traffic.
    pub seed: u64,
    /// Number of requests.
    pub requests: u64,
    /// All signals are fresh and output lengths are predicted exactly: this shows what a policy
    /// with perfect information reaches.
    #[serde(default)]
    pub exact: bool,
}

/// A worker's task with a candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Lint it and run it on the smoke scenarios.
    Check,
    /// Make runs, up to the first that fails.
    Run(Vec<RunKey>),
    /// Make a run and inspect its routing decisions.
    Inspect(RunKey, InspectionPlan),
}

/// A message to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The suite, if it is not that of the previous job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<SuiteText>,
    /// The candidate.
    pub candidate: Candidate,
    /// The task.
    pub task: Task,
    /// Limit of CPU time, seconds.
    pub cpu_s: u64,
    /// Memory is laid out otherwise than in other processes.
    #[serde(default)]
    pub elsewhere: bool,
}

/// The first message from a worker: it is in its sandbox. One that ends before has met a limit or a
/// failure of this host, not a candidate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Always true.
    pub ready: bool,
    /// Limits that are lower than those that a worker is meant to have.
    pub low_limits: Vec<String>,
}

/// A message from a worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// What is wrong with the candidate.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Warnings about it.
    #[serde(default)]
    pub warnings: Vec<Problem>,
    /// The hooks it fills.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// Features that tell candidates apart.
    #[serde(default)]
    pub features: BTreeMap<String, f64>,
    /// Summaries of the runs that were made.
    #[serde(default)]
    pub summaries: Vec<RunSummary>,
    /// Fingerprint of its decisions in the smoke scenarios.
    #[serde(default)]
    pub behaviour: String,
    /// What its scripts used of their limits in the smoke scenarios.
    #[serde(default)]
    pub fuel: Option<Fuel>,
    /// What it decides may depend on where it lies in memory, so that its runs are made twice. Told
    /// with runs that are made the first time.
    #[serde(default)]
    pub may_follow_addresses: bool,
    /// What an inspected run showed.
    #[serde(default)]
    pub inspection: Option<Inspection>,
    /// The suite or a scenario is wrong; the candidate is not at fault.
    #[serde(default)]
    pub suite_error: Option<String>,
}

/// Bound of the absolute value of every figure of a run.
const MAX_FIGURE: f64 = 1e15;
/// Bound of every count: sums of many, and products with small numbers, do not overflow.
const MAX_COUNT: u64 = 1 << 40;

impl Answer {
    /// Whether it can be an answer to `task`. Machine code in a worker may write anything.
    #[must_use]
    pub fn is_plausible(&self, task: &Task, objectives: usize) -> bool {
        let failed = !self.problems.is_empty() || self.suite_error.is_some();
        let complete = match task {
            Task::Check => self.summaries.is_empty(),
            Task::Inspect(..) => self.summaries.is_empty() && (failed || self.inspection.is_some()),
            Task::Run(all) => {
                self.summaries.len() <= all.len() && (failed || self.summaries.len() == all.len())
            }
        };
        let fits = |f: &RunSummary| {
            let (m, facts) = (&f.metrics, &f.facts);
            f.logs.len() == objectives
                && f.fuel
                    .is_none_or(|fuel| fuel.run_limit > 0 && fuel.call_limit > 0)
                && m.completed + m.rejected + m.timed_out + m.unfinished <= m.offered
                && facts.classes.values().all(|(good, all)| good <= all)
                && facts
                    .hotspot
                    .is_none_or(|c| (c.instance as usize) < facts.instances.len())
        };
        // The bounds of the numbers come first, so that the sums cannot overflow.
        complete
            && serde_json::to_value(self).is_ok_and(|all| are_bounded(&all))
            && self.summaries.iter().all(fits)
    }
}

/// Whether all numbers in it are within their bounds.
fn are_bounded(value: &Value) -> bool {
    match value {
        Value::Number(n) if n.is_f64() => n.as_f64().is_some_and(|x| x.abs() < MAX_FIGURE),
        Value::Number(n) => n.as_i64().is_some_and(|n| n.unsigned_abs() < MAX_COUNT),
        Value::Array(all) => all.iter().all(are_bounded),
        Value::Object(all) => all.values().all(are_bounded),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::facts::{Facts, Hotspot, InstanceLoad};
    use crate::run::{InstanceShare, Metrics};

    fn summary() -> RunSummary {
        RunSummary {
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
            fuel: None,
            facts: Facts {
                instances: vec![InstanceLoad::default()],
                classes: BTreeMap::from([("batch".to_owned(), (7, 10))]),
                ..Facts::default()
            },
        }
    }

    fn is_plausible(change: impl FnOnce(&mut RunSummary)) -> bool {
        let mut summary = summary();
        change(&mut summary);
        let answer = Answer {
            summaries: vec![summary],
            ..Answer::default()
        };
        answer.is_plausible(&Task::Run(vec![RunKey::default()]), 1)
    }

    #[test]
    fn figures_that_no_run_can_have_are_implausible() {
        assert!(is_plausible(|_| {}));
        assert!(!is_plausible(|f| f.metrics.completed = 8));
        assert!(!is_plausible(|f| f.metrics.offered = 9));
        assert!(!is_plausible(|f| f.metrics.completed = u64::MAX));
        assert!(!is_plausible(|f| f.metrics.preemptions = u64::MAX));
        assert!(!is_plausible(|f| f.instances[0].requests = MAX_COUNT));
        assert!(!is_plausible(|f| f.facts.instances[0].requests = u64::MAX));
        assert!(!is_plausible(
            |f| f.facts.classes = [("a".into(), (2, 1))].into()
        ));
        assert!(!is_plausible(|f| f.metrics.ttft_ms.p99 = Some(1e16)));
        assert!(!is_plausible(|f| f.logs[0] = -1e15));
        assert!(!is_plausible(|f| f.logs.push(0.0)));
        let hotspot = |instance| Hotspot {
            instance,
            from_s: 0.0,
            to_s: 1.0,
            share: 1.0,
            wait_ms: 1.0,
            elsewhere_ms: 0.0,
        };
        assert!(is_plausible(|f| f.facts.hotspot = Some(hotspot(0))));
        assert!(!is_plausible(|f| f.facts.hotspot = Some(hotspot(u32::MAX))));
    }

    #[test]
    fn an_inspection_has_a_result_or_a_reason_why_not() {
        let plan = InspectionPlan {
            sampled_decisions: 0,
            worst_requests: 0,
            alternatives: 0,
        };
        let task = Task::Inspect(RunKey::default(), plan);
        let mut answer = Answer::default();
        assert!(!answer.is_plausible(&task, 1));
        answer.inspection = Some(Inspection::default());
        assert!(answer.is_plausible(&task, 1));
        answer.inspection.as_mut().expect("an inspection").units = i64::MIN;
        assert!(!answer.is_plausible(&task, 1));
    }
}
