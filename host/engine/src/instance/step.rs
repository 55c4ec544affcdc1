//! A step: choose its batch and have its duration computed; when its output is known, deliver the
//! tokens, complete the requests that are done, plan the next step.

use super::chosen_step::{ChosenStep, StepPart};
use super::config::NEVER;
use super::device_memory::resident;
use super::engine_request::EngineRequest;
use super::events::InstanceEvent;
use super::part::Part;
use super::slab::Slab;
use super::slot::{BatchEntry, Slot};
use super::state::Instance;
use crate::kv::CachedPrefix;
use crate::latency::{StepAggregates, StepItem, rounded_us, truncate_us};
use windtunnel_base::record::{Outcome, StepRun};
use windtunnel_base::request::FinishReason;
use windtunnel_plugin_api::EventKind;

/// Steps kept in detail before the log of inter-token latencies is folded.
const DETAILED_STEPS: usize = 1 << 14;

impl Instance {
    /// Chooses the next step at `now`: its batch, and with that its duration. What it computes
    /// counts as computed from here on; its output is known when it is processed.
    pub(super) fn choose_step(&mut self, now: i64, events: &mut Vec<InstanceEvent>) {
        self.wakes_us = NEVER;
        self.count_choice();
        if self.running.is_empty() && self.waiting_requests() == 0 {
            return;
        }
        self.kv.set_clock(now);
        let preemptions = self.totals.preemptions;
        let group = self.form_group_batch(now, events);
        let work = if group {
            self.group_aggregates()
        } else {
            self.dissolve_group();
            self.form_batch(now, events);
            self.batch_aggregates()
        };
        if work.requests == 0 && (self.config.rules.acts_on_events_alone || self.sleeps(now)) {
            return;
        }
        self.note_formed(now);
        if self.awaits_output() && work.requests == 0 {
            self.after_empty_choice(now, self.totals.preemptions > preemptions, events);
            self.report_choice(now);
            return;
        }
        let schedule_us = self.config.scheduling.core.schedule(work.requests);
        let chosen_us = now.saturating_add(schedule_us);
        let (start_us, duration, busy_us) = self.run_step(&work, chosen_us);
        let end_us = start_us.saturating_add(duration);
        self.totals.steps += 1;
        self.totals.queue_length_sum += self.waiting_requests() as u64;
        self.totals.batch_size_sum += self.running.len() as u64;
        self.busy_until = end_us;
        self.keep_steps(start_us, duration, 1, work.decodes);
        self.log_step(start_us, duration);
        let parts = self.take_parts(group);
        let members = if group { self.group.count } else { 0 };
        let mut step = ChosenStep {
            number: self.chosen_steps,
            start_us,
            end_us,
            group,
            requests: work.requests,
            yields: members + parts.iter().filter(|part| part.samples).count() as u64,
            prefill_tokens: work.prefill_tokens,
            parts,
            kv_blocks: self.kv.used(),
            busy_us,
        };
        self.chosen_steps += 1;
        self.sample_step(&step);
        if group {
            self.group.advance(1);
            self.settle_prefills();
            self.retire_members(&mut step);
        }
        if self.awaits_output() {
            self.in_flight.push_back(step);
            self.core_free_us = chosen_us;
            // An empty choice before is a step, too, whose output is processed after this one.
            if self.empty_output_us == now {
                self.publish_kv_events(now, events);
            }
            if self.in_flight.len() < self.most_in_flight() {
                self.step_at = Some(chosen_us);
            }
            self.report_choice(chosen_us);
        } else {
            self.mirror_batch();
            self.process_step(step, end_us, events);
        }
    }

