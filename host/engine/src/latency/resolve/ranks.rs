//! What each data-parallel rank has of the KV cache, where each has one of its own.

use super::super::capacity::GIB;
use super::super::deployment::{KvBlocksSource, MaxModelLenSource, Resolved};
use windtunnel_base::input::InputError;

impl Resolved {
    /// KV blocks of each rank, of `block_size` tokens; from here on the instance has those of all.
    /// Blocks that were given, or measured on a server, are a rank's, as vLLM counts them. A
    /// request is on one rank: it is no longer than what that holds.
    ///
    /// # Errors
    /// When `max_model_len`, which was given, is.
    pub fn share_kv_cache(
        &mut self,
        block_size: u32,
        max_model_len: Option<u64>,
    ) -> Result<u64, InputError> {
        let ranks = u64::from(self.dp);
        let blocks = match self.kv_blocks_source {
            // Those of all ranks were computed, where they share experts.
            KvBlocksSource::Computed if self.is_moe => self.total_kv_blocks / ranks,
            _ => self.total_kv_blocks,
        };
        self.total_kv_blocks = blocks.saturating_mul(ranks);
        let capacity = blocks.saturating_mul(block_size.into());
        if let Some(len) = max_model_len.filter(|len| *len > capacity) {
            return Err(InputError::new(format!(
                "`max_model_len` {len} is above what the KV cache of a data-parallel rank holds: {capacity} tokens \
                 ({blocks} blocks of {block_size})"
            )));
        }
        let source = self.max_model_len_source;
        if source != MaxModelLenSource::Unlimited && self.max_model_len > capacity {
            self.max_model_len = capacity;
            self.max_model_len_source = MaxModelLenSource::KvCapacity;
        }
        let Some(memory) = &mut self.memory else {
            return Ok(blocks);
        };
        memory.replicas = self.dp;
        let kv = capacity as f64 * memory.token;
        let gpu = self.hardware.map_or(f64::INFINITY, |h| h.memory_gib);
        if self.is_moe && kv + memory.weights > gpu * GIB {
            self.notes.push(format!(
                "{blocks} KV blocks of a data-parallel rank cannot be: on each GPU they are {:.1} GiB beside {:.1} GiB of \
                 weights, and it has {gpu} GiB",
                kv / GIB,
                memory.weights / GIB
            ));
        }
        Ok(blocks)
    }
}
