//! The life of a request between its arrival at the instance and its departure, and the order of
//! what happens here.

use super::config::NEVER;
use super::engine_request::EngineRequest;
use super::events::{FinishedRequest, InstanceEvent};
use super::slot::Slot;
use super::state::Instance;
use std::cmp::Reverse;
use windtunnel_base::record::{InstanceTotals, Outcome, RequestRecord};
use windtunnel_base::request::{FinishReason, Request};
use windtunnel_plugin_api::{EventKind, QueueOrder, RequestView};

impl Instance {
    /// A request reaches the instance at `now`; it enters the wait queue after the model's queueing
    /// delay.
    pub fn add_request(&mut self, request: Request, view: RequestView, now: i64) {
        self.clock = self.clock.max(now);
        let queued_at = now.saturating_add(self.latency.queueing_us(request.prompt_tokens()));
        let slot = self.requests.insert(EngineRequest::new(request, view));
        self.scheduled_events += 1;
        self.incoming
            .push(Reverse((queued_at, self.scheduled_events, slot)));
    }

    /// Runs everything that happens before `until`.
    pub fn advance_to(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        while self.next_event_us() < until {
            self.run_next(until, events);
        }
    }

    /// Runs the next event, and with it the steps before `until` that only decode. At equal times:
    /// arrivals in the queue, the end of a step, the start of a step, timeouts.
    pub fn run_next(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        let now = self.next_event_us();
        if now == NEVER {
            return;
        }
        self.clock = now;
        if self.incoming.peek().is_some_and(|Reverse(e)| e.0 == now) {
            let Some(Reverse((_, _, slot))) = self.incoming.pop() else {
                return;
            };
            self.enqueue(slot, now, events);
        } else if self.step_ends_at == Some(now) {
            self.step_ends_at = None;
            self.finish_step(self.last_step_start, now, events);
        } else if self.step_at == Some(now) {
            let incoming = self.incoming.peek().map_or(NEVER, |Reverse(e)| e.0);
            // A step that starts at a deadline comes before it.
            let timeout = self
                .timeouts
                .peek()
                .map_or(NEVER, |Reverse(e)| e.0.saturating_add(1));
            let later = self.fast_forward(now, until.min(incoming).min(timeout));
            if later > now {
                self.step_at = Some(later);
                return;
            }
            self.step_at = None;
            self.step(now, events);
        } else if let Some(Reverse((_, _, slot, _))) = self.timeouts.pop() {
            self.time_out(slot, now, events);
        }
    }

    fn enqueue(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        let limit = self.config.max_model_len;
        let request = &mut self.requests[slot];
        let prompt = u64::from(request.prompt_tokens());
        let budget = u64::from(request.request.max_output_tokens);
        let too_long = limit > 0 && (prompt >= limit || prompt + budget > limit);
        if too_long
            || prompt.div_ceil(u64::from(self.config.block_size)) > self.config.total_kv_blocks
        {
            self.totals.dropped += 1;
            self.remove(slot, FinishReason::Dropped, Outcome::Dropped, now, events);
            self.notify_scheduler_of_finish(events);
            return;
        }
        self.totals.input_tokens += prompt;
        let deadline = request.request.deadline_us;
        if deadline > 0 && deadline <= now {
            self.totals.timed_out += 1;
            self.remove(slot, FinishReason::TimedOut, Outcome::TimedOut, now, events);
            self.notify_scheduler_of_finish(events);
            return;
        }
        request.enqueued_us = now;
        self.last_enqueued = now;
        self.notify_scheduler(EventKind::Dispatch, slot, now, events);
        self.update_priority(slot, now, events);
        if self.queue_order != QueueOrder::Fifo {
            self.update_key(slot, now, events);
        }
        let request = &self.requests[slot];
        self.waiting.push(slot, || request.queue_key());
        self.queued_prompt_tokens += prompt;
        if deadline > 0 && deadline <= self.config.horizon_us {
            self.scheduled_events += 1;
            self.timeouts.push(Reverse((
                deadline,
                self.scheduled_events,
                slot,
                request.view.serial,
            )));
        }
        self.wake_up(now);
    }

    /// Plans a step if none is planned or running and requests wait.
    fn wake_up(&mut self, now: i64) {
        let asleep = self.step_at.is_none() && self.step_ends_at.is_none();
        if asleep && !self.waiting.is_empty() {
            self.step_at = Some(if self.config.rules.one_step_at_a_time {
                now.max(self.busy_until)
            } else {
                now
            });
        }
    }

    fn time_out(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        self.totals.timed_out += 1;
        if self.requests[slot].in_group {
            self.leave_group(slot);
        }
        let request = &mut self.requests[slot];
        self.kv.release(&mut request.blocks);
        if request.running {
            self.running.retain(|entry| entry.slot != slot);
            self.prefilling.retain(|&other| other != slot);
        } else {
            self.waiting.remove(slot);
            self.queued_prompt_tokens -= u64::from(self.requests[slot].prompt_tokens());
        }
        self.remove(slot, FinishReason::TimedOut, Outcome::TimedOut, now, events);
        self.notify_scheduler_of_finish(events);
        if self.running.is_empty() {
            self.wake_up(now);
        }
    }

    /// Removes a request from the instance; it must hold no KV blocks.
    pub(super) fn remove(
        &mut self,
        slot: Slot,
        reason: FinishReason,
        outcome: Outcome,
        at_us: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        let request = self.requests.remove(slot);
        let record = request.record(self.index, outcome);
        let output_tokens = request.emitted_tokens();
        let processed_tokens = request
            .computed_tokens
            .saturating_sub(request.prompt_tokens());
        let finished = FinishedRequest {
            record,
            reason,
            at_us,
            output_tokens,
            processed_tokens,
            request: request.request,
            view: request.view,
        };
        events.push(InstanceEvent::Finished(Box::new(finished)));
    }

    /// Ends the run: returns the counters, and adds a record of every request still here.
    pub fn finish(&mut self, unfinished: &mut Vec<RequestRecord>) -> InstanceTotals {
        let horizon = self.config.horizon_us;
        if self.last_completion <= horizon {
            self.clock = self.clock.max(self.last_completion);
        }
        let mut totals = std::mem::take(&mut self.totals);
        totals.still_queued = self.waiting.len() as u64;
        totals.still_running = self.running.len() as u64;
        totals.blocks_reused = self.kv.blocks_reused();
        totals.blocks_taken = self.kv.blocks_taken();
        totals.kv_total_blocks = self.kv.total();
        totals.ended_us = self.clock.min(horizon);
        totals.gaps = self.itl_log.histogram();
        for request in self.waiting.iter().map(|slot| &self.requests[slot]) {
            unfinished.push(request.record(self.index, Outcome::Queued));
        }
        for request in self.running.iter().map(|entry| &self.requests[entry.slot]) {
            unfinished.push(request.record(self.index, Outcome::Running));
        }
        for Reverse((_, _, slot)) in &self.incoming {
            unfinished.push(self.requests[*slot].record(self.index, Outcome::InTransit));
        }
        totals
    }
}