    /// When the step at hand, chosen at `chosen_us`, starts, how long it takes, and for how long of
    /// that GPUs work, if not all the time; microseconds.
    fn run_step(&mut self, work: &StepAggregates, chosen_us: i64) -> (i64, i64, Option<i64>) {
        if self.leave_open(work, chosen_us) {
            return (chosen_us, NEVER - chosen_us, None);
        }
        if self.pipeline.is_some() {
            let delay_us = self.adapter_loading_us() + self.kv.take_reload_us();
            if let Some(passage) = self.pass_stages(work, chosen_us, delay_us) {
                let duration = passage.end_us - passage.start_us;
                return (passage.start_us, duration, Some(passage.busy_us));
            }
        }
        let start_us = match self.in_flight.back() {
            Some(before) => before.end_us.max(chosen_us),
            None => chosen_us,
        };
        let (step_us, fraction) = self.next_step_us(work, start_us);
        self.busy_fraction = fraction;
        let duration = step_us + self.adapter_loading_us() + self.kv.take_reload_us();
        (start_us, duration, None)
    }

    /// What running requests hold goes to the tiers below, where there are some.
    fn mirror_batch(&mut self) {
        let requests = &self.requests;
        self.kv.mirror(self.running.iter().map(|entry| {
            let request = &requests[entry.slot];
            (entry.admission, &request.blocks, request.prompt_tokens())
        }));
    }

    /// Does the batching policy let waiting requests wait although nothing runs? Then the next step
    /// is chosen when it changes its mind.
    fn sleeps(&mut self, now: i64) -> bool {
        let idle = self.running.is_empty() && self.in_flight.is_empty();
        let wakes_us = self.step_limits.hold_until_us;
        let sleeps = idle && self.waiting_requests() > 0 && wakes_us != NEVER;
        if sleeps {
            self.wakes_us = wakes_us.max(now + 1);
            self.step_at = Some(self.wakes_us);
        }
        sleeps
    }

    /// Nothing can be computed at `now`. The output of the step before may change that; else what
    /// was just `preempted` is admitted again at once. A request that does not even fit while
    /// nobody else holds blocks never will.
    fn after_empty_choice(&mut self, now: i64, preempted: bool, events: &mut Vec<InstanceEvent>) {
        if !self.in_flight.is_empty() {
            match self.pipeline {
                None => self.chose_nothing = true,
                Some(_) => self.choose_nothing(now),
            }
            return;
        }
        self.publish_kv_events(now, events);
        if !preempted
            && self.running.is_empty()
            && !self.awaits_kv()
            && self.step_limits.may_admit()
            && let Some(slot) = self.waiting.first(|_| true)
        {
            if self.starves_head() {
                self.refuse_starving(slot, events);
            } else {
                self.leave_queue(slot);
                // What was loaded for it from the CPU may be here.
                self.release_blocks(slot);
                self.drop_request(slot, now, events);
            }
        }
        // Where blocks come free by themselves, that wakes it up.
        let stuck = self.running.is_empty() && self.awaits_kv() && !preempted;
        if self.waiting_requests() > 0 && !stuck {
            self.step_at = Some(now);
        }
    }

    /// Keeps steps whose batch is formed, where they are kept.
    pub(super) fn keep_steps(&mut self, start_us: i64, step_us: i64, steps: u64, decodes: u64) {
        if !self.keeps_steps {
            return;
        }
        // A request has a slot, whose number has as many bits, and no more output than that.
        let run = StepRun {
            start_us,
            step_us,
            steps: steps as u32,
            waiting: self.queue_depth() as u32,
            running: self.running.len() as u32,
            decodes: decodes as u32,
        };
        StepRun::append(&mut self.totals.step_runs, run);
    }

    /// Time that the step at hand waits for adapters, microseconds.
    pub(super) fn adapter_loading_us(&mut self) -> i64 {
        let new = self.adapters.load();
        self.totals.adapter_loads += u64::from(new);
        i64::from(new) * self.config.scheduling.lora_load_us
    }

