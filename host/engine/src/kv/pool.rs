//! The blocks with an identity, as extents, and all free blocks in order of reuse.
//!
//! Anonymous blocks are alike, so those that are free in a row are only counted; the extents
//! between them are linked. Allocating and freeing costs O(1) per extent, however many blocks it
//! has.

use super::block_table::Held;
use crate::key_range::KeyRange;
use std::ops::Index;

const NONE: u32 = u32::MAX;

/// Blocks that follow each other in one stream and are alike: the same requests hold all of them
/// as a whole, or all are free one behind the other, the last one first; and all are findable, or
/// none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) range: KeyRange,
    /// Requests that hold it; 0 = it is free.
    pub(super) references: u32,
    /// What was split off from its end. Says nothing unless a request that holds it holds more.
    rest: u32,
    /// A lookup finds it.
    pub(super) findable: bool,
    link: Link,
}

/// A place in the free list.
#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// Anonymous blocks between the extent before and this one.
    before: u64,
}

/// The next blocks to be allocated.
#[derive(Clone, Copy, Debug)]
pub(super) enum Front {
    /// So many anonymous ones.
    Anonymous(u64),
    /// The last ones of this extent.
    Extent(u32),
}

/// All extents and all free blocks. Blocks are allocated from the front of the free list and freed
/// to either end.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    extents: Vec<Extent>,
    /// Numbers below `extents.len()` that no extent has at present.
    unused: Vec<u32>,
    front: u32,
    end: u32,
    /// Anonymous blocks after the last extent.
    after: u64,
    free: u64,
}

impl Index<u32> for Pool {
    type Output = Extent;

    fn index(&self, extent: u32) -> &Extent {
        &self.extents[extent as usize]
    }
}

impl Pool {
    /// So many blocks, all free and anonymous.
    pub(super) fn new(blocks: u64) -> Self {
        Self {
            extents: Vec::new(),
            unused: Vec::new(),
            front: NONE,
            end: NONE,
            after: blocks,
            free: blocks,
        }
    }

