//! Stages of a pipeline: when each is free, and what that means for the steps of an instance.
//!
//! As in vLLM the engine chooses steps ahead, as many as there are stages, with asynchronous
//! scheduling one more. A choice that finds nothing to compute counts as one of them: the queue of
//! batches takes it as it is. So while a step runs the queue is full, and the next choice is made
//! when the first one in it is done.

use super::chosen_step::ChosenStep;
use super::engine_request::EngineRequest;
use super::state::Instance;
use crate::latency::{StageTimes, StepAggregates, truncate_us};

/// The stages of an instance.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// When each stage has done what it was given.
    free_us: Vec<i64>,
    /// When the engine's own code has done with the steps chosen so far.
    host_free_us: i64,
    /// What the step at hand takes.
    times: StageTimes,
    /// End of the last step that is counted: steps overlap.
    counted_us: i64,
}

/// When a step runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    /// For how long a GPU works on it, in the mean of the stages, microseconds.
    pub(super) busy_us: i64,
}

impl Pipeline {
    /// So many stages, all free; `None` = one stage is no pipeline.
    pub(super) fn new(stages: usize) -> Option<Self> {
        (stages > 1).then(|| Self {
            free_us: vec![0; stages],
            host_free_us: 0,
            times: StageTimes::default(),
            counted_us: 0,
        })
    }

    fn stages(&self) -> usize {
        self.free_us.len()
    }

    /// Sends a step through that may begin at `ready_us`, and waits `delay_us` in its first stage.
    /// A stage begins when the one before it has done with the step, and when it has done with the
    /// step before.
    fn pass(&mut self, ready_us: i64, delay_us: i64) -> Passage {
        let start_us = ready_us.max(self.free_us[0]);
        let mut end_us = start_us.saturating_add(delay_us);
        let mut sum_us = delay_us;
        for (free_us, us) in self.free_us.iter_mut().zip(&self.times.stages_us) {
            end_us = end_us.max(*free_us).saturating_add(*us);
            *free_us = end_us;
            sum_us = sum_us.saturating_add(*us);
        }
        let host = start_us.max(self.host_free_us);
        self.host_free_us = host.saturating_add(self.times.host_us);
        Passage {
            start_us,
            end_us: end_us.max(self.host_free_us),
            busy_us: sum_us / self.free_us.len() as i64,
        }
    }

    /// Of the time from start to end of a step, what no step before it took, microseconds.
    pub(super) fn count(&mut self, start_us: i64, end_us: i64) -> i64 {
        let since = start_us.max(self.counted_us);
        self.counted_us = self.counted_us.max(end_us);
        (end_us - since).max(0)
    }
}

impl Instance {
    /// Most steps that are chosen and not processed.
    pub(super) fn most_in_flight(&self) -> usize {
        match &self.pipeline {
            None => self.config.rules.steps_in_flight(),
            Some(pipeline) => pipeline.stages() + usize::from(self.config.rules.async_scheduling),
        }
    }

    /// Must a running request sit the step at hand out, because of the stages? Where steps are
    /// chosen before the output of those before is known, a request decodes in every p-th one of p
    /// stages; else its last token must be known.
    pub(super) fn waits_for_stages(&self, request: &EngineRequest) -> bool {
        let Some(pipeline) = &self.pipeline else {
            return false;
        };
        if request.in_prefill() || request.scheduled_in <= self.processed_steps() {
            return false;
        }
        let since = self.chosen_steps + 1 - request.scheduled_in;
        !self.config.rules.async_scheduling || since < pipeline.stages() as u64
    }

    /// When the step at hand, which is chosen at `chosen_us` and waits `delay_us` for other things,
    /// goes through the stages. `None` = there is one alone.
    pub(super) fn pass_stages(
        &mut self,
        work: &StepAggregates,
        chosen_us: i64,
        delay_us: i64,
    ) -> Option<Passage> {
        let ready_us = chosen_us.max(self.input_us());
        let factor = self.adapters.step_factor();
        let pipeline = self.pipeline.as_mut()?;
        self.latency.stage_times(work, &mut pipeline.times);
        if factor > 1.0 {
            for us in &mut pipeline.times.stages_us {
                *us = truncate_us(*us as f64 * factor);
            }
        }
        Some(pipeline.pass(ready_us, delay_us))
    }

    /// When the last tokens of all decodes of the step at hand are sampled: the first stage begins
    /// with them.
    fn input_us(&self) -> i64 {
        if self.pipeline.is_none() {
            return 0;
        }
        let decodes = self.running.iter().filter_map(|entry| {
            let request = &self.requests[entry.slot];
            let takes_part = request.scheduled_tokens > 0 && !request.in_prefill();
            takes_part.then_some(request.scheduled_in)
        });
        let Some(last) = decodes.max().filter(|last| *last > 0) else {
            return 0;
        };
        let mut in_flight = self.in_flight.iter();
        let sampled = in_flight.find(|step| step.number + 1 == last);
        sampled.map_or(0, |step| step.end_us)
    }

    /// Nothing can be computed at `now`, and a step runs: the queue of batches takes the choice all
    /// the same, and it is done with when the step before it is.
    pub(super) fn choose_nothing(&mut self, now: i64) {
        let Some(before) = self.in_flight.back() else {
            return;
        };
        let end_us = before.end_us;
        self.in_flight.push_back(ChosenStep {
            number: self.chosen_steps,
            start_us: end_us,
            end_us,
            group: false,
            parts: Vec::new(),
            requests: 0,
            yields: 0,
            prefill_tokens: 0,
            kv_blocks: self.kv.used(),
            busy_us: Some(0),
        });
        self.chosen_steps += 1;
        if self.in_flight.len() < self.most_in_flight() {
            self.step_at = Some(now);
        }
    }
}
