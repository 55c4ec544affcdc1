//! The blocks that one instance probably holds: those that were sent there last.

use crate::key_range::KeyRange;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

const NONE: u32 = u32::MAX;

/// Blocks in order of use, the least recently sent forgotten first.
#[derive(Clone, Debug)]
pub(super) struct SentBlocks {
    entries: Vec<Entry>,
    /// Numbers below `entries.len()` that no entry has at present.
    unused: Vec<u32>,
    oldest: u32,
    newest: u32,
    /// Entries by line, in order and without overlaps.
    lines: FxHashMap<u64, SmallVec<[u32; 2]>>,
    blocks: usize,
}

impl Default for SentBlocks {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            unused: Vec::new(),
            oldest: NONE,
            newest: NONE,
            lines: FxHashMap::default(),
            blocks: 0,
        }
    }
}

/// Blocks that were sent one after the other, the first one first.
#[derive(Clone, Copy, Debug)]
struct Entry {
    range: KeyRange,
    older: u32,
    newer: u32,
}

impl SentBlocks {
    fn at(&mut self, entry: u32) -> &mut Entry {
        &mut self.entries[entry as usize]
    }

    fn range(&self, entry: u32) -> KeyRange {
        self.entries[entry as usize].range
    }

    /// The first place in a line whose entry ends behind a block.
    fn position(&self, list: &[u32], block: u32) -> usize {
        list.partition_point(|&entry| self.range(entry).end() <= block)
    }

    /// Leading blocks of `range` that are here.
    pub(super) fn leading(&self, range: KeyRange) -> u32 {
        let mut first = range.first;
        if let Some(list) = self.lines.get(&range.line) {
            for &entry in &list[self.position(list, first)..] {
                let there = self.range(entry);
                if there.first > first || first == range.end() {
                    break;
                }
                first = there.end().min(range.end());
            }
        }
        first - range.first
    }

    /// All blocks.
    pub(super) fn ranges(&self) -> impl Iterator<Item = KeyRange> + '_ {
        self.lines
            .values()
            .flatten()
            .map(|&entry| self.range(entry))
    }

    /// Blocks are sent, of which at most `capacity` are remembered. Calls `changed` with those that
    /// are new here (`true`), and with those that made room for them.
    pub(super) fn record(
        &mut self,
        range: KeyRange,
        capacity: usize,
        mut changed: impl FnMut(KeyRange, bool),
    ) {
        let mut first = range.first;
        while first < range.end() {
            let list = self.lines.get(&range.line);
            let next = list.and_then(|list| list.get(self.position(list, first)).copied());
            match next.map(|entry| (entry, self.range(entry))) {
                Some((entry, there)) if there.first <= first => {
                    let part = range.part(first, there.end().min(range.end()));
                    self.touch(entry, part);
                    first = part.end();
                }
                next => {
                    let end = next.map_or(range.end(), |(_, there)| there.first.min(range.end()));
                    let part = range.part(first, end);
                    self.append(part);
                    self.blocks += part.blocks as usize;
                    changed(part, true);
                    while self.blocks > capacity {
                        changed(self.forget(self.blocks - capacity), false);
                    }
                    first = end;
                }
            }
        }
    }

    /// Blocks of an entry are used.
    fn touch(&mut self, entry: u32, part: KeyRange) {
        let whole = self.range(entry);
        if entry == self.newest && part.end() == whole.end() {
            return;
        }
        self.delist(entry);
        let Entry { older, newer, .. } = self.entries[entry as usize];
        // What is not used stays where it is.
        let rest = [
            whole.part(whole.first, part.first),
            whole.part(part.end(), whole.end()),
        ];
        self.unlink(entry);
        let mut before = older;
        for rest in rest.into_iter().filter(|rest| rest.blocks > 0) {
            let number = self.place(rest);
            self.link(number, before, newer);
            before = number;
        }
        self.append(part);
    }

    /// Blocks become the newest ones.
    fn append(&mut self, range: KeyRange) {
        if self.newest != NONE {
            let last = &mut self.entries[self.newest as usize].range;
            if last.line == range.line && last.end() == range.first {
                last.blocks += range.blocks;
                return;
            }
        }
        let number = self.place(range);
        self.link(number, self.newest, NONE);
    }

    /// Forgets up to `most` of the least recently sent blocks.
    fn forget(&mut self, most: usize) -> KeyRange {
        let oldest = self.oldest;
        let whole = self.range(oldest);
        if whole.blocks as usize <= most {
            self.delist(oldest);
            self.unlink(oldest);
            self.blocks -= whole.blocks as usize;
            return whole;
        }
        let end = whole.first + most as u32;
        self.at(oldest).range = whole.part(end, whole.end());
        self.blocks -= most;
        whole.part(whole.first, end)
    }

    /// A new entry, in its line.
    fn place(&mut self, range: KeyRange) -> u32 {
        let entry = Entry {
            range,
            older: NONE,
            newer: NONE,
        };
        let number = match self.unused.pop() {
            Some(number) => {
                *self.at(number) = entry;
                number
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        let entries = &self.entries;
        let list = self.lines.entry(range.line).or_default();
        let at = list.partition_point(|&other| entries[other as usize].range.first < range.first);
        list.insert(at, number);
        number
    }

    /// Takes an entry out of its line.
    fn delist(&mut self, entry: u32) {
        let line = self.range(entry).line;
        if let Some(list) = self.lines.get_mut(&line) {
            list.retain(|&mut other| other != entry);
            if list.is_empty() {
                self.lines.remove(&line);
            }
        }
    }

    /// Puts an entry between two others.
    fn link(&mut self, entry: u32, older: u32, newer: u32) {
        let place = self.at(entry);
        (place.older, place.newer) = (older, newer);
        match older {
            NONE => self.oldest = entry,
            older => self.at(older).newer = entry,
        }
        match newer {
            NONE => self.newest = entry,
            newer => self.at(newer).older = entry,
        }
    }

    /// Takes an entry out of the order of use; its number is unused then.
    fn unlink(&mut self, entry: u32) {
        let Entry { older, newer, .. } = self.entries[entry as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.at(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.at(newer).older = older,
        }
        self.unused.push(entry);
    }
}
