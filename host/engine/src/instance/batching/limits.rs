//! What the batching policy sees of a step, and the engine's own limits.

use super::step_budget::StepBudget;
use crate::instance::events::InstanceEvent;
use crate::instance::slot::Slot;
use crate::instance::state::Instance;
use windtunnel_plugin_api::{Interests, StepView};

impl Instance {
    /// The budget of the step that is chosen at `now`, before which `prefilling` of the running
    /// requests prefill. The policy is asked for it.
    pub(crate) fn step_budget(
        &mut self,
        prefilling: usize,
        now: i64,
        events: &mut Vec<InstanceEvent>,
    ) -> StepBudget {
        self.step_budget_with(prefilling, self.arrived.len(), now, events)
    }

    /// The same where `with_kv` of those that wait are shown as having their KV cache here.
    pub(super) fn step_budget_with(
        &mut self,
        prefilling: usize,
        with_kv: usize,
        now: i64,
        events: &mut Vec<InstanceEvent>,
    ) -> StepBudget {
        let step = self.step_view(prefilling, with_kv);
        self.step_limits = self.ask_batching(&step, now, events);
        let drafts = self.config.scheduling.speculation.num_speculative_tokens;
        StepBudget::new(self.step_limits, self.config.max_computed_tokens(), drafts)
    }

    fn step_view(&self, prefilling: usize, with_kv: usize) -> StepView {
        let (running, prefilling) = (self.running.len() as u32, prefilling as u32);
        let work = match self.batching_interests.has(Interests::WORK) {
            true => self.work(),
            false => crate::instance::Work::default(),
        };
        let most_running = match self.config.scheduling.max_num_active_seqs {
            0 => self.config.max_num_seqs,
            active => active.min(self.config.max_num_seqs),
        };
        let threshold = match self.config.long_prefill_token_threshold {
            0 => u32::MAX,
            threshold => threshold,
        };
        StepView {
            step: self.chosen_steps,
            running_prefill_tokens: work.running_prefill_tokens,
            decode_context_tokens: work.decode_context_tokens,
            prefilling,
            decoding: running - prefilling,
            free_places: most_running.saturating_sub(running),
            max_prefill_tokens: self.max_prefill_tokens(threshold),
            long_prefill_token_threshold: threshold,
            steps_in_flight: self.in_flight.len() as u32,
            moving: (self.moving + self.kept.len()) as u32,
            with_kv: with_kv as u32,
        }
    }

    /// Most prefill tokens of one request in the next step, where this many are configured.
    fn max_prefill_tokens(&self, threshold: u32) -> u32 {
        let requests = self.running.len() + self.waiting_requests();
        if self.config.rules.spare_lone_prefill && requests <= 1 {
            u32::MAX
        } else if self.config.scheduling.adaptive_long_prefill_threshold {
            let share = self.config.max_num_batched_tokens / (requests as u32).max(1);
            threshold.max(share)
        } else {
            threshold
        }
    }

    /// The head of the wait queue. Requests whose KV cache is here stand before all others, if
    /// `with_kv` of them are shown.
    pub(crate) fn head_of_queue(&self, with_kv: u32) -> Option<Slot> {
        let arrived = self.arrived.front().filter(|_| with_kv > 0).copied();
        arrived.or_else(|| self.waiting.first(|_| true))
    }

    /// Nothing runs, and the first waiting request does not fit: is that because of the policy's
    /// limits, tighter than the engine's own? Its prompt is not to be cut then.
    pub(crate) fn starves_head(&self) -> bool {
        !self.config.scheduling.enable_chunked_prefill
            && self.step_limits.max_new_tokens < self.config.max_num_batched_tokens
    }
}
