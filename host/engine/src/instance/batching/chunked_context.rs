//! In-flight batching in which a prompt is computed in chunks of one size.

use super::engine_limits::EngineLimits;
use super::in_flight::InFlight;
use super::named::{Strategy, StrategyParam};

pub(super) const STRATEGY: Strategy = Strategy {
    name: "chunked-context",
    sentence: "As in-flight, with prompts in chunks of one size: a request has at most one chunk \
               in a step.",
    params: &[StrategyParam::count(
        "chunk",
        512,
        "prompt tokens of a request in one step",
    )],
    make: |config, values| {
        let mut limits = EngineLimits::of(config);
        let threshold = &mut limits.long_prefill_token_threshold;
        *threshold = (*threshold).min(values[0] as u32);
        Box::new(InFlight(limits))
    },
};
