//! The steps of an instance, in runs and request by request.

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

/// Steps of the same kind, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRun {
    /// Start of the first one, microseconds.
    pub start_us: i64,
    /// Duration of each, microseconds.
    pub step_us: i64,
    /// How many.
    pub steps: u64,
    /// Length of the wait queue after the batch was formed.
    pub waiting: u64,
    /// Requests in the batch.
    pub running: u64,
    /// Requests that decode in it.
    pub decodes: u64,
}

impl StepRun {
    /// End of the last one, microseconds.
    #[must_use]
    pub fn end_us(&self) -> i64 {
        self.start_us + self.step_us * self.steps as i64
    }

    /// Start and end of each, microseconds.
    pub fn each(self) -> impl Iterator<Item = (i64, i64)> {
        (0..self.steps as i64).map(move |k| {
            let start_us = self.start_us + k * self.step_us;
            (start_us, start_us + self.step_us)
        })
    }

    /// Puts the next steps behind others.
    pub fn append(runs: &mut Vec<Self>, next: Self) {
        if !runs.last_mut().is_some_and(|last| last.takes(&next)) {
            runs.push(next);
        }
    }

    /// Is `next` more of the same? Then this run goes on with it.
    fn takes(&mut self, next: &Self) -> bool {
        let same = Self {
            start_us: self.end_us(),
            steps: next.steps,
            ..*self
        };
        let takes = same == *next;
        self.steps += if takes { next.steps } else { 0 };
        takes
    }
}
