//! `fcfs`: first come, first served.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{PolicyError, QueueOrder, QueueView, QueuedView, Scheduler};

/// `fcfs`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "fcfs",
    "First come, first served.",
    Make::Scheduler(|_, _| Box::new(Fcfs)),
);

/// First come, first served; a preempted request returns to the front.
pub struct Fcfs;

impl Scheduler for Fcfs {
    fn order(&self) -> QueueOrder {
        QueueOrder::Fifo
    }
    fn key(
        &mut self,
        _queued: &QueuedView<'_>,
        _queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        Ok(0.0)
    }
}
