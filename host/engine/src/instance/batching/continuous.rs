//! Continuous batching with chunked prefill, vLLM's strategy.

use super::strategy::{BatchLimits, BatchState, BatchingStrategy};
use crate::instance::config::EngineConfig;

/// Requests are admitted whenever the batch has room, and prompts are computed in chunks beside the
/// running decodes.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousBatching {
    max_num_seqs: u32,
    max_num_batched_tokens: u32,
    /// `u32::MAX` = no limit.
    long_prefill_token_threshold: u32,
}

impl ContinuousBatching {
    /// Under the limits of `config`.
    #[must_use]
    pub fn new(config: &EngineConfig) -> Self {
        Self {
            max_num_seqs: config.max_num_seqs,
            max_num_batched_tokens: config.max_num_batched_tokens,
            long_prefill_token_threshold: match config.long_prefill_token_threshold {
                0 => u32::MAX,
                threshold => threshold,
            },
        }
    }
}

impl BatchingStrategy for ContinuousBatching {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        BatchLimits {
            max_new_tokens: self.max_num_batched_tokens,
            max_prefill_tokens: self.long_prefill_token_threshold,
            max_admissions: self.max_num_seqs.saturating_sub(state.running),
        }
    }
}
