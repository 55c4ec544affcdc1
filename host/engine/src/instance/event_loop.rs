//! The life of a request between its arrival at the instance and its departure, and the order of
//! what happens here.

use super::adapter_slots::AdapterSlots;
use super::api_server::ApiServer;
use super::config::NEVER;
use super::cpu_blocks::CpuBlocks;
use super::engine_request::EngineRequest;
use super::events::{FinishedRequest, InstanceEvent};
use super::part::{Part, RemoteKv};
use super::slot::Slot;
use super::state::Instance;
use super::wait_queue::WaitQueue;
use std::cmp::Reverse;
use windtunnel_base::record::{InstanceTotals, KvEvent, Outcome, RequestRecord};
use windtunnel_base::request::{FinishReason, Request};
use windtunnel_plugin_api::{EventKind, QueueOrder, RequestView};

impl Instance {
    /// A request reaches the instance at `now`; it enters the wait queue after the model's queueing
    /// delay.
    pub fn add_request(&mut self, request: Request, view: RequestView, now: i64) {
        self.add_part(request, view, Part::Whole, now);
    }

    /// The instance is to do a part of a request, which reaches it at `now`. A request to prefill
    /// has no output. Of one whose KV cache is elsewhere, [`InstanceEvent::WantsKv`] says when
    /// there are blocks for it; then [`kv_arrived`](Self::kv_arrived) is due.
    pub fn add_part(
        &mut self,
        mut request: Request,
        view: RequestView,
        part: Part,
        now: i64,
    ) -> Slot {
        if self.cpu_blocks.is_some() {
            // The CPU has the blocks of its prompt by their names.
            request.private_from = u32::MAX;
        }
        self.clock = self.clock.max(now);
        self.scheduled_events += 1;
        self.to_fetch += usize::from(part == Part::Decode(RemoteKv::There));
        let slot = self.requests.insert(EngineRequest {
            stamp: self.scheduled_events,
            part,
            unseen: match part {
                Part::Prefill => 0,
                Part::Whole | Part::Decode(_) => self.unseen_tokens(),
            },
            ..EngineRequest::new(request, view)
        });
        self.receive(slot, now);
        slot
    }

    /// A request comes at `now`: it is taken in by the server, if there is one that takes time, and
    /// then on its way to the queue.
    fn receive(&mut self, slot: Slot, now: i64) {
        let prompt_tokens = self.requests[slot].prompt_tokens();
        match &mut self.api_server {
            Some(server) if server.takes_in(prompt_tokens) => {
                server.accept(now, slot, prompt_tokens);
            }
            _ => self.on_the_way(slot, now),
        }
    }

    /// A request that the server has taken in at `now` is on its way to the queue.
    fn on_the_way(&mut self, slot: Slot, now: i64) {
        let prompt_tokens = self.requests[slot].prompt_tokens();
        let server = &self.config.scheduling.api_server;
        let us = self.latency.queueing_us(prompt_tokens) - server.of_model_us(prompt_tokens);
        self.scheduled_events += 1;
        let queued_at = now.saturating_add(us);
        self.incoming
            .push(Reverse((queued_at, self.scheduled_events, slot)));
    }

    /// Runs everything that happens before `until`.
    pub fn advance_to(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        loop {
            let now = self.next_event_us();
            if now >= until {
                return;
            }
            self.run_event(now, until, events);
        }
    }

    /// Runs the next event, and with it the steps before `until` that only decode. At equal times:
    /// arrivals in the queue, the end of a step, the start of a step, timeouts.
    pub fn run_next(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        let now = self.next_event_us();
        if now != NEVER {
            self.run_event(now, until, events);
        }
    }

