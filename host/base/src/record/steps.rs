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
    /// How many; there may be one for every step of a long run, so these counts are small.
    pub steps: u32,
    /// Length of the wait queue after the batch was formed.
    pub waiting: u32,
    /// Requests in the batch.
    pub running: u32,
    /// Requests that decode in it.
    pub decodes: u32,
}

impl StepRun {
    /// End of the last one, microseconds.
    #[must_use]
    pub fn end_us(&self) -> i64 {
        self.start_us + self.step_us * i64::from(self.steps)
    }

    /// How many of them ended by `time_us`.
    #[must_use]
    pub fn ended_by(&self, time_us: i64) -> u64 {
        let since = time_us - self.start_us;
        if since < self.step_us {
            return 0;
        }
        match since.checked_div(self.step_us) {
            Some(ended) => ended.min(self.steps.into()) as u64,
            None => self.steps.into(),
        }
    }

    /// Start and end of each, microseconds.
    pub fn each(self) -> impl Iterator<Item = (i64, i64)> {
        (0..i64::from(self.steps)).map(move |k| {
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
        let Some(steps) = self.steps.checked_add(next.steps) else {
            return false;
        };
        let takes = same == *next;
        self.steps = if takes { steps } else { self.steps };
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_tells_how_many_of_its_steps_ended() {
        let run = StepRun {
            start_us: 100,
            step_us: 10,
            steps: 3,
            waiting: 0,
            running: 1,
            decodes: 1,
        };
        for time in 90..150 {
            let ends = run.each().filter(|(_, end)| *end <= time).count();
            assert_eq!(run.ended_by(time), ends as u64, "by {time}");
        }
        let at_once = StepRun { step_us: 0, ..run };
        assert_eq!([99, 100].map(|time| at_once.ended_by(time)), [0, 3]);
    }

    #[test]
    fn a_run_that_is_full_takes_no_more() {
        let run = StepRun {
            start_us: 0,
            step_us: 1,
            steps: u32::MAX,
            waiting: 0,
            running: 1,
            decodes: 1,
        };
        let next = StepRun {
            start_us: run.end_us(),
            steps: 1,
            ..run
        };
        let mut runs = vec![run];
        StepRun::append(&mut runs, next);
        assert_eq!(runs, [run, next]);
    }
}
