//! Joining and leaving the decode group, and bringing a member's own fields up to date.

use super::chosen_step::{ChosenStep, StepPart};
use super::slot::Slot;
use super::state::Instance;

impl Instance {
    /// Makes a group of the running decodes before the next step. `false` if one of them skipped
    /// steps: its next inter-token gap is its own. `false` also for a batch that computes prompts
    /// by itself, and as long as one of the decodes has its first output token before it.
    pub(super) fn form_group(&mut self) -> bool {
        let next = self.chosen_steps;
        let begins = |slot: Slot| {
            let request = &self.requests[slot];
            request.in_prefill() || request.emitted <= request.unseen
        };
        let apart = self.config.rules.phases_apart;
        if apart && self.running.iter().any(|entry| begins(entry.slot)) {
            return false;
        }
        let own_gap = |slot: Slot| {
            let request = &self.requests[slot];
            self.config.rules.gaps_are_elapsed_time
                && !request.in_prefill()
                && !request.is_scheduled_through()
                && request.scheduled_in != next
        };
        if self.running.iter().any(|entry| own_gap(entry.slot)) {
            return false;
        }
        self.grouped = true;
        for k in 0..self.running.len() {
            let slot = self.running[k].slot;
            let request = &self.requests[slot];
            if request.in_prefill() {
                self.prefilling.push(slot);
            } else if !request.is_scheduled_through() {
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
        let running = self.in_flight.back();
        let running = running.and_then(|step| step.group.then_some(step.number));
        let mut parts = Vec::new();
        for k in 0..self.running.len() {
            let entry = self.running[k];
            if !self.requests[entry.slot].in_group {
                continue;
            }
            let joined = self.requests[entry.slot].joined_step;
            self.catch_up(entry.slot);
            let request = &mut self.requests[entry.slot];
            request.in_group = false;
            if running.is_some_and(|number| joined <= number) {
                parts.push(StepPart::decode(entry));
            }
        }
        // The step that runs yields their tokens one by one, too.
        if let Some(step) = self.in_flight.back_mut() {
            step.group = false;
            step.parts.append(&mut parts);
        }
        self.group.clear();
        self.adapters.clear_group();
        self.prefilling.clear();
        self.grouped = false;
    }

    /// Lets those requests join the group, at the end of the choice of a step, whose prompts that
    /// step completes.
    pub(super) fn settle_prefills(&mut self) {
        let mut prefilling = std::mem::take(&mut self.prefilling);
        prefilling.retain(|&slot| {
            let request = &self.requests[slot];
            if request.in_prefill() {
                return true;
            }
            if !request.is_scheduled_through() {
                self.join_group(slot);
            }
            false
        });
        self.prefilling = prefilling;
    }

    /// Adds a request whose prefill is scheduled: it decodes from the next step on.
    fn join_group(&mut self, slot: Slot) {
        let step = self.chosen_steps;
        let block_size = self.config.block_size;
        // Where steps are chosen ahead, a filled block becomes findable when the next is opened.
        // Under the reference's rules, one that a single token fills never does.
        let fills_count = match self.config.rules.steps_in_flight() {
            0 => block_size > 1,
            1 => true,
            _ => false,
        };
        let request = &mut self.requests[slot];
        let computed = request.computed_tokens;
        request.in_group = true;
        request.joined_step = step;
        let last = step + u64::from(request.computed_at_finish() - computed) - 1;
        let findable = request.request.private_from > request.prompt_tokens();
        let (entry, room) = (request.entry(slot), request.blocks.room(block_size));
        self.adapters.join_group(request.request.adapter);
        let findable = findable && fills_count;
        self.group.join(entry, step, computed, room, last, findable);
    }

    /// Takes a member out of the group and brings its own fields up to date.
    pub(super) fn leave_group(&mut self, slot: Slot) {
        self.catch_up(slot);
        let step = self.chosen_steps;
        let request = &mut self.requests[slot];
        request.in_group = false;
        let (entry, computed) = (request.entry(slot), request.computed_tokens);
        let room = request.blocks.room(self.config.block_size);
        self.adapters.leave_group(request.request.adapter);
        self.group.leave(entry, step, computed, room);
    }

    /// Members whose last step is `step`, which was just chosen, leave the group. The tokens that
    /// are on their way reach them one by one.
    pub(super) fn retire_members(&mut self, step: &mut ChosenStep) {
        while let Some(entry) = self.group.pop_finish(step.number) {
            let Some(request) = self.requests.get(entry.slot) else {
                continue;
            };
            if !request.in_group || request.admission != entry.admission {
                continue;
            }
            let joined = request.joined_step;
            self.leave_group(entry.slot);
            let in_flight = self.in_flight.iter_mut().filter(|step| step.group);
            for step in in_flight.chain([&mut *step]) {
                if joined <= step.number {
                    step.parts.push(StepPart::decode(entry));
                }
            }
        }
    }

    /// Writes the steps since a member joined into its own fields. What the running step yields is
    /// not among them.
    fn catch_up(&mut self, slot: Slot) {
        let (chosen, processed) = (self.chosen_steps, self.processed_steps());
        let block = u64::from(self.config.block_size);
        let chosen_ahead = self.config.rules.steps_in_flight() > 1;
        let request = &mut self.requests[slot];
        let joined = request.joined_step;
        let steps = chosen - joined;
        if steps == 0 {
            return;
        }
        let room = u64::from(request.blocks.room(self.config.block_size));
        let room = (room + block - steps % block) % block;
        request.blocks.set_tail((block - room) as u32);
        request.computed_tokens += steps as u32;
        request.known_tokens = request.computed_tokens - u32::from(chosen_ahead);
        request.scheduled_in = chosen;
        request.joined_step = chosen;
        if processed > joined {
            request.token_steps.extend(joined, processed);
            request.emitted += (processed - joined) as u32;
            (request.last_token_us, request.last_token_step) = (self.last_output_us, processed);
        }
    }
}
