//! A KV cache with tiers below the GPU's blocks: what it does beyond one without.

use super::block_table::BlockTable;
use super::cache::KvCache;
use super::cached_prefix::CachedPrefix;
use super::tiers::{Asker, KvTiers, TieredCache};
use crate::rules::EngineRules;
use windtunnel_base::record::TierCounts;
use windtunnel_base::request::RequestId;

impl KvCache {
    /// A cache of `total` blocks of `block_size` tokens, with tiers below as the reference has
    /// them.
    #[must_use]
    pub fn with_tiers(total: u64, block_size: u32, rules: &EngineRules, tiers: &KvTiers) -> Self {
        let mut cache = Self::new(total, block_size, rules, true);
        cache.tiered = Some(Box::new(TieredCache::new(total, block_size, tiers)));
        cache
    }

    /// Are there tiers below?
    #[must_use]
    pub fn has_tiers(&self) -> bool {
        self.tiered.is_some()
    }

    /// What moved between the tiers so far.
    #[must_use]
    pub fn tier_counts(&self) -> Option<TierCounts> {
        self.tiered.as_ref().map(|tiered| tiered.counts())
    }

    /// A step begins at `now`: transfers may have ended.
    pub fn set_clock(&mut self, now: i64) {
        if let Some(tiered) = &mut self.tiered {
            tiered.set_clock(now);
        }
    }

    /// The requests that are put off come one step further. Once in every step, before requests are
    /// admitted.
    pub fn poll_put_off(&mut self) {
        if let Some(tiered) = &mut self.tiered {
            tiered.poll();
        }
    }

    /// Is this request put off until a device has brought its blocks?
    #[must_use]
    pub fn puts_off(&self, id: &RequestId) -> bool {
        self.tiered.as_ref().is_some_and(|tiered| tiered.waits(id))
    }

    /// A request leaves the queue that may have been put off.
    pub fn forget_put_off(&mut self, id: &RequestId) {
        if let Some(tiered) = &mut self.tiered {
            tiered.forget(id);
        }
    }

    /// Time that the step at hand waits for blocks that come back to the GPU, microseconds.
    pub fn take_reload_us(&mut self) -> i64 {
        self.tiered.as_mut().map_or(0, |t| t.take_pending_us())
    }

    /// Brings what the requests of a batch hold to the tiers below: each by the number of its
    /// admission, its blocks and the length of its prompt, in the order of the batch.
    pub fn mirror<'a>(&mut self, batch: impl Iterator<Item = (u64, &'a BlockTable, u32)> + Clone) {
        if let Some(tiered) = &mut self.tiered {
            tiered.mirror(batch);
        }
    }

    /// Stores tokens of a request, after the `cached` blocks if it holds none. `false`: there is no
    /// room, or the request is put off; where there are tiers, blocks may have moved and it may
    /// have claimed some all the same.
    pub fn allocate(
        &mut self,
        table: &mut BlockTable,
        asker: &Asker<'_>,
        cached: &CachedPrefix,
    ) -> bool {
        match &mut self.tiered {
            Some(tiered) => tiered.allocate(table, asker, cached),
            None if asker.prefills => {
                self.allocate_prefill(table, asker.sequence, asker.tokens, cached)
            }
            None => self.allocate_decode(table, asker.sequence, asker.known),
        }
    }
}
