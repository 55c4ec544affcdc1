//! What a gateway that holds requests back leaves behind.

/// When a request came to the gateway and left it, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayTimes {
    /// When it came.
    pub enqueued_us: i64,
    /// When it went on to the router; none if it never did.
    pub dispatched_us: Option<i64>,
}

impl GatewayTimes {
    /// How long it was held before it went on, microseconds.
    #[must_use]
    pub fn delay_us(&self) -> Option<i64> {
        Some(self.dispatched_us? - self.enqueued_us)
    }
}

/// Requests that the gateway turned away, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// Refused, as its queue was full.
    pub rejected: u64,
    /// Made room for a more important one.
    pub shed: u64,
    /// Held as long as they may be.
    pub expired: u64,
    /// Taken back from an instance.
    pub evicted: u64,
}

impl TurnedAway {
    /// Those that the reference simulator counts as shed: who had a place and lost it.
    #[must_use]
    pub fn lost_place(&self) -> u64 {
        self.shed + self.expired + self.evicted
    }
}

/// Counters of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayTotals {
    /// Of all requests.
    pub all: TurnedAway,
    /// By SLO class name as given (`standard` when empty), sorted; classes with none are left out.
    pub by_class: Vec<(String, TurnedAway)>,
    /// Requests that it held when the run ended.
    pub held: u64,
    /// Most requests that it held at once.
    pub most_held: u64,
    /// The run ended because the saturation detector let nothing go and nothing else was to happen.
    pub stuck: bool,
}
