//! `priority-fcfs`: by priority, then by arrival.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{
    KeyRefresh, PolicyError, QueueOrder, QueueView, QueuedView, Scheduler,
};

/// `priority-fcfs`.
pub const POLICY: BuiltIn = BuiltIn {
    reads_priorities: true,
    ..BuiltIn::new(
        "priority-fcfs",
        "The most urgent first, then by arrival.",
        Make::Scheduler(|_, _| Box::new(PriorityFcfs { direction: 1.0 })),
    )
};

/// By priority, then arrival.
pub struct PriorityFcfs {
    /// 1 for the most urgent first, -1 for the least urgent first.
    pub direction: f64,
}

impl Scheduler for PriorityFcfs {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::AtEnqueue)
    }
    fn key(&mut self, queued: &QueuedView<'_>, _queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(self.direction * queued.priority)
    }
}
