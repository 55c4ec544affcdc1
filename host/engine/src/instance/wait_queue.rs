//! The wait queue: first come first served, or ordered by key.

use super::slot::Slot;
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use windtunnel_base::request::RequestId;
use windtunnel_plugin_api::{KeyRefresh, QueueOrder};

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

/// Waiting requests of one instance.
#[derive(Clone, Debug)]
pub(crate) enum WaitQueue {
    /// Order of arrival; preempted requests return to the front.
    Fifo(VecDeque<Slot>),
    /// Ordered by key; a preempted request returns to where its key puts it.
    Keyed(BTreeSet<(QueueKey, Slot)>),
    /// Ordered by key, where keys change often: the first one is last in the vector.
    Changing(Vec<(QueueKey, Slot)>),
}

impl WaitQueue {
    pub(crate) fn new(order: QueueOrder) -> Self {
        match order {
            QueueOrder::Fifo => Self::Fifo(VecDeque::new()),
            QueueOrder::Keyed(KeyRefresh::AtEnqueue) => Self::Keyed(BTreeSet::new()),
            QueueOrder::Keyed(KeyRefresh::Every(_) | KeyRefresh::EachStep) => {
                Self::Changing(Vec::new())
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Fifo(q) => q.len(),
            Self::Keyed(q) => q.len(),
            Self::Changing(q) => q.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, slot: Slot, key: impl FnOnce() -> QueueKey) {
        match self {
            Self::Fifo(q) => q.push_back(slot),
            Self::Keyed(_) | Self::Changing(_) => self.insert(key(), slot),
        }
    }

    fn insert(&mut self, key: QueueKey, slot: Slot) {
        let entry = (key, slot);
        match self {
            Self::Fifo(_) => unreachable!("a queue without keys"),
            Self::Keyed(q) => {
                q.insert(entry);
            }
            Self::Changing(q) => {
                let at = q.partition_point(|other| *other > entry);
                q.insert(at, entry);
            }
        }
    }

    /// Fills an empty queue.
    pub(crate) fn fill(&mut self, entries: impl Iterator<Item = (QueueKey, Slot)>) {
        match self {
            Self::Fifo(q) => q.extend(entries.map(|(_, slot)| slot)),
            Self::Keyed(q) => q.extend(entries),
            Self::Changing(q) => {
                q.extend(entries);
                q.sort_unstable_by(|a, b| b.cmp(a));
            }
        }
    }

    /// Adds a preempted request.
    pub(crate) fn push_front(&mut self, slot: Slot, key: impl FnOnce() -> QueueKey) {
        match self {
            Self::Fifo(q) => q.push_front(slot),
            Self::Keyed(_) | Self::Changing(_) => self.insert(key(), slot),
        }
    }

    /// The first request in order that `eligible` accepts.
    pub(crate) fn first(&self, mut eligible: impl FnMut(Slot) -> bool) -> Option<Slot> {
        match self {
            Self::Fifo(q) => q.iter().copied().find(|&slot| eligible(slot)),
            Self::Keyed(q) => q.iter().map(|(_, slot)| *slot).find(|&slot| eligible(slot)),
            Self::Changing(q) => q
                .iter()
                .rev()
                .map(|(_, slot)| *slot)
                .find(|&slot| eligible(slot)),
        }
    }

    /// Removes a request at or near the front. Cheap there.
    pub(crate) fn take(&mut self, slot: Slot) {
        match self {
            Self::Fifo(q) => {
                if let Some(at) = q.iter().position(|&other| other == slot) {
                    q.remove(at);
                }
            }
            Self::Keyed(q) => {
                if q.first().is_some_and(|(_, first)| *first == slot) {
                    q.pop_first();
                } else {
                    q.retain(|(_, other)| *other != slot);
                }
            }
            Self::Changing(q) => {
                if let Some(at) = q.iter().rposition(|(_, other)| *other == slot) {
                    q.remove(at);
                }
            }
        }
    }

    /// Removes a request wherever it is. O(length).
    pub(crate) fn remove(&mut self, slot: Slot) {
        match self {
            Self::Fifo(q) => q.retain(|&other| other != slot),
            Self::Keyed(q) => q.retain(|(_, other)| *other != slot),
            Self::Changing(q) => q.retain(|(_, other)| *other != slot),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        match self {
            Self::Fifo(q) => Box::new(q.iter().copied()),
            Self::Keyed(q) => Box::new(q.iter().map(|(_, slot)| *slot)),
            Self::Changing(q) => Box::new(q.iter().rev().map(|(_, slot)| *slot)),
        }
    }
}
