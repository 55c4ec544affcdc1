//! What an instance that is one of several data-parallel ranks keeps for the others.

use crate::latency::StepAggregates;
use std::collections::VecDeque;

/// Requests of an engine, as it reports them when their numbers have changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// When, microseconds.
    pub at_us: i64,
    /// Requests that wait, those that are to get KV from elsewhere included.
    pub waiting: u64,
    /// Requests that run.
    pub running: u64,
    /// Share of the KV blocks in use at that moment.
    pub kv_usage: f64,
}

/// The reports that nobody has taken yet.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadReports {
    pub(super) all: Vec<Load>,
    /// Waiting and running requests of the last one.
    pub(super) last: (u64, u64),
}

/// A chosen step of which nobody has said yet when it runs.
#[derive(Clone, Copy, Debug)]
pub struct OpenStep {
    /// When it was chosen, microseconds.
    pub chosen_us: i64,
    /// What it computes.
    pub work: StepAggregates,
    /// Time for which it waits for other things than its computation, microseconds.
    pub delay_us: i64,
}

/// The steps whose time others say.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenSteps {
    pub(super) steps: VecDeque<OpenStep>,
    /// How often a step was to be chosen.
    pub(super) choices: u64,
}
