//! The hook that forms batches: what it sees beside the queue, and what it answers.

use crate::{Interests, PolicyError, QueueView, StepView};

/// When the running decodes take part in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decodes {
    /// In every step, beside prefills.
    TakePart,
    /// Only in a step that computes no prompt.
    WaitForPrefills,
}

/// Answer of a [`Batching`] policy: the limits of one step. What is beyond the engine's own limits
/// counts as those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most new tokens, of all requests together.
    pub max_new_tokens: u32,
    /// Most prefill tokens of one request, at least 1.
    pub max_prefill_tokens: u32,
    /// Most waiting requests that are admitted.
    pub max_admissions: u32,
    /// When the running decodes take part.
    pub decodes: Decodes,
    /// These limits hold up to this time as long as the requests stay as they are, microseconds;
    /// [`NEVER`](Self::NEVER) = time changes nothing. An instance without a batch sleeps until
    /// then.
    pub hold_until_us: i64,
}

impl BatchLimits {
    /// A [`hold_until_us`](Self::hold_until_us) without end.
    pub const NEVER: i64 = i64::MAX;

    /// The engine's own limits: as many requests and tokens as there is room for, and decodes in
    /// every step.
    #[must_use]
    pub fn of_engine(step: &StepView, queue: &QueueView<'_>) -> Self {
        Self {
            max_new_tokens: queue.max_step_tokens,
            max_prefill_tokens: step.max_prefill_tokens,
            max_admissions: step.free_places,
            decodes: Decodes::TakePart,
            hold_until_us: Self::NEVER,
        }
    }

    /// May a waiting request be admitted?
    #[must_use]
    pub fn may_admit(&self) -> bool {
        self.max_admissions > 0 && self.max_new_tokens > 0
    }

    /// These limits where the engine's own are not tighter.
    #[must_use]
    pub fn within(self, engine: &Self) -> Self {
        Self {
            max_new_tokens: self.max_new_tokens.min(engine.max_new_tokens),
            max_prefill_tokens: self.max_prefill_tokens.min(engine.max_prefill_tokens),
            max_admissions: self.max_admissions.min(engine.max_admissions),
            ..self
        }
    }

    /// Is this an answer to `step` with which the instance goes on?
    ///
    /// # Errors
    /// What is wrong and what is expected, in words: nothing would ever happen again.
    pub fn check(&self, step: &StepView, queue: &QueueView<'_>) -> Result<(), String> {
        if self.max_prefill_tokens == 0 {
            return Err("max_prefill_tokens is 0; expected 1 or more".into());
        }
        // What is under way changes something by itself.
        if step.steps_in_flight > 0 {
            return Ok(());
        }
        let (running, waiting) = (queue.batch_size, queue.queue_depth);
        if running > 0 && self.max_new_tokens == 0 {
            return Err(format!(
                "max_new_tokens is 0 and requests run ({running}); expected 1 or more"
            ));
        }
        let stays = running == 0 && waiting > 0 && step.moving == 0 && !self.may_admit();
        let wakes = self.hold_until_us > queue.now_us && self.hold_until_us != Self::NEVER;
        if stays && !wakes {
            return Err(format!(
                "it admits nobody, requests wait ({waiting}) and nothing runs; expected max_admissions and \
                 max_new_tokens of 1 or more, or a hold_until_us after now ({})",
                queue.now_us
            ));
        }
        Ok(())
    }
}

/// Sets the limits under which the batch of each step is formed. Since 1.1.
///
/// A step is formed in two passes. First the running requests, in order of admission, get their
/// next tokens: a chunk of the prompt, or one output token. Then waiting requests are admitted from
/// the head of the queue. The answer says how much each pass may do.
pub trait Batching {
    /// What this policy reads: [`Interests::WAITING`], [`Interests::WORK`], and whether it has to
    /// be asked before each step ([`Interests::STEPS`]).
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// The limits of the step that is about to be chosen. `queue.waiting` holds the head of the
    /// wait queue, if somebody waits and it was asked for.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(running: u32, waiting: u32) -> QueueView<'static> {
        QueueView {
            batch_size: running,
            queue_depth: waiting,
            ..QueueView::bare(50, &[], &[])
        }
    }

    #[test]
    fn an_answer_after_which_nothing_happens_is_refused() {
        let idle = StepView {
            max_prefill_tokens: 100,
            free_places: 4,
            ..StepView::default()
        };
        let fine = BatchLimits::of_engine(&idle, &queue(0, 1));
        let closed = BatchLimits {
            max_admissions: 0,
            ..fine
        };
        let until = |hold_until_us| BatchLimits {
            hold_until_us,
            ..closed
        };
        let no_tokens = BatchLimits {
            max_new_tokens: 0,
            ..fine
        };
        let check = |limits: BatchLimits, running, waiting| {
            limits.check(&idle, &queue(running, waiting)).is_ok()
        };
        assert!(check(fine, 0, 1) && check(closed, 1, 5) && check(closed, 0, 0));
        assert!(!check(closed, 0, 1) && !check(no_tokens, 0, 1) && !check(no_tokens, 1, 0));
        assert!(check(until(51), 0, 1));
        assert!(!check(until(50), 0, 1) && !check(until(i64::MIN), 0, 1));
        let no_prefill = BatchLimits {
            max_prefill_tokens: 0,
            ..fine
        };
        assert!(!check(no_prefill, 0, 0));
        let (busy, moving) = (
            StepView {
                steps_in_flight: 1,
                ..idle
            },
            StepView { moving: 1, ..idle },
        );
        assert!(closed.check(&busy, &queue(0, 1)).is_ok());
        assert!(no_tokens.check(&busy, &queue(1, 1)).is_ok());
        assert!(closed.check(&moving, &queue(0, 1)).is_ok());
    }

    #[test]
    fn limits_stay_within_the_engines() {
        let step = StepView {
            max_prefill_tokens: 100,
            free_places: 4,
            ..StepView::default()
        };
        let engine = BatchLimits {
            max_new_tokens: 500,
            ..BatchLimits::of_engine(&step, &queue(0, 1))
        };
        let most = BatchLimits {
            max_new_tokens: u32::MAX,
            max_prefill_tokens: u32::MAX,
            max_admissions: u32::MAX,
            ..engine
        };
        assert_eq!(most.within(&engine), engine);
        let least = BatchLimits {
            max_new_tokens: 1,
            max_prefill_tokens: 2,
            max_admissions: 3,
            ..engine
        };
        assert_eq!(least.within(&engine), least);
    }
}
