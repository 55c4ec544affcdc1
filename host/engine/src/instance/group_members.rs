//! Joining and leaving the decode group, and bringing a member's own fields up to date.

use super::slot::Slot;
use super::state::Instance;

impl Instance {
    /// Makes a group of the running decodes before the step at `now`. `false` if one of them
    /// skipped steps: its next inter-token gap is its own.
    pub(super) fn form_group(&mut self, now: i64) -> bool {
        let own_gap = |slot: Slot| {
            let request = &self.requests[slot];
            self.config.rules.gaps_are_elapsed_time
                && !request.in_prefill()
                && request.last_token_us != now
        };
        if self.running.iter().any(|entry| own_gap(entry.slot)) {
            return false;
        }
        self.grouped = true;
        for k in 0..self.running.len() {
            let slot = self.running[k].slot;
            if self.requests[slot].in_prefill() {
                self.prefilling.push(slot);
            } else {
                self.join_group(slot);
            }
        }
        true
    }

    /// Brings all members' own fields up to date and dissolves the group, for the plain path.
    pub(super) fn dissolve_group(&mut self) {
        if !self.grouped {
            return;
        }
        for k in 0..self.running.len() {
            let slot = self.running[k].slot;
            if self.requests[slot].in_group {
                self.catch_up(slot);
                self.requests[slot].in_group = false;
            }
        }
        self.group.clear();
        self.prefilling.clear();
        self.grouped = false;
    }

    /// Adds a request whose prefill is done: it decodes from the next step on.
    pub(super) fn join_group(&mut self, slot: Slot) {
        let step = self.next_step();
        let max_computed = self.config.max_computed_tokens();
        let block_size = self.config.block_size;
        let request = &mut self.requests[slot];
        let computed = request.computed_tokens;
        let computed_at_end = request.computed_at_finish().min(max_computed);
        request.in_group = true;
        request.joined_step = step;
        let last = step + u64::from(computed_at_end.saturating_sub(computed).max(1)) - 1;
        let findable = request.request.private_from > request.prompt_tokens();
        let (entry, room) = (request.entry(slot), request.blocks.room(block_size));
        self.group.join(entry, step, computed, room, last, findable);
    }

    /// Takes a member out of the group and brings its own fields up to date.
    pub(super) fn leave_group(&mut self, slot: Slot) {
        self.catch_up(slot);
        let step = self.next_step();
        let request = &mut self.requests[slot];
        request.in_group = false;
        let (entry, computed) = (request.entry(slot), request.computed_tokens);
        let room = request.blocks.room(self.config.block_size);
        self.group.leave(entry, step, computed, room);
    }

    /// Writes the steps since a member joined into its own fields.
    fn catch_up(&mut self, slot: Slot) {
        let step = self.next_step();
        let block = u64::from(self.config.block_size);
        let request = &mut self.requests[slot];
        let steps = step - request.joined_step;
        if steps == 0 {
            return;
        }
        let room = u64::from(request.blocks.room(self.config.block_size));
        let room = (room + block - steps % block) % block;
        request.blocks.set_tail((block - room) as u32);
        request.computed_tokens += steps as u32;
        request.token_steps.extend(request.joined_step, step);
        request.last_token_us = self.busy_until;
        request.joined_step = step;
    }
}
