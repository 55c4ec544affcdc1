//! Everything that reports say of a run.

use super::decisions::TraceSummary;
use super::inputs::ReportInputs;
use crate::metrics::anomaly::Anomalies;
use crate::metrics::fitness::Fitness;
use crate::metrics::groups::{self, Group, Sessions};
use crate::metrics::population::Population;
use crate::metrics::saturation::{Labels, judge};
use crate::metrics::slo::Goodput;
use crate::metrics::summary::RunSummary;
use crate::metrics::transfers::Transfers;
use windtunnel_base::record::RunRecord;

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
    /// By LoRA adapter, if there are any.
    pub adapters: Vec<Group>,
    /// By pool, if the pools have names.
    pub pools: Vec<Group>,
    /// What became of split requests, where some instances prefill and some decode.
    pub transfers: Option<Transfers>,
    /// Conversations, if any.
    pub sessions: Option<Sessions>,
    /// Unusual events.
    pub anomalies: Anomalies,
    /// Goodput, with targets.
    pub goodput: Option<Goodput>,
    /// Fitness, with weights.
    pub fitness: Option<Fitness>,
    /// Final saturation levels, with detectors; empty when nothing completed, as that is all that
    /// they look at.
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
            classes: groups::by_class(record, Population::Completed),
            models: groups::by_model(record, Population::Completed),
            tenants: groups::by_tenant(record),
            adapters: groups::by_adapter(record),
            pools: groups::by_pool(record),
            transfers: Transfers::of(record, &summary),
            sessions: Sessions::of(record, Population::Completed),
            anomalies: Anomalies::of(record, &summary, inputs.scheduler_is_priority_fcfs),
            goodput: Goodput::of(
                record,
                &inputs.slo_targets,
                inputs.targets_of_requests,
                summary.cluster.ended_us,
                Population::Completed,
            ),
            fitness: inputs.fitness.as_ref().map(|w| w.evaluate(&summary)),
            saturation: inputs.detectors.as_ref().map(|d| {
                if summary.cluster.completed > 0 {
                    judge(record, d, |_, _, _| {})
                } else {
                    Labels::new()
                }
            }),
            trace: inputs
                .trace_summary
                .then(|| TraceSummary::of(&record.decisions)),
            record,
            inputs,
            summary,
        }
    }
}