    /// Counts what the step at hand computes, for those that take part in it by themselves.
    fn take_parts(&mut self, group: bool) -> Vec<StepPart> {
        let mut parts = std::mem::take(&mut self.spare_parts);
        parts.clear();
        let number = self.chosen_steps;
        let mut take = |entry: BatchEntry, request: &mut EngineRequest| {
            let tokens = request.scheduled_tokens;
            let computed = request.computed_after_step;
            let (drafts, padding) = request.draft_tokens();
            // Under the rules of the reference, a fully cached prompt takes part without tokens.
            let prefills = request.in_prefill() || !request.has_first_token;
            if tokens == 0 && (self.config.rules.visible_at_step_end || !prefills) {
                return;
            }
            if tokens > 0 || request.in_prefill() {
                request.computed_tokens = computed;
            }
            request.scheduled_in = number + 1;
            parts.push(StepPart {
                entry,
                samples: !request.in_prefill(),
                drafts,
                padding,
            });
        };
        if group {
            for &slot in &self.prefilling {
                let request = &mut self.requests[slot];
                take(request.entry(slot), request);
            }
        } else {
            for entry in &self.running {
                take(*entry, &mut self.requests[entry.slot]);
            }
        }
        parts
    }

    /// A request as the latency model sees it before the step at hand.
    pub(super) fn step_item(&self, slot: Slot) -> StepItem {
        let request = &self.requests[slot];
        StepItem {
            new_tokens: request.scheduled_tokens,
            context: request.computed_tokens,
            prompt_tokens: request.prefill_target,
            is_prefill: request.in_prefill(),
        }
    }

