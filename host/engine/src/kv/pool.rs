//! The block pool: reference counts, an LRU free list, and the index of full blocks by prefix
//! identity.
//!
//! A block on the free list keeps its identity until it is taken again, so freed prefixes stay
//! findable (lazy eviction). Identity is the key of the block's last token (see
//! [`windtunnel_base::request::Span`]): the streams are rooted, so that one key stands for the
//! whole prefix and nothing is hashed. Blocks without identity are only counted.

use super::changes::ChangeLog;
use super::free_list::FreeList;
use super::held::{Held, Sequence};
use rustc_hash::FxHashMap;

/// A block with identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) key: u64,
    pub(super) references: u32,
}

/// The KV blocks of one instance.
#[derive(Clone, Debug)]
pub struct KvPool {
    pub(super) block_size: u32,
    total: u64,
    /// By number.
    pub(super) blocks: Vec<Block>,
    /// Numbers that no block has at present.
    pub(super) spare: Vec<u32>,
    pub(super) free: FreeList,
    pub(super) index: FxHashMap<u64, u32>,
    /// Further copies of an indexed key, oldest first; `None` when only the newest copy is
    /// findable.
    pub(super) copies: Option<FxHashMap<u64, Vec<u32>>>,
    changes: Option<ChangeLog>,
    version: u64,
    hits: u64,
    misses: u64,
}

