//! In-flight batching: every place that comes free is filled before the next step.

use super::engine_limits::EngineLimits;
use super::named::Strategy;
use super::strategy::{BatchLimits, BatchState, BatchingStrategy};

pub(super) const STRATEGY: Strategy = Strategy {
    name: "in-flight",
    sentence: "Every free place of the batch is filled before each step, and prompts are computed \
               beside the running decodes.",
    params: &[],
    make: |config, _| Box::new(InFlight(EngineLimits::of(config))),
};

/// Continuous batching without vLLM's adaptive threshold, and without its exception for a request
/// that is alone.
pub(super) struct InFlight(pub(super) EngineLimits);

impl BatchingStrategy for InFlight {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        self.0.admitting(state, u32::MAX)
    }
}
