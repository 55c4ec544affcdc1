//! `chunked-context`: in-flight batching in which a prompt is computed in chunks of one size.

use super::in_flight::InFlight;
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::Param;

/// `chunked-context`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[Param::number(
        "chunk",
        512.0,
        1.0,
        f64::MAX,
        "prompt tokens of a request in one step",
    )
    .whole()],
    ..BuiltIn::new(
        "chunked-context",
        "As in-flight, with prompts in chunks of one size: a request has at most one chunk \
         in a step.",
        Make::Batching(|_, values| {
            Box::new(InFlight {
                chunk: values.get("chunk") as u32,
            })
        }),
    )
};
