//! `one-prefill`: in-flight batching with one prefill at a time.

use super::limits::admitting;
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{BatchLimits, Batching, Interests, PolicyError, QueueView, StepView};

/// `one-prefill`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "one-prefill",
    "One request is admitted when no other one is in prefill, so that at most one prompt \
     is computed beside the running decodes.",
    Make::Batching(|_, _| Box::new(OnePrefill)),
);

struct OnePrefill;

impl Batching for OnePrefill {
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        Ok(admitting(step, queue, u32::from(step.prefilling == 0)))
    }
}
