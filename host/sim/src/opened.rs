//! A workload that was opened.

use std::path::Path;
use windtunnel_base::request::Source;
use windtunnel_results::metrics::slo::SloTargets;
use windtunnel_workload::Trace;

/// A source, and what it is in words.
pub struct Opened {
    /// The requests.
    pub source: Box<dyn Source>,
    /// What it is.
    pub description: String,
    /// When the run ends, microseconds; `i64::MAX` = when all is done.
    pub horizon_us: i64,
    /// Goodput targets that the workload's file carries.
    pub slo_targets: SloTargets,
    /// What a person should know about it.
    pub notes: Vec<String>,
    /// Rate of a GuideLLM-style generator, requests per second.
    pub generator_rate: Option<f64>,
    /// Every request says how many of its drafts are right.
    pub says_accepted: bool,
}

impl Opened {
    /// A source with nothing more to say about it.
    #[must_use]
    pub fn of(source: Box<dyn Source>, description: String, horizon_us: i64) -> Self {
        Self {
            source,
            description,
            horizon_us,
            slo_targets: SloTargets::default(),
            notes: Vec::new(),
            generator_rate: None,
            says_accepted: false,
        }
    }

    /// A trace that was read from `path`.
    #[must_use]
    pub fn trace(path: &Path, trace: Trace, horizon_us: i64) -> Self {
        let description = format!("{} ({})", path.display(), trace.format());
        let notes = trace.notes().to_vec();
        Self {
            notes,
            says_accepted: trace.says_accepted(),
            ..Self::of(Box::new(trace), description, horizon_us)
        }
    }
}
