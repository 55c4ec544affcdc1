//! In-flight batching with one prefill at a time.

use super::engine_limits::EngineLimits;
use super::named::Strategy;
use super::strategy::{BatchLimits, BatchState, BatchingStrategy};

pub(super) const STRATEGY: Strategy = Strategy {
    name: "one-prefill",
    sentence: "One request is admitted when no other one is in prefill, so that at most one prompt \
               is computed beside the running decodes.",
    params: &[],
    make: |config, _| Box::new(OnePrefill(EngineLimits::of(config))),
};

struct OnePrefill(EngineLimits);

impl BatchingStrategy for OnePrefill {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        self.0.admitting(state, u32::from(state.prefilling == 0))
    }
}
