//! `in-flight`: every place that comes free is filled before the next step.

use super::limits::admitting;
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{BatchLimits, Batching, Interests, PolicyError, QueueView, StepView};

/// `in-flight`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "in-flight",
    "Every free place of the batch is filled before each step, and prompts are computed \
     beside the running decodes.",
    Make::Batching(|_, _| Box::new(InFlight { chunk: u32::MAX })),
);

/// Fills every free place; a request has at most one chunk in a step.
pub(super) struct InFlight {
    /// Tokens.
    pub(super) chunk: u32,
}

impl Batching for InFlight {
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        let limits = admitting(step, queue, u32::MAX);
        Ok(BatchLimits {
            max_prefill_tokens: limits.max_prefill_tokens.min(self.chunk),
            ..limits
        })
    }
}
