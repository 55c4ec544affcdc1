//! Requests whose prompt one instance computes and whose output another one generates: what either
//! of them does beyond serving a whole request.

use super::batching::StepBudget;
use super::engine_request::EngineRequest;
use super::events::InstanceEvent;
use super::part::{FirstToken, Part, RemoteKv};
use super::slot::{BatchEntry, Slot};
use super::state::Instance;
use crate::kv::{Asker, CachedPrefix};
use windtunnel_base::request::Request;
use windtunnel_plugin_api::RequestView;

impl Instance {
    /// The KV cache that a request waits to fetch is there no more: it computes its prompt itself.
    pub fn kv_lost(&mut self, slot: Slot, serial: u64, now: i64) {
        let here = self.requests.get(slot);
        if here.is_none_or(|request| request.view.serial != serial) {
            return;
        }
        let request = &mut self.requests[slot];
        self.to_fetch -= usize::from(request.part == Part::Decode(RemoteKv::There));
        request.part = Part::Decode(RemoteKv::Lost);
        self.clock = self.clock.max(now);
        self.blocked_head = None;
        self.wake_up(now);
    }

    /// Makes a request of which nobody here knows yet and allocates blocks for the KV cache of its
    /// prompt, which is on its way. `None` changes nothing: there are not enough blocks.
    pub fn reserve_for_kv(&mut self, request: Request, view: RequestView) -> Option<Slot> {
        let mut request = EngineRequest::new(request, view);
        request.part = Part::Decode(RemoteKv::Moving);
        request.unseen = self.unseen_tokens();
        self.scheduled_events += 1;
        request.stamp = self.scheduled_events;
        let prompt = request.prompt_tokens();
        let mut blocks = std::mem::take(&mut request.blocks);
        let none = CachedPrefix::default();
        let asker = Asker {
            tokens: prompt,
            prefills: true,
            ..request.asker(0, prompt, true)
        };
        if !self.kv.allocate(&mut blocks, &asker, &none) {
            return None;
        }
        request.blocks = blocks;
        request.known_tokens = prompt;
        request.output_limit = self.output_limit(&request);
        self.moving += 1;
        Some(self.requests.insert(request))
    }

    /// The KV cache of a prompt has arrived at `now`, after the first output token if the
    /// instance that computed the prompt yielded that. Nothing happens if the request has left.
    pub fn kv_arrived(
        &mut self,
        slot: Slot,
        serial: u64,
        now: i64,
        first_token: Option<FirstToken>,
        events: &mut Vec<InstanceEvent>,
    ) {
        let here = self.requests.get(slot);
        if here.is_none_or(|request| request.view.serial != serial) {
            return;
        }
        self.clock = self.clock.max(now);
        self.moving -= 1;
        let fetched = self.config.rules.decoder_fetches_kv;
        let request = &mut self.requests[slot];
        let prompt = request.prompt_tokens();
        request.part = Part::Decode(RemoteKv::Here);
        if let Some(memory) = &mut self.memory {
            memory.arrived(u64::from(prompt));
        }
        if fetched && request.unseen > 0 {
            // The instance that computed the prompt sampled what is no output.
            request.computed_tokens = prompt;
            request.emitted = request.unseen;
        } else if fetched && first_token.is_none() {
            // The last token is computed once more, as its output is not there yet.
            request.computed_tokens = prompt - 1;
        } else {
            request.computed_tokens = prompt;
            // Its first token counts as generated where the prompt was computed.
            request.has_first_token = true;
            request.emitted = 1;
        }
        if let Some(first) = first_token {
            request.ttft_us = Some(first.ttft_us);
            // No step here yielded it.
            (request.last_token_us, request.last_token_step) = (first.at_us, u64::MAX);
        }
        if fetched {
            self.make_findable(slot, prompt);
            self.arrived.push_back(slot);
        } else {
            self.join_queue(slot, now, events);
        }
        self.note_memory(now);
        self.wake_up(now);
    }

    /// Frees the blocks that were kept until the KV cache of a request had moved on.
    pub fn release_kept(&mut self, serial: u64, now: i64) {
        if let Some((mut blocks, known)) = self.kept.remove(&serial) {
            self.clock = self.clock.max(now);
            if let Some(memory) = &mut self.memory {
                memory.left(self.kv.tokens_in(&blocks).into());
            }
            self.kv.release(&mut blocks, known);
            self.note_memory(now);
            self.wake_up(now);
        }
    }

