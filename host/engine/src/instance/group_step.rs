//! A step of the fast path: it costs what changes in it, not what runs in it.
//!
//! Running decodes advance as a group; only requests in prefill, newly admitted ones, those that
//! need a KV block and those that finish are touched. A step that the group cannot take as a whole
//! (blocks or tokens are short) is left to the plain path, which defines what must come out.

use super::decode_group::GroupChange;
use super::events::InstanceEvent;
use super::slot::Slot;
use super::state::Instance;
use crate::kv::CachedPrefix;
use crate::latency::StepAggregates;

impl Instance {
    /// Forms the batch of the step at `now` if the group can take it as a whole. `false`: nothing
    /// is scheduled.
    pub(super) fn form_group_batch(&mut self, now: i64, events: &mut Vec<InstanceEvent>) -> bool {
        if self.config.plain || !(self.grouped || self.form_group()) {
            return false;
        }
        // With no step in flight every token is known; the group takes the last one of its members
        // for unknown.
        let chosen_ahead = self.config.rules.steps_in_flight() > 1;
        if chosen_ahead && self.in_flight.is_empty() && self.group.count > 0 {
            return false;
        }
        let step = self.chosen_steps;
        let mut budget = self.step_budget(self.prefilling.len(), now, events);
        // The group takes part in every step; one that may sit out is the plain path's.
        let prompts =
            !self.prefilling.is_empty() || self.waiting_requests() > 0 && budget.may_admit();
        if budget.decodes_wait() && prompts && self.group.count > 0 {
            return false;
        }
        // Nor does it take in what a step by itself computes.
        if self.config.rules.phases_apart && prompts {
            return false;
        }
        if !budget.schedule_decodes(self.group.count) {
            return false;
        }
        let mut blocks = self.group.opening(step).len() as u64;
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        let mut short = false;
        for &slot in &self.prefilling {
            let request = &self.requests[slot];
            let (tokens, cut) = budget.schedule_prefill(request);
            short |= cut;
            blocks += self.kv.blocks_for(&request.blocks, tokens);
            changes.push((request.entry(slot), GroupChange::Prefill(tokens)));
        }
        // Here all decodes got their tokens before the prefills. In batch order that is so only if
        // no prefill is before a decode, which matters only where tokens are short.
        let fits = blocks <= self.kv.free() && (!short || self.prefills_are_last());
        self.changes = changes;
        if fits {
            self.apply_changes(step);
            self.adapters.start_step_of_group();
            for &slot in &self.prefilling {
                let request = &self.requests[slot];
                if request.scheduled_tokens > 0 {
                    self.adapters.add(request.request.adapter);
                }
            }
            let admitted_from = self.running.len();
            self.admit_waiting(now, &mut budget, events);
            let admitted = self.running[admitted_from..].iter();
            self.prefilling.extend(admitted.map(|entry| entry.slot));
        }
        fits
    }

    /// Applies [the changes](Self::changes) of prefills and those of the group's members in `step`,
    /// for which there are blocks.
    fn apply_changes(&mut self, step: u64) {
        let mut changes = std::mem::take(&mut self.changes);
        let opening = self.group.opening(step).iter();
        changes.extend(opening.map(|&entry| (entry, GroupChange::OpensBlock)));
        let filling = self.group.filling(step).iter();
        changes.extend(filling.map(|&entry| (entry, GroupChange::FillsBlock)));
        // Blocks are allocated in batch order; a block of one token fills when it is opened.
        changes.sort_by_key(|(entry, _)| *entry);
        changes
            .iter()
            .for_each(|&(entry, change)| self.apply(entry.slot, change));
        self.changes = changes;
    }

    /// The members that open or fill a block in the next step, in which nobody prefills, do.
    /// `false`: there are too few blocks, and nothing has changed.
    pub(super) fn change_blocks(&mut self) -> bool {
        let step = self.chosen_steps;
        let fits = self.group.opening(step).len() as u64 <= self.kv.free();
        if fits {
            self.changes.clear();
            self.apply_changes(step);
        }
        fits
    }

    /// Are all requests in prefill behind all decodes in the batch?
    fn prefills_are_last(&self) -> bool {
        let first = self.prefilling.first().copied();
        self.running
            .get(self.running.len() - self.prefilling.len())
            .map(|entry| entry.slot)
            == first
    }

    fn apply(&mut self, slot: Slot, change: GroupChange) {
        let block_size = self.config.block_size;
        let request = &mut self.requests[slot];
        match change {
            GroupChange::OpensBlock => {
                // A member's tail stays what it was when it joined; an empty table has as little
                // room as a full block.
                let tail = if request.blocks.is_empty() {
                    block_size
                } else {
                    request.blocks.tail()
                };
                self.kv.open_block(&mut request.blocks);
                request.blocks.set_tail(tail);
                let before = request.blocks.len() as u32 - 1;
                if self.config.rules.steps_in_flight() > 1 {
                    // Only now the last token of the block before is known.
                    self.make_findable(slot, before * block_size);
                }
            }
            GroupChange::FillsBlock => {
                let filled = request.blocks.len() as u32;
                self.make_findable(slot, filled * block_size);
            }
            GroupChange::Prefill(tokens) => {
                request.scheduled_tokens = tokens;
                request.computed_after_step = request.computed_tokens + tokens;
                let fits = self.allocate(slot, tokens, &CachedPrefix::default());
                debug_assert!(fits, "the blocks were counted");
            }
        }
    }

    /// The work of a step whose batch was formed with the group.
    pub(super) fn group_aggregates(&self) -> StepAggregates {
        let mut aggregates = StepAggregates {
            requests: self.group.count as u32,
            decodes: self.group.count,
            ..StepAggregates::default()
        };
        self.group.update(&mut aggregates);
        let scheduled = self
            .prefilling
            .iter()
            .filter(|&&slot| self.requests[slot].scheduled_tokens > 0);
        scheduled.for_each(|&slot| aggregates.add(self.step_item(slot)));
        aggregates
    }
}
