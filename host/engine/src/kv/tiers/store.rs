//! The GPU's KV blocks one by one, as the reference simulator keeps them.
//!
//! Where a tier below them reloads blocks, which physical block has which content matters, and so
//! does what nobody can ask for: all of it moves through the tier. So nothing is joined to extents
//! here, and every full block has a name.

use super::names::{Chain, Names};
use crate::key_range::KeyRange;
use crate::kv::block_table::Sequence;
use crate::kv::change_log::ChangeLog;
use crate::kv::event_log::EventLog;
use rustc_hash::FxHashMap;

const NONE: u32 = u32::MAX;

/// A block.
#[derive(Clone, Debug)]
struct Block {
    /// Requests that hold it; 0 = it is free.
    references: u32,
    /// Tokens stored.
    tokens: u32,
    /// Its content with all before it, once it is full and was named.
    name: Option<Chain>,
    /// Where the tier below has the same content, if it still has.
    below: u32,
    /// Neighbours in the free list.
    previous: u32,
    next: u32,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storing<'a> {
    pub(super) sequence: Sequence<'a>,
    /// Position of the first token to be stored.
    pub(super) start: u32,
    /// How many.
    pub(super) tokens: u32,
    /// They are tokens of the prompt. Else it is one of the output.
    pub(super) prefills: bool,
    /// Their content is known.
    pub(super) known: bool,
}

/// The blocks, the free list and the index.
#[derive(Clone, Debug)]
pub(super) struct Store {
    size: u32,
    blocks: Vec<Block>,
    /// The next one to be taken, and the one that was freed last.
    front: u32,
    back: u32,
    free: u64,
    /// One block for each name, the newest.
    index: FxHashMap<u64, u32>,
    pub(super) names: Names,
    pub(super) reused: u64,
    pub(super) taken: u64,
    /// Raised whenever a request holds other blocks, or a block gets a name.
    pub(super) version: u64,
    pub(super) changes: Option<ChangeLog>,
    pub(super) events: Option<EventLog>,
}

