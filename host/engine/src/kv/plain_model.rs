//! The KV cache block by block, as plainly as it can be said: what the tests compare with.

use super::block_table::Sequence;
use std::collections::{BTreeMap, BTreeSet};
use windtunnel_base::record::KvChange;
use windtunnel_base::request::TokenSeq;

/// A block with identity.
#[derive(Debug)]
struct Block {
    key: u64,
    references: u32,
}

#[derive(Debug, Default)]
pub(super) struct PlainTable {
    identified: Vec<usize>,
    anonymous: u32,
    pub(super) tail: u32,
    detached: bool,
}

impl PlainTable {
    pub(super) fn len(&self) -> u32 {
        self.identified.len() as u32 + self.anonymous
    }
}

#[derive(Debug)]
pub(super) struct PlainCache {
    size: u32,
    find_all_copies: bool,
    reuse_unfindable_first: bool,
    lookups: bool,
    /// All that were ever made.
    blocks: Vec<Block>,
    /// The next one to be taken first; `None` = anonymous.
    free: Vec<Option<usize>>,
    /// The blocks that a key has, the one that is found first.
    index: BTreeMap<u64, Vec<usize>>,
    at_refresh: BTreeSet<u64>,
    numbers: Vec<u64>,
    pub(super) events: Vec<KvChange>,
    /// Relief, evictions, reused and taken blocks.
    pub(super) counters: [u64; 4],
}

fn key_at(sequence: Sequence<'_>, position: u32) -> u64 {
    let prompt = sequence.prompt.token_key(position);
    let output = || sequence.output.token_key(position - sequence.prompt.len());
    prompt.or_else(output).unwrap()
}

impl PlainCache {
    pub(super) fn new(total: u32, size: u32, vllm: bool, lookups: bool) -> Self {
        Self {
            size,
            find_all_copies: vllm,
            reuse_unfindable_first: vllm,
            lookups,
            blocks: Vec::new(),
            free: vec![None; total as usize],
            index: BTreeMap::new(),
            at_refresh: BTreeSet::new(),
            numbers: Vec::new(),
            events: Vec::new(),
            counters: [0; 4],
        }
    }

    pub(super) fn free(&self) -> u64 {
        self.free.len() as u64
    }

    /// The keys of the free blocks in order.
    pub(super) fn free_keys(&self) -> Vec<Option<u64>> {
        let key = |block: &Option<usize>| block.map(|block| self.blocks[block].key);
        self.free.iter().map(key).collect()
    }

    pub(super) fn cached_prefix(&self, sequence: Sequence<'_>, tokens: u32) -> Vec<usize> {
        let keys = (1..=tokens / self.size).map(|k| key_at(sequence, k * self.size - 1));
        let found = keys.map_while(|key| self.index.get(&key).map(|copies| copies[0]));
        found.filter(|_| self.lookups).collect()
    }

    pub(super) fn cached_now(&self, prompt: &TokenSeq) -> u32 {
        let keys = prompt.block_keys(self.size);
        keys.take_while(|key| self.index.contains_key(key)).count() as u32
    }

    pub(super) fn cached_at_refresh(&self, prompt: &TokenSeq) -> u32 {
        let keys = prompt.block_keys(self.size);
        keys.take_while(|key| self.at_refresh.contains(key)).count() as u32
    }

    pub(super) fn refresh(&mut self) {
        self.at_refresh = self.index.keys().copied().collect();
    }

    pub(super) fn blocks_taken_by(&self, table: &PlainTable, tokens: u32, cached: &[usize]) -> u64 {
        let room = (self.size - table.tail) * u32::from(table.tail > 0);
        let new = tokens.saturating_sub(room).div_ceil(self.size);
        let idle = cached.iter().filter(|&&b| self.blocks[b].references == 0);
        u64::from(new) + idle.count() as u64
    }

    pub(super) fn prefill(
        &mut self,
        table: &mut PlainTable,
        sequence: Sequence<'_>,
        tokens: u32,
        cached: &[usize],
    ) -> bool {
        if self.blocks_taken_by(table, tokens, cached) > self.free() {
            return false;
        }
        if tokens > 0 && table.len() == 0 {
            self.reuse(table, cached);
        }
        for _ in 0..tokens {
            if table.tail == 0 || table.tail == self.size {
                self.take(table);
            } else {
                table.tail += 1;
            }
            if !self.find_all_copies && table.tail == self.size {
                self.cache(table, sequence, table.len() * self.size);
            }
        }
        if self.find_all_copies && tokens > 0 {
            let all = table.len() * self.size - (self.size - table.tail);
            self.cache(table, sequence, all);
        }
        true
    }

