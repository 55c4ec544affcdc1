//! Where most strategies start from.

use windtunnel_plugin_api::{BatchLimits, QueueView, StepView};

/// The engine's own limits with at most so many admissions, without vLLM's adaptive threshold and
/// without its exception for a request that is alone.
pub(super) fn admitting(step: &StepView, queue: &QueueView<'_>, most: u32) -> BatchLimits {
    BatchLimits {
        max_prefill_tokens: step.long_prefill_token_threshold,
        max_admissions: step.free_places.min(most),
        ..BatchLimits::of_engine(step, queue)
    }
}
