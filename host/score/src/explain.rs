//! Explains a score: the candidate's decisions about the requests that were served worst in a
//! scenario, and what other choices would have brought.

use super::inspect::Inspection;
use super::plan::selected_scenarios;
use super::protocol::{RunKey, Task};
use super::regret::InspectionPlan;
use super::report::{Report, Stage};
use super::report_builder::failed_report;
use super::score_request::{Progress, ScoreRequest, ScoringError};
use super::scorer::Scorer;
use super::suite::Split;
use serde::Serialize;
use windtunnel_base::input::InputError;
use windtunnel_policy::Hook;

/// Name and version of the explanation's form.
pub const SCHEMA: &str = "windtunnel.explain/1";
/// Decisions, evenly spaced over the run, whose alternatives are tried.
const SAMPLED_DECISIONS: u32 = 32;
/// Alternatives that are tried at each decision.
const ALTERNATIVES: u32 = 7;

/// Explanation of a candidate's score in one scenario.
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
    /// Score of the candidate there, if it was scored to find its worst scenario.
    pub score: Option<f64>,
    /// Inspection of the scenario's first run.
    #[serde(flatten)]
    pub inspection: Inspection,
}

impl Scorer {
    /// Explains a candidate's decisions about the `requests` worst requests of a scenario of the
    /// train split: the one that the request names, or the one with the lowest score. For a
    /// candidate that does not work there, or not while it is inspected, the result is its report.
    ///
    /// # Errors
    /// When the suite is wrong, the candidate has no routing policy, a process cannot be started,
    /// or the scoring is cancelled.
    pub fn explain(
        &self,
        request: &ScoreRequest,
        requests: u32,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Result<Explanation, Box<Report>>, ScoringError> {
        let (id, score) = match request.scenarios.as_deref() {
            Some([id, ..]) => (id.clone(), None),
            _ => {
                let report = self.score(request, progress)?;
                match (&report.worst, report.stage) {
                    (Some(worst), Stage::Full) => (worst.scenario.clone(), Some(worst.score)),
                    _ => return Ok(Err(Box::new(report))),
                }
            }
        };
        let only = ScoreRequest {
            split: Split::Train,
            scenarios: Some(vec![id.clone()]),
            ..request.clone()
        };
        let keys = selected_scenarios(&only)?[0];
        let (runner, all) = (self.runner(), self.runner().all_slots());
        let check = runner.check(request, all)?;
        if !check.problems.is_empty() {
            return Ok(Err(Box::new(self.score(request, progress)?)));
        }
        let decides = [Hook::Routing, Hook::Disaggregation];
        if !decides.iter().any(|hook| check.hooks.contains(hook)) {
            let message = "it neither routes nor says where prompts are computed, and such decisions can be explained; of \
                           others, the feedback of a score says what it can";
            return Err(InputError::in_file(&request.candidate.name, message).into());
        }
        let run_key = RunKey {
            scenario: id.clone(),
            seed: request.suite.seed(Split::Train, keys, 0)?,
            requests: request.suite.file.requests,
            exact: false,
        };
        let plan = InspectionPlan {
            sampled_decisions: SAMPLED_DECISIONS,
            worst_requests: requests,
            alternatives: ALTERNATIVES,
        };
        let mut answer = runner.task(request, all, Task::Inspect(run_key, plan))?;
        let Some(inspection) = answer.inspection else {
            // The runs work, but the inspection, which takes longer, does not.
            for problem in &mut answer.problems {
                problem.scenario.get_or_insert(id.clone());
            }
            let report = failed_report(
                request,
                Stage::Full,
                answer.problems,
                check.warnings,
                None,
                check.fuel,
            );
            return Ok(Err(Box::new(report)));
        };
        Ok(Ok(Explanation {
            schema: SCHEMA,
            candidate: request.candidate.name.clone(),
            suite: request.suite.label(),
            scenario: id,
            score,
            inspection,
        }))
    }
}
