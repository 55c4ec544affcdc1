//! The prefix index as of its last scrape, kept as a log of changes since then.

use rustc_hash::FxHashMap;

/// Which keys changed since the last refresh, and whether they were present then.
///
/// Memory and time are O(changes between refreshes); the index itself is never copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeLog {
    was_present: FxHashMap<u64, bool>,
}

impl ChangeLog {
    /// `key` is about to appear.
    pub(crate) fn appears(&mut self, key: u64) {
        self.was_present.entry(key).or_insert(false);
    }

    /// `key` is about to vanish.
    pub(crate) fn vanishes(&mut self, key: u64) {
        self.was_present.entry(key).or_insert(true);
    }

    /// Was `key` present at the last refresh, given whether it is now?
    pub(crate) fn then(&self, key: u64, present_now: bool) -> bool {
        self.was_present.get(&key).copied().unwrap_or(present_now)
    }

    /// Makes the present state the one that is remembered.
    pub(crate) fn refresh(&mut self) {
        self.was_present.clear();
    }
}
