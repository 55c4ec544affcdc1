//! The second pass: waiting requests are admitted while seats, tokens and KV blocks last.

use super::step_budget::{BlockedHead, Room, StepBudget};
use crate::instance::events::InstanceEvent;
use crate::instance::part::{Part, RemoteKv};
use crate::instance::slot::{BatchEntry, Slot};
use crate::instance::state::Instance;

impl Instance {
    /// Admits requests from the head of the queue to the batch of the step at `now`.
    pub(crate) fn admit_waiting(
        &mut self,
        now: i64,
        budget: &mut StepBudget,
        events: &mut Vec<InstanceEvent>,
    ) {
        self.kv.poll_put_off();
        if !budget.may_admit() {
            return;
        }
        self.admit_arrived(now, budget);
        let apart = self.config.rules.phases_apart;
        let full = match apart {
            true => !self.running.is_empty(),
            false => !self.arrived.is_empty(),
        };
        if self.waiting.is_empty() || full {
            return;
        }
        if apart && !self.arrived.is_empty() {
            // None of those fits; prompts are another matter.
            *budget = self.step_budget_with(0, 0, now, events);
        }
        self.refresh_wait_queue(now, events);
        while budget.may_admit() {
            let Some(slot) = self.waiting.first(|slot| self.may_resume(slot)) else {
                break;
            };
            // Requests behind one that does not fit wait, too; those behind one that waits for a
            // device do not.
            if self.adapters_keep_out(slot)
                || self.is_blocked(slot, budget)
                || !self.memory_admits(slot)
                || !self.admit(slot, now, budget, events) && !self.is_put_off(slot)
            {
                break;
            }
        }
    }

    /// Does this request, and all behind it, wait until its adapter is loaded?
    fn adapters_keep_out(&self, slot: Slot) -> bool {
        let request = &self.requests[slot];
        !matches!(request.part, Part::Decode(_)) && self.adapters.lacks(request.request.adapter)
    }

    /// Waits this request for blocks that a device brings?
    fn is_put_off(&self, slot: Slot) -> bool {
        self.kv.puts_off(&self.requests[slot].request.id)
    }

    /// May this waiting request be admitted to the step at hand, if there is room? Those that may
    /// not are passed over: the output of a preempted request may still be on its way, and no more
    /// adapters may fit.
    pub(crate) fn may_resume(&self, slot: Slot) -> bool {
        let request = &self.requests[slot];
        request.scheduled_in <= self.processed_steps()
            && self.adapters.admits(request.request.adapter)
            && !self.is_put_off(slot)
    }

    /// Is this the head of the queue that did not fit before, and would it fail to fit again?
    pub(crate) fn is_blocked(&self, slot: Slot, budget: &StepBudget) -> bool {
        let room = self.room();
        let request = &self.requests[slot];
        self.blocked_head
            .is_some_and(|head| head.is(request, budget, room))
    }

    /// Remembers that the head of the queue lacked `short` blocks. With `reuse` it would have
    /// reused free blocks for a part of its prompt.
    pub(crate) fn block_head(&mut self, slot: Slot, budget: &StepBudget, short: u64, reuse: bool) {
        let head = BlockedHead::new(&self.requests[slot], budget, self.room(), short, reuse);
        let speculates = self.config.scheduling.speculation.is_on();
        // Tiers below may have what fits, and an attempt moves blocks.
        let repeats = speculates || self.kv.has_tiers();
        self.blocked_head = (!repeats).then_some(head);
    }

    fn room(&self) -> Room {
        Room {
            among_others: !self.running.is_empty(),
            relief: self.kv.relief(),
            evictions: self.kv.evictions(),
        }
    }

    /// Blocks that an admission must leave free.
    pub(crate) fn reserved_blocks(&self) -> u64 {
        if self.running.is_empty() && !self.config.rules.v0_kv_blocks {
            return 0;
        }
        self.config.watermark_blocks()
    }

