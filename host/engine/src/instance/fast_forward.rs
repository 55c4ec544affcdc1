//! The fast path over many steps: those in which all decode and nothing else happens are taken at
//! once.

use super::batching::StepBudget;
use super::chosen_step::ChosenStep;
use super::events::InstanceEvent;
use super::state::Instance;

impl Instance {
    /// Chooses the steps that only decode, the first of them at `now`, as long as each is chosen,
    /// and the output before it processed, before `until`. Returns when the next step is chosen.
    pub(super) fn fast_forward(
        &mut self,
        mut now: i64,
        until: i64,
        events: &mut Vec<InstanceEvent>,
    ) -> i64 {
        if !self.grouped || self.group.count == 0 || !self.prefilling.is_empty() {
            return now;
        }
        // A request whose KV cache came from elsewhere decodes before any step had its adapter.
        if !self.adapters.group_is_loaded() {
            return now;
        }
        // The core's time shifts outputs against steps.
        if !self.config.scheduling.core.is_zero() {
            return now;
        }
        // Where steps are chosen ahead, exactly one runs, and it has the group and nobody else.
        let chosen_ahead = self.config.rules.steps_in_flight() > 1;
        let quiet = |step: &ChosenStep| step.group && step.parts.is_empty();
        if chosen_ahead && !(self.in_flight.len() == 1 && quiet(&self.in_flight[0])) {
            return now;
        }
        let mut budget = self.step_budget(0, now, events);
        // Decodes that wait for prefills leave them all of the step's tokens.
        let prompts_first = budget.decodes_wait() && budget.may_admit();
        if !budget.schedule_decodes(self.group.count) {
            return now;
        }
        let mut until = until.min(budget.hold_until_us());
        if (prompts_first || budget.may_admit()) && self.waiting_requests() > 0 {
            if !self.arrived.is_empty() || self.admits_at(now, &budget) {
                return now;
            }
            until = until.min(self.next_refresh_us());
        }
        let first = self.chosen_steps;
        // Steps until one in which a request needs a block or fills a findable one: after that one
        // the policy is asked anew, as there are fewer free blocks.
        let quiet = self.group.quiet_steps(first);
        // Steps until one in which a request finishes.
        let unfinished = self.group.next_finish().saturating_sub(first);
        let mut left = unfinished.min(quiet.max(1));
        self.adapters.start_step_of_group();
        let alike = self.takes_steps_alike();
        let running = self.in_flight.front();
        let before = running.map(|step| (step.start_us, step.end_us, step.kv_blocks));
        let begins = before.map_or(now, |(start_us, ..)| start_us);
        let mut work = self.group_aggregates();
        while left > 0 && now < until {
            let start_us = self.in_flight.back().map_or(now, |step| step.end_us);
            let (duration, fraction) = self.next_step_us(&work, start_us);
            let most = if alike { left } else { 1 };
            let steps = self.steps_before(until, now, duration, most);
            if steps == 0 || quiet == 0 && !self.change_blocks() {
                break;
            }
            let running = self.in_flight.front();
            let next_output_us = running.map_or(now + duration, |step| step.end_us);
            self.publish_kv_events(next_output_us, events);
            now = self.take_steps(steps, duration, start_us, now);
            self.busy_fraction = fraction;
            self.group.update(&mut work);
            left -= steps;
        }
        let steps = self.chosen_steps - first;
        if steps > 0 {
            self.count_steps(
                steps,
                [begins, now],
                before.map(|(start, end, kv)| (end - start, kv)),
            );
        }
        now
    }

    /// Adds to the totals so many steps of the group that were taken one behind the other, and
    /// ended within `[begin, end]`. The one that ran before them, if there is one, took so many
    /// microseconds and held so many blocks; with it the last of them is not processed yet.
    fn count_steps(&mut self, steps: u64, [begin, end]: [i64; 2], before: Option<(i64, u64)>) {
        let used = self.kv.used();
        let new = self.adapters.load();
        debug_assert_eq!(new, 0, "its members' adapters came with them");
        let totals = &mut self.totals;
        totals.steps += steps;
        totals.queue_length_sum += (self.waiting.len() + self.arrived.len()) as u64 * steps;
        totals.batch_size_sum += self.running.len() as u64 * steps;
        let (first_us, first_used) = before.unwrap_or((0, used));
        let peak = if steps > 1 {
            used.max(first_used)
        } else {
            first_used
        };
        totals.kv_peak_blocks = totals.kv_peak_blocks.max(peak);
        totals.kv_block_time += i128::from(first_used) * i128::from(first_us)
            + i128::from(used) * i128::from(end - begin - first_us);
        totals.busy_us += end - begin;
    }

