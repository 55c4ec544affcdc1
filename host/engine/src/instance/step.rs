//! A step: form the batch, have its duration computed, advance the requests, complete those that
//! are done, plan the next step.

use super::engine_request::EngineRequest;
use super::events::InstanceEvent;
use super::slot::Slot;
use super::state::Instance;
use crate::latency::{StepAggregates, StepItem};
use windtunnel_base::record::Outcome;
use windtunnel_base::request::FinishReason;
use windtunnel_plugin_api::EventKind;

/// Steps kept in detail before the log of inter-token latencies is folded.
const DETAILED_STEPS: usize = 1 << 14;

impl Instance {
    /// The step that starts at `now`.
    pub(super) fn step(&mut self, now: i64, events: &mut Vec<InstanceEvent>) {
        if self.running.is_empty() && self.waiting.is_empty() {
            return;
        }
        self.totals.steps += 1;
        self.group_step = self.form_group_batch(now, events);
        let duration = if self.group_step {
            self.group_step_us()
        } else {
            self.dissolve_group();
            self.form_batch(now, events);
            self.step_us()
        };
        self.totals.queue_length_sum += self.waiting.len() as u64;
        self.totals.batch_size_sum += self.running.len() as u64;
        let ends = now.saturating_add(duration);
        self.last_step_start = now;
        self.busy_until = ends;
        if self.config.rules.visible_at_step_end {
            self.step_ends_at = Some(ends);
        } else {
            self.finish_step(now, ends, events);
        }
    }

    /// A request as the latency model sees it before the step at hand.
    pub(super) fn step_item(&self, slot: Slot) -> StepItem {
        let request = &self.requests[slot];
        StepItem {
            new_tokens: request.scheduled_tokens,
            context: request.computed_tokens,
            prompt_tokens: request.prefill_target,
            is_prefill: request.in_prefill(),
        }
    }

    /// Duration of the step, microseconds.
    fn step_us(&self) -> i64 {
        let scheduled = || {
            let served = self
                .running
                .iter()
                .filter(|entry| self.requests[entry.slot].scheduled_tokens > 0);
            served.map(|entry| self.step_item(entry.slot))
        };
        let mut aggregates = StepAggregates::default();
        scheduled().for_each(|item| aggregates.add(item));
        self.latency.step_us(&aggregates, &mut scheduled()).max(1)
    }

    /// Applies the effects of the step from `now` to `ends`.
    pub(super) fn finish_step(&mut self, now: i64, ends: i64, events: &mut Vec<InstanceEvent>) {
        let used = self.kv.used();
        self.totals.kv_peak_blocks = self.totals.kv_peak_blocks.max(used);
        self.totals.kv_block_time += i128::from(used) * i128::from(ends - now);
        self.totals.busy_us += ends - now;
        if self.group_step {
            self.finish_group_step(now, ends, events);
        } else {
            self.advance_requests(now, ends, events);
            self.complete_requests(ends, events);
        }
        if !self.running.is_empty() || !self.waiting.is_empty() {
            self.step_at = Some(ends);
        }
        if self.itl_log.detailed() > DETAILED_STEPS {
            let first_step = |request: &EngineRequest| {
                let joined = request.in_group.then_some(request.joined_step);
                request.token_steps.first_step().or(joined)
            };
            let oldest = self.requests.iter().filter_map(first_step).min();
            self.itl_log.fold_before(oldest.unwrap_or(u64::MAX));
        }
    }

    fn advance_requests(&mut self, now: i64, ends: i64, events: &mut Vec<InstanceEvent>) {
        let step = self.next_step();
        self.itl_log
            .record(ends - now + self.latency.output_token_us(), 1);
        for k in 0..self.running.len() {
            self.advance_request(self.running[k].slot, step, now, ends, events);
        }
    }