    fn run_event(&mut self, now: i64, until: i64, events: &mut Vec<InstanceEvent>) {
        self.clock = now;
        if self.taken_in_at() == now {
            if let Some(slot) = self.api_server.as_mut().and_then(ApiServer::take_in) {
                self.on_the_way(slot, now);
            }
        } else if self.incoming.peek().is_some_and(|Reverse(e)| e.0 == now) {
            let Some(Reverse((_, _, slot))) = self.incoming.pop() else {
                return;
            };
            self.enqueue(slot, now, events);
        } else if self.adapter_loaded_at() == now {
            self.finish_loading(now);
        } else if self.loaded_at() == now {
            self.finish_load(now);
        } else if self.output_at() == Some(now) {
            if let Some(step) = self.in_flight.pop_front() {
                self.process_step(step, now, events);
            }
        } else if self.in_lockstep && self.wakes_us == now {
            self.wakes_us = NEVER;
        } else if self.step_at == Some(now) {
            let incoming = self.incoming.peek().map_or(NEVER, |Reverse(e)| e.0);
            let incoming = incoming.min(self.taken_in_at());
            // A step that starts at a deadline comes before it.
            let timeout = self
                .timeouts
                .peek()
                .map_or(NEVER, |Reverse(e)| e.0.saturating_add(1));
            self.report_load(now);
            self.ask_for_adapter(now, events);
            let others = timeout.min(self.adapter_loaded_at());
            let later = self.fast_forward(now, until.min(incoming).min(others), events);
            if later > now {
                self.step_at = Some(later);
                return;
            }
            self.step_at = None;
            self.choose_step(now, events);
        } else if let Some(Reverse((_, _, slot, _))) = self.timeouts.pop() {
            self.time_out(slot, now, events);
        }
    }

    /// The head of the queue asks for its adapter, before the step at `now`.
    fn ask_for_adapter(&mut self, now: i64, events: &mut Vec<InstanceEvent>) {
        if self.adapters.slots.is_none() || self.waiting.is_empty() {
            return;
        }
        self.refresh_wait_queue(now, events);
        let Some(slot) = self.waiting.first(|_| true) else {
            return;
        };
        let request = &self.requests[slot];
        // One whose prompt another instance computed is past that.
        if !matches!(request.part, Part::Decode(_))
            && let Some(slots) = &mut self.adapters.slots
        {
            slots.ask(request.request.adapter, now);
        }
    }

    /// An adapter has been loaded: the requests that wait for it may be admitted.
    fn finish_loading(&mut self, now: i64) {
        if let Some(slots) = &mut self.adapters.slots {
            slots.finish_loading();
            self.totals.adapter_loads += 1;
        }
        if self.step_at.is_none() && !self.waiting.is_empty() {
            self.step_at = Some(now);
        }
    }

    fn enqueue(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        let limit = self.config.max_model_len;
        let rules = self.config.rules;
        let request = &mut self.requests[slot];
        let prompt = u64::from(request.prompt_tokens());
        let budget = u64::from(request.request.max_output_tokens);
        let too_long =
            limit > 0 && (prompt >= limit || !rules.clamp_output_budget && prompt + budget > limit);
        let output_limit = self.output_limit(&self.requests[slot]);
        let request = &mut self.requests[slot];
        request.output_limit = output_limit;
        // A step without tokens is no step, so a request needs some.
        let empty = prompt == 0 && rules.visible_at_step_end;
        if too_long || empty || self.config.never_fits(prompt) {
            self.drop_request(slot, now, events);
            return;
        }
        // A prompt that another instance computed is counted there.
        if !matches!(request.part, Part::Decode(_)) {
            self.totals.input_tokens += prompt;
        }
        let deadline = request.request.deadline_us;
        if deadline > 0 && deadline <= now {
            self.totals.timed_out += 1;
            self.remove(slot, FinishReason::TimedOut, Outcome::TimedOut, now, events);
            self.notify_scheduler_of_finish(events);
            return;
        }
        self.join_queue(slot, now, events);
        self.wake_up(now);
    }

    /// A request that was not here before joins the wait queue, until its deadline.
    pub(super) fn join_queue(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        self.requests[slot].enqueued_us = now;
        self.notify_scheduler(EventKind::Dispatch, slot, now, events);
        self.update_priority(slot, now, events);
        if self.queue_order != QueueOrder::Fifo {
            self.update_key(slot, now, events);
        }
        let request = &mut self.requests[slot];
        self.waiting.push(slot, request);
        self.queued_prompt_tokens += u64::from(request.prompt_tokens());
        self.adapters.count(request.request.adapter, 0, 1);
        let (deadline, stamp) = (request.request.deadline_us, request.stamp);
        if deadline > 0 && deadline <= self.config.horizon_us {
            self.scheduled_events += 1;
            let at = deadline.max(now);
            self.timeouts
                .push(Reverse((at, self.scheduled_events, slot, stamp)));
        }
    }

