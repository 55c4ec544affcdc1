//! `sjf`: the shortest prompt first.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{
    KeyRefresh, PolicyError, QueueOrder, QueueView, QueuedView, Scheduler,
};

/// `sjf`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "sjf",
    "The shortest prompt first.",
    Make::Scheduler(|_, _| Box::new(ShortestPrompt)),
);

/// Shortest prompt first.
pub struct ShortestPrompt;

impl Scheduler for ShortestPrompt {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::AtEnqueue)
    }
    fn key(&mut self, queued: &QueuedView<'_>, _queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(f64::from(queued.request.prompt_tokens))
    }
}
