//! The prefix index: which extents a lookup finds.

use super::pool::Pool;
use crate::key_range::KeyRange;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// The findable extents, and the copies of them.
#[derive(Clone, Debug)]
pub(super) struct PrefixIndex {
    /// By line, in order and without overlaps.
    findable: FxHashMap<u64, SmallVec<[u32; 2]>>,
    /// By line, further copies of findable blocks, the oldest first where they overlap; `None` when
    /// only the newest copy is findable.
    copies: Option<FxHashMap<u64, Vec<u32>>>,
}

/// What is there of a block and of those after it, up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The extent that they are in, if they are there.
    pub(super) extent: Option<u32>,
    pub(super) end: u32,
}

/// The first extent of a list that ends behind a block.
fn position(list: &[u32], pool: &Pool, block: u32) -> usize {
    list.partition_point(|&extent| pool[extent].range.end() <= block)
}

impl PrefixIndex {
    /// An empty index. With `find_all_copies` a copy takes the place of an evicted block.
    pub(super) fn new(find_all_copies: bool) -> Self {
        Self {
            findable: FxHashMap::default(),
            copies: find_all_copies.then(FxHashMap::default),
        }
    }

    /// Does a copy take the place of an evicted block?
    pub(super) fn finds_all_copies(&self) -> bool {
        self.copies.is_some()
    }

    /// Calls `found` with the extents in which the first blocks of `range` are, as far as they are
    /// findable, and the range there; returns how many blocks those are.
    pub(super) fn leading(
        &self,
        pool: &Pool,
        range: KeyRange,
        mut found: impl FnMut(u32, KeyRange),
    ) -> u32 {
        let Some(list) = self.findable.get(&range.line) else {
            return 0;
        };
        let mut first = range.first;
        for &extent in &list[position(list, pool, first)..] {
            let there = pool[extent].range;
            if there.first > first || first == range.end() {
                break;
            }
            let end = there.end().min(range.end());
            found(extent, range.part(first, end));
            first = end;
        }
        first - range.first
    }

    /// Where the first block of `range` is found, which is not empty.
    pub(super) fn first(&self, pool: &Pool, range: KeyRange) -> Found {
        let list = self.findable.get(&range.line);
        let next = list.and_then(|list| list.get(position(list, pool, range.first)));
        Self::found(pool, next.copied(), range)
    }

    /// What of `range` is found in `next`, the extent at its first block or the next one after it.
    fn found(pool: &Pool, next: Option<u32>, range: KeyRange) -> Found {
        match next.map(|extent| (extent, pool[extent].range)) {
            Some((extent, there)) if there.first <= range.first => Found {
                extent: Some(extent),
                end: there.end().min(range.end()),
            },
            next => Found {
                extent: None,
                end: next.map_or(range.end(), |(_, there)| there.first.min(range.end())),
            },
        }
    }

    /// An extent becomes findable.
    pub(super) fn insert(&mut self, pool: &Pool, extent: u32) {
        let range = pool[extent].range;
        let list = self.findable.entry(range.line).or_default();
        list.insert(position(list, pool, range.first), extent);
    }

    /// An extent is findable no more.
    pub(super) fn remove(&mut self, pool: &Pool, extent: u32) {
        let range = pool[extent].range;
        if let Some(list) = self.findable.get_mut(&range.line) {
            list.remove(position(list, pool, range.first));
            if list.is_empty() {
                self.findable.remove(&range.line);
            }
        }
    }

    /// An extent becomes a copy, the newest one.
    pub(super) fn insert_copy(&mut self, pool: &Pool, extent: u32) {
        if let Some(copies) = &mut self.copies {
            let line = pool[extent].range.line;
            copies.entry(line).or_default().push(extent);
        }
    }

    /// Is a copy the newest one of its line?
    pub(super) fn is_newest_copy(&self, pool: &Pool, extent: u32) -> bool {
        let list = self.copies.as_ref();
        let list = list.and_then(|copies| copies.get(&pool[extent].range.line));
        list.is_some_and(|list| list.last() == Some(&extent))
    }

    /// An extent is a copy no more.
    pub(super) fn remove_copy(&mut self, pool: &Pool, extent: u32) {
        let line = pool[extent].range.line;
        if let Some(copies) = &mut self.copies
            && let Some(list) = copies.get_mut(&line)
        {
            list.retain(|&other| other != extent);
            if list.is_empty() {
                copies.remove(&line);
            }
        }
    }

    /// The oldest copy of the first block of `range`, which is not empty, and up to where it is the
    /// oldest one.
    pub(super) fn oldest_copy(&self, pool: &Pool, range: KeyRange) -> Found {
        let list = self.copies.as_ref();
        let list = list.and_then(|copies| copies.get(&range.line));
        let mut found = Found {
            extent: None,
            end: range.end(),
        };
        for &copy in list.into_iter().flatten() {
            let there = pool[copy].range;
            if there.first > range.first {
                // It is older than those after it in the list.
                found.end = found.end.min(there.first);
            } else if there.end() > range.first {
                found.extent = Some(copy);
                found.end = found.end.min(there.end());
                break;
            }
        }
        found
    }

    /// An extent was split, and `tail` is what it lost.
    pub(super) fn split(&mut self, pool: &Pool, extent: u32, tail: u32) {
        let range = pool[extent].range;
        if pool[extent].findable {
            self.insert(pool, tail);
        } else if let Some(copies) = &mut self.copies
            && let Some(list) = copies.get_mut(&range.line)
            && let Some(at) = list.iter().position(|&other| other == extent)
        {
            list.insert(at + 1, tail);
        }
    }

    /// The findable extents of each line; for tests.
    pub(super) fn lists(&self) -> impl Iterator<Item = (u64, &[u32])> {
        self.findable.iter().map(|(line, list)| (*line, &list[..]))
    }

    /// The copies of each line; for tests.
    pub(super) fn copies(&self) -> impl Iterator<Item = (u64, &[u32])> {
        let copies = self.copies.iter().flatten();
        copies.map(|(line, list)| (*line, &list[..]))
    }
}
