//! The block pool: reference counts, an LRU free list, and the index of full blocks by prefix identity.
//!
//! A block on the free list keeps its identity until it is taken again, so freed prefixes stay findable (lazy
//! eviction). Identity is the key of the block's last token (see [`crate::request::Span`]): the streams are rooted, so that one key
//! stands for the whole prefix and nothing is hashed.

use super::changes::ChangeLog;
use crate::request::TokenSeq;
use rustc_hash::FxHashMap;

const NONE: u32 = u32::MAX;
/// The key of a block without identity.
const NO_KEY: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Block {
    key: u64,
    references: u32,
    previous: u32,
    next: u32,
}

/// The blocks one request holds, in order.
#[derive(Clone, Debug, Default)]
pub struct Held {
    blocks: Vec<u32>,
    /// Tokens stored in the last block, `1..=block_size`; 0 without blocks.
    tail: u32,
    /// The first block was opened by an output token: the prompt is empty, or fully cached and (under `blis` rules) not claimed.
    detached: bool,
}

impl Held {
    /// Blocks held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Holds nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Tokens stored in the last block; 0 without blocks.
    #[must_use]
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// The last block's fill is known to be `tail` by now; blocks that filled up meanwhile were private.
    pub fn set_tail(&mut self, tail: u32) {
        self.tail = tail;
    }
}

/// What a request stores: its prompt, then its output.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Prompt.
    pub prompt: &'a TokenSeq,
    /// Output.
    pub output: &'a TokenSeq,
    /// Tokens from this position on are in no other request.
    pub private_from: u32,
}

impl Sequence<'_> {
    fn key_at(&self, position: u32) -> u64 {
        let prompt = self.prompt.len();
        let key = if position < prompt {
            self.prompt.token_key(position)
        } else {
            self.output.token_key(position - prompt)
        };
        key.expect("a stored token lies inside the sequence")
    }

    /// Keys of the full blocks among the first `tokens` tokens.
    pub fn block_keys(&self, block: u32, tokens: u32) -> impl Iterator<Item = u64> + '_ {
        let whole = self.prompt.len() / block;
        let wanted = tokens / block;
        self.prompt
            .block_keys(block)
            .take(wanted as usize)
            .chain((whole..wanted).map(move |k| self.key_at((k + 1) * block - 1)))
    }
}

/// The KV blocks of one instance.
#[derive(Clone, Debug)]
pub struct KvPool {
    block_size: u32,
    total: u64,
    /// Blocks that were taken at least once. The rest of the free list is implicit: fresh blocks stand before all freed ones.
    blocks: Vec<Block>,
    free_head: u32,
    free_tail: u32,
    /// Length of the linked part of the free list.
    freed: u64,
    /// Blocks of the free list that have an identity. Among those without one the order shows nowhere as long as none with one stands
    /// between them: then the one used last is taken first, so that a pool touches no more memory than its holders need.
    freed_findable: u64,
    index: FxHashMap<u64, u32>,
    /// Further copies of an indexed key, oldest first; `None` when only the newest copy is findable.
    copies: Option<FxHashMap<u64, Vec<u32>>>,
    changes: Option<ChangeLog>,
    index_version: u64,
    hits: u64,
    misses: u64,
    /// Empty lists of released holders, kept for their memory: in a steady state no list is allocated or grown.
    spare: Vec<Vec<u32>>,
}

