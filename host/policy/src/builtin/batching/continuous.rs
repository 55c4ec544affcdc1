//! `continuous`: continuous batching with chunked prefill, vLLM's strategy.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{BatchLimits, Batching, Interests, PolicyError, QueueView, StepView};

/// `continuous`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "continuous",
    "vLLM's: requests join whenever the batch has room, and prompts are computed in \
     chunks beside the running decodes, as many tokens as a step may have.",
    Make::Batching(|_, _| Box::new(Continuous)),
);

struct Continuous;

impl Batching for Continuous {
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        Ok(BatchLimits::of_engine(step, queue))
    }
}
