//! How fast, how long and how much of a trace is replayed.

/// How a trace without deadlines of its own is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Factor on the arrival rate: times are divided by it.
    pub rate_scale: f64,
    /// Time limit of every request, microseconds; `None` = none.
    pub timeout_us: Option<i64>,
    /// Most requests, in order of arrival.
    pub max_requests: Option<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rate_scale: 1.0,
            timeout_us: None,
            max_requests: None,
        }
    }
}

impl Pace {
    /// How many of `rows` rows are wanted.
    pub(super) fn take(&self, rows: usize) -> usize {
        self.max_requests
            .and_then(|n| usize::try_from(n).ok())
            .map_or(rows, |n| n.min(rows))
    }

    /// The deadline of a request.
    pub(super) fn deadline_us(&self, arrival_us: i64) -> i64 {
        self.timeout_us.map_or(0, |t| arrival_us.saturating_add(t))
    }
}
