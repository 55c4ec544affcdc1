//! `prefill-first`: a step computes prompts or decodes, never both.

use super::limits::admitting;
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{
    BatchLimits, Batching, Decodes, Interests, PolicyError, QueueView, StepView,
};

/// `prefill-first`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "prefill-first",
    "As SGLang without mixed chunks: a step computes the prompts of all waiting requests \
     that fit, or, when none does, one token of every running decode.",
    Make::Batching(|_, _| Box::new(PrefillFirst)),
);

struct PrefillFirst;

impl Batching for PrefillFirst {
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        Ok(BatchLimits {
            decodes: Decodes::WaitForPrefills,
            ..admitting(step, queue, u32::MAX)
        })
    }
}
