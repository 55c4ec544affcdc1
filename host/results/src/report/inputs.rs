//! What reports need to know beyond what a run left behind.

use super::machines::Machine;
use crate::metrics::fitness::Weights;
use crate::metrics::saturation::Detectors;
use crate::metrics::slo::SloTargets;
use crate::metrics::ticks::TickInputs;
use crate::metrics::xpusim::XpuSimFigures;

/// What a report needs to know beyond what the run left behind.
#[derive(Clone, Debug, Default)]
pub struct ReportInputs {
    /// Is the instances' scheduler `priority-fcfs`? Only then are priority inversions counted.
    pub scheduler_is_priority_fcfs: bool,
    /// Latency targets of classes.
    pub slo_targets: SloTargets,
    /// A request whose class has no target on the time to first token is judged by its own, if its
    /// workload gave it one. The reference simulator knows targets of classes alone.
    pub targets_of_requests: bool,
    /// Fitness weights, if a fitness is wanted.
    pub fitness: Option<Weights>,
    /// Saturation detectors, if any are wanted.
    pub detectors: Option<Detectors>,
    /// Is a summary of the decision trace wanted?
    pub trace_summary: bool,
    /// Share of all prompt tokens that a prefix cache without limits would have held.
    pub infinite_cache_hit_rate: Option<f64>,
    /// The time that is measured apart from the rest, microseconds; `None` = none is.
    pub measured_us: Option<[i64; 2]>,
    /// What the metrics of a GuideLLM-style generator need; `None` = they are not wanted.
    pub generator: Option<GeneratorInputs>,
    /// What the figures of a run in abstract time need; `None` = its time is real.
    pub ticks: Option<TickInputs>,
    /// The figures of a run under XpuSim's rules; `None` = it has others.
    pub xpusim: Option<XpuSimFigures>,
    /// What the instances run on, pool by pool; none = not known.
    pub machines: Vec<Machine>,
    /// First lines of the report for people: model, GPU, tensor parallelism, latency model, rules.
    pub header: Vec<String>,
    /// The same for programs, put into JSON as it is.
    pub setup: serde_json::Value,
}

/// What the metrics of a GuideLLM-style generator need.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorInputs {
    /// Configured rate, requests per second.
    pub rate: f64,
    /// Microseconds from completion until a request has left: per prompt token, and constant.
    pub left_us: [f64; 2],
}
