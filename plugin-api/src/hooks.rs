//! The hooks a policy can fill, and the decisions they return.

use crate::{ClusterView, Event, PolicyError, QueueView, QueuedView, RequestView};
use std::ops::BitOr;

/// What a policy reads and listens to. What nobody asks for is not computed.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, abi_stable::StableAbi)]
pub struct Interests(pub u64);

impl Interests {
    /// Reads nothing of the instances but their number, hears nothing.
    pub const NONE: Self = Self(0);
    /// Reads `in_flight` or `dispatched_tokens` of [`InstanceView`](crate::InstanceView).
    pub const COUNTERS: Self = Self(1);
    /// Reads the scraped fields of [`InstanceView`](crate::InstanceView) up to `block_size`.
    pub const SNAPSHOTS: Self = Self(1 << 1);
    /// Reads the scraped token sums of [`InstanceView`](crate::InstanceView), or asks for
    /// [`est_ttft_us`](crate::Host::est_ttft_us), which needs them; a batching policy: reads the
    /// token sums of [`StepView`](crate::StepView).
    pub const WORK: Self = Self(1 << 2);
    /// Asks for [`precise_prefix_blocks`](crate::Host::precise_prefix_blocks).
    pub const PRECISE_PREFIX: Self = Self(1 << 3);
    /// Asks for [`approximate_prefix_blocks`](crate::Host::approximate_prefix_blocks).
    pub const APPROXIMATE_PREFIX: Self = Self(1 << 4);
    /// Hears of dispatches, completions and rejections.
    pub const LIFECYCLE: Self = Self(1 << 5);
    /// Hears of first tokens and preemptions.
    pub const TOKENS: Self = Self(1 << 6);
    /// A scheduler that reads [`running`](QueueView::running) when it orders the queue.
    pub const RUNNING: Self = Self(1 << 7);
    /// Reads the scraped counts of adapters of [`InstanceView`](crate::InstanceView), or asks for
    /// [`adapter_signal`](crate::Host::adapter_signal). Since 1.1.
    pub const ADAPTERS: Self = Self(1 << 8);
    /// A batching policy that has to be asked before every step: it remembers what it saw, asks the
    /// host, reads token sums ([`WORK`](Self::WORK)), or reads the time for more than to name a
    /// [`hold_until_us`](crate::BatchLimits::hold_until_us). Without it, many steps between which
    /// nothing else changes may be taken at once. Since 1.1.
    pub const STEPS: Self = Self(1 << 9);
    /// A batching policy that reads the head of the wait queue. Since 1.1.
    pub const WAITING: Self = Self(1 << 10);
    /// A dispatch policy that reads more of the held requests than the first of each tenant and
    /// priority. Since 1.1.
    pub const HELD: Self = Self(1 << 11);
    /// Reads everything and hears everything: the safe default.
    pub const ALL: Self = Self(u64::MAX);

    /// Everything of `other`?
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without what is in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Does it hear of events of this kind?
    #[must_use]
    pub const fn hears(self, kind: EventKind) -> bool {
        self.has(match kind {
            EventKind::FirstToken | EventKind::Preempt => Self::TOKENS,
            EventKind::Dispatch | EventKind::Complete | EventKind::Reject => Self::LIFECYCLE,
        })
    }
}

impl BitOr for Interests {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What happened, of an [`Event`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A request was sent to an instance; to policies inside an instance: it entered the wait
    /// queue.
    Dispatch = 0,
    /// A request produced its first token.
    FirstToken = 1,
    /// A request is done with: its [`Outcome`] says how.
    Complete = 2,
    /// The admission policy refused a request, the gateway turned it away, or no instance could
    /// take it.
    Reject = 3,
    /// A request lost its place in a running batch.
    Preempt = 4,
}

/// How a completed request ended.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With all its tokens.
    Completed = 0,
    /// Its client gave up.
    TimedOut = 1,
    /// The instance can never serve it.
    Dropped = 2,
}

impl Event {
    /// Its kind; `None` for one that this version does not know.
    #[must_use]
    pub fn what(&self) -> Option<EventKind> {
        use EventKind::{Complete, Dispatch, FirstToken, Preempt, Reject};
        [Dispatch, FirstToken, Complete, Reject, Preempt]
            .into_iter()
            .find(|kind| *kind as u32 == self.kind)
    }
}

/// Answer of an [`Admission`] policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Let it in.
    Admit,
    /// Turn it away; the text says why and goes into the decision trace.
    Reject(String),
    /// Ask again after this many microseconds (at least 1,000).
    Delay(i64),
}

