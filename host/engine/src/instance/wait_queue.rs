//! The wait queue: first come first served, or ordered by key.

use super::engine_request::EngineRequest;
use super::queue_key::QueueKey;
use super::slot::Slot;
use std::collections::{BTreeSet, VecDeque};
use windtunnel_plugin_api::QueueOrder;

/// Waiting requests of one instance. Every change costs O(log n) at most.
#[derive(Clone, Debug)]
pub(crate) enum WaitQueue {
    /// Order of arrival; preempted requests return to the front.
    Fifo(Line),
    /// Ordered by key; a preempted request returns to where its key puts it.
    Keyed(BTreeSet<(QueueKey, Slot)>),
}

/// A line in which each request has a numbered place. Those who leave from the middle leave a hole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    places: VecDeque<Option<Slot>>,
    /// Number of the first place; it is taken unless the line is empty.
    first: i64,
    len: usize,
}

impl Line {
    fn push_back(&mut self, slot: Slot) -> i64 {
        self.places.push_back(Some(slot));
        self.len += 1;
        self.first + self.places.len() as i64 - 1
    }

    fn push_front(&mut self, slot: Slot) -> i64 {
        self.places.push_front(Some(slot));
        self.len += 1;
        self.first -= 1;
        self.first
    }

    fn remove(&mut self, place: i64) {
        self.places[(place - self.first) as usize] = None;
        self.len -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
    }
}

impl WaitQueue {
    pub(crate) fn new(order: QueueOrder) -> Self {
        match order {
            QueueOrder::Fifo => Self::Fifo(Line::default()),
            QueueOrder::Keyed(_) => Self::Keyed(BTreeSet::new()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Fifo(line) => line.len,
            Self::Keyed(q) => q.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a request that arrived.
    pub(crate) fn push(&mut self, slot: Slot, request: &mut EngineRequest) {
        match self {
            Self::Fifo(line) => request.queue_place = line.push_back(slot),
            Self::Keyed(q) => {
                q.insert((request.queue_key(), slot));
            }
        }
    }

    /// Adds a preempted request.
    pub(crate) fn push_front(&mut self, slot: Slot, request: &mut EngineRequest) {
        match self {
            Self::Fifo(line) => request.queue_place = line.push_front(slot),
            Self::Keyed(q) => {
                q.insert((request.queue_key(), slot));
            }
        }
    }

    /// Orders a queue with keys anew; `entries` are the requests in it with the keys that they have
    /// now.
    pub(crate) fn reorder(&mut self, entries: impl Iterator<Item = (QueueKey, Slot)>) {
        if let Self::Keyed(q) = self {
            *q = entries.collect();
        }
    }

    /// The first request in order that `eligible` accepts.
    pub(crate) fn first(&self, mut eligible: impl FnMut(Slot) -> bool) -> Option<Slot> {
        match self {
            Self::Fifo(line) => {
                let mut slots = line.places.iter().flatten().copied();
                slots.find(|&slot| eligible(slot))
            }
            Self::Keyed(q) => q.iter().map(|(_, slot)| *slot).find(|&slot| eligible(slot)),
        }
    }

    /// Removes a request, wherever it is.
    pub(crate) fn remove(&mut self, slot: Slot, request: &EngineRequest) {
        match self {
            Self::Fifo(line) => line.remove(request.queue_place),
            Self::Keyed(q) => {
                let found = q.remove(&(request.queue_key(), slot));
                debug_assert!(
                    found,
                    "a waiting request has the key that it was queued with"
                );
            }
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        match self {
            Self::Fifo(line) => Box::new(line.places.iter().flatten().copied()),
            Self::Keyed(q) => Box::new(q.iter().map(|(_, slot)| *slot)),
        }
    }
}
