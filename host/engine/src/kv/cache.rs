//! The blocks: reference counts, an LRU free list, and the index of full blocks by prefix identity.
//!
//! A block on the free list keeps its identity until it is taken again, so freed prefixes stay
//! findable (lazy eviction). Identity is the key of the block's last token (see
//! [`windtunnel_base::request::Span`]): the streams are rooted, so that one key identifies the
//! whole prefix and nothing is hashed. Blocks without identity are anonymous: they are only
//! counted.

use super::block_table::{BlockTable, Sequence};
use super::change_log::ChangeLog;
use super::event_log::EventLog;
use super::free_list::FreeList;
use crate::rules::EngineRules;
use rustc_hash::FxHashMap;
use windtunnel_base::record::KvChange;

/// A block with identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) key: u64,
    pub(super) references: u32,
}

/// The KV blocks of one instance.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(super) block_size: u32,
    total: u64,
    /// The identified blocks, by number.
    pub(super) blocks: Vec<Block>,
    /// Numbers below `blocks.len()` that no block has at present.
    pub(super) unused_numbers: Vec<u32>,
    pub(super) free: FreeList,
    /// Number of the block that a key finds.
    pub(super) index: FxHashMap<u64, u32>,
    /// Further copies of an indexed key, oldest first; `None` when only the newest copy is
    /// findable.
    pub(super) copies: Option<FxHashMap<u64, Vec<u32>>>,
    /// What no lookup can find is used again first.
    reuse_unfindable_first: bool,
    /// Prompts are looked up at all.
    lookups: bool,
    changes: Option<ChangeLog>,
    events: Option<EventLog>,
    /// Blocks freed and keys that became findable, so far.
    relief: u64,
    /// Keys that are findable no more, so far.
    evictions: u64,
    reused: u64,
    taken: u64,
}

impl KvCache {
    /// A cache of `total` blocks of `block_size` tokens. With `find_all_copies` every copy of a
    /// block stays findable, else only the newest, and evicting *any* copy makes the key
    /// unfindable. Without `lookups` nothing is ever found.
    #[must_use]
    pub fn new(total: u64, block_size: u32, rules: &EngineRules, lookups: bool) -> Self {
        Self {
            block_size,
            total,
            blocks: Vec::new(),
            unused_numbers: Vec::new(),
            free: FreeList::new(total),
            index: FxHashMap::default(),
            copies: rules.find_all_copies.then(FxHashMap::default),
            reuse_unfindable_first: rules.reuse_unfindable_first,
            lookups,
            changes: None,
            events: None,
            relief: 0,
            evictions: 0,
            reused: 0,
            taken: 0,
        }
    }

    /// Starts to remember the index as of the last [`refresh_signal`](Self::refresh_signal).
    pub fn track_changes(&mut self) {
        self.changes.get_or_insert_with(ChangeLog::default);
    }

    /// Starts to collect what becomes findable and what is evicted. Blocks that are private, and so
    /// only counted, do not show.
    pub fn track_events(&mut self) {
        self.events.get_or_insert_with(EventLog::default);
    }

    /// Are such events collected?
    #[must_use]
    pub fn tracks_events(&self) -> bool {
        self.events.is_some()
    }

    /// The events since the last call, in order.
    pub fn take_events(&mut self) -> impl Iterator<Item = KvChange> {
        self.events.iter_mut().flat_map(EventLog::take)
    }

