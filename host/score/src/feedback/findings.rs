//! The data that feedback is composed from.

use super::facts::Facts;
use crate::fuel::Fuel;
use crate::inspect::Inspection;
use crate::objective::Unit;
use crate::report::ScenarioReport;

/// The value of an objective, of the candidate and of the best reference.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name of the objective.
    pub name: String,
    /// What its values are.
    pub unit: Unit,
    /// The candidate's.
    pub ours: f64,
    /// The best reference's.
    pub theirs: f64,
    /// What it adds to the scenario's score, points.
    pub points: f64,
}

/// A scenario and the candidate's results there.
pub struct ScenarioFindings<'a> {
    /// The part of the report about it.
    pub report: &'a ScenarioReport,
    /// The values of the objectives.
    pub figures: Vec<Figure>,
    /// Facts of the candidate's first run.
    pub ours: &'a Facts,
    /// Facts of the best reference's first run.
    pub theirs: Facts,
    /// The candidate routes: where requests go is its doing.
    pub routes: bool,
    /// Inspection of the candidate's first run, if one was made.
    pub inspection: Option<Inspection>,
}

/// The first line of feedback.
pub struct Headline {
    /// The score, or the estimate of a candidate that was stopped.
    pub score: f64,
    /// Its 95 % confidence interval.
    pub ci95: Option<[f64; 2]>,
    /// Why the candidate was stopped, and the score that it got for that.
    pub stopped: Option<(String, f64)>,
    /// Units of fuel per call into a script; 0 if there is none.
    pub units_per_call: f64,
    /// What its scripts used of their limits.
    pub fuel: Option<Fuel>,
}

/// A problem that was found.
pub(super) struct Found {
    /// Points at stake, roughly. Problems are in this order.
    pub(super) weight: f64,
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// The name of the scenario's best reference.
pub(super) fn best<'a>(findings: &'a ScenarioFindings<'_>) -> &'a str {
    findings
        .report
        .best_builtin
        .as_deref()
        .unwrap_or("the best reference")
}