impl Store {
    pub(super) fn new(total: u64, size: u32) -> Self {
        let total = u32::try_from(total).unwrap_or(NONE - 1);
        let block = |k: u32| Block {
            references: 0,
            tokens: 0,
            name: None,
            below: NONE,
            previous: k.checked_sub(1).unwrap_or(NONE),
            next: if k + 1 < total { k + 1 } else { NONE },
        };
        Self {
            size,
            blocks: (0..total).map(block).collect(),
            front: if total > 0 { 0 } else { NONE },
            back: total.checked_sub(1).unwrap_or(NONE),
            free: total.into(),
            index: FxHashMap::default(),
            names: Names::default(),
            reused: 0,
            taken: 0,
            version: 0,
            changes: None,
            events: None,
        }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// Is there a block of this name?
    pub(super) fn has(&self, name: u64) -> bool {
        self.index.contains_key(&name)
    }

    /// The blocks of the longest findable run at the beginning of a sequence, among the full ones
    /// of the first `tokens` tokens.
    pub(super) fn leading(&self, sequence: Sequence<'_>, tokens: u32) -> Vec<u32> {
        let whole = tokens / self.size;
        let ranges = sequence.keys(self.size, 0, whole);
        let keys = ranges.flat_map(|range| range.keys(self.size));
        keys.map_while(|key| self.index.get(&key).copied())
            .collect()
    }

    /// How many of the first blocks of a range are findable.
    pub(super) fn found(&self, range: KeyRange) -> u32 {
        let keys = range.keys(self.size);
        keys.take_while(|key| self.has(*key)).count() as u32
    }

    /// The name of a full block that a request holds.
    pub(super) fn name(&self, block: u32) -> Option<Chain> {
        self.blocks[block as usize].name
    }

    /// Where the tier below had the content of a block last.
    pub(super) fn below(&mut self, block: u32) -> &mut u32 {
        &mut self.blocks[block as usize].below
    }

    /// Tokens in a block.
    pub(super) fn stored(&self, block: u32) -> u32 {
        self.blocks[block as usize].tokens
    }

    /// Is it on the free list?
    pub(super) fn is_idle(&self, block: u32) -> bool {
        self.blocks[block as usize].references == 0
    }

    /// Blocks that `tokens` more tokens need beyond those held.
    pub(super) fn blocks_for(&self, held: &[u32], tokens: u32) -> u64 {
        let room = held.last().map_or(0, |&last| self.size - self.stored(last));
        u64::from(tokens.saturating_sub(room).div_ceil(self.size))
    }

    fn fits(&self, held: &[u32], ask: &Storing<'_>, cached: &[u32]) -> bool {
        let idle = match ask.prefills {
            true => cached.iter().filter(|&&block| self.is_idle(block)).count() as u64,
            false => 0,
        };
        self.blocks_for(held, ask.tokens) + idle <= self.free
    }

    /// Stores tokens of a request, after claiming `cached` blocks if it holds none. `false` changes
    /// nothing.
    pub(super) fn allocate(
        &mut self,
        held: &mut Vec<u32>,
        ask: &Storing<'_>,
        cached: &[u32],
    ) -> bool {
        if !self.fits(held, ask, cached) {
            return false;
        }
        if ask.tokens == 0 {
            return true;
        }
        if held.is_empty() {
            self.claim(held, cached);
        }
        let mut done = 0;
        while done < ask.tokens {
            let room = held.last().map_or(0, |&last| self.size - self.stored(last));
            if room > 0 {
                let stored = room.min(ask.tokens - done);
                done += stored;
                self.fill(held, stored);
                let before = held.len().checked_sub(2).and_then(|k| self.name(held[k]));
                self.name_if_full(held, before, ask, done);
                continue;
            }
            let mut before = held.last().and_then(|&last| self.name(last));
            while done < ask.tokens {
                let stored = self.size.min(ask.tokens - done);
                done += stored;
                let Some(block) = self.take() else {
                    return false;
                };
                self.taken += 1;
                self.version += 1;
                held.push(block);
                self.fill(held, stored);
                // A block that a token of the output fills at once is never named.
                if ask.prefills && self.name_if_full(held, before, ask, done) {
                    before = self.name(block);
                }
            }
        }
        true
    }

    /// A request takes cached blocks.
    pub(super) fn claim(&mut self, held: &mut Vec<u32>, blocks: &[u32]) {
        for &block in blocks {
            if self.is_idle(block) {
                self.unlink(block);
            }
            self.blocks[block as usize].references += 1;
            self.reused += 1;
            held.push(block);
        }
        self.version += blocks.len() as u64;
    }

    fn fill(&mut self, held: &[u32], tokens: u32) {
        if let Some(&last) = held.last() {
            self.blocks[last as usize].tokens += tokens;
        }
    }

    /// Names the last block, behind the one of the name `before`, if the first `done` tokens asked
    /// for have filled it.
    fn name_if_full(
        &mut self,
        held: &[u32],
        before: Option<Chain>,
        ask: &Storing<'_>,
        done: u32,
    ) -> bool {
        let Some(&last) = held.last() else {
            return false;
        };
        if self.stored(last) < self.size {
            return false;
        }
        let end = ask.start + done;
        let key = match ask.known {
            true => ask.sequence.key_before(end),
            false => None,
        };
        let name = match key {
            Some(key) => self.names.behind(before, key, end, self.size),
            None => self.names.fresh(),
        };
        self.set_name(last, name, before);
        true
    }

    fn set_name(&mut self, block: u32, name: Chain, before: Option<Chain>) {
        let size = self.size;
        self.version += 1;
        self.blocks[block as usize].name = Some(name);
        let old = self.index.insert(name.name, block);
        if let Some(key) = name.key() {
            if old.is_none()
                && let Some(log) = &mut self.changes
            {
                log.appear(KeyRange::of_key(key, size));
            }
            if let Some(events) = &mut self.events {
                let parent = before.and_then(Chain::key);
                events.stored(std::iter::once(key), parent, size);
            }
        }
    }

    /// Takes the next free block; what it had is forgotten.
    fn take(&mut self) -> Option<u32> {
        let block = (self.front != NONE).then_some(self.front)?;
        self.unlink(block);
        let entry = &mut self.blocks[block as usize];
        entry.references = 1;
        entry.tokens = 0;
        if let Some(old) = entry.name.take() {
            let found = self.index.remove(&old.name);
            if let Some(key) = old.key() {
                if found.is_some()
                    && let Some(log) = &mut self.changes
                {
                    log.vanish(KeyRange::of_key(key, self.size));
                }
                if let Some(events) = &mut self.events {
                    events.removed(key);
                }
            }
        }
        Some(block)
    }

    /// Puts content that comes from below into the next free block, which stays free and is the
    /// last to be taken. `false`: none is free.
    pub(super) fn reload(&mut self, name: Chain, before: Option<Chain>) -> bool {
        let Some(block) = self.take() else {
            return false;
        };
        let entry = &mut self.blocks[block as usize];
        entry.references = 0;
        entry.tokens = self.size;
        self.set_name(block, name, before);
        self.append(block);
        true
    }

    /// Frees blocks of a request, the last one first.
    pub(super) fn release(&mut self, held: &mut Vec<u32>) {
        self.version += u64::from(!held.is_empty());
        while let Some(block) = held.pop() {
            let entry = &mut self.blocks[block as usize];
            entry.references -= 1;
            if entry.references == 0 {
                self.append(block);
            }
        }
    }

    fn append(&mut self, block: u32) {
        let back = std::mem::replace(&mut self.back, block);
        let entry = &mut self.blocks[block as usize];
        (entry.previous, entry.next) = (back, NONE);
        match back {
            NONE => self.front = block,
            back => self.blocks[back as usize].next = block,
        }
        self.free += 1;
    }

    fn unlink(&mut self, block: u32) {
        let Block { previous, next, .. } = self.blocks[block as usize];
        match previous {
            NONE => self.front = next,
            previous => self.blocks[previous as usize].next = next,
        }
        match next {
            NONE => self.back = previous,
            next => self.blocks[next as usize].previous = previous,
        }
        self.free -= 1;
    }

    /// The invariants, against the blocks that all requests hold.
    pub(super) fn check<'a>(&self, held: impl Iterator<Item = &'a [u32]>) -> Result<(), String> {
        let mut references = vec![0u32; self.blocks.len()];
        held.flatten()
            .for_each(|&block| references[block as usize] += 1);
        let (mut at, mut previous, mut free) = (self.front, NONE, 0u64);
        while at != NONE {
            let block = &self.blocks[at as usize];
            if block.previous != previous || block.references > 0 || free > self.free {
                return Err(format!("the free list is broken at block {at}: {block:?}"));
            }
            free += 1;
            (previous, at) = (at, block.next);
        }
        let idle = references.iter().filter(|&&n| n == 0).count() as u64;
        if free != self.free || idle != free || previous != self.back {
            return Err(format!(
                "{free} blocks are free, {idle} idle, {} counted",
                self.free
            ));
        }
        for (k, (block, &holders)) in self.blocks.iter().zip(&references).enumerate() {
            let full = block.name.is_none() || block.tokens == self.size;
            if block.references != holders || block.tokens > self.size || !full {
                return Err(format!("block {k} has {holders} holders: {block:?}"));
            }
        }
        for (name, &block) in &self.index {
            if self.name(block).is_none_or(|chain| chain.name != *name) {
                return Err(format!("block {block} is found as {name} and is another"));
            }
        }
        Ok(())
    }
}
