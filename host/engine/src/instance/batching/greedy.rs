//! Batches of whatever waits when the engine is free.

use super::engine_limits::EngineLimits;
use super::named::Strategy;
use super::windowed::Windowed;

pub(super) const STRATEGY: Strategy = Strategy {
    name: "greedy",
    sentence: "An engine that is free takes all requests that wait and fit as a batch, which is \
               closed then: first their prompts, then decodes until the last one is done.",
    params: &[],
    make: |config, _| {
        Box::new(Windowed {
            limits: EngineLimits::of(config),
            min_batch_size: 1,
            window_us: 0,
        })
    },
};