impl KvPool {
    /// A pool of `total` blocks of `block_size` tokens. With `all_copies` every copy of a block stays findable, else only the
    /// newest, which is forgotten when *any* copy is recycled.
    #[must_use]
    pub fn new(total: u64, block_size: u32, all_copies: bool) -> Self {
        Self {
            block_size,
            total,
            blocks: Vec::new(),
            free_head: NONE,
            free_tail: NONE,
            freed: 0,
            freed_findable: 0,
            index: FxHashMap::default(),
            copies: all_copies.then(FxHashMap::default),
            changes: None,
            index_version: 0,
            hits: 0,
            misses: 0,
            spare: Vec::new(),
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
        self.total - self.blocks.len() as u64 + self.freed
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
        let room = if held.tail == 0 {
            0
        } else {
            self.block_size - held.tail
        };
        u64::from(tokens.saturating_sub(room).div_ceil(self.block_size))
    }

    /// Counts changes of the prefix index; equal values mean that every lookup answers as before.
    #[must_use]
    pub fn index_version(&self) -> u64 {
        self.index_version
    }

    /// Room for `tokens` more prompt tokens on top of what `held` has, claiming the `cached` blocks first if `held` is
    /// empty. All or nothing: `false` changes nothing.
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
            self.equip(held);
            self.claim(held, cached);
        }
        held.blocks.reserve(self.blocks_for(held, tokens) as usize);
        let mut left = tokens;
        left -= self.fill_tail(held, sequence, left);
        if left > 0 {
            let mut position = held.blocks.len() as u32 * self.block_size;
            while left > 0 {
                let stored = left.min(self.block_size);
                position += stored;
                let block = self.take(held, stored);
                if stored == self.block_size && position <= sequence.private_from {
                    self.register(block, sequence.key_at(position - 1));
                }
                left -= stored;
            }
        }
        true
    }

    /// Room for one more output token. All or nothing: `false` changes nothing.
    pub fn allocate_decode(&mut self, held: &mut Held, sequence: Sequence<'_>) -> bool {
        if held.is_empty() || held.tail == self.block_size {
            if self.free() == 0 {
                return false;
            }
            self.open_block(held);
        } else {
            self.fill_tail(held, sequence, 1);
        }
        true
    }

    /// The full last block becomes findable, unless nobody could ask for it: private, or detached from its prompt.
    pub fn register_last(&mut self, held: &Held, sequence: Sequence<'_>) {
        let stored = held.blocks.len() as u32 * self.block_size;
        if held.detached || stored > sequence.private_from {
            return;
        }
        if let Some(&block) = held.blocks.last() {
            self.register(block, sequence.key_at(stored - 1));
        }
    }

    /// Opens a block for one output token. The caller knows that one is free.
    pub fn open_block(&mut self, held: &mut Held) {
        held.detached |= held.is_empty();
        self.equip(held);
        self.take(held, 1);
    }

    /// A preempted request may ask for its own blocks again: the private ones become findable, too.
    pub fn publish(&mut self, held: &Held, sequence: Sequence<'_>) {
        if held.detached {
            return;
        }
        let full = held.blocks.len() - usize::from(held.tail < self.block_size && !held.is_empty());
        for (k, &block) in held.blocks[..full].iter().enumerate() {
            let stored = (k as u32 + 1) * self.block_size;
            // Blocks of one token filled by decoding are never findable; the prompt's are.
            let findable = self.block_size > 1 || stored <= sequence.prompt.len();
            if stored > sequence.private_from
                && findable
                && self.blocks[block as usize].key == NO_KEY
            {
                self.register(block, sequence.key_at(stored - 1));
            }
        }
    }

    /// Gives all blocks back, the last one first, so that the tails of prefixes are recycled before their heads.
    pub fn release(&mut self, held: &mut Held) {
        for &block in held.blocks.iter().rev() {
            let entry = &mut self.blocks[block as usize];
            entry.references -= 1;
            if entry.references == 0 {
                self.append_free(block);
            }
        }
        held.blocks.clear();
        if held.blocks.capacity() > 0 {
            self.spare.push(std::mem::take(&mut held.blocks));
        }
        held.tail = 0;
        held.detached = false;
    }

    /// Gives a holder without a list a used one.
    fn equip(&mut self, held: &mut Held) {
        if held.blocks.capacity() == 0 {
            held.blocks = self.spare.pop().unwrap_or_default();
        }
    }

    fn claim(&mut self, held: &mut Held, cached: &[u32]) {
        for &block in cached {
            if self.blocks[block as usize].references == 0 {
                self.unlink_free(block);
            }
            self.blocks[block as usize].references += 1;
            self.hits += 1;
            held.blocks.push(block);
            held.tail = self.block_size;
        }
    }

    /// Stores up to `tokens` in a partly filled last block; returns how many.
    fn fill_tail(&mut self, held: &mut Held, sequence: Sequence<'_>, tokens: u32) -> u32 {
        if held.tail == 0 || held.tail == self.block_size {
            return 0;
        }
        let stored = tokens.min(self.block_size - held.tail);
        held.tail += stored;
        if held.tail == self.block_size {
            self.register_last(held, sequence);
        }
        stored
    }

    /// Takes a free block for `stored` tokens.
    fn take(&mut self, held: &mut Held, stored: u32) -> u32 {
        let untouched = (self.blocks.len() as u64) < self.total;
        let nameless = |head: u32| head != NONE && self.blocks[head as usize].key == NO_KEY;
        // A nameless head is as good as an untouched block: both stand before all blocks with an identity.
        let block = if untouched && !nameless(self.free_head) {
            self.blocks.push(Block {
                key: NO_KEY,
                references: 0,
                previous: NONE,
                next: NONE,
            });
            self.blocks.len() as u32 - 1
        } else {
            let block = self.free_head;
            self.unlink_free(block);
            self.forget(block);
            block
        };
        self.blocks[block as usize].references = 1;
        self.misses += 1;
        held.blocks.push(block);
        held.tail = stored;
        block
    }

    fn register(&mut self, block: u32, key: u64) {
        self.blocks[block as usize].key = key;
        self.index_version += 1;
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
        let key = std::mem::replace(&mut self.blocks[block as usize].key, NO_KEY);
        if key == NO_KEY {
            return;
        }
        self.index_version += 1;
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

    /// Puts a block that nobody holds any more on the free list.
    fn append_free(&mut self, block: u32) {
        let findable = self.blocks[block as usize].key != NO_KEY;
        self.freed_findable += u64::from(findable);
        self.freed += 1;
        // In front where the order does not show, else at the end.
        let front = !findable && self.freed_findable == 0;
        let (previous, next) = if front {
            (NONE, self.free_head)
        } else {
            (self.free_tail, NONE)
        };
        let entry = &mut self.blocks[block as usize];
        (entry.previous, entry.next) = (previous, next);
        if previous == NONE {
            self.free_head = block;
        } else {
            self.blocks[previous as usize].next = block;
        }
        if next == NONE {
            self.free_tail = block;
        } else {
            self.blocks[next as usize].previous = block;
        }
    }

    fn unlink_free(&mut self, block: u32) {
        let Block {
            key,
            previous,
            next,
            ..
        } = self.blocks[block as usize];
        self.freed_findable -= u64::from(key != NO_KEY);
        if previous == NONE {
            self.free_head = next;
        } else {
            self.blocks[previous as usize].next = next;
        }
        if next == NONE {
            self.free_tail = previous;
        } else {
            self.blocks[next as usize].previous = previous;
        }
        self.freed -= 1;
    }

    /// Checks the pool against what its holders hold; for tests after random runs.
    ///
    /// # Errors
    /// A sentence that names the broken invariant.
    pub fn check<'a>(&self, holders: impl Iterator<Item = &'a Held>) -> Result<(), String> {
        let mut references = vec![0u32; self.blocks.len()];
        if self.blocks.len() as u64 > self.total {
            return Err(format!("{} blocks of {}", self.blocks.len(), self.total));
        }
        for held in holders {
            if held.is_empty() != (held.tail == 0) || held.tail > self.block_size {
                return Err(format!(
                    "{} blocks are held, the last with {} tokens",
                    held.len(),
                    held.tail
                ));
            }
            for &block in &held.blocks {
                references[block as usize] += 1;
            }
        }
        for (b, block) in self.blocks.iter().enumerate() {
            if block.references != references[b] {
                return Err(format!(
                    "block {b} counts {} references, holders {}",
                    block.references, references[b]
                ));
            }
        }
        let (mut at, mut previous, mut listed) = (self.free_head, NONE, 0u64);
        let mut findable = 0;
        while at != NONE {
            let block = self.blocks[at as usize];
            if block.references != 0 || block.previous != previous {
                return Err(format!("free list is broken at block {at}"));
            }
            listed += 1;
            findable += u64::from(block.key != NO_KEY);
            previous = at;
            at = block.next;
        }
        if findable != self.freed_findable {
            return Err(format!(
                "free list has {findable} blocks with an identity, counter says {}",
                self.freed_findable
            ));
        }
        let idle = references.iter().filter(|&&r| r == 0).count() as u64;
        if listed != self.freed || idle != self.freed || previous != self.free_tail {
            return Err(format!(
                "free list has {listed} blocks, counter says {}, {idle} are idle",
                self.freed
            ));
        }
        // Shared blocks count once.
        let held = references.iter().filter(|&&r| r > 0).count() as u64;
        if held != self.used() {
            return Err(format!("{held} blocks are held, {} in use", self.used()));
        }
        for (key, &block) in &self.index {
            if self.blocks[block as usize].key != *key {
                return Err(format!("index names block {block} for another key"));
            }
        }
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        for (key, others) in copies {
            let first = self.index.get(key);
            let wrong = |b: &&u32| self.blocks[**b as usize].key != *key || first == Some(b);
            if others.is_empty() || first.is_none() || others.iter().any(|b| wrong(&b)) {
                return Err(format!(
                    "copies {others:?} of the block {first:?} are wrong"
                ));
            }
        }
        let findable = self.index.len() + copies.values().map(Vec::len).sum::<usize>();
        let keyed = self.blocks.iter().filter(|b| b.key != NO_KEY).count();
        if findable != keyed {
            return Err(format!("{keyed} blocks are full, {findable} are findable"));
        }
        Ok(())
    }
}
