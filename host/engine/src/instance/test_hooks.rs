//! The policies of instances in unit tests.

use super::InstanceHooks;
use windtunnel_plugin_api::{
    PolicyError, Priority, QueueOrder, QueueView, QueuedView, RequestView, Scheduler, Victim,
};

/// First come, first served; the last of the batch is preempted.
struct Fcfs;

impl Priority for Fcfs {
    fn priority(&mut self, _: &RequestView, _: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(0.0)
    }
}

impl Scheduler for Fcfs {
    fn order(&self) -> QueueOrder {
        QueueOrder::Fifo
    }
    fn key(&mut self, _: &QueuedView<'_>, _: &QueueView<'_>) -> Result<f64, PolicyError> {
        unreachable!("a queue without keys")
    }
}

impl Victim for Fcfs {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        Ok(queue.running.len() - 1)
    }
}

/// An instance's hooks, all [`Fcfs`].
pub(super) fn fcfs() -> InstanceHooks {
    InstanceHooks {
        priority: Box::new(Fcfs),
        scheduler: Box::new(Fcfs),
        victim: Box::new(Fcfs),
    }
}