    /// Tokens per block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Blocks in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Blocks on the free list, cached ones included.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.free.len()
    }

    /// Blocks that requests hold.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.total - self.free()
    }

    /// Cached blocks reused so far.
    #[must_use]
    pub fn blocks_reused(&self) -> u64 {
        self.reused
    }

    /// Blocks allocated anew so far.
    #[must_use]
    pub fn blocks_taken(&self) -> u64 {
        self.taken
    }

    /// The longest run of leading blocks that are cached now.
    pub fn cached_prefix(&self, keys: impl Iterator<Item = u64>) -> Vec<u32> {
        if !self.lookups {
            return Vec::new();
        }
        keys.map_while(|key| self.index.get(&key).copied())
            .collect()
    }

    /// How many leading blocks are cached now.
    pub fn cached_blocks_now(&self, keys: impl Iterator<Item = u64>) -> u32 {
        keys.take_while(|key| self.index.contains_key(key)).count() as u32
    }

    /// How many leading blocks were cached at the last refresh of the signal.
    pub fn cached_blocks_at_refresh(&self, keys: impl Iterator<Item = u64>) -> u32 {
        let present = |key: &u64| {
            let now = self.index.contains_key(key);
            self.changes.as_ref().map_or(now, |log| log.then(*key, now))
        };
        keys.take_while(present).count() as u32
    }

    /// Makes the delayed signal show the present index.
    pub fn refresh_signal(&mut self) {
        if let Some(log) = &mut self.changes {
            log.refresh();
        }
    }

    /// Blocks that `tokens` more tokens need beyond those in `table`.
    #[must_use]
    pub fn blocks_for(&self, table: &BlockTable, tokens: u32) -> u64 {
        let room = table.room(self.block_size);
        u64::from(tokens.saturating_sub(room).div_ceil(self.block_size))
    }

    /// A counter of what can make a sequence fit that did not fit before: blocks that came free,
    /// and keys that became findable. Each lowers by at most one how many blocks are short;
    /// allocations and evictions never do, as long as the whole sequence must fit.
    #[must_use]
    pub fn relief(&self) -> u64 {
        self.relief
    }

    /// A counter of evictions: what a part of a sequence lacks may change with each, as a block
    /// that it would have reused takes no free one any more.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Free blocks that `tokens` more tokens take, if the `cached` blocks are reused first.
    #[must_use]
    pub fn blocks_taken_by(&self, table: &BlockTable, tokens: u32, cached: &[u32]) -> u64 {
        let idle = |&&block: &&u32| self.blocks[block as usize].references == 0;
        self.blocks_for(table, tokens) + cached.iter().filter(idle).count() as u64
    }

    /// Allocates blocks for `tokens` more prompt tokens, after reusing the `cached` blocks if
    /// `table` is empty. All or nothing: `false` changes nothing.
    pub fn allocate_prefill(
        &mut self,
        table: &mut BlockTable,
        sequence: Sequence<'_>,
        tokens: u32,
        cached: &[u32],
    ) -> bool {
        if self.blocks_taken_by(table, tokens, cached) > self.free() {
            return false;
        }
        // A fully cached prompt stores nothing, and then no block is reused either.
        if tokens == 0 {
            return true;
        }
        if table.is_empty() {
            self.reuse(table, cached);
        }
        // Where any copy that is evicted makes the key unfindable, it matters that a block is
        // cached before the next one is taken. Else all are taken first, as vLLM does.
        let one_by_one = self.copies.is_none();
        let mut left = tokens;
        let mut stored = self.fill_tail(table, left);
        loop {
            if one_by_one && stored > 0 && table.tail == self.block_size {
                self.cache_last_block(table, sequence);
            }
            left -= stored;
            if left == 0 {
                break;
            }
            stored = left.min(self.block_size);
            self.take_block(table, stored);
        }
        if !one_by_one {
            let all = table.len() as u32 * self.block_size - table.room(self.block_size);
            self.cache_blocks(table, sequence, all);
        }
        true
    }

    /// Allocates room for one more output token. A block that it fills becomes findable if the
    /// token is `known`. All or nothing: `false` changes nothing.
    pub fn allocate_decode(
        &mut self,
        table: &mut BlockTable,
        sequence: Sequence<'_>,
        known: bool,
    ) -> bool {
        if table.room(self.block_size) == 0 {
            if self.free() == 0 {
                return false;
            }
            self.open_block(table);
        } else {
            table.tail += 1;
            if known && table.tail == self.block_size {
                self.cache_last_block(table, sequence);
            }
        }
        true
    }

    /// Allocates blocks for `tokens` tokens in all, after reusing the `cached` blocks if `table` is
    /// empty. None of them becomes findable by that. All or nothing: `false` changes nothing.
    pub fn allocate_slots(&mut self, table: &mut BlockTable, tokens: u32, cached: &[u32]) -> bool {
        let held = table.len().max(cached.len()) as u32;
        let missing = tokens.div_ceil(self.block_size).saturating_sub(held);
        let idle = self.blocks_taken_by(table, 0, cached);
        if u64::from(missing) + idle > self.free() {
            return false;
        }
        if table.is_empty() {
            self.reuse(table, cached);
        }
        for _ in 0..missing {
            self.take_block(table, self.block_size);
        }
        true
    }

    /// Makes the full last block findable, unless no lookup could ask for it: private, or detached
    /// from its prompt.
    fn cache_last_block(&mut self, table: &mut BlockTable, sequence: Sequence<'_>) {
        self.cache_blocks(table, sequence, table.len() as u32 * self.block_size);
    }

    /// Makes the full blocks of the first `tokens` tokens findable, but those that no lookup could
    /// ask for: private ones, or detached from their prompt.
    pub fn cache_blocks(&mut self, table: &mut BlockTable, sequence: Sequence<'_>, tokens: u32) {
        if table.detached || !self.lookups {
            return;
        }
        let full = (tokens.min(sequence.private_from) / self.block_size) as usize;
        let before = table.identified.len();
        while table.identified.len() < full.min(table.len()) {
            let stored = (table.identified.len() as u32 + 1) * self.block_size;
            self.assign_identity(table, sequence.key_at(stored - 1));
        }
        if let Some(events) = &mut self.events
            && table.identified.len() > before
        {
            let key = |&block: &u32| self.blocks[block as usize].key;
            let parent = table.identified[..before].last().map(key);
            let keys = table.identified[before..].iter().map(key);
            events.stored(keys, parent, self.block_size);
        }
    }

    /// Allocates a block for one output token. One must be free.
    pub fn open_block(&mut self, table: &mut BlockTable) {
        table.detached |= table.is_empty();
        self.take_block(table, 1);
    }

    /// Frees all blocks, the last one first, so that the tails of prefixes are evicted before their
    /// heads. The first `known` of them are full blocks whose tokens are known: they could be found
    /// if anybody asked. The others are used again first where the rules say so.
    pub fn release(&mut self, table: &mut BlockTable, known: u32) {
        let known = if self.lookups { known as usize } else { 0 };
        let private = known.clamp(table.identified.len(), table.len()) - table.identified.len();
        let unfindable = table.anonymous as usize - private;
        self.relief += table.anonymous as u64;
        if self.reuse_unfindable_first {
            self.free.prepend_anonymous(unfindable as u64);
            self.free.append_anonymous(private as u64);
        } else {
            self.free.append_anonymous(table.anonymous.into());
        }
        for &block in table.identified.iter().rev() {
            let entry = &mut self.blocks[block as usize];
            entry.references -= 1;
            if entry.references == 0 {
                self.free.append(block);
                self.relief += 1;
            }
        }
        *table = BlockTable::default();
    }

    /// Takes cached blocks into an empty table.
    fn reuse(&mut self, table: &mut BlockTable, cached: &[u32]) {
        for &block in cached {
            let entry = &mut self.blocks[block as usize];
            if entry.references == 0 {
                self.free.remove(block);
            }
            entry.references += 1;
            self.reused += 1;
            table.tail = self.block_size;
        }
        table.identified.extend_from_slice(cached);
    }

    /// Stores up to `tokens` in a partly filled last block; returns how many.
    fn fill_tail(&self, table: &mut BlockTable, tokens: u32) -> u32 {
        let room = table.room(self.block_size);
        if room == 0 {
            return 0;
        }
        let stored = tokens.min(room);
        table.tail += stored;
        stored
    }

    /// Allocates a free block for `stored` tokens; what it cached is evicted.
    fn take_block(&mut self, table: &mut BlockTable, stored: u32) {
        if let Some(block) = self.free.take() {
            self.evict(block);
            self.unused_numbers.push(block);
        }
        self.taken += 1;
        table.anonymous += 1;
        table.tail = stored;
    }

    /// Gives the first anonymous block of a request an identity.
    fn assign_identity(&mut self, table: &mut BlockTable, key: u64) {
        let entry = Block { key, references: 1 };
        let block = self
            .unused_numbers
            .pop()
            .unwrap_or(self.blocks.len() as u32);
        match self.blocks.get_mut(block as usize) {
            Some(old) => *old = entry,
            None => self.blocks.push(entry),
        }
        table.anonymous -= 1;
        table.identified.push(block);
        self.relief += 1;
        if let Some(copies) = &mut self.copies {
            if self.index.contains_key(&key) {
                copies.entry(key).or_default().push(block);
                return;
            }
            if let Some(log) = &mut self.changes {
                log.appears(key);
            }
            self.index.insert(key, block);
        } else if self.index.insert(key, block).is_none()
            && let Some(log) = &mut self.changes
        {
            log.appears(key);
        }
    }

    /// Takes a block's key out of the index.
    fn evict(&mut self, block: u32) {
        let key = self.blocks[block as usize].key;
        self.evictions += 1;
        if let Some(events) = &mut self.events {
            events.removed(key);
        }
        if let Some(copies) = &mut self.copies
            && let Some(others) = copies.get_mut(&key)
        {
            if self.index[&key] == block {
                self.index.insert(key, others.remove(0));
            } else {
                others.retain(|&b| b != block);
            }
            if others.is_empty() {
                copies.remove(&key);
            }
            return;
        }
        if self.index.remove(&key).is_some()
            && let Some(log) = &mut self.changes
        {
            log.vanishes(key);
        }
    }
}
