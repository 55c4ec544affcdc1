//! What people and programs read: made from results only, written to strings and writers, never
//! printed here.

pub mod blis;
pub mod decisions;
pub mod generator;
pub mod go;
pub mod json;
pub mod rows;
pub mod saturation;
mod sections;
pub mod sweep;
pub mod table;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod pool_tests;

use crate::metrics::anomaly::Anomalies;
use crate::metrics::fitness::{Fitness, Weights};
use crate::metrics::groups::{self, Group, Sessions};
use crate::metrics::saturation::{Detectors, Labels, judge};
use crate::metrics::slo::{Goodput, SloTargets};
use crate::metrics::summary::RunSummary;
use decisions::TraceSummary;
use windtunnel_base::record::RunRecord;

/// What a report needs to know beyond what the run left behind.
#[derive(Clone, Debug, Default)]
pub struct ReportInputs {
    /// Is the instances' scheduler `priority-fcfs`? Only then are priority inversions counted.
    pub scheduler_is_priority_fcfs: bool,
    /// Latency targets; without any there is no goodput.
    pub slo_targets: SloTargets,
    /// Fitness weights, if a fitness is wanted.
    pub fitness: Option<Weights>,
    /// Saturation detectors, if any are wanted.
    pub detectors: Option<Detectors>,
    /// Is a summary of the decision trace wanted?
    pub trace_summary: bool,
    /// Share of all prompt tokens that a prefix cache without limits would have held.
    pub infinite_cache_hit_rate: Option<f64>,
    /// What the metrics of a GuideLLM-style generator need; `None` = they are not wanted.
    pub generator: Option<generator::Inputs>,
    /// First lines of the report for people: model, GPU, tensor parallelism, latency model, rules.
    pub header: Vec<String>,
    /// The same for programs, put into JSON as it is.
    pub setup: serde_json::Value,
}

/// A run with everything the reports say about it, computed once.
#[derive(Debug)]
pub struct Results<'a> {
    /// The run.
    pub record: &'a RunRecord,
    /// What else reports need to know.
    pub inputs: &'a ReportInputs,
    /// Counts, rates, latencies.
    pub summary: RunSummary,
    /// By SLO class.
    pub classes: Vec<Group>,
    /// By model asked for.
    pub models: Vec<Group>,
    /// By tenant.
    pub tenants: Vec<Group>,
    /// By pool, if the pools have names.
    pub pools: Vec<Group>,
    /// Conversations, if any.
    pub sessions: Option<Sessions>,
    /// Unusual events.
    pub anomalies: Anomalies,
    /// Goodput, with targets.
    pub goodput: Option<Goodput>,
    /// Fitness, with weights.
    pub fitness: Option<Fitness>,
    /// Final saturation levels, with detectors.
    pub saturation: Option<Labels>,
    /// Summary of the decision trace, if wanted.
    pub trace: Option<TraceSummary>,
}

impl<'a> Results<'a> {
    /// Computes everything.
    #[must_use]
    pub fn new(record: &'a RunRecord, inputs: &'a ReportInputs) -> Self {
        Self::with_summary(record, RunSummary::of(record), inputs)
    }

    /// Computes everything but the summary, which was made while the run went on.
    #[must_use]
    pub fn with_summary(
        record: &'a RunRecord,
        summary: RunSummary,
        inputs: &'a ReportInputs,
    ) -> Self {
        Self {
            classes: groups::by_class(record),
            models: groups::by_model(record),
            tenants: groups::by_tenant(record),
            pools: groups::by_pool(record),
            sessions: Sessions::of(record),
            anomalies: Anomalies::of(record, &summary, inputs.scheduler_is_priority_fcfs),
            goodput: Goodput::of(record, &inputs.slo_targets, summary.cluster.ended_us),
            fitness: inputs
                .fitness
                .as_ref()
                .map(|w| w.evaluate(&summary.cluster)),
            saturation: inputs
                .detectors
                .as_ref()
                .map(|d| judge(record, d, |_, _, _| {})),
            trace: inputs
                .trace_summary
                .then(|| TraceSummary::of(&record.decisions)),
            record,
            inputs,
            summary,
        }
    }
}

/// `instance_<k>`.
#[must_use]
pub fn instance_name(k: u32) -> String {
    format!("instance_{k}")
}
