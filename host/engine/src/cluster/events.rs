//! What happens to instances besides what their policies want: they fail, slow down, and are
//! replaced one after the other.

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening {
    /// They are gone at once, with all that they have.
    Fail {
        /// Time until another one takes requests in their place, microseconds; `None` = none does.
        restart_us: Option<i64>,
    },
    /// Their steps take longer.
    Slow {
        /// So many times as long, above 0.
        factor: f64,
        /// For so long, microseconds.
        for_us: i64,
    },
    /// They are replaced: each finishes what it has, and another one starts in its place.
    Roll {
        /// So many at once, at least 1.
        at_once: u32,
        /// Time until another one takes requests, microseconds.
        startup_us: i64,
    },
}

/// Something that happens to instances.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterEvent {
    /// When, microseconds.
    pub at_us: i64,
    /// Numbers of the instances, those of [`Happening::Roll`] of one pool.
    pub instances: Vec<u32>,
    /// What.
    pub what: Happening,
}

/// What happens to instances in a run, and what clients do whose instance fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// In order of time.
    pub all: Vec<ClusterEvent>,
    /// How often a client sends a request again that was lost.
    pub retries: u32,
    /// How long it waits before it does, microseconds.
    pub retry_after_us: i64,
}
