//! The wait queue: first come first served, or ordered by key.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use windtunnel_base::request::RequestId;
use windtunnel_plugin_api::{KeyRefresh, QueueOrder};

/// Index of a request in its instance's slab.
pub(crate) type JobIx = u32;

/// Place of a request in a keyed queue: (key, arrival, id), all ascending.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) key: f64,
    pub(crate) arrival_us: i64,
    pub(crate) id: RequestId,
}

impl Eq for Place {}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key
            .total_cmp(&other.key)
            .then(self.arrival_us.cmp(&other.arrival_us))
            .then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Waiting requests of one instance.
#[derive(Clone, Debug)]
pub(crate) enum WaitQueue {
    /// Order of arrival; preempted requests return to the front.
    Fifo(VecDeque<JobIx>),
    /// Order of place; a preempted request returns to its place.
    Keyed(BTreeSet<(Place, JobIx)>),
    /// Order of place, where places change often: the first one stands last.
    Changing(Vec<(Place, JobIx)>),
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

    pub(crate) fn push(&mut self, ix: JobIx, place: impl FnOnce() -> Place) {
        match self {
            Self::Fifo(q) => q.push_back(ix),
            Self::Keyed(_) | Self::Changing(_) => self.insert(place(), ix),
        }
    }

    fn insert(&mut self, place: Place, ix: JobIx) {
        let one = (place, ix);
        match self {
            Self::Fifo(_) => unreachable!("a queue without places"),
            Self::Keyed(q) => {
                q.insert(one);
            }
            Self::Changing(q) => {
                let at = q.partition_point(|other| *other > one);
                q.insert(at, one);
            }
        }
    }

    /// Fills an empty queue of places.
    pub(crate) fn fill(&mut self, places: impl Iterator<Item = (Place, JobIx)>) {
        match self {
            Self::Fifo(q) => q.extend(places.map(|(_, ix)| ix)),
            Self::Keyed(q) => q.extend(places),
            Self::Changing(q) => {
                q.extend(places);
                q.sort_unstable_by(|a, b| b.cmp(a));
            }
        }
    }

    /// A preempted request comes back.
    pub(crate) fn push_front(&mut self, ix: JobIx, place: impl FnOnce() -> Place) {
        match self {
            Self::Fifo(q) => q.push_front(ix),
            Self::Keyed(_) | Self::Changing(_) => self.insert(place(), ix),
        }
    }

    /// The first one in order that `may` go.
    pub(crate) fn first(&self, mut may: impl FnMut(JobIx) -> bool) -> Option<JobIx> {
        match self {
            Self::Fifo(q) => q.iter().copied().find(|&ix| may(ix)),
            Self::Keyed(q) => q.iter().map(|(_, ix)| *ix).find(|&ix| may(ix)),
            Self::Changing(q) => q.iter().rev().map(|(_, ix)| *ix).find(|&ix| may(ix)),
        }
    }

    /// Removes a request at or near the front. Cheap there.
    pub(crate) fn take(&mut self, ix: JobIx) {
        match self {
            Self::Fifo(q) => {
                if let Some(at) = q.iter().position(|&other| other == ix) {
                    q.remove(at);
                }
            }
            Self::Keyed(q) => {
                if q.first().is_some_and(|(_, first)| *first == ix) {
                    q.pop_first();
                } else {
                    q.retain(|(_, other)| *other != ix);
                }
            }
            Self::Changing(q) => {
                if let Some(at) = q.iter().rposition(|(_, other)| *other == ix) {
                    q.remove(at);
                }
            }
        }
    }

    /// Removes a request wherever it stands. O(length).
    pub(crate) fn remove(&mut self, ix: JobIx) {
        match self {
            Self::Fifo(q) => q.retain(|&other| other != ix),
            Self::Keyed(q) => q.retain(|(_, other)| *other != ix),
            Self::Changing(q) => q.retain(|(_, other)| *other != ix),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = JobIx> + '_> {
        match self {
            Self::Fifo(q) => Box::new(q.iter().copied()),
            Self::Keyed(q) => Box::new(q.iter().map(|(_, ix)| *ix)),
            Self::Changing(q) => Box::new(q.iter().rev().map(|(_, ix)| *ix)),
        }
    }
}
