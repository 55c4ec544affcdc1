//! Continuous batching with chunked prefill, vLLM's strategy.

use super::strategy::{BatchLimits, BatchState, BatchingStrategy};
use crate::instance::config::EngineConfig;

/// Requests are admitted whenever the batch has room, and prompts are computed in chunks beside the
/// running decodes.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousBatching {
    /// Most requests in the batch after an admission.
    max_active: u32,
    max_num_batched_tokens: u32,
    /// `u32::MAX` = no limit.
    long_prefill_token_threshold: u32,
    adaptive_threshold: bool,
    spare_lone_prefill: bool,
}

impl ContinuousBatching {
    /// Under the limits of `config`.
    #[must_use]
    pub fn new(config: &EngineConfig) -> Self {
        Self {
            max_active: match config.scheduling.max_num_active_seqs {
                0 => config.max_num_seqs,
                active => active.min(config.max_num_seqs),
            },
            max_num_batched_tokens: config.max_num_batched_tokens,
            long_prefill_token_threshold: match config.long_prefill_token_threshold {
                0 => u32::MAX,
                threshold => threshold,
            },
            adaptive_threshold: config.scheduling.adaptive_long_prefill_threshold,
            spare_lone_prefill: config.rules.spare_lone_prefill,
        }
    }
}

impl BatchingStrategy for ContinuousBatching {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        let requests = state.running.saturating_add(state.waiting);
        let max_prefill_tokens = if self.spare_lone_prefill && requests <= 1 {
            u32::MAX
        } else if self.adaptive_threshold {
            let share = self.max_num_batched_tokens / requests.max(1);
            self.long_prefill_token_threshold.max(share)
        } else {
            self.long_prefill_token_threshold
        };
        BatchLimits {
            max_new_tokens: self.max_num_batched_tokens,
            max_prefill_tokens,
            max_admissions: self.max_active.saturating_sub(state.running),
        }
    }
}
