//! `static`: a batch is formed when the last one is done.

use super::limits::admitting;
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{BatchLimits, Batching, Interests, PolicyError, QueueView, StepView};

/// `static`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "static",
    "Requests are admitted only when the batch is empty, as many as it has room for; \
     those that are done leave their places empty until the last one is done.",
    Make::Batching(|_, _| Box::new(StaticBatching)),
);

struct StaticBatching;

impl Batching for StaticBatching {
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        let most = if queue.batch_size == 0 { u32::MAX } else { 0 };
        Ok(admitting(step, queue, most))
    }
}
