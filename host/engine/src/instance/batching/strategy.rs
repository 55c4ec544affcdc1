//! What a batching strategy sees and decides.

use crate::instance::config::NEVER;

/// The requests of an instance before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchState {
    /// When the step is chosen, microseconds.
    pub now_us: i64,
    /// Running requests.
    pub running: u32,
    /// Of these, requests whose next step prefills.
    pub prefilling: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Of these, requests whose KV cache is here: all that they need is a place in the batch.
    pub with_kv: u32,
    /// When the head of the wait queue entered it, microseconds; `None` = the queue is empty, or
    /// the strategy does not [ask](BatchingStrategy::reads_head_age).
    pub head_queued_us: Option<i64>,
}

/// When the running decodes take part in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decodes {
    /// In every step, beside prefills.
    TakePart,
    /// Only in a step that computes no prompt.
    WaitForPrefills,
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
    /// When the running decodes take part.
    pub decodes: Decodes,
    /// These limits hold up to this time as long as the requests stay as they are, microseconds.
    /// An instance without a batch sleeps until then.
    pub hold_until_us: i64,
}

impl BatchLimits {
    /// No limits but that nobody is admitted; decodes take part, and time changes nothing.
    pub const CLOSED: Self = Self {
        max_new_tokens: u32::MAX,
        max_prefill_tokens: u32::MAX,
        max_admissions: 0,
        decodes: Decodes::TakePart,
        hold_until_us: NEVER,
    };
}

/// Sets the limits under which the batch of each step is formed.
pub trait BatchingStrategy {
    /// The limits of a step before which the requests are as in `state`.
    ///
    /// They must depend on `state` alone, and on its time only as they say themselves in
    /// [`hold_until_us`](BatchLimits::hold_until_us): many steps between which the rest does not
    /// change may be taken at once.
    fn limits(&self, state: &BatchState) -> BatchLimits;

    /// Does it read [`head_queued_us`](BatchState::head_queued_us)?
    fn reads_head_age(&self) -> bool {
        false
    }
}
