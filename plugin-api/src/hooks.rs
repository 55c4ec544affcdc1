//! The hooks a policy can fill, and the decisions they return.

use crate::{ClusterView, Event, Interests, QueuedView, RequestView, RunningView};

/// Answer of an [`Admission`] policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Let it in.
    Admit,
    /// Turn it away; the text says why and goes into the decision trace.
    Reject(String),
    /// Ask again after this many microseconds (at least 1).
    Delay(i64),
}

/// Decides at the door of the cluster.
pub trait Admission: Send {
    /// What this policy reads and listens to.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// Admit, reject or delay `request`.
    fn admit(&mut self, request: &RequestView, cluster: &ClusterView<'_>) -> Admit;
    /// Something happened (only if asked for).
    fn on_event(&mut self, event: &Event) {
        let _ = event;
    }
}

/// Answer of a [`Router`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Send it to this index of [`ClusterView::instances`].
    To(usize),
    /// Keep it at the front end and ask again after this many microseconds (at least 1).
    Hold {
        /// Microseconds until the next try.
        retry_after_us: i64,
    },
}

/// Chooses the instance.
pub trait Router: Send {
    /// What this policy reads and listens to.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// Choose an instance for `request`. `cluster.instances` is never empty. An index out of range ends the run.
    fn route(&mut self, request: &RequestView, cluster: &ClusterView<'_>) -> Route;
    /// Scores of the last decision, one per instance, higher is better; `None` for a policy that does not score.
    fn scores(&self) -> Option<&[f64]> {
        None
    }
    /// Why the last decision fell as it did, for the decision trace.
    fn reason(&self) -> String {
        String::new()
    }
    /// Something happened (only if asked for).
    fn on_event(&mut self, event: &Event) {
        let _ = event;
    }
}

/// When a key has to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefresh {
    /// Once, when the request enters the wait queue. Cheap.
    AtEnqueue,
    /// Anew for every waiting request at the start of each step. Dear: cost grows with queue length times steps.
    EachStep,
}

/// Gives a waiting request its instance-level priority: **lower is more urgent**.
pub trait Priority: Send {
    /// When the value has to be recomputed.
    fn refresh(&self) -> KeyRefresh {
        KeyRefresh::AtEnqueue
    }
    /// Priority of `request` at `now_us`.
    fn priority(&mut self, request: &RequestView, now_us: i64) -> f64;
}

/// How an instance orders its wait queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOrder {
    /// First come, first served; a preempted request returns to the front.
    Fifo,
    /// By [`Scheduler::key`] ascending, ties by arrival and then by request id.
    Keyed(KeyRefresh),
}

/// Orders an instance's wait queue.
pub trait Scheduler: Send {
    /// Which order this scheduler keeps.
    fn order(&self) -> QueueOrder;
    /// Sort key of a waiting request, smallest first; only called for [`QueueOrder::Keyed`].
    fn key(&mut self, queued: &QueuedView, now_us: i64) -> f64;
}

/// Chooses who loses its KV blocks when a running request cannot grow.
pub trait Victim: Send {
    /// Index into `running` (never empty), which is in batch order, oldest admission first. An index out of range ends the
    /// run.
    fn victim(&mut self, running: &[RunningView], now_us: i64) -> usize;
}
