//! Scheduled events, the earliest first.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

/// A priority queue of events: the least key first, equal keys in the order of their push, so that
/// a run never depends on how the heap happens to be laid out.
///
/// A push costs O(log n), and O(1) where keys come in ascending order: requests that are all put
/// off by the same time go around without a heap.
#[derive(Clone, Debug)]
pub struct EventQueue<K, V> {
    /// Events in ascending order: each came with a key no less than the one before it.
    ascending: VecDeque<Entry<K, V>>,
    /// All others.
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
            ascending: VecDeque::new(),
            heap: BinaryHeap::with_capacity(capacity),
            pushed: 0,
        }
    }

    /// Adds an event.
    pub fn push(&mut self, key: K, value: V) {
        let rank = Reverse((key, self.pushed));
        self.pushed += 1;
        let entry = Entry { rank, value };
        // The greater entry is the earlier event.
        if self.ascending.back().is_none_or(|last| *last > entry) {
            self.ascending.push_back(entry);
        } else {
            self.heap.push(entry);
        }
    }

    /// Does the next event come from those in ascending order?
    fn ascending_first(&self) -> bool {
        match (self.ascending.front(), self.heap.peek()) {
            (Some(ascending), Some(other)) => ascending > other,
            (ascending, _) => ascending.is_some(),
        }
    }

    fn next(&self) -> Option<&Entry<K, V>> {
        if self.ascending_first() {
            self.ascending.front()
        } else {
            self.heap.peek()
        }
    }

    /// The least key.
    #[must_use]
    pub fn peek(&self) -> Option<&K> {
        self.next().map(|entry| &entry.rank.0.0)
    }

    /// The next event: the least key and its value.
    #[must_use]
    pub fn first(&self) -> Option<(&K, &V)> {
        let entry = self.next()?;
        Some((&entry.rank.0.0, &entry.value))
    }

    /// Removes the next event.
    pub fn pop(&mut self) -> Option<(K, V)> {
        let next = if self.ascending_first() {
            self.ascending.pop_front()
        } else {
            self.heap.pop()
        };
        next.map(into_pair)
    }

    /// All keys, in unspecified order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        let entries = self.ascending.iter().chain(&self.heap);
        entries.map(|entry| &entry.rank.0.0)
    }

    /// Removes all events, in unspecified order.
    pub fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        let ascending = self.ascending.drain(..);
        ascending.chain(self.heap.drain()).map(into_pair)
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

    #[test]
    fn events_that_come_in_order_and_others_are_one_sequence() {
        let mut queue = EventQueue::default();
        let mut model: Vec<(u64, u64)> = Vec::new();
        let mut noise = 1u64;
        for id in 0..5_000 {
            noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            // Runs of ascending keys, keys in between, and many equal ones.
            let key = match (noise >> 60) & 3 {
                0 => (noise >> 33) % 50,
                _ => id / 100,
            };
            queue.push(key, id);
            model.push((key, id));
            if (noise >> 40).is_multiple_of(3) {
                let next = (0..model.len()).min_by_key(|&k| model[k]).unwrap();
                assert_eq!(queue.peek(), Some(&model[next].0));
                assert_eq!(queue.pop(), Some(model.remove(next)));
            }
        }
        assert_eq!(queue.keys().count(), model.len());
        model.sort_unstable();
        assert_eq!(
            std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(),
            model
        );
    }
}