    pub(super) fn decode(
        &mut self,
        table: &mut PlainTable,
        sequence: Sequence<'_>,
        known: bool,
    ) -> bool {
        if table.tail == 0 || table.tail == self.size {
            if self.free.is_empty() {
                return false;
            }
            self.open(table);
        } else {
            table.tail += 1;
            if known && table.tail == self.size {
                self.cache(table, sequence, table.len() * self.size);
            }
        }
        true
    }

    pub(super) fn open(&mut self, table: &mut PlainTable) {
        table.detached |= table.len() == 0;
        self.take(table);
    }

    pub(super) fn slots(&mut self, table: &mut PlainTable, tokens: u32, cached: &[usize]) -> bool {
        let held = table.len().max(cached.len() as u32);
        let missing = tokens.div_ceil(self.size).saturating_sub(held);
        if u64::from(missing) + self.blocks_taken_by(table, 0, cached) > self.free() {
            return false;
        }
        if table.len() == 0 {
            self.reuse(table, cached);
        }
        for _ in 0..missing {
            self.take(table);
            table.tail = self.size;
        }
        true
    }

    pub(super) fn cache(&mut self, table: &mut PlainTable, sequence: Sequence<'_>, tokens: u32) {
        if table.detached || !self.lookups {
            return;
        }
        let full = tokens.min(sequence.private_from) / self.size;
        let before = table.identified.len();
        while (table.identified.len() as u32) < full.min(table.len()) {
            let last = (table.identified.len() as u32 + 1) * self.size - 1;
            let (key, block) = (key_at(sequence, last), self.blocks.len());
            self.blocks.push(Block { key, references: 1 });
            table.anonymous -= 1;
            table.identified.push(block);
            self.counters[0] += 1;
            let copies = self.index.entry(key).or_default();
            if !self.find_all_copies {
                copies.clear();
            }
            copies.push(block);
        }
        if table.identified.len() > before {
            let new: Vec<u64> = table.identified[before..]
                .iter()
                .map(|&block| self.blocks[block].key)
                .collect();
            let blocks: Vec<u32> = new.iter().map(|&key| self.number(key)).collect();
            let parent = table.identified[..before].last();
            let parent = parent.map(|&block| self.blocks[block].key);
            let stored = KvChange::Stored {
                tokens: blocks.len() as u32 * self.size,
                parent: parent.map(|key| self.number(key)),
                blocks,
            };
            self.events.push(stored);
        }
    }

    pub(super) fn release(&mut self, table: &mut PlainTable, known: u32) {
        let known = if self.lookups { known } else { 0 };
        let identified = table.identified.len() as u32;
        let private = known.clamp(identified, table.len()) - identified;
        let unfindable = (table.anonymous - private) as usize;
        self.counters[0] += u64::from(table.anonymous);
        if self.reuse_unfindable_first {
            self.free.splice(0..0, vec![None; unfindable]);
        } else {
            self.free.extend(vec![None; unfindable]);
        }
        self.free.extend(vec![None; private as usize]);
        for &block in table.identified.iter().rev() {
            self.blocks[block].references -= 1;
            if self.blocks[block].references == 0 {
                self.free.push(Some(block));
                self.counters[0] += 1;
            }
        }
        *table = PlainTable::default();
    }

    fn reuse(&mut self, table: &mut PlainTable, cached: &[usize]) {
        for &block in cached {
            self.free.retain(|free| *free != Some(block));
            self.blocks[block].references += 1;
            self.counters[2] += 1;
            table.identified.push(block);
            table.tail = self.size;
        }
    }

    /// Takes a block for one token.
    fn take(&mut self, table: &mut PlainTable) {
        if let Some(block) = self.free.remove(0) {
            self.evict(block);
        }
        self.counters[3] += 1;
        table.anonymous += 1;
        table.tail = 1;
    }

    fn evict(&mut self, block: usize) {
        let key = self.blocks[block].key;
        self.counters[1] += 1;
        let number = self.number(key);
        self.events.push(KvChange::Removed { block: number });
        if let Some(copies) = self.index.get_mut(&key) {
            copies.retain(|&copy| self.find_all_copies && copy != block);
            if copies.is_empty() {
                self.index.remove(&key);
            }
        }
    }

    fn number(&mut self, key: u64) -> u32 {
        let known = self.numbers.iter().position(|&other| other == key);
        known.unwrap_or_else(|| {
            self.numbers.push(key);
            self.numbers.len() - 1
        }) as u32
    }
}
