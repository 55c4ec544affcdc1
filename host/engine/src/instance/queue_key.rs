//! Where a request stands in a wait queue with keys.

use std::cmp::Ordering;
use windtunnel_base::request::RequestId;

/// Order of a request in a keyed queue: (key, arrival, id), all ascending.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueKey {
    pub(crate) key: f64,
    pub(crate) arrival_us: i64,
    pub(crate) id: RequestId,
}

impl Eq for QueueKey {}

impl Ord for QueueKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key
            .total_cmp(&other.key)
            .then(self.arrival_us.cmp(&other.arrival_us))
            .then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for QueueKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
