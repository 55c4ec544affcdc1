//! The limits and rules of an instance.

use crate::latency::StepLimits;
use crate::rules::EngineRules;

/// "Never", as a time.
pub const NEVER: i64 = i64::MAX;

/// Limits and rules of an instance; vLLM's names where it has them.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// KV blocks.
    pub total_kv_blocks: u64,
    /// Tokens per KV block.
    pub block_size: u32,
    /// Most requests in the running batch.
    pub max_num_seqs: u32,
    /// Most new tokens per step.
    pub max_num_batched_tokens: u32,
    /// Most prefill tokens of one request per step; 0 = no limit.
    pub long_prefill_token_threshold: u32,
    /// Most tokens of prompt and output; 0 = no limit.
    pub max_model_len: u64,
    /// Nothing happens after this time, microseconds.
    pub horizon_us: i64,
    /// Switches.
    pub rules: EngineRules,
    /// Report first tokens and preemptions.
    pub token_events: bool,
    /// Touch every request in every step. Slow; the definition of what the fast path must give.
    pub plain: bool,
}

impl EngineConfig {
    /// The limits that estimates of durations assume.
    #[must_use]
    pub fn step_limits(&self) -> StepLimits {
        StepLimits {
            max_tokens: self.max_num_batched_tokens,
            max_prefill_tokens: self.long_prefill_token_threshold,
        }
    }

    /// Most tokens of a request that are ever computed: the last one that fits into
    /// `max_model_len` is sampled but not computed.
    pub(super) fn max_computed_tokens(&self) -> u32 {
        match self.max_model_len {
            0 => u32::MAX,
            limit => u32::try_from(limit - 1).unwrap_or(u32::MAX),
        }
    }
}
