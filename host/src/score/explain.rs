//! Why a candidate is where it is: its decisions about the requests that did worst in a scenario, and what other choices would have
//! brought.

use super::ask::{Ask, Progress, Trouble};
use super::plan::nth_seed;
use super::protocol::{Flying, Task};
use super::regret::Look;
use super::report::{Report, Stage};
use super::scorer::Scorer;
use super::suite::Split;
use super::watch::Watched;
use crate::input::{InputError, unknown};
use crate::policy::Hook;
use serde::Serialize;

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
    /// Explains a candidate's decisions about `requests` requests of a scenario of the train split: the one that the question names, or
    /// the one with the lowest score. A candidate that does not get that far is explained by its report.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's: also when it routes nothing.
    pub fn explain(
        &self,
        ask: &Ask,
        requests: u32,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Result<Explanation, Box<Report>>, Trouble> {
        let scenarios: Vec<_> = ask.suite.scenarios(Split::Train).collect();
        let ids: Vec<&str> = scenarios.iter().map(|s| s.id.as_str()).collect();
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
        let Some(keys) = scenarios.iter().find(|s| s.id == id) else {
            let kind = format!("scenario of {} train", ask.suite.label());
            return Err(InputError::new(unknown(&kind, &id, &ids)).into());
        };
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
        let answer = fleet.task(ask, all, Task::Watch(flying, look))?;
        let Some(watched) = answer.watched else {
            return Ok(Err(Box::new(self.score(ask, progress)?)));
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
