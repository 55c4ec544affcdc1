//! KV blocks on the CPU as vLLM's offloading connector keeps them: full blocks of prompts are
//! written there when they are computed, and a request whose prompt goes on there, behind what the
//! GPU has of it, takes GPU blocks and waits apart from the queue until they are loaded. What was
//! loaded is not computed.

use super::batching::StepBudget;
use super::chosen_step::StepPart;
use super::config::CpuOffload;
use super::part::Part;
use super::slot::Slot;
use super::state::Instance;
use crate::kv::{CachedPrefix, CpuTier, Found};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use windtunnel_base::record::TierCounts;

/// Blocks on their way to a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    at_us: i64,
    order: u64,
    slot: Slot,
    /// The stamp of the request: another may have its slot by then.
    stamp: u64,
    blocks: Vec<u64>,
}

/// The CPU's blocks, and the loads from there, one after the other.
#[derive(Clone, Debug)]
pub(super) struct CpuBlocks {
    config: CpuOffload,
    cpu: CpuTier,
    loads: BinaryHeap<Reverse<Load>>,
    /// The last load ends then.
    link_free_us: i64,
    stored: u64,
    loaded: u64,
}

impl CpuBlocks {
    pub(super) fn new(config: CpuOffload) -> Self {
        Self {
            cpu: CpuTier::new(config.cpu_blocks),
            config,
            loads: BinaryHeap::new(),
            link_free_us: 0,
            stored: 0,
            loaded: 0,
        }
    }

    /// When the next load ends.
    pub(super) fn next_us(&self) -> Option<i64> {
        self.loads.peek().map(|Reverse(load)| load.at_us)
    }

    pub(super) fn counts(&self) -> TierCounts {
        let evicted = self.cpu.evictions();
        TierCounts {
            stored: self.stored,
            evicted,
            reloaded: self.loaded,
            missed: 0,
            thrashing: match self.stored {
                0 => 0.0,
                stored => evicted as f64 / stored as f64,
            },
        }
    }

    /// The invariants, for tests.
    pub(super) fn check(&self) -> Result<(), String> {
        self.cpu.check()
    }

    /// A block is written, unless it is there or what is there has to stay.
    fn store(&mut self, block: u64) {
        if self.cpu.find(block) == Found::Missing && self.cpu.store(block) {
            self.stored += 1;
        }
    }

    /// How many of the first of these blocks are here.
    fn leading(&self, blocks: &[u64]) -> usize {
        let here = |block: &&u64| self.cpu.find(**block) == Found::Ready;
        blocks.iter().take_while(here).count()
    }

    /// Starts to load blocks at `now`; they stay here until they are loaded.
    fn load(&mut self, blocks: Vec<u64>, size: u32, (slot, stamp): (Slot, u64), now: i64) {
        for &block in &blocks {
            self.cpu.touch(block);
            self.cpu.pin(block);
        }
        let tokens = blocks.len() as f64 * f64::from(size);
        let us = self.config.base_us + (tokens * self.config.token_us).round() as i64;
        self.link_free_us = self.link_free_us.max(now).saturating_add(us);
        self.loaded += blocks.len() as u64;
        self.loads.push(Reverse(Load {
            at_us: self.link_free_us,
            order: self.loaded,
            slot,
            stamp,
            blocks,
        }));
    }
}

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

    /// The CPU has what follows the `cached` blocks of a waiting request: blocks of the GPU are taken
    /// for that and it is loaded. `None`: there is nothing to load; else whether there were enough
    /// blocks.
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
        let here = below.leading(&blocks);
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
        let Some((below, Reverse(load))) = below.and_then(|b| b.loads.pop().map(|load| (b, load)))
        else {
            return;
        };
        load.blocks.iter().for_each(|&block| below.cpu.unpin(block));
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
