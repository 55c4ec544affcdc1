//! Steps that lie outside of what was measured.

use super::model::StepAggregates;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a time was asked for outside of what was measured, and of which step first.
#[derive(Debug, Default)]
pub(super) struct Outside {
    times: AtomicU64,
    first: OnceLock<StepAggregates>,
}

impl Outside {
    /// Counts one.
    #[cold]
    pub(super) fn note(&self, step: &StepAggregates) {
        self.times.fetch_add(1, Ordering::Relaxed);
        let _ = self.first.set(*step);
    }

    /// What happened so far outside of `measured`, for people; `None` = nothing did.
    pub(super) fn told(&self, measured: &str) -> Option<String> {
        let times = self.times.load(Ordering::Relaxed);
        let first = self.first.get()?;
        Some(format!(
            "a step time was asked for outside of {measured} {times} times, the first time of a step with {} prefill \
             tokens, {} decodes and {} KV tokens",
            first.prefill_tokens,
            first.decodes,
            first.prefill_context + first.decode_context,
        ))
    }
}
