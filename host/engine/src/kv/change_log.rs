//! The prefix index as of its last scrape, kept as a log of changes since then.

use crate::key_range::KeyRange;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Which blocks changed since the last refresh, and whether they were findable then.
///
/// Memory and time are O(changes between refreshes); the index itself is never copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeLog {
    /// By line, in order and without overlaps.
    changes: FxHashMap<u64, SmallVec<[Change; 2]>>,
}

/// Blocks of a line from `first` up to `end`.
#[derive(Clone, Copy, Debug)]
struct Change {
    first: u32,
    end: u32,
    was_present: bool,
}

/// What the log says of a block and of those after it, up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Then {
    /// `None`: what is so now.
    pub(super) was_present: Option<bool>,
    pub(super) end: u32,
}

impl ChangeLog {
    /// Blocks are about to appear.
    pub(super) fn appear(&mut self, range: KeyRange) {
        self.note(range, false);
    }

    /// Blocks are about to vanish.
    pub(super) fn vanish(&mut self, range: KeyRange) {
        self.note(range, true);
    }

    /// The first change since the refresh is what counts.
    fn note(&mut self, range: KeyRange, was_present: bool) {
        let changes = self.changes.entry(range.line).or_default();
        let mut next = changes.partition_point(|change| change.end <= range.first);
        let mut first = range.first;
        while first < range.end() {
            let known = changes.get(next).copied();
            if let Some(known) = known.filter(|known| known.first <= first) {
                first = known.end;
                next += 1;
                continue;
            }
            let end = known.map_or(range.end(), |known| known.first.min(range.end()));
            let before = next.checked_sub(1).map(|k| &mut changes[k]);
            match before {
                Some(before) if before.end == first && before.was_present == was_present => {
                    before.end = end;
                }
                _ => {
                    let change = Change {
                        first,
                        end,
                        was_present,
                    };
                    changes.insert(next, change);
                    next += 1;
                }
            }
            first = end;
        }
    }

    /// What was so at the last refresh of the first blocks of `range`, which is not empty.
    pub(super) fn then(&self, range: KeyRange) -> Then {
        let changes = self.changes.get(&range.line);
        let next = changes.and_then(|changes| {
            let next = changes.partition_point(|change| change.end <= range.first);
            changes.get(next)
        });
        match next {
            Some(change) if change.first <= range.first => Then {
                was_present: Some(change.was_present),
                end: change.end.min(range.end()),
            },
            _ => Then {
                was_present: None,
                end: next.map_or(range.end(), |change| change.first.min(range.end())),
            },
        }
    }

    /// Makes the present state the one that is remembered.
    pub(super) fn refresh(&mut self) {
        self.changes.clear();
    }
}
