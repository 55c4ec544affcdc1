//! The limits that an engine's configuration sets, whatever the strategy.

use super::strategy::{BatchLimits, BatchState};
use crate::instance::config::EngineConfig;

/// Limits of every step of an engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct EngineLimits {
    /// Most requests in the batch after an admission.
    max_active: u32,
    pub(super) max_num_batched_tokens: u32,
    /// `u32::MAX` = no limit.
    pub(super) long_prefill_token_threshold: u32,
}

impl EngineLimits {
    pub(super) fn of(config: &EngineConfig) -> Self {
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
        }
    }

    /// Requests for which the batch has room.
    pub(super) fn seats(&self, state: &BatchState) -> u32 {
        self.max_active.saturating_sub(state.running)
    }

    /// These limits, with at most so many admissions, and never more than there is room for.
    pub(super) fn admitting(&self, state: &BatchState, most: u32) -> BatchLimits {
        BatchLimits {
            max_new_tokens: self.max_num_batched_tokens,
            max_prefill_tokens: self.long_prefill_token_threshold,
            max_admissions: self.seats(state).min(most),
            ..BatchLimits::CLOSED
        }
    }
}