    /// Tokens of a request that are sampled and no output.
    pub(super) fn unseen_tokens(&self) -> u32 {
        u32::from(!self.config.rules.prefill_yields_token)
    }

    /// Output tokens with which a request ends: its own, or what `max_model_len` leaves.
    pub(super) fn output_limit(&self, request: &EngineRequest) -> u32 {
        let prompt = u64::from(request.prompt_tokens());
        let room = match self.config.max_model_len {
            0 => u32::MAX,
            limit => u32::try_from(limit.saturating_sub(prompt)).unwrap_or(u32::MAX),
        };
        request.final_output_tokens().max(1).min(room.max(1)) + request.unseen
    }

    /// Plans a step if requests wait, none is running, and none is planned but for the end of a
    /// batching window.
    pub(super) fn wake_up(&mut self, now: i64) {
        if self.wakes_us != NEVER && self.waiting_requests() == 0 {
            (self.wakes_us, self.step_at) = (NEVER, None);
        }
        let idle = self.step_at.is_none() && self.in_flight.is_empty();
        let asleep = idle || self.wakes_us != NEVER;
        if asleep && self.waiting_requests() > 0 {
            self.step_at = Some(if self.config.rules.one_step_at_a_time {
                now.max(self.busy_until).max(self.core_free_us)
            } else {
                now
            });
        }
    }

    fn time_out(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        self.totals.timed_out += 1;
        self.take_out(slot, FinishReason::TimedOut, Outcome::TimedOut, now, events);
    }

    /// Takes a whole request back at `now`, if it waits or runs here; says whether it did. The
    /// instance must have come to `now`.
    pub fn evict(&mut self, serial: u64, now: i64, events: &mut Vec<InstanceEvent>) -> bool {
        let waiting = self.waiting.iter();
        let running = self.running.iter().map(|entry| entry.slot);
        let found = waiting.chain(running).find(|slot| {
            let request = &self.requests[*slot];
            request.view.serial == serial && request.part == Part::Whole
        });
        if let Some(slot) = found {
            let planned = self.step_at;
            self.take_out(slot, FinishReason::Dropped, Outcome::Evicted, now, events);
            if self.step_at != planned {
                // Somebody else has to be served from now on.
                self.clock = self.clock.max(now);
            }
        }
        found.is_some()
    }

    /// Takes the whole requests back that wait here at `now`, or all of them wherever they are:
    /// then the instance is of no use any more. It must have come to `now`. `outcome` is that of
    /// requests that are not sent again.
    pub fn give_back(
        &mut self,
        all: bool,
        outcome: Outcome,
        now: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        let reason = FinishReason::Dropped;
        if all {
            for slot in self.requests.slots() {
                if self.requests[slot].in_group {
                    self.leave_group(slot);
                }
                self.remove(slot, reason, outcome, now, events);
            }
            // Nobody is anywhere any more.
            self.waiting = WaitQueue::new(self.queue_order);
            self.running.clear();
            self.arrived.clear();
            self.incoming.clear();
            self.api_server = None;
            return;
        }
        let whole = |slot: &Slot| self.requests[*slot].part == Part::Whole;
        let waiting: Vec<Slot> = self.waiting.iter().filter(whole).collect();
        for slot in waiting {
            self.take_out(slot, reason, outcome, now, events);
        }
    }

    /// Takes a request out of the queue or the batch, with what it holds.
    fn take_out(
        &mut self,
        slot: Slot,
        reason: FinishReason,
        outcome: Outcome,
        now: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        if self.requests[slot].in_group {
            self.leave_group(slot);
        }
        let request = &self.requests[slot];
        if request.running {
            let entry = request.entry(slot);
            self.release_blocks(slot);
            self.leave_batch(entry);
            self.prefilling.retain(|&other| other != slot);
        } else if request.part == Part::Decode(RemoteKv::Moving) || request.loading.is_some() {
            self.moving -= 1;
            self.release_blocks(slot);
        } else {
            self.kv.forget_put_off(&request.request.id);
            // Nothing is held by a request that waits, but a KV cache that has arrived.
            match self.arrived.iter().position(|&other| other == slot) {
                Some(k) => drop(self.arrived.remove(k)),
                None => self.leave_queue(slot),
            }
            self.release_blocks(slot);
        }
        self.remove(slot, reason, outcome, now, events);
        self.notify_scheduler_of_finish(events);
        if self.running.is_empty() {
            self.wake_up(now);
        }
    }

