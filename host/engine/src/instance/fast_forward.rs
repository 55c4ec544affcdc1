//! The fast path over many steps: those in which all decode and nothing else happens are taken at
//! once.

use super::batching::StepBudget;
use super::state::Instance;

impl Instance {
    /// Runs the steps that start before `until` and only decode, the first of them at `now`.
    /// Returns when the next step starts.
    pub(super) fn fast_forward(&mut self, mut now: i64, until: i64) -> i64 {
        if !self.grouped || self.group.count == 0 || !self.prefilling.is_empty() {
            return now;
        }
        let mut budget = self.step_budget(0);
        if !budget.schedule_decodes(self.group.count) {
            return now;
        }
        let mut until = until;
        if budget.may_admit() && !self.waiting.is_empty() {
            if self.admits_at(now, &budget) {
                return now;
            }
            until = until.min(self.next_refresh_us());
        }
        let token_us = self.latency.output_token_us();
        let used = self.kv.used();
        let at_end = self.config.rules.visible_at_step_end;
        let first = self.next_step();
        // Steps until one in which a request finishes, needs a block or fills a findable one.
        let mut left = self
            .group
            .next_finish()
            .saturating_sub(first)
            .min(self.group.quiet_steps(first));
        while left > 0 && now < until {
            let duration = self.group_step_us();
            // Where effects become visible at a step's end, that end must be before `until`; else
            // its start.
            let in_time = ((until - now - 1) / duration) as u64 + u64::from(!at_end);
            let alike = if self.latency.ignores_decode_context() {
                left
            } else {
                1
            };
            let steps = in_time.min(alike);
            if steps == 0 {
                break;
            }
            let ends = now.saturating_add(duration.saturating_mul(steps as i64));
            self.itl_log.record(duration + token_us, steps);
            self.group.advance(steps);
            self.totals.steps += steps;
            self.totals.queue_length_sum += self.waiting.len() as u64 * steps;
            self.totals.batch_size_sum += self.running.len() as u64 * steps;
            self.totals.kv_peak_blocks = self.totals.kv_peak_blocks.max(used);
            self.totals.kv_block_time += i128::from(used) * i128::from(ends - now);
            self.totals.busy_us += ends - now;
            self.last_step_start = ends - duration;
            self.busy_until = ends;
            self.clock = if at_end { ends } else { self.last_step_start };
            now = ends;
            left -= steps;
        }
        now
    }

    /// Might the step at `now`, with this budget, admit a waiting request or call a policy?
    fn admits_at(&self, now: i64, budget: &StepBudget) -> bool {
        if self.next_refresh_us() <= now {
            return true;
        }
        // Requests that came after the last step's start become eligible with the next step.
        let newcomers =
            self.config.rules.async_scheduling && self.last_enqueued > self.last_step_start;
        let head = self.waiting.first(|_| true);
        newcomers || !head.is_some_and(|slot| self.is_blocked(slot, budget))
    }
}
