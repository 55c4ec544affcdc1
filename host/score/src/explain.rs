//! Why a candidate is where it is: its decisions about the requests that did worst in a scenario,
//! and what other choices would have brought.

use super::ask::{Ask, Progress, Trouble};
use super::plan::{chosen, nth_seed};
use super::protocol::{Flying, Task};
use super::regret::Look;
use super::report::{Report, Stage};
use super::scorer::Scorer;
use super::suite::Split;
use super::tell::failed;
use super::watch::Watched;
use serde::Serialize;
use windtunnel_base::input::InputError;
use windtunnel_policy::Hook;

/// Name and version of the explanation's form.
pub const SCHEMA: &str = "windtunnel.explain/1";
/// Decisions, spread over the run, of which the alternatives are tried.
const SPREAD: u32 = 32;
/// Alternatives that are tried at each decision.
const OTHERS: u32 = 7;

/// Why a candidate is where it is in one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Form of the explanation: `windtunnel.explain/1`.
    pub schema: &'static str,
    /// The candidate's name.
    pub candidate: String,
    /// Suite and its version.
    pub suite: String,
    /// The scenario.
    pub scenario: String,
    /// What the candidate is worth there, if it was scored to find its worst scenario.
    pub score: Option<f64>,
    /// What was seen in the scenario's first run.
    #[serde(flatten)]
    pub watched: Watched,
}

impl Scorer {
    /// Explains a candidate's decisions about `requests` requests of a scenario of the train split:
    /// the one that the question names, or the one with the lowest score. A candidate that does not
    /// get that far, or not while it is looked at, is explained by its report.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's: also when it routes nothing.
    pub fn explain(
        &self,
        ask: &Ask,
        requests: u32,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Result<Explanation, Box<Report>>, Trouble> {
        let (id, score) = match ask.scenarios.as_deref() {
            Some([id, ..]) => (id.clone(), None),
            _ => {
                let report = self.score(ask, progress)?;
                match (&report.worst, report.stage) {
                    (Some(worst), Stage::Full) => (worst.scenario.clone(), Some(worst.score)),
                    _ => return Ok(Err(Box::new(report))),
                }
            }
        };
        let only = Ask {
            split: Split::Train,
            scenarios: Some(vec![id.clone()]),
            ..ask.clone()
        };
        let keys = chosen(&only)?[0];
        let (fleet, all) = (self.fleet(), self.fleet().all());
        let check = fleet.check(ask, all)?;
        if !check.problems.is_empty() {
            return Ok(Err(Box::new(self.score(ask, progress)?)));
        }
        if !check.hooks.contains(&Hook::Routing) {
            let message = "it routes nothing, and what can be explained are routing decisions";
            return Err(InputError::in_file(&ask.candidate.name, message).into());
        }
        let flying = Flying {
            scenario: id.clone(),
            seed: nth_seed(keys.seed, 0),
            requests: ask.suite.file.requests,
            exact: false,
        };
        let look = Look {
            spread: SPREAD,
            worst: requests,
            others: OTHERS,
        };
        let mut answer = fleet.task(ask, all, Task::Watch(flying, look))?;
        let Some(watched) = answer.watched else {
            // It works, but not while it is looked at: the look takes longer than a run.
            for problem in &mut answer.problems {
                problem.scenario.get_or_insert(id.clone());
            }
            let report = failed(ask, Stage::Full, answer.problems, check.warnings, None);
            return Ok(Err(Box::new(report)));
        };
        Ok(Ok(Explanation {
            schema: SCHEMA,
            candidate: ask.candidate.name.clone(),
            suite: ask.suite.label(),
            scenario: id,
            score,
            watched,
        }))
    }
}