    /// Drops a request that can never be served here; it must not wait.
    pub(super) fn drop_request(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        self.totals.dropped += 1;
        self.remove(slot, FinishReason::Dropped, Outcome::Dropped, now, events);
        self.notify_scheduler_of_finish(events);
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
        if request.uses_adapter
            && let Some(slots) = &mut self.adapters.slots
        {
            slots.leave(request.request.adapter);
        }
        self.to_fetch -= usize::from(request.part == Part::Decode(RemoteKv::There));
        let first_gap_us = match request.part {
            Part::Decode(_) => self.itl_log.first(&request.token_steps),
            _ => None,
        };
        let record = request.record(self.index, outcome);
        let output_tokens = request.emitted_tokens();
        let processed_tokens = request
            .computed_tokens
            .saturating_sub(request.prompt_tokens());
        // Drafts may be computed for nothing; the last verified token never is.
        let processed_tokens = match self.config.scheduling.speculation.is_on() {
            true => processed_tokens.min(request.emitted.saturating_sub(1)),
            false => processed_tokens,
        };
        let finished = FinishedRequest {
            record,
            part: request.part,
            first_gap_us,
            reason,
            at_us,
            seen_us: at_us,
            output_tokens,
            processed_tokens,
            request: request.request,
            view: request.view,
        };
        events.push(InstanceEvent::Finished(Box::new(finished)));
    }

    /// Publishes what changed in the prefix cache with the output that is processed at `time_us`.
    pub(super) fn publish_kv_events(&mut self, time_us: i64, events: &mut Vec<InstanceEvent>) {
        let instance = self.index;
        if !self.kv.tracks_events() {
            return;
        }
        events.extend(self.kv.take_events().map(|change| {
            InstanceEvent::Kv(KvEvent {
                time_us,
                instance,
                change,
            })
        }));
    }

    /// Ends the run: returns the counters, and adds a record of every request still here.
    pub fn finish(&mut self, unfinished: &mut Vec<RequestRecord>) -> InstanceTotals {
        let horizon = self.config.horizon_us;
        if self.last_completion <= horizon {
            self.clock = self.clock.max(self.last_completion);
        }
        let mut totals = std::mem::take(&mut self.totals);
        totals.still_queued = self.waiting_requests() as u64;
        totals.still_running = self.running.len() as u64;
        totals.blocks_reused = self.kv.blocks_reused();
        totals.blocks_taken = self.kv.blocks_taken();
        totals.kv_total_blocks = self.kv.total();
        let below = self.cpu_blocks.as_ref().map(CpuBlocks::counts);
        totals.kv_tiers = self.kv.tier_counts().or(below);
        let slots = self.adapters.slots.iter();
        totals.adapter_moves = slots.flat_map(AdapterSlots::moves).copied().collect();
        totals.ended_us = self.clock.min(horizon);
        totals.series = self
            .sampler
            .take()
            .map(|s| Box::new(s.finish(totals.ended_us)));
        totals.gaps = self.itl_log.histogram();
        let arrived = self.arrived.iter().copied();
        for request in self
            .waiting
            .iter()
            .chain(arrived)
            .map(|slot| &self.requests[slot])
        {
            unfinished.push(request.record(self.index, Outcome::Queued));
        }
        for request in self.running.iter().map(|entry| &self.requests[entry.slot]) {
            unfinished.push(request.record(self.index, Outcome::Running));
        }
        let moving = Part::Decode(RemoteKv::Moving);
        let on_its_way = |r: &&EngineRequest| r.part == moving || r.loading.is_some();
        for request in self.requests.iter().filter(on_its_way) {
            unfinished.push(request.record(self.index, Outcome::InTransit));
        }
        let at_server = self.api_server.iter().flat_map(ApiServer::requests);
        for slot in self.incoming.iter().map(|Reverse(e)| e.2).chain(at_server) {
            unfinished.push(self.requests[slot].record(self.index, Outcome::InTransit));
        }
        totals
    }
}
