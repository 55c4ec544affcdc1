//! When something happens next on each instance.

use crate::instance::NEVER;

/// The time of the next event of every instance, as a tree of minima: the least of all is at hand,
/// and those before a moment are found without a look at the others.
#[derive(Clone, Debug)]
pub(super) struct NextEvents {
    /// Leaves behind inner nodes: node `k` has the lesser of nodes `2 * k` and `2 * k + 1`.
    tree: Vec<i64>,
    leaves: usize,
}

impl NextEvents {
    /// Nothing happens on any of so many instances.
    pub(super) fn new(instances: usize) -> Self {
        let leaves = instances.next_power_of_two();
        Self {
            tree: vec![NEVER; 2 * leaves],
            leaves,
        }
    }

    /// When something happens next on instance `i`.
    pub(super) fn of(&self, i: usize) -> i64 {
        self.tree[self.leaves + i]
    }

    /// From now on it is `at` on instance `i`.
    pub(super) fn set(&mut self, i: usize, at: i64) {
        let mut node = self.leaves + i;
        self.tree[node] = at;
        while node > 1 {
            node /= 2;
            let least = self.tree[2 * node].min(self.tree[2 * node + 1]);
            if self.tree[node] == least {
                break;
            }
            self.tree[node] = least;
        }
    }

    /// The earliest event, and the lowest instance of those that have it.
    pub(super) fn earliest(&self) -> (usize, i64) {
        let at = self.tree[1];
        if at == NEVER {
            return (0, NEVER);
        }
        let first = self.next_before(at + 1, 0);
        (first.unwrap_or_default(), at)
    }

    /// The lowest instance from `from` on with an event before `until`.
    pub(super) fn next_before(&self, until: i64, from: usize) -> Option<usize> {
        let mut node = self.leaves + from;
        if node >= self.tree.len() {
            return None;
        }
        loop {
            if self.tree[node] < until {
                while node < self.leaves {
                    node *= 2;
                    if self.tree[node] >= until {
                        node += 1;
                    }
                }
                return Some(node - self.leaves);
            }
            // On to the next subtree, which is a right one.
            while node % 2 == 1 {
                node /= 2;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_says_what_a_list_says() {
        for n in [1, 2, 3, 7, 8, 33] {
            let (mut events, mut list) = (NextEvents::new(n), vec![NEVER; n]);
            assert_eq!(events.earliest(), (0, NEVER));
            let mut noise = 3u64;
            for _ in 0..500 {
                noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                let (i, at) = ((noise >> 33) as usize % n, (noise >> 50) as i64 % 9);
                let at = if at == 8 { NEVER } else { at };
                events.set(i, at);
                list[i] = at;
                assert_eq!(events.of(i), at);
                let least = *list.iter().min().unwrap();
                let first = list.iter().position(|at| *at == least).unwrap();
                let first = if least == NEVER { 0 } else { first };
                assert_eq!(events.earliest(), (first, least));
                for until in [0, 4, NEVER] {
                    for from in 0..=n {
                        let next = (from..n).find(|&i| list[i] < until);
                        assert_eq!(events.next_before(until, from), next);
                    }
                }
            }
        }
    }
}
