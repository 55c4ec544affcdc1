//! The policies of instances in unit tests.

use super::InstanceHooks;
use windtunnel_plugin_api::{
    BatchLimits, Batching, Interests, PolicyError, Priority, QueueOrder, QueueView, QueuedView,
    RequestView, Scheduler, StepView, Victim,
};

/// First come, first served; the last of the batch is preempted, and batches are as large as the
/// engine lets them be.
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

impl Batching for Fcfs {
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

/// An instance's hooks, all [`Fcfs`].
pub(super) fn fcfs() -> InstanceHooks {
    InstanceHooks {
        priority: Box::new(Fcfs),
        scheduler: Box::new(Fcfs),
        victim: Box::new(Fcfs),
        batching: Box::new(Fcfs),
    }
}
