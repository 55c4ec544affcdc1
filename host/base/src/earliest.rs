//! Things to come, the earliest first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A heap that gives back the values with the least key first, and those with equal keys in the
/// order in which they came.
#[derive(Clone, Debug)]
pub struct Earliest<K, V> {
    heap: BinaryHeap<Entry<K, V>>,
    pushed: u64,
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    /// The key and the number of the push; `BinaryHeap` has the greatest on top.
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

impl<K: Ord, V> Default for Earliest<K, V> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<K: Ord, V> Earliest<K, V> {
    /// An empty heap with room for `capacity` values.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(capacity),
            pushed: 0,
        }
    }

    /// Puts a value in.
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

    /// The least key and its value.
    #[must_use]
    pub fn first(&self) -> Option<(&K, &V)> {
        let entry = self.heap.peek()?;
        Some((&entry.rank.0.0, &entry.value))
    }

    /// Takes the value with the least key out.
    pub fn pop(&mut self) -> Option<(K, V)> {
        self.heap.pop().map(taken)
    }

    /// All keys, in no order that means anything.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.heap.iter().map(|entry| &entry.rank.0.0)
    }

    /// Takes everything out, in no order that means anything.
    pub fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        self.heap.drain().map(taken)
    }
}

fn taken<K, V>(entry: Entry<K, V>) -> (K, V) {
    (entry.rank.0.0, entry.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_key_comes_first_and_equal_ones_in_the_order_of_their_coming() {
        let mut heap = Earliest::default();
        for (key, value) in [(3, 'a'), (1, 'b'), (3, 'c'), (2, 'd'), (1, 'e'), (3, 'f')] {
            heap.push(key, value);
        }
        assert_eq!(heap.peek(), Some(&1));
        assert_eq!(heap.first(), Some((&1, &'b')));
        assert_eq!(heap.keys().sum::<i32>(), 13);
        let values: String = std::iter::from_fn(|| heap.pop()).map(|e| e.1).collect();
        assert_eq!(values, "bedacf");
        assert_eq!(heap.peek(), None);
        heap.push(4, 'g');
        assert_eq!(heap.drain().collect::<Vec<_>>(), [(4, 'g')]);
        assert_eq!(heap.pop(), None);
    }
}