    /// Do all steps take as long in which the same requests decode, and is nothing noted of each?
    fn takes_steps_alike(&self) -> bool {
        self.latency.ignores_decode_context()
            && !self.config.rules.keep_step_fractions
            && self.memory.is_none()
    }

    /// How many steps of `duration`, at most `most`, the path may take from `now` on, so that
    /// nothing of them happens at `until` or later.
    fn steps_before(&self, until: i64, now: i64, duration: i64, most: u64) -> u64 {
        // Where the output counts from a step's start, the start must be before `until`; else its
        // end, which is when the next step is chosen; or, chosen ahead, the end of the step before.
        let first = match (self.awaits_output(), self.in_flight.front()) {
            (false, _) => now,
            (true, None) => now.saturating_add(duration),
            (true, Some(running)) => running.end_us,
        };
        match (first < until, most) {
            (false, _) => 0,
            (true, 1) => 1,
            (true, _) => (((until - first - 1) / duration) as u64 + 1).min(most),
        }
    }

    /// Takes as many steps of `duration`, the first of them chosen at `now` to begin at `start_us`;
    /// returns when the next one is chosen.
    fn take_steps(&mut self, steps: u64, duration: i64, start_us: i64, now: i64) -> i64 {
        self.keep_steps(start_us, duration, steps, self.group.count);
        self.sample_steps(start_us, duration, steps);
        let all = duration.saturating_mul(steps as i64);
        // What is processed: the steps themselves, or the one that runs and all of them but the
        // last.
        let (begins, first_end, yields) = match self.in_flight.front() {
            None => (now, now.saturating_add(duration), self.group.count),
            Some(step) => (step.start_us, step.end_us, step.yields),
        };
        let ends = first_end.saturating_add(all - duration);
        self.see_steps((begins, first_end), yields, duration, steps - 1);
        self.chosen_steps += steps;
        self.group.advance(steps);
        if let Some(step) = self.in_flight.front_mut() {
            step.number += steps;
            step.prefill_tokens = 0;
            (step.start_us, step.end_us) = (ends, ends.saturating_add(duration));
            step.kv_blocks = self.kv.used();
            step.yields = self.group.count;
            step.requests = self.group.count as u32;
            self.busy_until = step.end_us;
        } else {
            self.busy_until = ends;
        }
        if let Some(memory) = &mut self.memory {
            memory.arrived(self.group.count * steps);
            self.note_memory(ends);
        }
        self.clock = if self.awaits_output() {
            ends
        } else {
            ends - duration
        };
        ends
    }

    /// Notes when clients see the output of a step, which yields so many requests a token, and of
    /// `more` steps of the group, each of `duration`.
    fn see_steps(&mut self, (begins, end): (i64, i64), yields: u64, duration: i64, more: u64) {
        let gap_us = self.gap_us(begins, end);
        let token_us = self.latency.output_token_us();
        let log = &mut self.itl_log;
        let Some(server) = &mut self.api_server else {
            log.record(gap_us, 1);
            log.record(duration + token_us, more);
            self.last_output_us = end.saturating_add(duration.saturating_mul(more as i64));
            return;
        };
        let seen_us = server.send(end, yields);
        log.record(gap_us + seen_us - end, 1);
        let next = (end.saturating_add(duration), duration);
        let gaps = |us, n| log.record(us + token_us, n);
        self.last_output_us = server.send_on(next, more, self.group.count, gaps);
    }

    /// Might the step at `now`, with this budget, admit a waiting request or call a policy?
    fn admits_at(&self, now: i64, budget: &StepBudget) -> bool {
        if self.next_refresh_us() <= now {
            return true;
        }
        // A blocked head that is passed over in this step, for its adapter, keeps nobody out.
        let head = self.waiting.first(|_| true);
        !head.is_some_and(|slot| self.may_resume(slot) && self.is_blocked(slot, budget))
    }
}
