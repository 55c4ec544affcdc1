//! A step: form the batch, price it, move every request on, complete those that are done, plan the
//! next step.

use super::job::Job;
use super::queue::JobIx;
use super::{Instance, Report};
use crate::latency::{StepAggregates, StepItem};
use windtunnel_base::record::Outcome;
use windtunnel_base::request::FinishReason;
use windtunnel_plugin_api::EventKind;

/// Steps kept in detail before the gap log is folded.
const DETAILED_STEPS: usize = 1 << 14;

impl Instance {
    /// The step that starts at `now`.
    pub(super) fn step(&mut self, now: i64, out: &mut Vec<Report>) {
        if self.batch.is_empty() && self.queue.is_empty() {
            return;
        }
        self.totals.steps += 1;
        self.formed_fast = self.form_fast(now, out);
        let advance = if self.formed_fast {
            self.price_fast()
        } else {
            self.ungroup();
            self.form_batch(now, out);
            self.price_step()
        };
        self.totals.queue_length_sum += self.queue.len() as u64;
        self.totals.batch_size_sum += self.batch.len() as u64;
        let ends = now.saturating_add(advance);
        self.last_step_start = now;
        self.busy_until = ends;
        if self.config.rules.visible_at_step_end {
            self.step_ends_at = Some(ends);
        } else {
            self.finish_step(now, ends, out);
        }
    }

    pub(super) fn step_item(&self, ix: JobIx) -> StepItem {
        let job = &self.jobs[ix];
        StepItem {
            new_tokens: job.scheduled,
            context: job.progress,
            prompt_tokens: job.prefill_target,
            is_prefill: job.in_prefill(),
        }
    }

    /// Duration of the step, microseconds.
    fn price_step(&self) -> i64 {
        let scheduled = || {
            let served = self
                .batch
                .iter()
                .filter(|seat| self.jobs[seat.ix].scheduled > 0);
            served.map(|seat| self.step_item(seat.ix))
        };
        let mut aggregates = StepAggregates::default();
        scheduled().for_each(|item| aggregates.add(item));
        self.latency.step_us(&aggregates, &mut scheduled()).max(1)
    }

    /// Everything that a step from `now` to `ends` brings about.
    pub(super) fn finish_step(&mut self, now: i64, ends: i64, out: &mut Vec<Report>) {
        let used = self.kv.used();
        self.totals.kv_peak_blocks = self.totals.kv_peak_blocks.max(used);
        self.totals.kv_block_time += i128::from(used) * i128::from(ends - now);
        self.totals.busy_us += ends - now;
        if self.formed_fast {
            self.finish_fast(now, ends, out);
        } else {
            self.progress(now, ends, out);
            self.complete(ends, out);
        }
        if !self.batch.is_empty() || !self.queue.is_empty() {
            self.step_at = Some(ends);
        }
        if self.gaps.detailed() > DETAILED_STEPS {
            let first_step =
                |job: &Job| job.gaps.first_step().or(job.grouped.then_some(job.joined));
            let oldest = self.jobs.iter().filter_map(first_step).min();
            self.gaps.fold_before(oldest.unwrap_or(u64::MAX));
        }
    }

    fn progress(&mut self, now: i64, ends: i64, out: &mut Vec<Report>) {
        let step = self.gaps.next_step();
        self.gaps
            .steps(ends - now + self.latency.output_token_us(), 1);
        for k in 0..self.batch.len() {
            self.progress_one(self.batch[k].ix, step, now, ends, out);
        }
    }

    /// What step number `step` from `now` to `ends` did for one request.
    pub(super) fn progress_one(
        &mut self,
        ix: JobIx,
        step: u64,
        now: i64,
        ends: i64,
        out: &mut Vec<Report>,
    ) {
        let token_us = self.latency.output_token_us();
        let job = &mut self.jobs[ix];
        let decoded = if job.in_prefill() {
            job.progress = job.computed;
            // Kept tokens were computed anew: the next one is sampled.
            job.first_token_out && !job.in_prefill()
        } else if job.scheduled > 0 {
            job.progress += 1;
            true
        } else {
            false
        };
        if decoded {
            if self.config.rules.gaps_are_elapsed_time && job.last_token_us != now {
                job.gaps.push_odd(ends - job.last_token_us + token_us);
            } else {
                job.gaps.extend(step, step + 1);
            }
            job.last_token_us = ends;
        }
        if job.progress == job.prompt() && !job.first_token_out {
            job.first_token_out = true;
            job.last_token_us = ends;
            let ttft_us = ends + token_us - job.request.arrival_us;
            job.ttft_us = Some(ttft_us);
            if self.config.token_events {
                out.push(Report::FirstToken {
                    view: job.view,
                    ttft_us,
                });
            }
            self.tell_scheduler(EventKind::FirstToken, ix, ends, out);
        }
    }

    fn complete(&mut self, ends: i64, out: &mut Vec<Report>) {
        let batch = std::mem::take(&mut self.batch);
        let mut remaining = Vec::with_capacity(batch.len());
        for seat in batch {
            match self.outcome_now(seat.ix) {
                Some(outcome) => self.complete_one(seat.ix, outcome, ends, out),
                None => remaining.push(seat),
            }
        }
        self.batch = remaining;
    }

    fn place_last_token(&mut self, ix: JobIx) {
        let job = &mut self.jobs[ix];
        if !self.config.rules.kv_for_last_token
            || job.output() == 0
            || job.progress >= job.prompt() + job.output()
        {
            return;
        }
        let mut held = std::mem::take(&mut job.held);
        if !self.kv.allocate_decode(&mut held, job.sequence()) {
            self.totals.kv_allocation_failures += 1;
        }
        job.held = held;
    }

    pub(super) fn complete_one(
        &mut self,
        ix: JobIx,
        outcome: Outcome,
        ends: i64,
        out: &mut Vec<Report>,
    ) {
        if outcome == Outcome::Completed {
            self.place_last_token(ix);
        }
        let job = &mut self.jobs[ix];
        self.kv.release(&mut job.held);
        let sum = self.gaps.sum(&job.gaps);
        self.gaps.count(&job.gaps);
        let gaps = job.gaps.len();
        let output = job.output();
        let processed = job.progress - job.prompt();
        let generated = if processed < output {
            processed + 1
        } else {
            processed
        };
        self.totals.completed += 1;
        self.totals.length_capped += u64::from(outcome == Outcome::LengthCapped);
        self.totals.output_tokens += u64::from(generated);
        self.last_departure = self.last_departure.max(ends);
        self.depart(ix, FinishReason::Completed, outcome, ends, out);

        let Some(Report::Finished(departure)) = out.last_mut() else {
            return;
        };
        let record = &mut departure.record;
        let after_last = if output > 0 {
            self.latency.post_decode_us()
        } else {
            0
        };
        record.generated_tokens = generated;
        record.itl_sum_us = sum;
        record.e2e_us = record.ttft_us.map(|ttft| ttft + sum + after_last);
        record.mean_itl_us = Some(match outcome {
            _ if output == 0 => 0.0,
            Outcome::LengthCapped => sum as f64 / gaps.saturating_sub(1).max(1) as f64,
            _ => sum as f64 / f64::from((output - 1).max(1)),
        });
        self.tell_departure(out);
    }
}