    /// Applies the effects of step number `step`, from `now` to `ends`, on one request.
    pub(super) fn advance_request(
        &mut self,
        slot: Slot,
        step: u64,
        now: i64,
        ends: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        let token_us = self.latency.output_token_us();
        let request = &mut self.requests[slot];
        let decoded = if request.in_prefill() {
            request.computed_tokens = request.computed_after_step;
            // Kept tokens were computed anew: the next one is sampled.
            request.has_first_token && !request.in_prefill()
        } else if request.scheduled_tokens > 0 {
            request.computed_tokens += 1;
            true
        } else {
            false
        };
        if decoded {
            if self.config.rules.gaps_are_elapsed_time && request.last_token_us != now {
                request
                    .token_steps
                    .push_own(ends - request.last_token_us + token_us);
            } else {
                request.token_steps.extend(step, step + 1);
            }
            request.last_token_us = ends;
        }
        if request.computed_tokens == request.prompt_tokens() && !request.has_first_token {
            request.has_first_token = true;
            request.last_token_us = ends;
            let ttft_us = ends + token_us - request.request.arrival_us;
            request.ttft_us = Some(ttft_us);
            if self.config.token_events {
                events.push(InstanceEvent::FirstToken {
                    view: request.view,
                    ttft_us,
                });
            }
            self.notify_scheduler(EventKind::FirstToken, slot, ends, events);
        }
    }

    fn complete_requests(&mut self, ends: i64, events: &mut Vec<InstanceEvent>) {
        let batch = std::mem::take(&mut self.running);
        let mut remaining = Vec::with_capacity(batch.len());
        for entry in batch {
            match self.completion(entry.slot) {
                Some(outcome) => self.complete_request(entry.slot, outcome, ends, events),
                None => remaining.push(entry),
            }
        }
        self.running = remaining;
    }

    /// Does a request end with the step at hand, and how?
    pub(super) fn completion(&self, slot: Slot) -> Option<Outcome> {
        let request = &self.requests[slot];
        if request.computed_tokens >= request.computed_at_finish() && !request.in_prefill() {
            Some(Outcome::Completed)
        } else if request.computed_tokens >= self.config.max_computed_tokens() {
            Some(Outcome::LengthCapped)
        } else {
            None
        }
    }

    /// Allocates KV space for the last sampled token, where the rules ask for it.
    fn store_last_token(&mut self, slot: Slot) {
        let request = &mut self.requests[slot];
        if !self.config.rules.kv_for_last_token
            || request.final_output_tokens() == 0
            || request.computed_tokens >= request.prompt_tokens() + request.final_output_tokens()
        {
            return;
        }
        let mut blocks = std::mem::take(&mut request.blocks);
        if !self.kv.allocate_decode(&mut blocks, request.sequence()) {
            self.totals.kv_allocation_failures += 1;
        }
        request.blocks = blocks;
    }

    /// Completes a request at the end of its last step.
    pub(super) fn complete_request(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        ends: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        if outcome == Outcome::Completed {
            self.store_last_token(slot);
        }
        let request = &mut self.requests[slot];
        self.kv.release(&mut request.blocks);
        let sum = self.itl_log.sum(&request.token_steps);
        self.itl_log.count(&request.token_steps);
        let gaps = request.token_steps.len();
        let output = request.final_output_tokens();
        let processed = request.computed_tokens - request.prompt_tokens();
        let generated = if processed < output {
            processed + 1
        } else {
            processed
        };
        self.totals.completed += 1;
        self.totals.length_capped += u64::from(outcome == Outcome::LengthCapped);
        self.totals.output_tokens += u64::from(generated);
        self.last_completion = self.last_completion.max(ends);
        self.remove(slot, FinishReason::Completed, outcome, ends, events);

        let Some(InstanceEvent::Finished(finished)) = events.last_mut() else {
            return;
        };
        let record = &mut finished.record;
        let after_last = if output > 0 {
            self.latency.post_decode_us()
        } else {
            0
        };
        record.generated_tokens = generated;
        record.itl_sum_us = sum;
        record.e2e_us = record.ttft_us.map(|ttft| ttft + sum + after_last);
        // Of one token there is no gap, and a mean of nothing is none.
        record.mean_itl_us = (gaps > 0).then(|| match outcome {
            Outcome::LengthCapped => sum as f64 / gaps.saturating_sub(1).max(1) as f64,
            _ => sum as f64 / f64::from((output - 1).max(1)),
        });
        self.notify_scheduler_of_finish(events);
    }
}