    /// Admits a waiting request if there are blocks for its first tokens. Running requests are not
    /// preempted for it.
    fn admit(
        &mut self,
        slot: Slot,
        now: i64,
        budget: &mut StepBudget,
        events: &mut Vec<InstanceEvent>,
    ) -> bool {
        match self.requests[slot].part {
            Part::Decode(RemoteKv::There) => return self.fetch_kv(slot, budget, events),
            Part::Decode(RemoteKv::Here) => return self.admit_with_kv(slot, now, budget),
            // The reference computes one token of the prompt first, as if the others were there,
            // and does not look them up.
            Part::Decode(RemoteKv::Lost) if !self.config.rules.decoder_fetches_kv => {
                return self.admit_with_kv(slot, now, budget);
            }
            Part::Whole | Part::Prefill | Part::Decode(_) => {}
        }
        if self.cpu_blocks.is_some() && !self.requests[slot].blocks.is_empty() {
            return self.admit_loaded(slot, now, budget);
        }
        let rules = self.config.rules;
        let scheduling = self.config.scheduling;
        let block_size = self.config.block_size;
        let awaits_output = self.awaits_output();
        let request = &mut self.requests[slot];
        if rules.keep_tokens_on_preemption {
            request.prefill_target = request.prompt_tokens() + request.emitted;
        }
        let target = request.prefill_target;
        let findable = if rules.recompute_last_block {
            target.saturating_sub(1)
        } else {
            target
        };
        let request = &self.requests[slot];
        let sequence = request.sequence();
        let mut cached = self.kv.cached_prefix(sequence, findable);
        if scheduling.speculation.recomputes_last_hit() {
            cached.pop();
        }
        if let Some(fits) = self.load_from_cpu(slot, &cached, budget, now) {
            return fits;
        }
        let request = &self.requests[slot];
        let cached_tokens = cached.blocks() * block_size;
        let remaining = target - cached_tokens;
        let Some(wanted) = budget.padded(remaining, cached_tokens) else {
            return false;
        };
        if !scheduling.enable_chunked_prefill && budget.cuts_prefill(wanted, cached_tokens) {
            return false;
        }
        let tokens = budget.prefill_tokens(wanted, cached_tokens);
        let held = if scheduling.reserve_full_isl {
            remaining
        } else {
            tokens
        };
        let slots = self.config.slots(cached_tokens + tokens) - cached_tokens;
        let needed = self
            .kv
            .blocks_taken_by(&request.blocks, held.max(slots), &cached);
        let needed = needed.saturating_add(self.reserved_blocks());
        let short = match self.kv.has_tiers() {
            true => 0,
            false => needed.saturating_sub(self.kv.free()),
        };
        let taken = match rules.v0_kv_blocks {
            true => remaining,
            false => tokens,
        };
        if short > 0 || !self.allocate(slot, taken, &cached) {
            let reuse = !scheduling.reserve_full_isl && !cached.is_empty();
            self.block_head(slot, budget, short, reuse);
            return false;
        }
        self.leave_queue(slot);
        self.seat(slot, tokens, budget);
        let request = &mut self.requests[slot];
        // The reference prices a step as if nothing had been cached.
        request.computed_tokens = if awaits_output { cached_tokens } else { 0 };
        request.computed_after_step = cached_tokens + tokens;
        self.note_admission(slot, cached_tokens, now);
        true
    }

    /// Notes that a request is admitted at `now`, with so many tokens that need not be computed.
    pub(crate) fn note_admission(&mut self, slot: Slot, cached_tokens: u32, now: i64) {
        let rules = self.config.rules;
        let request = &mut self.requests[slot];
        // What a preempted request finds again is its own work, not a prefix that somebody shared.
        if request.cached_tokens.is_none() {
            request.cached_tokens = Some(cached_tokens);
            self.totals.prefix_queries += u64::from(request.prompt_tokens());
            self.totals.prefix_hits += u64::from(cached_tokens);
            self.totals.prefix_reusable += u64::from(request.request.reusable_tokens);
        }
        if request.scheduling_delay_us.is_none() || !rules.first_scheduling_counts {
            request.scheduling_delay_us = Some(now - request.request.arrival_us);
        }
    }

    /// Gives a request, which has left the wait queue, a seat in the batch of the step at hand and
    /// `tokens` of it.
    pub(crate) fn seat(&mut self, slot: Slot, tokens: u32, budget: &mut StepBudget) {
        self.admissions += 1;
        self.running.push(BatchEntry {
            admission: self.admissions,
            slot,
        });
        budget.admit(tokens);
        let request = &mut self.requests[slot];
        let adapter = request.request.adapter;
        // A prompt that is found whole takes part without tokens; then its adapter costs nothing.
        if tokens > 0 || self.adapters.slots.is_none() {
            self.adapters.add(adapter);
        }
        self.adapters.count(adapter, 1, 0);
        if let Some(slots) = &mut self.adapters.slots {
            let new = !std::mem::replace(&mut request.uses_adapter, true);
            slots.admit(adapter, new);
        }
        request.admission = self.admissions;
        request.running = true;
        request.scheduled_tokens = tokens;
    }
}