impl KvPool {
    /// A pool of `total` blocks of `block_size` tokens. With `all_copies` every copy of a block
    /// stays findable, else only the newest, which is forgotten when *any* copy is recycled.
    #[must_use]
    pub fn new(total: u64, block_size: u32, all_copies: bool) -> Self {
        Self {
            block_size,
            total,
            blocks: Vec::new(),
            spare: Vec::new(),
            free: FreeList::new(total),
            index: FxHashMap::default(),
            copies: all_copies.then(FxHashMap::default),
            changes: None,
            version: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// Starts to remember the index as of the last [`refresh_signal`](Self::refresh_signal).
    pub fn track_changes(&mut self) {
        self.changes.get_or_insert_with(ChangeLog::default);
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

    /// Blocks somebody holds.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.total - self.free()
    }

    /// Blocks claimed from the cache so far.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Blocks taken fresh so far.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// The longest run of leading blocks that are cached now.
    pub fn cached_prefix(&self, keys: impl Iterator<Item = u64>) -> Vec<u32> {
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

    /// The delayed signal catches up with the present.
    pub fn refresh_signal(&mut self) {
        if let Some(log) = &mut self.changes {
            log.refresh();
        }
    }

    /// Blocks that `tokens` more tokens on top of `held` take from the free list.
    #[must_use]
    pub fn blocks_for(&self, held: &Held, tokens: u32) -> u64 {
        let room = held.room(self.block_size);
        u64::from(tokens.saturating_sub(room).div_ceil(self.block_size))
    }

    /// Counts what can make an allocation fit that did not fit before: changes of the prefix index,
    /// claims, releases. While it stands still, blocks are only taken.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Room for `tokens` more prompt tokens on top of what `held` has, claiming the `cached` blocks
    /// first if `held` is empty. All or nothing: `false` changes nothing.
    pub fn allocate_prefill(
        &mut self,
        held: &mut Held,
        sequence: Sequence<'_>,
        tokens: u32,
        cached: &[u32],
    ) -> bool {
        let claimed_from_free = cached
            .iter()
            .filter(|&&b| self.blocks[b as usize].references == 0)
            .count() as u64;
        if self.blocks_for(held, tokens) + claimed_from_free > self.free() {
            return false;
        }
        // A fully cached prompt stores nothing, and then nothing is claimed either.
        if tokens == 0 {
            return true;
        }
        if held.is_empty() {
            self.claim(held, cached);
        }
        let mut left = tokens;
        left -= self.fill_tail(held, sequence, left);
        while left > 0 {
            let stored = left.min(self.block_size);
            self.take(held, stored);
            if stored == self.block_size {
                self.register_last(held, sequence);
            }
            left -= stored;
        }
        true
    }

    /// Room for one more output token. All or nothing: `false` changes nothing.
    pub fn allocate_decode(&mut self, held: &mut Held, sequence: Sequence<'_>) -> bool {
        if held.room(self.block_size) == 0 {
            if self.free() == 0 {
                return false;
            }
            self.open_block(held);
        } else {
            self.fill_tail(held, sequence, 1);
        }
        true
    }

    /// The full last block becomes findable, unless nobody could ask for it: private, or detached
    /// from its prompt.
    pub fn register_last(&mut self, held: &mut Held, sequence: Sequence<'_>) {
        let stored = held.len() as u32 * self.block_size;
        if !held.detached && stored <= sequence.private_from {
            self.register(held, sequence.key_at(stored - 1));
        }
    }

    /// Opens a block for one output token. The caller knows that one is free.
    pub fn open_block(&mut self, held: &mut Held) {
        held.detached |= held.is_empty();
        self.take(held, 1);
    }

    /// A preempted request may ask for its own blocks again: the private ones become findable, too.
    pub fn publish(&mut self, held: &mut Held, sequence: Sequence<'_>) {
        if held.detached {
            return;
        }
        let mut full = held.len() - usize::from(held.tail < self.block_size && !held.is_empty());
        if self.block_size == 1 {
            // Blocks of one token filled by decoding are never findable; the prompt's are.
            full = full.min(sequence.prompt.len() as usize);
        }
        while held.numbered.len() < full {
            let stored = (held.numbered.len() as u32 + 1) * self.block_size;
            self.register(held, sequence.key_at(stored - 1));
        }
    }

    /// Gives all blocks back, the last one first, so that the tails of prefixes are recycled before
    /// their heads.
    pub fn release(&mut self, held: &mut Held) {
        self.version += 1;
        self.free.append_counted(held.counted.into());
        for &block in held.numbered.iter().rev() {
            let entry = &mut self.blocks[block as usize];
            entry.references -= 1;
            if entry.references == 0 {
                self.free.append(block);
            }
        }
        *held = Held::default();
    }

    fn claim(&mut self, held: &mut Held, cached: &[u32]) {
        self.version += 1;
        for &block in cached {
            let entry = &mut self.blocks[block as usize];
            if entry.references == 0 {
                self.free.remove(block);
            }
            entry.references += 1;
            self.hits += 1;
            held.tail = self.block_size;
        }
        held.numbered.extend_from_slice(cached);
    }

    /// Stores up to `tokens` in a partly filled last block; returns how many.
    fn fill_tail(&mut self, held: &mut Held, sequence: Sequence<'_>, tokens: u32) -> u32 {
        let room = held.room(self.block_size);
        if room == 0 {
            return 0;
        }
        let stored = tokens.min(room);
        held.tail += stored;
        if held.tail == self.block_size {
            self.register_last(held, sequence);
        }
        stored
    }

    /// Takes a free block for `stored` tokens; what it held is forgotten.
    fn take(&mut self, held: &mut Held, stored: u32) {
        if let Some(block) = self.free.take() {
            self.forget(block);
            self.spare.push(block);
        }
        self.misses += 1;
        held.counted += 1;
        held.tail = stored;
    }

    /// Gives the first counted block of a request an identity.
    fn register(&mut self, held: &mut Held, key: u64) {
        let entry = Block { key, references: 1 };
        let block = self.spare.pop().unwrap_or(self.blocks.len() as u32);
        match self.blocks.get_mut(block as usize) {
            Some(old) => *old = entry,
            None => self.blocks.push(entry),
        }
        held.counted -= 1;
        held.numbered.push(block);
        self.version += 1;
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

    fn forget(&mut self, block: u32) {
        let key = self.blocks[block as usize].key;
        self.version += 1;
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
