//! `run-to-completion`: a batch decodes until all of its requests are done.

use super::limits::admitting;
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{
    BatchLimits, Batching, Decodes, Interests, PolicyError, QueueView, StepView,
};

/// `run-to-completion`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "run-to-completion",
    "Requests join while their batch computes prompts; when all are computed it decodes \
     until its last request is done, and nobody joins.",
    Make::Batching(|_, _| Box::new(RunToCompletion)),
);

struct RunToCompletion;

impl Batching for RunToCompletion {
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        let most = if step.decoding > 0 { 0 } else { u32::MAX };
        Ok(BatchLimits {
            decodes: Decodes::WaitForPrefills,
            ..admitting(step, queue, most)
        })
    }
}
