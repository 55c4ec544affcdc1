//! What happened, told to the policies that asked for it.

/// Kind of an [`Event`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A request was sent to an instance.
    Dispatch,
    /// A request produced its first token.
    FirstToken,
    /// A request finished.
    Complete,
    /// A request's client gave up.
    TimedOut,
    /// An instance refused a request it can never serve.
    Dropped,
    /// The admission policy refused a request, or no instance could take it.
    Reject,
    /// A request lost its place in a running batch.
    Preempt,
}

/// Something that happened to a request. Fields that do not apply are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When the cluster learned of it, microseconds.
    pub now_us: i64,
    /// The request's [`serial`](crate::RequestView::serial).
    pub serial: u64,
    /// Cluster index of the instance (`u32::MAX` when none is involved).
    pub instance: u32,
    /// The request's tenant.
    pub tenant: u32,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Tokens generated so far.
    pub output_tokens: u32,
    /// Time to first token, microseconds.
    pub ttft_us: i64,
    /// End-to-end latency, microseconds.
    pub e2e_us: i64,
}

/// What a policy reads and listens to. What nobody asks for is not computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interests {
    /// Reads `in_flight` or `dispatched_tokens` of [`InstanceView`](crate::InstanceView).
    pub counters: bool,
    /// Reads the scraped fields of [`InstanceView`](crate::InstanceView).
    pub snapshots: bool,
    /// Calls [`precise_prefix_blocks`](crate::Signals::precise_prefix_blocks).
    pub precise_prefix: bool,
    /// Calls [`approximate_prefix_blocks`](crate::Signals::approximate_prefix_blocks).
    pub approximate_prefix: bool,
    /// Wants dispatch, completion, time-out, drop and rejection events.
    pub lifecycle_events: bool,
    /// Wants first-token and preemption events.
    pub token_events: bool,
}

impl Interests {
    /// Reads everything and hears everything: the safe default.
    pub const ALL: Self = Self {
        counters: true,
        snapshots: true,
        precise_prefix: true,
        approximate_prefix: true,
        lifecycle_events: true,
        token_events: true,
    };
    /// Reads nothing of the instances but their number.
    pub const NONE: Self = Self {
        counters: false,
        snapshots: false,
        precise_prefix: false,
        approximate_prefix: false,
        lifecycle_events: false,
        token_events: false,
    };
    /// Reads all fields of the instances.
    pub const SNAPSHOTS: Self = Self {
        counters: true,
        snapshots: true,
        ..Self::NONE
    };

    /// Everything that either of the two wants.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            counters: self.counters || other.counters,
            snapshots: self.snapshots || other.snapshots,
            precise_prefix: self.precise_prefix || other.precise_prefix,
            approximate_prefix: self.approximate_prefix || other.approximate_prefix,
            lifecycle_events: self.lifecycle_events || other.lifecycle_events,
            token_events: self.token_events || other.token_events,
        }
    }
}
