//! The changes of a prefix cache that are not published yet.

use rustc_hash::FxHashMap;
use windtunnel_base::record::KvChange;

/// Collects the changes of one cache. Blocks go by numbers: keys say nothing outside of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct EventLog {
    numbers: FxHashMap<u64, u32>,
    pending: Vec<KvChange>,
}

impl EventLog {
    /// Blocks of these keys, of `block_size` tokens each, became findable behind that of `parent`.
    pub(super) fn stored(
        &mut self,
        keys: impl Iterator<Item = u64>,
        parent: Option<u64>,
        block_size: u32,
    ) {
        let blocks: Vec<u32> = keys.map(|key| self.number(key)).collect();
        let parent = parent.map(|key| self.number(key));
        let tokens = blocks.len() as u32 * block_size;
        self.pending.push(KvChange::Stored {
            blocks,
            parent,
            tokens,
        });
    }

    /// A copy of the block of this key is gone.
    pub(super) fn removed(&mut self, key: u64) {
        let block = self.number(key);
        self.pending.push(KvChange::Removed { block });
    }

    /// What changed since it was asked last, in order.
    pub(super) fn take(&mut self) -> std::vec::Drain<'_, KvChange> {
        self.pending.drain(..)
    }

    fn number(&mut self, key: u64) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(key).or_insert(next)
    }
}
