//! `greedy`: batches of whatever waits when the engine is free.

use super::windowed::Windowed;
use crate::builtin::policy::{BuiltIn, Make};

/// `greedy`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "greedy",
    "An engine that is free takes all requests that wait and fit as a batch, which is \
     closed then: first their prompts, then decodes until the last one is done.",
    Make::Batching(|_, _| {
        Box::new(Windowed {
            min_batch_size: 1,
            window_us: 0,
        })
    }),
);
