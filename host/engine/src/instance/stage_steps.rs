//! Steps of an instance that go through stages of a pipeline.
//!
//! As in vLLM the engine chooses steps ahead, as many as there are stages, with asynchronous
//! scheduling one more. A choice that finds nothing to compute counts as one of them: the queue of
//! batches takes it as it is. So while a step runs the queue is full, and the next choice is made
//! when the first one in it is done.

use super::chosen_step::ChosenStep;
use super::engine_request::EngineRequest;
use super::pipeline::Passage;
use super::state::Instance;
use crate::latency::{StepAggregates, truncate_us};

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
