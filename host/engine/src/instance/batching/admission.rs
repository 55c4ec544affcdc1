//! The second pass: waiting requests are admitted while seats, tokens and KV blocks last.

use super::step_budget::{BlockedHead, StepBudget};
use crate::instance::events::InstanceEvent;
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
        if !budget.may_admit() || self.waiting.is_empty() {
            return;
        }
        self.refresh_wait_queue(now, events);
        // With asynchronous scheduling this batch was chosen while the last step ran, from the
        // requests that waited when it began.
        let chosen_at = (self.config.rules.async_scheduling && !self.running.is_empty())
            .then_some(self.last_step_start);
        while budget.may_admit() {
            // Later ones are passed over, wherever the queue's order puts them.
            let waited = |slot| chosen_at.is_none_or(|at| self.requests[slot].enqueued_us <= at);
            let Some(slot) = self.waiting.first(waited) else {
                break;
            };
            // Requests behind one that does not fit wait, too.
            if self.is_blocked(slot, budget) || !self.admit(slot, now, budget) {
                break;
            }
        }
    }

    /// Is this the head of the queue that did not fit before, and would it fail to fit again?
    pub(crate) fn is_blocked(&self, slot: Slot, budget: &StepBudget) -> bool {
        self.blocked_head
            .is_some_and(|head| head.is(&self.requests[slot], budget, self.kv.version()))
    }

    /// Admits a waiting request if there are blocks for its first tokens. Running requests are not
    /// preempted for it.
    fn admit(&mut self, slot: Slot, now: i64, budget: &mut StepBudget) -> bool {
        let rules = self.config.rules;
        let block_size = self.config.block_size;
        let request = &self.requests[slot];
        let target = request.prefill_target;
        let findable = if rules.recompute_last_block {
            target.saturating_sub(1)
        } else {
            target
        };
        let sequence = request.sequence();
        let cached = self
            .kv
            .cached_prefix(sequence.block_keys(block_size, findable));
        let cached_tokens = cached.len() as u32 * block_size;
        let tokens = budget.prefill_tokens(target - cached_tokens, cached_tokens);
        let fits = self.allocate(slot, tokens, &cached);
        let request = &mut self.requests[slot];
        if !fits {
            self.blocked_head = Some(BlockedHead::new(request, budget, self.kv.version()));
            return false;
        }
        self.waiting.take(slot);
        self.queued_prompt_tokens -= u64::from(request.prompt_tokens());
        self.admissions += 1;
        request.admission = self.admissions;
        self.running.push(BatchEntry {
            admission: self.admissions,
            slot,
        });
        budget.admit(tokens);
        request.running = true;
        request.scheduled_tokens = tokens;
        request.computed_after_step = cached_tokens + tokens;
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
        true
    }
}
