//! Requests on instances that the gateway may take back.

use rustc_hash::FxHashMap;

/// A sheddable request on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Victim {
    serial: u64,
    priority: i32,
    dispatched_us: i64,
    instance: u32,
}

impl Victim {
    /// Is it taken back before `other`? The less important one is, and of equal ones the one that
    /// was dispatched later.
    fn before(&self, other: &Self) -> bool {
        (self.priority, -self.dispatched_us) < (other.priority, -other.dispatched_us)
    }
}

/// Sheddable requests on instances, the one to be taken back first on top.
///
/// A binary heap of which the layout is part of its contract: of requests that are equal in
/// priority and time the one that the reference simulator's heap has on top is the first.
#[derive(Debug, Default)]
pub(crate) struct Victims {
    heap: Vec<Victim>,
    /// Positions in the heap by serial number.
    places: FxHashMap<u64, usize>,
}

impl Victims {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// A sheddable request is on its way to an instance.
    pub(crate) fn add(&mut self, serial: u64, priority: i32, dispatched_us: i64, instance: u32) {
        self.places.insert(serial, self.heap.len());
        self.heap.push(Victim {
            serial,
            priority,
            dispatched_us,
            instance,
        });
        self.up(self.heap.len() - 1);
    }

    /// Takes the first one: its serial number and its instance.
    pub(crate) fn pop(&mut self) -> Option<(u64, u32)> {
        let first = *self.heap.first()?;
        self.remove(first.serial);
        Some((first.serial, first.instance))
    }

    /// A request is done with, if it is here.
    pub(crate) fn remove(&mut self, serial: u64) {
        let Some(place) = self.places.remove(&serial) else {
            return;
        };
        let last = self.heap.len() - 1;
        self.heap.swap_remove(place);
        if place < last {
            self.places.insert(self.heap[place].serial, place);
            if !self.down(place) {
                self.up(place);
            }
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.places.insert(self.heap[a].serial, a);
        self.places.insert(self.heap[b].serial, b);
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.heap[at].before(&self.heap[parent]) {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
    }

    /// Did it move?
    fn down(&mut self, start: usize) -> bool {
        let mut at = start;
        loop {
            let left = 2 * at + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let right_first = right < self.heap.len() && self.heap[right].before(&self.heap[left]);
            let child = if right_first { right } else { left };
            if !self.heap[child].before(&self.heap[at]) {
                break;
            }
            self.swap(at, child);
            at = child;
        }
        at > start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_important_that_was_dispatched_last_is_first() {
        let mut victims = Victims::default();
        for (serial, priority, at) in [(0, -1, 5), (1, -3, 1), (2, -3, 9), (3, -2, 7), (4, -3, 4)] {
            victims.add(serial, priority, at, serial as u32 + 10);
        }
        victims.remove(4);
        victims.remove(77);
        let order: Vec<_> = std::iter::from_fn(|| victims.pop()).collect();
        assert_eq!(order, [(2, 12), (1, 11), (3, 13), (0, 10)]);
        assert!(victims.is_empty());
    }

    #[test]
    fn any_order_of_removals_leaves_a_heap() {
        let mut victims = Victims::default();
        let mut noise = 7u64;
        let mut left = Vec::new();
        for serial in 0..500u64 {
            noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let (priority, at) = (-((noise >> 60) as i32 % 4), (noise >> 40) as i64);
            victims.add(serial, priority, at, 0);
            left.push((priority, -at, serial));
            if noise >> 62 == 0 {
                let (.., gone) = left.swap_remove((noise >> 33) as usize % left.len());
                victims.remove(gone);
            }
        }
        left.sort_unstable();
        let order: Vec<u64> = std::iter::from_fn(|| victims.pop()).map(|v| v.0).collect();
        assert_eq!(order, left.iter().map(|v| v.2).collect::<Vec<_>>());
    }
}
