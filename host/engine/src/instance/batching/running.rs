//! The first pass, request by request: the running requests get their next tokens, and where KV
//! blocks are short, some are preempted. This is the plain path's.

use super::step_budget::StepBudget;
use crate::instance::events::InstanceEvent;
use crate::instance::part::{Part, RemoteKv};
use crate::instance::slot::{BatchEntry, Slot};
use crate::instance::state::Instance;
use crate::kv::CachedPrefix;
use windtunnel_plugin_api::EventKind;

/// Which of the running requests a pass is for: those in prefill, or `decodes`, too.
#[derive(Clone, Copy)]
struct Pass {
    decodes: bool,
}

impl Instance {
    /// Forms the batch of the step that starts at `now`.
    pub(crate) fn form_batch(&mut self, now: i64, events: &mut Vec<InstanceEvent>) {
        let mut prefilling = 0;
        for entry in &self.running {
            let request = &mut self.requests[entry.slot];
            request.scheduled_tokens = 0;
            prefilling += usize::from(request.in_prefill());
        }
        let mut budget = self.step_budget(prefilling, now, events);
        let wait = budget.decodes_wait();
        self.schedule_running(now, &mut budget, Pass { decodes: !wait }, events);
        self.adapters.start_step();
        self.note_parts(&mut budget);
        let admissions = self.admissions;
        self.admit_waiting(now, &mut budget, events);
        let scheduled = |entry: &BatchEntry| self.requests[entry.slot].scheduled_tokens > 0;
        // A prompt that is found whole is admitted without tokens where the rules say so.
        if wait && self.admissions == admissions && !self.running.iter().any(scheduled) {
            self.schedule_running(now, &mut budget, Pass { decodes: true }, events);
            self.note_parts(&mut budget);
        }
    }

    /// Notes the adapters of the running requests that take part, and that they do.
    fn note_parts(&mut self, budget: &mut StepBudget) {
        for entry in &self.running {
            let request = &self.requests[entry.slot];
            if request.scheduled_tokens > 0 {
                self.adapters.add(request.request.adapter);
                budget.note_part(request);
            }
        }
    }

    fn schedule_running(
        &mut self,
        now: i64,
        budget: &mut StepBudget,
        pass: Pass,
        events: &mut Vec<InstanceEvent>,
    ) {
        let mut cursor = 0;
        while cursor < self.running.len() && !budget.is_spent() {
            let slot = self.running[cursor].slot;
            let request = &self.requests[slot];
            if self.waits_for_stages(request) {
                cursor += 1;
                continue;
            }
            let wanted = budget.running_tokens(request);
            let Some(tokens) = wanted.filter(|_| pass.decodes || request.in_prefill()) else {
                cursor += 1;
                continue;
            };
            if !self.make_room(slot, tokens, now, &mut cursor, budget, events) {
                break;
            }
            budget.schedule(tokens);
            let request = &mut self.requests[slot];
            request.scheduled_tokens = tokens;
            request.computed_after_step = request.computed_tokens + tokens;
            cursor += 1;
        }
    }

    /// Allocates KV space for `tokens` more tokens of a running request, and preempts others for it
    /// if need be. `cursor` follows the batch when a request before it is preempted. `false`: the
    /// request itself was preempted last.
    fn make_room(
        &mut self,
        slot: Slot,
        tokens: u32,
        now: i64,
        cursor: &mut usize,
        budget: &mut StepBudget,
        events: &mut Vec<InstanceEvent>,
    ) -> bool {
        loop {
            let stuck = self.config.rules.v0_kv_blocks && self.kv.free() == 0;
            if !stuck && self.allocate(slot, tokens, &CachedPrefix::default()) {
                return true;
            }
            let position = self.choose_victim(now, events);
            let victim = self.running.remove(position).slot;
            let adapter = self.requests[victim].request.adapter;
            self.adapters.count(adapter, -1, 0);
            if position < *cursor {
                *cursor -= 1;
            }
            budget.preempt(self.requests[victim].scheduled_tokens);
            self.preempt(victim, now, events);
            if victim == slot || self.running.is_empty() {
                return false;
            }
        }
    }

