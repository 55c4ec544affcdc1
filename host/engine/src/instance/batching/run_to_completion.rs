//! A batch that decodes until all of its requests are done.

use super::engine_limits::EngineLimits;
use super::named::Strategy;
use super::strategy::{BatchLimits, BatchState, BatchingStrategy, Decodes};

pub(super) const STRATEGY: Strategy = Strategy {
    name: "run-to-completion",
    sentence: "Requests join while their batch computes prompts; when all are computed it decodes \
               until its last request is done, and nobody joins.",
    params: &[],
    make: |config, _| Box::new(RunToCompletion(EngineLimits::of(config))),
};

struct RunToCompletion(EngineLimits);

impl BatchingStrategy for RunToCompletion {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        let decodes = state.running > state.prefilling;
        BatchLimits {
            decodes: Decodes::WaitForPrefills,
            ..self.0.admitting(state, if decodes { 0 } else { u32::MAX })
        }
    }
}
