//! What feedback is made of.

use super::facts::Facts;
use crate::report::ScenarioReport;
use crate::watch::Watched;

/// A figure that counts, under the candidate and under the best reference.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name of the objective.
    pub name: String,
    /// It is a share, or milliseconds.
    pub share: bool,
    /// The candidate's.
    pub ours: f64,
    /// The best reference's.
    pub theirs: f64,
    /// What it adds to the scenario's score, points.
    pub points: f64,
}

/// A scenario and how the candidate did there.
pub struct Told<'a> {
    /// What the report says of it.
    pub report: &'a ScenarioReport,
    /// The figures that count.
    pub figures: Vec<Figure>,
    /// Where the candidate's first run went wrong.
    pub ours: &'a Facts,
    /// Where the best reference's did.
    pub theirs: Facts,
    /// What was seen when the candidate was watched there.
    pub watched: Option<Watched>,
}

/// What stands at the top.
pub struct Head {
    /// The score, or the estimate of one that was not taken further.
    pub score: f64,
    /// Its 95 % confidence interval.
    pub ci95: Option<[f64; 2]>,
    /// Why it was not taken further.
    pub stopped: Option<String>,
    /// Units of fuel per call into a script; 0 if there is none.
    pub units_per_call: f64,
}