/// Decides at the door of the cluster.
pub trait Admission {
    /// What this policy reads and listens to.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// Interval of [`on_tick`](Self::on_tick), microseconds; 0 = never.
    fn tick_us(&self) -> i64 {
        0
    }
    /// Admit, reject or delay `request`.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError>;
    /// Something happened (only if asked for).
    ///
    /// # Errors
    /// When the policy cannot go on; the run ends.
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        let _ = event;
        Ok(())
    }
    /// Time passed. Only called while requests are about.
    ///
    /// # Errors
    /// When the policy cannot go on; the run ends.
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        let _ = cluster;
        Ok(())
    }
}

/// Answer of a [`Router`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Send it to this index of [`ClusterView::instances`].
    To(usize),
    /// Keep it at the front end and ask again after this many microseconds (at least 1,000).
    Hold {
        /// Microseconds until the next try.
        retry_after_us: i64,
    },
}

/// Chooses the instance.
pub trait Router {
    /// What this policy reads and listens to.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// Interval of [`on_tick`](Self::on_tick), microseconds; 0 = never.
    fn tick_us(&self) -> i64 {
        0
    }
    /// Choose an instance for `request`. `cluster.instances` is never empty. An index out of range
    /// ends the run.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError>;
    /// Scores of the last decision, one per instance, higher is better; `None` for a policy that
    /// does not score.
    fn scores(&self) -> Option<&[f64]> {
        None
    }
    /// Why the last decision fell as it did, for the decision trace.
    fn reason(&self) -> String {
        String::new()
    }
    /// Something happened (only if asked for).
    ///
    /// # Errors
    /// When the policy cannot go on; the run ends.
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        let _ = event;
        Ok(())
    }
    /// Time passed. Only called while requests are about.
    ///
    /// # Errors
    /// When the policy cannot go on; the run ends.
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        let _ = cluster;
        Ok(())
    }
}

/// Decides where a prompt is computed in a cluster in which some instances prefill for others.
/// Since 1.1.
pub trait Disaggregation {
    /// What this policy reads and listens to.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// Does an instance that prefills compute the prompt of `request`, and pass the KV cache on?
    /// Else the instance computes it that decodes: the router has chosen that at index `decode` of
    /// [`ClusterView::instances`]. These are first those that decode, then the others that prefill;
    /// [`InstanceView::role`](crate::InstanceView) tells them apart.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError>;
    /// Something happened (only if asked for).
    ///
    /// # Errors
    /// When the policy cannot go on; the run ends.
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        let _ = event;
        Ok(())
    }
}

/// When the numbers of waiting requests change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefresh {
    /// Never: computed once, when the request enters the wait queue. Cheap.
    AtEnqueue,
    /// With time: computed anew at most once per so many microseconds (at least 1), at the next
    /// step that could admit somebody.
    Every(i64),
    /// Always: computed anew before every step that could admit somebody, that is with a free place
    /// in the batch and tokens left. Dear: cost grows with queue length times steps.
    EachStep,
}

/// Gives a waiting request its priority inside the instance: **lower is more urgent**.
pub trait Priority {
    /// When the value has to be recomputed.
    fn refresh(&self) -> KeyRefresh {
        KeyRefresh::AtEnqueue
    }
    /// Priority of `request` now.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn priority(
        &mut self,
        request: &RequestView,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError>;
}

/// How an instance orders its wait queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOrder {
    /// First come, first served; a preempted request returns to the front.
    Fifo,
    /// By key ascending, ties by arrival and then by request id.
    Keyed(KeyRefresh),
}

/// Orders an instance's wait queue.
pub trait Scheduler {
    /// Which order this scheduler keeps.
    fn order(&self) -> QueueOrder;
    /// What this policy reads and listens to: [`Interests::RUNNING`] and the events of its own
    /// instance.
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    /// Sort key of a request that enters the wait queue, smallest first; only called for
    /// [`QueueOrder::Keyed`].
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError>;
    /// Sort keys of all waiting requests, one per element of `queue.waiting`: called when
    /// [`order`](Self::order) says that they change.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        for (key, queued) in keys.iter_mut().zip(queue.waiting.iter()) {
            *key = self.key(queued, queue)?;
        }
        Ok(())
    }
    /// Something happened on this instance (only if asked for).
    ///
    /// # Errors
    /// When the policy cannot go on; the run ends.
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        let _ = event;
        Ok(())
    }
}

/// Chooses who loses its KV blocks when a running request cannot grow.
pub trait Victim {
    /// Index into `queue.running` (never empty), which is in batch order, oldest admission first.
    /// An index out of range ends the run.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError>;
}
