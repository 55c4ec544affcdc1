//! The steps of an instance, request by request.

use crate::request::RequestId;

/// A step that computed something.
#[derive(Clone, Debug, PartialEq)]
pub struct RanStep {
    /// Its start, microseconds.
    pub start_us: i64,
    /// How long it took, microseconds.
    pub step_us: i64,
    /// What it computed, in the order of the batch.
    pub shares: Vec<StepShare>,
}

/// What a step computed of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct StepShare {
    /// The request.
    pub request: RequestId,
    /// Tokens that it computed.
    pub new_tokens: u32,
    /// Tokens computed before.
    pub context: u32,
    /// Prompt tokens, or those of a decode?
    pub is_prefill: bool,
}
