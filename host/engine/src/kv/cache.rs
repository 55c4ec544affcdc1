//! The blocks: who holds them, which are free, and which of them a prefix lookup finds.
//!
//! A block on the free list keeps its identity until it is taken again, so freed prefixes stay
//! findable (lazy eviction). Identity is the key of the block's last token (see
//! [`windtunnel_base::request::Span`]): the streams are rooted, so that one key identifies the
//! whole prefix and nothing is hashed. Blocks that follow each other in a stream are kept together
//! (see [`Pool`]), so a request costs what it shares with others, and not its blocks. Blocks
//! without identity are anonymous: they are only counted.

use super::block_table::{BlockTable, Held, Sequence};
use super::cached_prefix::{CachedPrefix, Part};
use super::change_log::ChangeLog;
use super::event_log::EventLog;
use super::index::PrefixIndex;
use super::pool::{Front, Pool};
use super::tiers::TieredCache;
use crate::key_range::{KeyRange, Keys};
use crate::rules::EngineRules;
use windtunnel_base::record::KvChange;
use windtunnel_base::request::TokenSeq;

/// The KV blocks of one instance.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(super) block_size: u32,
    total: u64,
    pub(super) pool: Pool,
    pub(super) index: PrefixIndex,
    /// What no lookup can find is used again first.
    reuse_unfindable_first: bool,
    /// Prompts are looked up at all.
    lookups: bool,
    pub(super) changes: Option<ChangeLog>,
    pub(super) events: Option<EventLog>,
    tracks_events: bool,
    /// Blocks freed and keys that became findable, so far.
    pub(super) relief: u64,
    /// Keys that are findable no more, so far.
    pub(super) evictions: u64,
    reused: u64,
    taken: u64,
    /// Extents of the request at hand.
    parts: Vec<u32>,
    /// Where there are tiers below, all blocks.
    pub(super) tiered: Option<Box<TieredCache>>,
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
            pool: Pool::new(total),
            index: PrefixIndex::new(rules.find_all_copies),
            reuse_unfindable_first: rules.reuse_unfindable_first,
            lookups,
            changes: None,
            events: None,
            tracks_events: false,
            relief: 0,
            evictions: 0,
            reused: 0,
            taken: 0,
            parts: Vec::new(),
            tiered: None,
        }
    }

    /// Starts to remember the index as of the last [`refresh_signal`](Self::refresh_signal).
    pub fn track_changes(&mut self) {
        let changes = match &mut self.tiered {
            Some(tiered) => tiered.changes(),
            None => &mut self.changes,
        };
        changes.get_or_insert_with(ChangeLog::default);
    }

    /// Starts to collect what becomes findable and what is evicted. Blocks that are private, and so
    /// only counted, do not show.
    pub fn track_events(&mut self) {
        let events = match &mut self.tiered {
            Some(tiered) => tiered.events(),
            None => &mut self.events,
        };
        events.get_or_insert_with(EventLog::default);
        self.tracks_events = true;
    }

    /// Are such events collected?
    #[must_use]
    pub fn tracks_events(&self) -> bool {
        self.tracks_events
    }

    /// The events since the last call, in order.
    pub fn take_events(&mut self) -> impl Iterator<Item = KvChange> {
        let events = match &mut self.tiered {
            Some(tiered) => tiered.events(),
            None => &mut self.events,
        };
        events.iter_mut().flat_map(EventLog::take)
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
        match &self.tiered {
            Some(tiered) => tiered.free(),
            None => self.pool.free(),
        }
    }

    /// Blocks that requests hold.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.total - self.free()
    }

    /// Cached blocks reused so far.
    #[must_use]
    pub fn blocks_reused(&self) -> u64 {
        self.tiered.as_ref().map_or(self.reused, |t| t.reused())
    }

    /// Blocks allocated anew so far.
    #[must_use]
    pub fn blocks_taken(&self) -> u64 {
        self.tiered.as_ref().map_or(self.taken, |t| t.taken())
    }

    /// The longest run of leading blocks that are cached now, among the full ones of the first
    /// `tokens` tokens.
    #[must_use]
    pub fn cached_prefix(&self, sequence: Sequence<'_>, tokens: u32) -> CachedPrefix {
        let mut cached = CachedPrefix::default();
        if !self.lookups {
            return cached;
        }
        if let Some(tiered) = &self.tiered {
            return tiered.cached_prefix(sequence, tokens);
        }
        let whole = tokens / self.block_size;
        for range in sequence.keys(self.block_size, 0, whole) {
            let found = self.index.leading(&self.pool, range, |extent, there| {
                cached.push(Part {
                    extent,
                    skip: there.first - self.pool[extent].range.first,
                    blocks: there.blocks,
                });
            });
            if found < range.blocks {
                break;
            }
        }
        cached
    }

    /// How many leading blocks of a prompt are cached now.
    #[must_use]
    pub fn cached_blocks_now(&self, prompt: &TokenSeq) -> u32 {
        self.leading_blocks(prompt, |range| self.found_now(range))
    }

    /// How many leading blocks of a prompt were cached at the last refresh of the signal.
    #[must_use]
    pub fn cached_blocks_at_refresh(&self, prompt: &TokenSeq) -> u32 {
        self.leading_blocks(prompt, |range| self.found_at_refresh(range))
    }

    /// Is the block of this key cached, or was it at the last refresh of the signal?
    #[must_use]
    pub fn shows(&self, key: u64) -> bool {
        let range = KeyRange::of_key(key, self.block_size);
        self.found_now(range) + self.found_at_refresh(range) > 0
    }

    fn leading_blocks(&self, prompt: &TokenSeq, found: impl Fn(KeyRange) -> u32) -> u32 {
        let mut blocks = 0;
        for range in Keys::of_prompt(prompt, self.block_size) {
            let here = found(range);
            blocks += here;
            if here < range.blocks {
                break;
            }
        }
        blocks
    }

    fn found_now(&self, range: KeyRange) -> u32 {
        if let Some(tiered) = &self.tiered {
            return tiered.found(range);
        }
        self.index.leading(&self.pool, range, |_, _| {})
    }

    fn found_at_refresh(&self, range: KeyRange) -> u32 {
        let log = match &self.tiered {
            Some(tiered) => tiered.changes_so_far(),
            None => self.changes.as_ref(),
        };
        let Some(log) = log else {
            return self.found_now(range);
        };
        let mut first = range.first;
        while first < range.end() {
            let then = log.then(range.part(first, range.end()));
            let part = range.part(first, then.end);
            let found = match then.was_present {
                Some(false) => 0,
                Some(true) => part.blocks,
                None => self.found_now(part),
            };
            first += found;
            if found < part.blocks {
                break;
            }
        }
        first - range.first
    }

    /// Makes the delayed signal show the present index.
    pub fn refresh_signal(&mut self) {
        let log = match &mut self.tiered {
            Some(tiered) => tiered.changes(),
            None => &mut self.changes,
        };
        if let Some(log) = log {
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
    pub fn blocks_taken_by(&self, table: &BlockTable, tokens: u32, cached: &CachedPrefix) -> u64 {
        if let Some(tiered) = &self.tiered {
            return tiered.blocks_taken_by(table, tokens, cached);
        }
        let idle = |part: &&Part| self.pool[part.extent].references == 0;
        let idle = cached.parts.iter().filter(idle);
        let idle: u64 = idle.map(|part| u64::from(part.blocks)).sum();
        self.blocks_for(table, tokens) + idle
    }

    /// Allocates blocks for `tokens` more prompt tokens, after reusing the `cached` blocks if
    /// `table` is empty. All or nothing: `false` changes nothing.
    pub fn allocate_prefill(
        &mut self,
        table: &mut BlockTable,
        sequence: Sequence<'_>,
        tokens: u32,
        cached: &CachedPrefix,
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
        let one_by_one = !self.index.finds_all_copies();
        let stored = self.fill_tail(table, tokens);
        let (mut full, rest) = (
            (tokens - stored) / self.block_size,
            (tokens - stored) % self.block_size,
        );
        if one_by_one {
            if stored > 0 && table.tail == self.block_size {
                self.cache_last_block(table, sequence);
            }
            while full > 0 {
                let blocks = self.as_if_one_by_one(table, sequence, full);
                self.take_blocks(table, blocks, self.block_size);
                self.cache_last_block(table, sequence);
                full -= blocks;
            }
        }
        self.take_blocks(table, full, self.block_size);
        self.take_blocks(table, u32::from(rest > 0), rest);
        if !one_by_one {
            self.cache_blocks(table, sequence, self.tokens_in(table));
        }
        true
    }

    /// Tokens for which there is room in these blocks and that are used.
    pub(crate) fn tokens_in(&self, table: &BlockTable) -> u32 {
        table.len() as u32 * self.block_size - table.room(self.block_size)
    }

    /// How many of the next `most` blocks can be taken before they are cached, with the same
    /// outcome as if each were cached before the next one is taken: at least one.
    fn as_if_one_by_one(&self, table: &BlockTable, sequence: Sequence<'_>, most: u32) -> u32 {
        if self.events.is_some() {
            return 1;
        }
        let extent = match self.pool.front() {
            Front::Anonymous(blocks) => return u64::from(most).min(blocks) as u32,
            Front::Extent(extent) => extent,
        };
        let range = self.pool[extent].range;
        let blocks = most.min(range.blocks);
        let evicted = range.part(range.end() - blocks, range.end());
        let until = table.len() as u32 + blocks;
        let until = self.findable_blocks(table, sequence, until.saturating_mul(self.block_size));
        let mut cached = sequence.keys(self.block_size, table.identified, until);
        if cached.any(|range| range.overlaps(&evicted)) {
            1
        } else {
            blocks
        }
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
    pub fn allocate_slots(
        &mut self,
        table: &mut BlockTable,
        tokens: u32,
        cached: &CachedPrefix,
    ) -> bool {
        let held = (table.len() as u32).max(cached.blocks());
        let missing = tokens.div_ceil(self.block_size).saturating_sub(held);
        let idle = self.blocks_taken_by(table, 0, cached);
        if u64::from(missing) + idle > self.free() {
            return false;
        }
        if table.is_empty() {
            self.reuse(table, cached);
        }
        self.take_blocks(table, missing, self.block_size);
        true
    }

    /// Makes the full last block findable, unless no lookup could ask for it: private, or detached
    /// from its prompt.
    fn cache_last_block(&mut self, table: &mut BlockTable, sequence: Sequence<'_>) {
        self.cache_blocks(table, sequence, table.len() as u32 * self.block_size);
    }

    /// How many of the full blocks of the first `tokens` tokens a lookup could ask for: none that
    /// is private, or detached from its prompt.
    fn findable_blocks(&self, table: &BlockTable, sequence: Sequence<'_>, tokens: u32) -> u32 {
        if table.detached || !self.lookups || self.tiered.is_some() {
            return 0;
        }
        tokens.min(sequence.private_from) / self.block_size
    }

    /// Makes the full blocks of the first `tokens` tokens findable, but those that no lookup could
    /// ask for: private ones, or detached from their prompt.
    pub fn cache_blocks(&mut self, table: &mut BlockTable, sequence: Sequence<'_>, tokens: u32) {
        let full = self.findable_blocks(table, sequence, tokens);
        let (from, to) = (table.identified, full.min(table.len() as u32));
        if from >= to {
            return;
        }
        let keys = sequence.keys(self.block_size, from, to);
        if let Some(events) = &mut self.events {
            let last = table.held.last();
            let last = last.and_then(|held| self.pool.parts(*held).last());
            let size = self.block_size;
            let parent = last.and_then(|extent| self.pool[extent].range.keys(size).next_back());
            let keys = keys.clone().flat_map(|range| range.keys(size));
            events.stored(keys, parent, size);
        }
        keys.for_each(|range| self.identify(table, range));
    }

    /// Allocates a block for one output token. One must be free.
    pub fn open_block(&mut self, table: &mut BlockTable) {
        table.detached |= table.is_empty();
        self.take_blocks(table, 1, 1);
    }

    /// Frees all blocks, the last one first, so that the tails of prefixes are evicted before their
    /// heads. The first `known` of them are full blocks whose tokens are known: they could be found
    /// if anybody asked. The others are used again first where the rules say so.
    pub fn release(&mut self, table: &mut BlockTable, known: u32) {
        if let Some(tiered) = &mut self.tiered {
            tiered.release(table);
            return;
        }
        let known = if self.lookups { known as usize } else { 0 };
        let identified = table.identified as usize;
        let private = known.clamp(identified, table.len()) - identified;
        let unfindable = table.anonymous as usize - private;
        self.relief += u64::from(table.anonymous);
        if self.reuse_unfindable_first {
            self.pool.prepend_anonymous(unfindable as u64);
            self.pool.append_anonymous(private as u64);
        } else {
            self.pool.append_anonymous(table.anonymous.into());
        }
        let mut parts = std::mem::take(&mut self.parts);
        for &held in table.held.iter().rev() {
            parts.extend(self.pool.parts(held));
            while let Some(part) = parts.pop() {
                if self.pool.let_go(part) {
                    self.free_extent(part);
                }
            }
        }
        self.parts = parts;
        *table = BlockTable::default();
    }

    /// Frees an extent that no request holds any more.
    fn free_extent(&mut self, extent: u32) {
        let range = self.pool[extent].range;
        self.relief += u64::from(range.blocks);
        let findable = self.pool[extent].findable;
        // Which of two copies is older is known of whole extents, so they stay apart.
        let may_join = findable || !self.index.finds_all_copies();
        match self.pool.last_freed_behind(extent) {
            Some(last) if may_join => {
                if findable {
                    self.index.remove(&self.pool, extent);
                }
                self.pool.append_to(last, extent);
            }
            _ => self.pool.append(extent),
        }
    }

    /// Takes cached blocks into an empty table.
    fn reuse(&mut self, table: &mut BlockTable, cached: &CachedPrefix) {
        for part in &cached.parts {
            let (mut extent, before) = self.pool.part_at(part.extent, part.skip);
            if before > 0 {
                extent = self.split(extent, before);
            }
            table.held.push(Held {
                extent,
                blocks: part.blocks,
            });
            let mut left = part.blocks;
            loop {
                if left < self.pool[extent].range.blocks {
                    self.split(extent, left);
                }
                self.pool.hold(extent);
                left -= self.pool[extent].range.blocks;
                if left == 0 {
                    break;
                }
                extent = self.pool.rest(extent);
            }
        }
        if !cached.is_empty() {
            self.reused += u64::from(cached.blocks());
            table.identified = cached.blocks();
            table.tail = self.block_size;
        }
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

    /// Allocates free blocks, of which the last one stores `tail` tokens; what they cached is
    /// evicted.
    fn take_blocks(&mut self, table: &mut BlockTable, blocks: u32, tail: u32) {
        if blocks == 0 {
            return;
        }
        let mut left = blocks;
        while left > 0 {
            match self.pool.front() {
                Front::Anonymous(there) => {
                    let taken = there.min(left.into());
                    self.pool.take_anonymous(taken);
                    left -= taken as u32;
                }
                Front::Extent(extent) => {
                    let taken = left.min(self.pool[extent].range.blocks);
                    self.evict(extent, taken);
                    left -= taken;
                }
            }
        }
        self.taken += u64::from(blocks);
        table.anonymous += blocks;
        table.tail = tail;
    }
}
