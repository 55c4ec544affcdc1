//! What a batching strategy sees and decides.

/// The requests of an instance before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchState {
    /// Running requests.
    pub running: u32,
    /// Of these, requests whose next step prefills.
    pub prefilling: u32,
    /// Requests in the wait queue.
    pub waiting: u32,
}

/// The limits of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most new tokens, of all requests together.
    pub max_new_tokens: u32,
    /// Most prefill tokens of one request; `u32::MAX` = no limit.
    pub max_prefill_tokens: u32,
    /// Most waiting requests that are admitted.
    pub max_admissions: u32,
}

/// Sets the limits under which the batch of each step is formed.
pub trait BatchingStrategy {
    /// The limits of a step before which the requests are as in `state`.
    ///
    /// They must depend on `state` alone, because many steps between which it does not change may
    /// be taken at once.
    fn limits(&self, state: &BatchState) -> BatchLimits;
}
