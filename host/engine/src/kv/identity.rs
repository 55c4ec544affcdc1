//! How blocks become findable and cease to be.

use super::block_table::{BlockTable, Held};
use super::cache::KvCache;
use crate::key_range::KeyRange;

impl KvCache {
    /// Splits an extent; returns the one with all but its first `blocks` blocks.
    pub(super) fn split(&mut self, extent: u32, blocks: u32) -> u32 {
        let tail = self.pool.split(extent, blocks);
        self.index.split(&self.pool, extent, tail);
        tail
    }

    /// Gives the first anonymous blocks of a request an identity.
    pub(super) fn identify(&mut self, table: &mut BlockTable, range: KeyRange) {
        self.relief += u64::from(range.blocks);
        let mut first = range.first;
        while first < range.end() {
            let left = range.part(first, range.end());
            let found = self.index.first(&self.pool, left);
            let part = range.part(first, found.end);
            match found.extent {
                None => {
                    if let Some(log) = &mut self.changes {
                        log.appear(part);
                    }
                }
                // The newest copy is the one that is found.
                Some(old) if !self.index.finds_all_copies() => self.hide(old, part),
                Some(_) => {}
            }
            let is_copy = found.extent.is_some() && self.index.finds_all_copies();
            self.extend(table, part, !is_copy);
            first = found.end;
        }
        table.anonymous -= range.blocks;
        table.identified += range.blocks;
    }

    /// Adds blocks with identity to a table: to its last extent, if they go on in it.
    fn extend(&mut self, table: &mut BlockTable, range: KeyRange, findable: bool) {
        if let Some(held) = table.held.last_mut()
            && let Some(extent) = self.pool.parts(*held).last()
        {
            let last = &self.pool[extent];
            let goes_on = last.references == 1
                && last.findable == findable
                && last.range.line == range.line
                && last.range.end() == range.first;
            if goes_on && (findable || self.index.is_newest_copy(&self.pool, extent)) {
                self.pool.grow(extent, range.blocks);
                held.blocks += range.blocks;
                return;
            }
        }
        let extent = self.pool.add(range, findable);
        if findable {
            self.index.insert(&self.pool, extent);
        } else {
            self.index.insert_copy(&self.pool, extent);
        }
        table.held.push(Held {
            extent,
            blocks: range.blocks,
        });
    }

    /// The extent of just these blocks of an extent, which is split for it.
    fn cut_out(&mut self, mut extent: u32, range: KeyRange) -> u32 {
        let whole = self.pool[extent].range;
        if range.first > whole.first {
            extent = self.split(extent, range.first - whole.first);
        }
        if range.end() < whole.end() {
            self.split(extent, range.blocks);
        }
        extent
    }

    /// Makes blocks of a findable extent unfindable for good.
    fn hide(&mut self, extent: u32, range: KeyRange) {
        let extent = self.cut_out(extent, range);
        self.index.remove(&self.pool, extent);
        self.pool.set_findable(extent, false);
    }

    /// Allocates the last `blocks` blocks of a free extent; what they cached is evicted.
    pub(super) fn evict(&mut self, extent: u32, blocks: u32) {
        let whole = self.pool[extent].range;
        let range = whole.part(whole.end() - blocks, whole.end());
        self.evictions += u64::from(blocks);
        if let Some(events) = &mut self.events {
            let keys = range.keys(self.block_size).rev();
            keys.for_each(|key| events.removed(key));
        }
        let findable = self.pool[extent].findable;
        if blocks == whole.blocks {
            if findable {
                self.index.remove(&self.pool, extent);
            } else {
                self.index.remove_copy(&self.pool, extent);
            }
        }
        self.pool.take_last(extent, blocks);
        if self.index.finds_all_copies() {
            if findable {
                self.find_copies(range);
            }
        } else if findable {
            self.note_gone(range);
        } else {
            self.hide_newer(range);
        }
    }

    fn note_gone(&mut self, range: KeyRange) {
        if let Some(log) = &mut self.changes {
            log.vanish(range);
        }
    }

    /// A copy of these blocks is evicted, and so the one that is found is found no more.
    fn hide_newer(&mut self, range: KeyRange) {
        let mut first = range.first;
        while first < range.end() {
            let found = self.index.first(&self.pool, range.part(first, range.end()));
            let part = range.part(first, found.end);
            if let Some(newer) = found.extent {
                self.hide(newer, part);
                self.note_gone(part);
            }
            first = found.end;
        }
    }

    /// The first copies of these blocks are evicted: the oldest of the others are found from now
    /// on.
    fn find_copies(&mut self, range: KeyRange) {
        let mut first = range.first;
        while first < range.end() {
            let left = range.part(first, range.end());
            let found = self.index.oldest_copy(&self.pool, left);
            let part = range.part(first, found.end);
            match found.extent {
                Some(copy) => {
                    let copy = self.cut_out(copy, part);
                    self.index.remove_copy(&self.pool, copy);
                    self.pool.set_findable(copy, true);
                    self.index.insert(&self.pool, copy);
                }
                None => self.note_gone(part),
            }
            first = found.end;
        }
    }
}
