//! Which views changed when, so that who looks again looks only at those.

use super::recency::{NONE, Recency};

/// The positions of a list in the order of their last change.
///
/// A change costs O(1), and so does every position that changed since somebody looked last: there
/// may be any number of those who look, each with a moment of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    order: Recency,
    /// When each changed last, by the count of changes.
    changed: Vec<u64>,
    /// Changes so far.
    count: u64,
}

impl Changes {
    /// The list has `n` positions from now on; new ones have changed.
    pub(super) fn resize(&mut self, n: usize) {
        while self.order.len() > n {
            self.order.pop();
            self.changed.pop();
        }
        while self.order.len() < n {
            self.order.push();
            self.count += 1;
            self.changed.push(self.count);
        }
    }

    /// Position `i` has changed.
    pub(super) fn note(&mut self, i: usize) {
        self.order.touch(i as u32);
        self.count += 1;
        self.changed[i] = self.count;
    }

    /// Positions that changed since `seen`, the last one first; `seen` stands for now afterwards.
    /// `None` if `out` has no room for them.
    pub(super) fn since(&self, seen: &mut u64, out: &mut [u32]) -> Option<usize> {
        let (from, mut at, mut n) = (*seen, self.order.newest(), 0);
        *seen = self.count;
        while at != NONE && self.changed[at as usize] > from {
            *out.get_mut(n)? = at;
            n += 1;
            at = self.order.before(at);
        }
        Some(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_hears_of_the_changes_since_the_last_look() {
        let mut changes = Changes::default();
        changes.resize(4);
        let (mut one, mut two, mut out) = (0, 0, [0; 4]);
        let look = |changes: &Changes, seen: &mut u64, out: &mut [u32]| {
            let n = changes.since(seen, out).unwrap();
            let mut positions = out[..n].to_vec();
            positions.sort_unstable();
            positions
        };
        assert_eq!(look(&changes, &mut one, &mut out), [0, 1, 2, 3]);
        assert!(look(&changes, &mut one, &mut out).is_empty());
        for i in [2, 0, 2] {
            changes.note(i);
        }
        assert_eq!(look(&changes, &mut one, &mut out), [0, 2]);
        changes.note(3);
        changes.note(3);
        assert_eq!(look(&changes, &mut one, &mut out), [3]);
        assert_eq!(look(&changes, &mut two, &mut out), [0, 1, 2, 3]);
        changes.note(1);
        changes.resize(1);
        changes.resize(3);
        assert_eq!(look(&changes, &mut two, &mut out), [1, 2]);
    }

    #[test]
    fn what_has_no_room_is_not_half_told() {
        let mut changes = Changes::default();
        changes.resize(3);
        let mut seen = 0;
        assert_eq!(changes.since(&mut seen, &mut [0; 2]), None);
        assert_eq!(changes.since(&mut seen, &mut [0; 2]), Some(0));
    }
}