    /// The scheduled requests in batch order.
    fn step_items(&self) -> impl Iterator<Item = StepItem> + '_ {
        let step = self.chosen_steps;
        self.running.iter().filter_map(move |entry| {
            let request = &self.requests[entry.slot];
            if !request.in_group {
                return (request.scheduled_tokens > 0).then(|| self.step_item(entry.slot));
            }
            Some(StepItem {
                new_tokens: 1,
                context: request.computed_tokens + (step - request.joined_step) as u32,
                prompt_tokens: request.prefill_target,
                is_prefill: false,
            })
        })
    }

    /// The work of a step whose batch was formed request by request.
    fn batch_aggregates(&self) -> StepAggregates {
        let mut aggregates = StepAggregates::default();
        self.step_items().for_each(|item| aggregates.add(item));
        aggregates
    }

    /// Duration of the step at hand, microseconds.
    pub(super) fn step_us(&self, work: &StepAggregates) -> i64 {
        let step_us = self.latency.step_us(work, &mut self.step_items()).max(1);
        match self.adapters.step_factor() {
            factor if factor > 1.0 => truncate_us(step_us as f64 * factor).max(1),
            _ => step_us,
        }
    }

    /// Duration of the step at hand, which begins at `start_us`, microseconds, and the fraction of
    /// one by which it ends later.
    pub(super) fn next_step_us(&self, work: &StepAggregates, start_us: i64) -> (i64, f64) {
        if !self.config.rules.keep_step_fractions {
            return (self.step_us(work), 0.0);
        }
        let Some(exact) = self.latency.exact_us(work, &mut self.step_items()) else {
            return (self.step_us(work), 0.0);
        };
        // A step that begins later than the last one ends begins at a whole microsecond.
        let before = match start_us == self.busy_until {
            true => self.busy_fraction,
            false => 0.0,
        };
        let us = rounded_us(exact + before).max(1);
        (us, exact + before - us as f64)
    }

    /// The output of a step that ended is processed at `end`.
    pub(super) fn process_step(
        &mut self,
        mut step: ChosenStep,
        end: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        let (start, ran_us) = (step.start_us, step.end_us - step.start_us);
        self.totals.kv_peak_blocks = self.totals.kv_peak_blocks.max(step.kv_blocks);
        let counted_us = match &mut self.pipeline {
            None => ran_us,
            Some(pipeline) => pipeline.count(start, step.end_us),
        };
        self.totals.kv_block_time += i128::from(step.kv_blocks) * i128::from(counted_us);
        self.totals.busy_us += step.busy_us.unwrap_or(ran_us);
        self.core_free_us = self.core_free_us.max(end);
        self.empty_output_us = match std::mem::take(&mut self.chose_nothing) {
            true => end,
            false => NEVER,
        };
        let seen_us = match &mut self.api_server {
            Some(server) => server.send(end, step.yields),
            None => end,
        };
        self.itl_log.record(self.gap_us(start, seen_us), 1);
        self.last_output_us = seen_us;
        step.parts.sort_unstable_by_key(|part| part.entry);
        self.offload_prompts(&step.parts);
        let here = |requests: &Slab<EngineRequest>, entry: BatchEntry| {
            let request = requests.get(entry.slot);
            request.is_some_and(|request| request.admission == entry.admission)
        };
        for part in &step.parts {
            if part.samples && here(&self.requests, part.entry) {
                let tokens = self.verified_tokens(part);
                if let Some(sampler) = &mut self.sampler {
                    sampler.more_output(end, u64::from(tokens.saturating_sub(1)));
                }
                self.deliver_tokens(part.entry.slot, step.number, tokens, (end, seen_us), events);
                if let Some(memory) = &mut self.memory {
                    memory.sampled(&self.requests[part.entry.slot]);
                }
            }
        }
        if let Some(memory) = self.memory.as_mut().filter(|_| step.group) {
            memory.arrived(self.group.count);
        }
        for part in &step.parts {
            if part.samples
                && here(&self.requests, part.entry)
                && let Some(outcome) = self.requests[part.entry.slot].ended()
            {
                self.complete_request(part.entry, outcome, (end, seen_us), events);
            }
        }
        if self.config.rules.phases_apart {
            for part in &step.parts {
                if here(&self.requests, part.entry) {
                    self.await_decoding(part.entry);
                }
            }
        }
        self.note_memory(end);
        self.spare_parts = step.parts;
        self.publish_kv_events(end, events);
        self.report_load(end);
        // While nothing runs and an adapter is loaded, nobody can be admitted.
        let loads = self.running.is_empty() && self.adapter_loaded_at() != NEVER;
        if !self.running.is_empty() || self.waiting_requests() > 0 && !loads {
            self.step_at = Some(end);
        }
        if self.itl_log.detailed() > DETAILED_STEPS {
            let first_step = |request: &EngineRequest| {
                let joined = request.in_group.then_some(request.joined_step);
                request.token_steps.first_step().or(joined)
            };
            let oldest = self.requests.iter().filter_map(first_step).min();
            self.itl_log.fold_before(oldest.unwrap_or(u64::MAX));
        }
    }

    /// The gap between the last token and the next one of a request that took part in the step
    /// from `start` to `end` and in the one before, microseconds.
    pub(super) fn gap_us(&self, start: i64, end: i64) -> i64 {
        let since = if self.awaits_output() && self.config.rules.gaps_are_elapsed_time {
            self.last_output_us
        } else {
            start
        };
        end - since + self.latency.output_token_us()
    }

    /// A step yields `tokens` tokens of a request, at least one, at `end`; its client has them at
    /// `seen_us`.
    fn deliver_tokens(
        &mut self,
        slot: Slot,
        step: u64,
        tokens: u32,
        (end, seen_us): (i64, i64),
        events: &mut Vec<InstanceEvent>,
    ) {
        let token_us = self.latency.output_token_us();
        let rules = self.config.rules;
        let elapsed = rules.gaps_are_elapsed_time;
        let request = &mut self.requests[slot];
        request.emitted += tokens;
        let follows = request.last_token_step == step;
        let waited = seen_us - request.last_token_us;
        (request.last_token_us, request.last_token_step) = (seen_us, step + 1);
        if request.emitted <= request.unseen {
            return;
        }
        // The instance that computed the prompt had its only token already.
        if rules.prefiller_yields_token && tokens == 0 {
            return;
        }
        if self.reports_tokens {
            events.push(InstanceEvent::Tokens {
                serial: request.view.serial,
                output_tokens: request.emitted_tokens(),
                at_us: seen_us + token_us,
            });
        }
        if request.has_first_token {
            if elapsed && !follows {
                request.token_steps.push_own(waited + token_us);
            } else {
                request.token_steps.extend(step, step + 1);
            }
        } else {
            request.has_first_token = true;
            let ttft_us = seen_us + token_us - request.request.arrival_us;
            request.ttft_us = Some(ttft_us);
            if self.config.token_events {
                events.push(InstanceEvent::FirstToken {
                    view: request.view,
                    ttft_us,
                });
            }
            self.notify_scheduler(EventKind::FirstToken, slot, end, events);
        }
        if tokens > 1 {
            let request = &mut self.requests[slot];
            request
                .token_steps
                .push_together(u64::from(tokens - 1), token_us);
        }
        self.cache_known_blocks(slot);
    }

    /// Where steps are chosen ahead, tokens become known with the output; the last one is not
    /// computed yet.
    fn cache_known_blocks(&mut self, slot: Slot) {
        let request = &self.requests[slot];
        if self.config.rules.steps_in_flight() > 1 && request.running {
            self.make_findable(slot, request.prompt_tokens() + request.emitted - 1);
        }
    }

    /// Allocates KV space for the last sampled token, where the rules ask for it.
    fn store_last_token(&mut self, slot: Slot) {
        let request = &mut self.requests[slot];
        if !self.config.rules.kv_for_last_token
            || request.final_output_tokens() == 0
            || request.computed_tokens >= request.prompt_tokens() + request.final_output_tokens()
        {
            return;
        }
        let mut blocks = std::mem::take(&mut request.blocks);
        let asker = request.asker(0, 1, true);
        if self
            .kv
            .allocate(&mut blocks, &asker, &CachedPrefix::default())
        {
            request.known_tokens += 1;
        } else {
            self.totals.kv_allocation_failures += 1;
        }
        request.blocks = blocks;
    }

    /// Completes a request at the end of its last step; its client sees that at `seen_us`.
    fn complete_request(
        &mut self,
        entry: BatchEntry,
        outcome: Outcome,
        (ends, seen_us): (i64, i64),
        events: &mut Vec<InstanceEvent>,
    ) {
        let slot = entry.slot;
        if outcome == Outcome::Completed {
            self.store_last_token(slot);
        }
        if self.requests[slot].running {
            self.leave_batch(entry);
        } else {
            // It was preempted while its last step ran.
            self.leave_queue(slot);
        }
        self.keep_or_release(slot);
        if let Some(memory) = &mut self.memory
            && self.requests[slot].part != Part::Prefill
        {
            memory.left(resident(&self.requests[slot]));
        }
        let request = &mut self.requests[slot];
        let sum = self.itl_log.sum(&request.token_steps);
        self.itl_log.count(&request.token_steps);
        let gaps = request.token_steps.len();
        let output = request.final_output_tokens();
        let generated = request.emitted_tokens();
        match self.requests[slot].part {
            Part::Prefill => self.totals.prefills += 1,
            Part::Whole | Part::Decode(_) => self.totals.completed += 1,
        }
        self.totals.length_capped += u64::from(outcome == Outcome::LengthCapped);
        self.totals.output_tokens += u64::from(generated);
        self.last_completion = self.last_completion.max(ends);
        self.remove(slot, FinishReason::Completed, outcome, ends, events);

        let elapsed = self.config.rules.decoder_fetches_kv;
        let Some(InstanceEvent::Finished(finished)) = events.last_mut() else {
            return;
        };
        finished.seen_us = seen_us;
        let record = &mut finished.record;
        let after_last = if output > 0 {
            self.latency.post_decode_us()
        } else {
            0
        };
        record.generated_tokens = generated;
        record.itl_sum_us = sum;
        let decodes = matches!(finished.part, Part::Decode(_)) && !elapsed;
        let first_us = record.ttft_us.or(decodes.then_some(0));
        record.e2e_us = first_us.map(|first| first + sum + after_last);
        // Of one token there is no gap, and a mean of nothing is none.
        record.mean_itl_us = (gaps > 0).then(|| match outcome {
            Outcome::LengthCapped => sum as f64 / gaps.saturating_sub(1).max(1) as f64,
            _ => sum as f64 / f64::from(output.saturating_sub(1).max(1)),
        });
        self.notify_scheduler_of_finish(events);
    }
}
