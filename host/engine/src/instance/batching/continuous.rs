//! Continuous batching with chunked prefill, vLLM's strategy.

use super::engine_limits::EngineLimits;
use super::named::Strategy;
use super::strategy::{BatchLimits, BatchState, BatchingStrategy};
use crate::instance::config::EngineConfig;

pub(super) const STRATEGY: Strategy = Strategy {
    name: "continuous",
    sentence: "vLLM's: requests join whenever the batch has room, and prompts are computed in \
               chunks beside the running decodes, as many tokens as a step may have.",
    params: &[],
    make: |config, _| Box::new(ContinuousBatching::new(config)),
};

/// Requests are admitted whenever the batch has room, and prompts are computed in chunks beside the
/// running decodes.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousBatching {
    limits: EngineLimits,
    adaptive_threshold: bool,
    spare_lone_prefill: bool,
}

impl ContinuousBatching {
    /// Under the limits of `config`.
    #[must_use]
    pub fn new(config: &EngineConfig) -> Self {
        Self {
            limits: EngineLimits::of(config),
            adaptive_threshold: config.scheduling.adaptive_long_prefill_threshold,
            spare_lone_prefill: config.rules.spare_lone_prefill,
        }
    }
}

impl BatchingStrategy for ContinuousBatching {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        let requests = state.running.saturating_add(state.waiting);
        let threshold = self.limits.long_prefill_token_threshold;
        let max_prefill_tokens = if self.spare_lone_prefill && requests <= 1 {
            u32::MAX
        } else if self.adaptive_threshold {
            let share = self.limits.max_num_batched_tokens / requests.max(1);
            threshold.max(share)
        } else {
            threshold
        };
        BatchLimits {
            max_prefill_tokens,
            ..self.limits.admitting(state, u32::MAX)
        }
    }
}
