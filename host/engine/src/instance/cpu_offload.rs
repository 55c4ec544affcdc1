//! KV blocks on the CPU as vLLM's offloading connector keeps them: full blocks of prompts are
//! written there when they are computed, and a request whose prompt goes on there, behind what the
//! GPU has of it, takes GPU blocks and waits apart from the queue until they are loaded. What was
//! loaded is not computed.

use super::batching::StepBudget;
use super::chosen_step::StepPart;
use super::cpu_blocks::CpuBlocks;
use super::part::Part;
use super::slot::Slot;
use super::state::Instance;
use crate::kv::CachedPrefix;

impl Instance {
    /// The output of a step is processed: the full blocks of prompts that it computed are written
    /// to the CPU.
    pub(super) fn offload_prompts(&mut self, parts: &[StepPart]) {
        let size = self.config.block_size;
        let Some(below) = &mut self.cpu_blocks else {
            return;
        };
        for part in parts {
            let request = self.requests.get_mut(part.entry.slot);
            let request = request.filter(|r| r.admission == part.entry.admission && r.running);
            let Some(request) = request else { continue };
            let known = request.computed_tokens.min(request.prompt_tokens()) / size;
            let first = request.offloaded_blocks as usize;
            if known as usize > first {
                let blocks = request.request.prompt.block_keys(size);
                let new = blocks.take(known as usize).skip(first);
                new.for_each(|block| below.store(block));
                request.offloaded_blocks = known;
            }
        }
    }

    /// The CPU has what follows the `cached` blocks of a waiting request: blocks of the GPU are
    /// taken for that and it is loaded. `None`: there is nothing to load; else whether there were
    /// enough blocks.
    pub(super) fn load_from_cpu(
        &mut self,
        slot: Slot,
        cached: &CachedPrefix,
        budget: &StepBudget,
        now: i64,
    ) -> Option<bool> {
        let size = self.config.block_size;
        let below = self.cpu_blocks.as_ref()?;
        let request = &self.requests[slot];
        if matches!(request.part, Part::Decode(_)) {
            return None;
        }
        let keys = request.request.prompt.block_keys(size);
        let blocks: Vec<u64> = keys.skip(cached.blocks() as usize).collect();
        let mut here = below.leading(&blocks);
        if size == 1 {
            // The last token is computed in any case, and its block has no other.
            here = here.min((request.prefill_target - 1 - cached.blocks()) as usize);
        }
        if here == 0 {
            return None;
        }
        let loaded = (cached.blocks() + here as u32) * size;
        let missing = loaded - cached.blocks() * size;
        let needed = self.kv.blocks_taken_by(&request.blocks, missing, cached);
        let needed = needed.saturating_add(self.reserved_blocks());
        let short = needed.saturating_sub(self.kv.free());
        if short > 0 {
            self.block_head(slot, budget, short, !cached.is_empty());
            return Some(false);
        }
        self.leave_queue(slot);
        let request = &mut self.requests[slot];
        let mut table = std::mem::take(&mut request.blocks);
        let fits = self.kv.allocate_slots(&mut table, loaded, cached);
        debug_assert!(fits, "the blocks were counted");
        // Something is computed in any case, as there has to be something to sample from.
        let computed = loaded.min(request.prefill_target - 1);
        table.set_tail(computed - (table.len() as u32 - 1) * size);
        let request = &mut self.requests[slot];
        request.blocks = table;
        request.loading = Some(computed);
        request.known_tokens = cached.blocks() * size;
        let who = (slot, request.stamp);
        self.moving += 1;
        if let Some(below) = &mut self.cpu_blocks {
            below.load(blocks[..here].to_vec(), size, who, now);
        }
        Some(true)
    }

    /// The next load has ended at `now`: the request returns to the front of the queue.
    pub(super) fn finish_load(&mut self, now: i64) {
        let below = self.cpu_blocks.as_mut();
        let Some(load) = below.and_then(CpuBlocks::finish) else {
            return;
        };
        let slot = load.slot;
        let request = self.requests.get_mut(slot);
        let request = request.filter(|request| request.stamp == load.stamp);
        let Some((request, computed)) = request.and_then(|r| r.loading.take().map(|c| (r, c)))
        else {
            return;
        };
        request.computed_tokens = computed;
        request.computed_after_step = computed;
        self.moving -= 1;
        self.queued_prompt_tokens += u64::from(request.prompt_tokens());
        self.adapters.count(request.request.adapter, 0, 1);
        self.waiting.push_front(slot, request);
        self.make_findable(slot, computed);
        self.blocked_head = None;
        self.wake_up(now);
    }

    /// Admits a waiting request whose prefix was loaded. `false`: its next tokens do not fit.
    pub(super) fn admit_loaded(&mut self, slot: Slot, now: i64, budget: &mut StepBudget) -> bool {
        let request = &self.requests[slot];
        let computed = request.computed_tokens;
        let remaining = request.prefill_target - computed;
        let none = CachedPrefix::default();
        if !self.config.scheduling.enable_chunked_prefill
            && budget.cuts_prefill(remaining, computed)
        {
            return false;
        }
        let tokens = budget.prefill_tokens(remaining, computed);
        let held = match self.config.scheduling.reserve_full_isl {
            true => remaining,
            false => tokens,
        };
        let needed = self.kv.blocks_taken_by(&request.blocks, held, &none);
        let needed = needed.saturating_add(self.reserved_blocks());
        let short = needed.saturating_sub(self.kv.free());
        if short > 0 || !self.allocate(slot, tokens, &none) {
            self.block_head(slot, budget, short, false);
            return false;
        }
        self.leave_queue(slot);
        self.seat(slot, tokens, budget);
        self.requests[slot].computed_after_step = computed + tokens;
        self.note_admission(slot, computed, now);
        true
    }
}
