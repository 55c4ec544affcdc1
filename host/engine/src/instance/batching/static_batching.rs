//! Static batching: a batch is formed when the last one is done.

use super::engine_limits::EngineLimits;
use super::named::Strategy;
use super::strategy::{BatchLimits, BatchState, BatchingStrategy};

pub(super) const STRATEGY: Strategy = Strategy {
    name: "static",
    sentence: "Requests are admitted only when the batch is empty, as many as it has room for; \
               those that are done leave their places empty until the last one is done.",
    params: &[],
    make: |config, _| Box::new(StaticBatching(EngineLimits::of(config))),
};

struct StaticBatching(EngineLimits);

impl BatchingStrategy for StaticBatching {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        let most = if state.running == 0 { u32::MAX } else { 0 };
        self.0.admitting(state, most)
    }
}