    /// Free blocks.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    fn at(&mut self, extent: u32) -> &mut Extent {
        &mut self.extents[extent as usize]
    }

    /// An extent of blocks that one request holds.
    pub(super) fn add(&mut self, range: KeyRange, findable: bool) -> u32 {
        self.place(Extent {
            range,
            references: 1,
            rest: NONE,
            findable,
            link: Link {
                previous: NONE,
                next: NONE,
                before: 0,
            },
        })
    }

    fn place(&mut self, extent: Extent) -> u32 {
        if let Some(number) = self.unused.pop() {
            *self.at(number) = extent;
            return number;
        }
        self.extents.push(extent);
        self.extents.len() as u32 - 1
    }

    /// Adds blocks at the end of an extent.
    pub(super) fn grow(&mut self, extent: u32, blocks: u32) {
        self.at(extent).range.blocks += blocks;
    }

    pub(super) fn set_findable(&mut self, extent: u32, findable: bool) {
        self.at(extent).findable = findable;
    }

    /// Leaves the first `blocks` blocks in an extent; returns the one with the others.
    pub(super) fn split(&mut self, extent: u32, blocks: u32) -> u32 {
        let mut tail = self[extent];
        tail.range = tail.range.part(tail.range.first + blocks, tail.range.end());
        let link = tail.link;
        let is_free = tail.references == 0;
        if is_free {
            tail.link.next = extent;
        }
        let new = self.place(tail);
        let head = self.at(extent);
        head.range.blocks = blocks;
        head.rest = new;
        if is_free {
            head.link.previous = new;
            head.link.before = 0;
            match link.previous {
                NONE => self.front = new,
                previous => self.at(previous).link.next = new,
            }
        }
        new
    }

    /// The extents that hold these blocks, in order.
    pub(super) fn parts(&self, held: Held) -> impl Iterator<Item = u32> + '_ {
        let (mut next, mut left) = (held.extent, held.blocks);
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let part = next;
            let extent = &self[part];
            left -= extent.range.blocks;
            next = extent.rest;
            Some(part)
        })
    }

    /// The extent behind the first `blocks` blocks that this one had when it was not split yet, and
    /// how many blocks of it are still before them.
    pub(super) fn part_at(&self, mut extent: u32, mut blocks: u32) -> (u32, u32) {
        while blocks >= self[extent].range.blocks {
            blocks -= self[extent].range.blocks;
            extent = self[extent].rest;
        }
        (extent, blocks)
    }

    /// What was split off from the end of an extent last.
    pub(super) fn rest(&self, extent: u32) -> u32 {
        self[extent].rest
    }

    /// One more request holds an extent.
    pub(super) fn hold(&mut self, extent: u32) {
        let entry = self.at(extent);
        entry.references += 1;
        if entry.references == 1 {
            self.free -= u64::from(entry.range.blocks);
            self.unlink(extent);
        }
    }

    /// A request holds an extent no more. Is it to be freed?
    pub(super) fn let_go(&mut self, extent: u32) -> bool {
        let entry = self.at(extent);
        entry.references -= 1;
        entry.references == 0
    }

    /// The extent that was freed last, if nothing was freed since, it goes on where this one ends
    /// and is as findable.
    pub(super) fn last_freed_behind(&self, extent: u32) -> Option<u32> {
        if self.after > 0 || self.end == NONE {
            return None;
        }
        let (extent, last) = (&self[extent], &self[self.end]);
        let behind = last.range.line == extent.range.line
            && last.range.first == extent.range.end()
            && last.findable == extent.findable;
        behind.then_some(self.end)
    }

    /// Frees an extent.
    pub(super) fn append(&mut self, extent: u32) {
        let link = Link {
            previous: self.end,
            next: NONE,
            before: std::mem::take(&mut self.after),
        };
        self.free += u64::from(self[extent].range.blocks);
        self.at(extent).link = link;
        match self.end {
            NONE => self.front = extent,
            end => self.at(end).link.next = extent,
        }
        self.end = extent;
    }

    /// Frees an extent as the first part of `last`, which was freed before it and goes on where it
    /// ends.
    pub(super) fn append_to(&mut self, last: u32, extent: u32) {
        let range = self[extent].range;
        self.free += u64::from(range.blocks);
        let whole = &mut self.at(last).range;
        *whole = range.part(range.first, whole.end());
        self.unused.push(extent);
    }

    /// Frees anonymous blocks.
    pub(super) fn append_anonymous(&mut self, blocks: u64) {
        self.after += blocks;
        self.free += blocks;
    }

    /// Frees anonymous blocks to the front: they are the next to be allocated.
    pub(super) fn prepend_anonymous(&mut self, blocks: u64) {
        *self.anonymous_at_front() += blocks;
        self.free += blocks;
    }

    /// What is allocated next. There must be a free block.
    pub(super) fn front(&self) -> Front {
        match self.front {
            NONE => Front::Anonymous(self.after),
            front => match self[front].link.before {
                0 => Front::Extent(front),
                before => Front::Anonymous(before),
            },
        }
    }

    /// Allocates anonymous blocks at the front.
    pub(super) fn take_anonymous(&mut self, blocks: u64) {
        *self.anonymous_at_front() -= blocks;
        self.free -= blocks;
    }

    fn anonymous_at_front(&mut self) -> &mut u64 {
        match self.front {
            NONE => &mut self.after,
            front => &mut self.at(front).link.before,
        }
    }

    /// Allocates the last `blocks` blocks of a free extent, which loses them.
    pub(super) fn take_last(&mut self, extent: u32, blocks: u32) {
        self.free -= u64::from(blocks);
        let left = &mut self.at(extent).range.blocks;
        *left -= blocks;
        if *left == 0 {
            self.unlink(extent);
            self.unused.push(extent);
        }
    }

    fn unlink(&mut self, extent: u32) {
        let Link {
            previous,
            next,
            before,
        } = self[extent].link;
        match previous {
            NONE => self.front = next,
            previous => self.at(previous).link.next = next,
        }
        match next {
            NONE => {
                self.end = previous;
                self.after += before;
            }
            next => {
                let link = &mut self.at(next).link;
                link.previous = previous;
                link.before += before;
            }
        }
    }

    /// Numbers of the extents; for tests.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.extents.len() as u32).filter(|number| !self.unused.contains(number))
    }

    /// The free blocks in order, each extent behind the anonymous ones before it; for tests.
    pub(super) fn walk(&self) -> Result<Vec<(u64, Option<u32>)>, String> {
        let (mut all, mut list) = (self.after, Vec::new());
        let (mut at, mut previous) = (self.front, NONE);
        while at != NONE {
            let Extent { link, range, .. } = self[at];
            if link.previous != previous || list.len() > self.extents.len() {
                return Err(format!("free list is broken at extent {at}"));
            }
            list.push((link.before, Some(at)));
            all += u64::from(range.blocks) + link.before;
            (previous, at) = (at, link.next);
        }
        list.push((self.after, None));
        if previous != self.end || all != self.free {
            return Err(format!(
                "free list ends at {previous} with {all} blocks, expected {} with {}",
                self.end, self.free
            ));
        }
        Ok(list)
    }
}