    /// Allocates KV space for `tokens` more tokens of a request, after the `cached` blocks if it
    /// holds none. `false` changes nothing.
    pub(crate) fn allocate(&mut self, slot: Slot, tokens: u32, cached: &CachedPrefix) -> bool {
        if self.config.scheduling.speculation.is_on() {
            return self.allocate_slots(slot, tokens, cached);
        }
        let awaits_output = self.awaits_output();
        let request = &mut self.requests[slot];
        // Its admission took the blocks of the whole prompt.
        if self.config.rules.v0_kv_blocks && request.running && request.in_prefill() {
            return true;
        }
        let mut blocks = std::mem::take(&mut request.blocks);
        let computed = request.computed_tokens + tokens;
        // What was sampled in a step whose output is not processed is computed before it is known.
        // The reference gives a request without output a token that it never samples, where
        // another instance computed the prompt.
        let last = request.prompt_tokens() + request.final_output_tokens();
        let known = match awaits_output {
            true => computed <= request.prompt_tokens() + request.emitted,
            false => computed <= last,
        };
        let cached_tokens = cached.blocks() * self.config.block_size;
        // An empty prompt has no prefill; the reference gives it room for an output token instead.
        let asker = request.asker(cached_tokens, tokens, known);
        let fits = self.kv.allocate(&mut blocks, &asker, cached);
        request.blocks = blocks;
        if fits {
            let known_tokens = computed + cached_tokens - u32::from(!known);
            request.known_tokens = known_tokens;
            if awaits_output {
                self.make_findable(slot, known_tokens);
            }
        }
        fits
    }

    /// The tokens of a request are known up to here: full blocks of them become findable.
    pub(crate) fn make_findable(&mut self, slot: Slot, known_tokens: u32) {
        let request = &mut self.requests[slot];
        request.known_tokens = known_tokens;
        let mut blocks = std::mem::take(&mut request.blocks);
        self.kv
            .cache_blocks(&mut blocks, request.sequence(), known_tokens);
        request.blocks = blocks;
    }

    /// Frees the blocks of a request.
    pub(crate) fn release_blocks(&mut self, slot: Slot) {
        let request = &mut self.requests[slot];
        let known = request.known_tokens / self.config.block_size;
        self.kv.release(&mut request.blocks, known);
    }

    /// Takes a request out of the batch.
    pub(crate) fn leave_batch(&mut self, entry: BatchEntry) {
        if let Ok(at) = self.running.binary_search(&entry) {
            self.running.remove(at);
            let adapter = self.requests[entry.slot].request.adapter;
            self.adapters.count(adapter, -1, 0);
        }
    }

    /// Takes a request out of the wait queue, wherever it is.
    pub(crate) fn leave_queue(&mut self, slot: Slot) {
        let request = &self.requests[slot];
        self.waiting.remove(slot, request);
        self.queued_prompt_tokens -= u64::from(request.prompt_tokens());
        self.adapters.count(request.request.adapter, 0, -1);
    }

    /// Returns a request, which is no longer in the batch, to the wait queue.
    fn preempt(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        self.totals.preemptions += 1;
        self.notify_scheduler(EventKind::Preempt, slot, now, events);
        let keep = self.config.rules.keep_tokens_on_preemption;
        let block_size = self.config.block_size;
        let request = &mut self.requests[slot];
        request.running = false;
        request.preemptions += 1;
        if let Part::Decode(kv) = &mut request.part {
            *kv = RemoteKv::Lost;
        }
        request.scheduled_tokens = 0;
        // It will look up its own blocks when it is admitted again, so nothing of it is private any
        // more.
        request.request.private_from = u32::MAX;
        // Under the reference's rules, blocks of one token filled by decoding are never findable;
        // the prompt's are.
        let mut known = request.known_tokens;
        if block_size == 1 && !self.config.rules.visible_at_step_end {
            known = known.min(request.prompt_tokens());
        }
        self.make_findable(slot, known);
        let request = &mut self.requests[slot];
        let output_tokens = request.emitted_tokens();
        if !keep {
            request.token_steps.clear();
            request.has_first_token = false;
            request.emitted = 0;
        }
        request.computed_tokens = 0;
        request.computed_after_step = 0;
        request.offloaded_blocks = 0;
        self.release_blocks(slot);
        let request = &mut self.requests[slot];
        if self.config.token_events {
            events.push(InstanceEvent::Preempted {
                view: request.view,
                output_tokens,
            });
        }
        self.queued_prompt_tokens += u64::from(request.prompt_tokens());
        self.adapters.count(request.request.adapter, 0, 1);
        self.waiting.push_front(slot, request);
    }
}
