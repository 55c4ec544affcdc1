//! Batches that are formed at once, as soon as requests wait, or when enough do.

use super::engine_limits::EngineLimits;
use super::named::{Strategy, StrategyParam};
use super::strategy::{BatchLimits, BatchState, BatchingStrategy, Decodes};

pub(super) const STRATEGY: Strategy = Strategy {
    name: "windowed",
    sentence: "As greedy, but an idle engine waits until min_batch_size requests wait or the first \
               of them has waited for the window.",
    params: &[
        StrategyParam::count("min_batch_size", 1, "waiting requests that make a batch"),
        StrategyParam::time(
            "window",
            10_000,
            "longest wait of the first request for others",
        ),
    ],
    make: |config, values| {
        Box::new(Windowed {
            limits: EngineLimits::of(config),
            min_batch_size: values[0] as u32,
            window_us: values[1],
        })
    },
};

/// Batches that are closed when they are formed: prompts first, then decodes until all are done.
pub(super) struct Windowed {
    pub(super) limits: EngineLimits,
    pub(super) min_batch_size: u32,
    pub(super) window_us: i64,
}

impl BatchingStrategy for Windowed {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        let closed = BatchLimits {
            decodes: Decodes::WaitForPrefills,
            ..self.limits.admitting(state, 0)
        };
        if state.running > 0 {
            return closed;
        }
        // What was collected once is not collected again.
        let collects = state.with_kv == 0 && state.waiting < self.min_batch_size;
        let opens_us = match state.head_queued_us {
            Some(head_us) => head_us.saturating_add(self.window_us),
            None => state.now_us,
        };
        if collects && state.now_us < opens_us {
            return BatchLimits {
                hold_until_us: opens_us,
                ..closed
            };
        }
        BatchLimits {
            max_admissions: self.limits.seats(state),
            ..closed
        }
    }

    fn reads_head_age(&self) -> bool {
        true
    }
}