    /// Keeps the blocks of a request that completes its prefill, if they are still to be read.
    pub(super) fn keep_or_release(&mut self, slot: Slot) {
        let request = &mut self.requests[slot];
        if request.part != Part::Prefill || !self.config.rules.decoder_fetches_kv {
            self.release_blocks(slot);
            return;
        }
        let known = request.known_tokens / self.config.block_size;
        let blocks = std::mem::take(&mut request.blocks);
        self.kept.insert(request.view.serial, (blocks, known));
    }

    /// KV caches on their way here.
    #[must_use]
    pub fn incoming_kv_caches(&self) -> usize {
        self.moving
    }

    /// KV caches that are kept until others have fetched them, and their blocks.
    #[must_use]
    pub fn kept_kv(&self) -> (u32, u32) {
        let blocks = self.kept.values().map(|(blocks, _)| blocks.len());
        (self.kept.len() as u32, blocks.sum::<usize>() as u32)
    }

    /// May it ask for a KV cache that another instance has?
    #[must_use]
    pub fn may_fetch_kv(&self) -> bool {
        self.to_fetch > 0
    }

    /// Do blocks come free by themselves, when a KV cache has moved?
    pub(super) fn awaits_kv(&self) -> bool {
        self.moving > 0 || !self.kept.is_empty()
    }

    /// Allocates blocks for a KV cache that another instance has, and asks for what is not cached
    /// here. `false`: there are not enough.
    pub(super) fn fetch_kv(
        &mut self,
        slot: Slot,
        budget: &StepBudget,
        events: &mut Vec<InstanceEvent>,
    ) -> bool {
        let block_size = self.config.block_size;
        let request = &self.requests[slot];
        let prompt = request.prompt_tokens();
        let cached = self.kv.cached_prefix(request.sequence(), prompt - 1);
        let missing = prompt - cached.blocks() * block_size;
        let needed = self.kv.blocks_taken_by(&request.blocks, missing, &cached);
        let needed = needed.saturating_add(self.reserved_blocks());
        let short = needed.saturating_sub(self.kv.free());
        if short > 0 {
            self.block_head(slot, budget, short, false);
            return false;
        }
        self.leave_queue(slot);
        self.to_fetch -= 1;
        let request = &mut self.requests[slot];
        request.part = Part::Decode(RemoteKv::Moving);
        let mut blocks = std::mem::take(&mut request.blocks);
        let fits = self.kv.allocate_slots(&mut blocks, prompt, &cached);
        debug_assert!(fits, "the blocks were counted");
        blocks.set_tail(prompt - (blocks.len() as u32 - 1) * block_size);
        let request = &mut self.requests[slot];
        request.blocks = blocks;
        self.moving += 1;
        events.push(InstanceEvent::WantsKv {
            serial: request.view.serial,
            slot,
            tokens: missing,
        });
        true
    }

    /// Admits requests whose KV cache is here, in the order of its arrival.
    pub(super) fn admit_arrived(&mut self, now: i64, budget: &mut StepBudget) {
        while budget.may_admit() {
            let next = self.arrived.iter().position(|&slot| self.may_resume(slot));
            let Some(k) = next else { return };
            let slot = self.arrived[k];
            // Of one whose output is still to come, the block of its last prompt token is there.
            let has_room = self.requests[slot].in_prefill()
                || self.allocate(slot, 1, &CachedPrefix::default());
            if !has_room || !self.memory_admits(slot) {
                return;
            }
            self.arrived.remove(k);
            self.start_decoding(slot, now, budget);
        }
    }

    /// A request of a batch that computed prompts waits for one that decodes.
    pub(super) fn await_decoding(&mut self, entry: BatchEntry) {
        let request = &mut self.requests[entry.slot];
        // The first token that is sampled stands for the prompt, output or not.
        if request.part != Part::Whole || request.emitted != 1 {
            return;
        }
        request.running = false;
        self.leave_batch(entry);
        self.arrived.push_back(entry.slot);
    }

    /// Admits a request whose KV cache was sent here, or was lost to a preemption: its first step
    /// computes one token. `false`: there is no block for it.
    pub(super) fn admit_with_kv(&mut self, slot: Slot, now: i64, budget: &mut StepBudget) -> bool {
        if !self.allocate(slot, 1, &CachedPrefix::default()) {
            return false;
        }
        self.leave_queue(slot);
        self.start_decoding(slot, now, budget);
        true
    }

    fn start_decoding(&mut self, slot: Slot, now: i64, budget: &mut StepBudget) {
        self.seat(slot, 1, budget);
        let request = &mut self.requests[slot];
        request.computed_after_step = request.computed_tokens + 1;
        if request.part != Part::Whole {
            request.scheduling_delay_us = Some(now - request.request.arrival_us);
        }
    }
}
