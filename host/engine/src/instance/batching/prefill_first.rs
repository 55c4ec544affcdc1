//! Prompts first: a step computes prompts or decodes, never both.

use super::engine_limits::EngineLimits;
use super::named::Strategy;
use super::strategy::{BatchLimits, BatchState, BatchingStrategy, Decodes};

pub(super) const STRATEGY: Strategy = Strategy {
    name: "prefill-first",
    sentence: "As SGLang without mixed chunks: a step computes the prompts of all waiting requests \
               that fit, or, when none does, one token of every running decode.",
    params: &[],
    make: |config, _| Box::new(PrefillFirst(EngineLimits::of(config))),
};

struct PrefillFirst(EngineLimits);

impl BatchingStrategy for PrefillFirst {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        BatchLimits {
            decodes: Decodes::WaitForPrefills,
            ..self.0.admitting(state, u32::MAX)
        }
    }
}
