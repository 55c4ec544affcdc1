//! Scheduled events, the earliest first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A priority queue of events: the least key first, equal keys in the order of their push, so that
/// a run never depends on how the heap happens to be laid out.
#[derive(Clone, Debug)]
pub struct EventQueue<K, V> {
    heap: BinaryHeap<Entry<K, V>>,
    pushed: u64,
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    /// The key, then the number of the push; reversed because `BinaryHeap` has the greatest on top.
    rank: Reverse<(K, u64)>,
    value: V,
}

impl<K: Ord, V> PartialEq for Entry<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}
impl<K: Ord, V> Eq for Entry<K, V> {}
impl<K: Ord, V> PartialOrd for Entry<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: Ord, V> Ord for Entry<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<K: Ord, V> Default for EventQueue<K, V> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<K: Ord, V> EventQueue<K, V> {
    /// An empty queue with room for `capacity` values.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(capacity),
            pushed: 0,
        }
    }

    /// Adds an event.
    pub fn push(&mut self, key: K, value: V) {
        let rank = Reverse((key, self.pushed));
        self.pushed += 1;
        self.heap.push(Entry { rank, value });
    }

    /// The least key.
    #[must_use]
    pub fn peek(&self) -> Option<&K> {
        self.heap.peek().map(|entry| &entry.rank.0.0)
    }

    /// The next event: the least key and its value.
    #[must_use]
    pub fn first(&self) -> Option<(&K, &V)> {
        let entry = self.heap.peek()?;
        Some((&entry.rank.0.0, &entry.value))
    }

    /// Removes the next event.
    pub fn pop(&mut self) -> Option<(K, V)> {
        self.heap.pop().map(into_pair)
    }

    /// All keys, in unspecified order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.heap.iter().map(|entry| &entry.rank.0.0)
    }

    /// Removes all events, in unspecified order.
    pub fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        self.heap.drain().map(into_pair)
    }
}

fn into_pair<K, V>(entry: Entry<K, V>) -> (K, V) {
    (entry.rank.0.0, entry.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_key_comes_first_and_equal_keys_in_order_of_push() {
        let mut queue = EventQueue::default();
        for (key, value) in [(3, 'a'), (1, 'b'), (3, 'c'), (2, 'd'), (1, 'e'), (3, 'f')] {
            queue.push(key, value);
        }
        assert_eq!(queue.peek(), Some(&1));
        assert_eq!(queue.first(), Some((&1, &'b')));
        assert_eq!(queue.keys().sum::<i32>(), 13);
        let values: String = std::iter::from_fn(|| queue.pop()).map(|e| e.1).collect();
        assert_eq!(values, "bedacf");
        assert_eq!(queue.peek(), None);
        queue.push(4, 'g');
        assert_eq!(queue.drain().collect::<Vec<_>>(), [(4, 'g')]);
        assert_eq!(queue.pop(), None);
    }
}
