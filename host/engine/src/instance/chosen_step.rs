//! A step whose batch is chosen and whose output is not processed yet.

use super::slot::BatchEntry;

/// A request that takes part in a step by itself, not as a member of the decode group.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepPart {
    /// Its place in the batch when the step was chosen. A part whose request left the instance, or
    /// was admitted anew, is void.
    pub(super) entry: BatchEntry,
    /// The step yields a token for it: the first one, or one more.
    pub(super) samples: bool,
    /// Drafts that the step verifies for it.
    pub(super) drafts: u32,
    /// Draft tokens that the step computes for nothing.
    pub(super) padding: u32,
}

impl StepPart {
    /// A decode of one token, without drafts.
    pub(super) fn decode(entry: BatchEntry) -> Self {
        Self {
            entry,
            samples: true,
            drafts: 0,
            padding: 0,
        }
    }
}

/// A chosen step.
#[derive(Clone, Debug)]
pub(super) struct ChosenStep {
    /// Steps are numbered from 0 in the order in which they are chosen, which is that in which
    /// they run.
    pub(super) number: u64,
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    /// The decode group takes part, with all who were members when the step was chosen.
    pub(super) group: bool,
    pub(super) parts: Vec<StepPart>,
    /// Requests that take part.
    pub(super) requests: u32,
    /// Of these, those that it yields tokens for.
    pub(super) yields: u64,
    /// Prompt tokens that it computes.
    pub(super) prefill_tokens: u64,
    /// KV blocks in use while it runs.
    pub(super) kv_blocks: u64,
    /// For how long a GPU works on it, in the mean of several stages, microseconds; `None` = there
    /// is one stage, which works on it from start to end.
    pub(super) busy_us: Option<i64>,
}
