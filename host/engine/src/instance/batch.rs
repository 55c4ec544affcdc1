//! Batch formation: first the running requests get their tokens, then waiting ones are admitted.

use super::group::Seat;
use super::queue::JobIx;
use super::{Instance, Report};
use windtunnel_plugin_api::EventKind;

/// What batch formation keeps track of within one step.
pub(super) struct Formation {
    /// New tokens left in this step.
    pub(super) budget: u32,
    /// Somebody was preempted: nobody is admitted in this step.
    pub(super) preempted: bool,
}

/// A head of the queue that did not fit. Trying again is useless until blocks come free or the
/// cache changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockedHead {
    serial: u64,
    budget: u32,
    kv_version: u64,
}

impl Instance {
    /// Would this request fail to fit as it did the last time?
    pub(super) fn is_blocked(&self, ix: JobIx, budget: u32) -> bool {
        let serial = self.jobs[ix].view.serial;
        self.blocked_head.is_some_and(|b| {
            serial == b.serial && budget >= b.budget && self.kv.version() == b.kv_version
        })
    }

    /// Forms the batch of the step that starts at `now`.
    pub(super) fn form_batch(&mut self, now: i64, out: &mut Vec<Report>) {
        let mut formation = Formation {
            budget: self.config.max_num_batched_tokens,
            preempted: false,
        };
        self.serve_running(now, &mut formation, out);
        self.admit_waiting(now, &mut formation, out);
    }

    /// Tokens that a prefill of `wanted` may compute now, with `done` computed before.
    pub(super) fn prefill_chunk(&self, wanted: u32, done: u32, budget: u32) -> u32 {
        let mut n = wanted;
        let threshold = self.config.long_prefill_token_threshold;
        if threshold > 0 {
            n = n.min(threshold);
        }
        n = n.min(budget);
        let limit = self.config.max_model_len;
        if limit > 0 {
            n = n.min(
                u32::try_from((limit - 1).saturating_sub(u64::from(done))).unwrap_or(u32::MAX),
            );
        }
        n
    }

    fn serve_running(&mut self, now: i64, formation: &mut Formation, out: &mut Vec<Report>) {
        for seat in &self.batch {
            self.jobs[seat.ix].scheduled = 0;
        }
        let limit = self.config.max_model_len;
        let mut cursor = 0;
        while cursor < self.batch.len() && formation.budget > 0 {
            let ix = self.batch[cursor].ix;
            let job = &self.jobs[ix];
            let n = if job.in_prefill() {
                self.prefill_chunk(
                    job.prefill_target - job.progress,
                    job.progress,
                    formation.budget,
                )
            } else if job.output() > 0 && !(limit > 0 && u64::from(job.progress) + 1 > limit - 1) {
                1
            } else {
                cursor += 1;
                continue;
            };
            if !self.make_room(ix, n, now, &mut cursor, formation, out) {
                break;
            }
            formation.budget -= n;
            let job = &mut self.jobs[ix];
            job.scheduled = n;
            job.computed = job.progress + n;
            cursor += 1;
        }
    }

    /// KV space for `n` more tokens of a running request, taken from victims if need be. `cursor`
    /// follows the batch when a request before it is preempted. `false`: the request itself was the
    /// last victim.
    fn make_room(
        &mut self,
        ix: JobIx,
        n: u32,
        now: i64,
        cursor: &mut usize,
        formation: &mut Formation,
        out: &mut Vec<Report>,
    ) -> bool {
        loop {
            if self.allocate(ix, n, &[]) {
                return true;
            }
            formation.preempted = true;
            let position = self.ask_victim(now, out);
            let victim = self.batch.remove(position).ix;
            if position < *cursor {
                *cursor -= 1;
            }
            formation.budget += self.jobs[victim].scheduled;
            self.preempt(victim, now, out);
            if victim == ix || self.batch.is_empty() {
                return false;
            }
        }
    }

    /// KV space for `n` more tokens of a request, after the `cached` blocks if it holds none.
    /// `false` changes nothing.
    fn allocate(&mut self, ix: JobIx, n: u32, cached: &[u32]) -> bool {
        let job = &mut self.jobs[ix];
        let mut held = std::mem::take(&mut job.held);
        // An empty prompt has no prefill; the reference gives it room for an output token instead.
        let fits = if job.in_prefill() {
            self.kv
                .allocate_prefill(&mut held, job.sequence(), n, cached)
        } else {
            self.kv.allocate_decode(&mut held, job.sequence())
        };
        job.held = held;
        fits
    }

    fn preempt(&mut self, ix: JobIx, now: i64, out: &mut Vec<Report>) {
        self.totals.preemptions += 1;
        self.tell_scheduler(EventKind::Preempt, ix, now, out);
        let job = &mut self.jobs[ix];
        job.running = false;
        job.preemptions += 1;
        job.scheduled = 0;
        // It may come back for its own blocks: from now on nothing of it is private.
        let mut held = std::mem::take(&mut job.held);
        self.kv.publish(&mut held, job.sequence());
        self.kv.release(&mut held);
        job.request.private_from = u32::MAX;
        let output_tokens = job.emitted();
        if self.config.rules.keep_tokens_on_preemption {
            if !job.in_prefill() {
                job.prefill_target = job.progress + 1;
            }
        } else {
            job.gaps.clear();
            job.first_token_out = false;
        }
        job.progress = 0;
        job.computed = 0;
        if self.config.token_events {
            out.push(Report::Preempted {
                view: job.view,
                output_tokens,
            });
        }
        self.queued_prompt_tokens += u64::from(job.prompt());
        self.queue.push_front(ix, || job.place());
    }

    /// Admits from the head of the queue while slots, tokens and blocks last.
    pub(super) fn admit_waiting(
        &mut self,
        now: i64,
        formation: &mut Formation,
        out: &mut Vec<Report>,
    ) {
        let full = self.batch.len() >= self.config.max_num_seqs as usize;
        if formation.preempted || full || formation.budget == 0 || self.queue.is_empty() {
            return;
        }
        self.refresh_queue(now, out);
        let rules = self.config.rules;
        let block = self.config.block_size;
        // With asynchronous scheduling this batch was chosen while the last step ran, from those
        // who waited when it began.
        let chosen_at =
            (rules.async_scheduling && !self.batch.is_empty()).then_some(self.last_step_start);
        while self.batch.len() < self.config.max_num_seqs as usize && formation.budget > 0 {
            // Those who came later are passed over, wherever the queue's order puts them.
            let waited = |ix| chosen_at.is_none_or(|t| self.jobs[ix].enqueued_us <= t);
            let Some(ix) = self.queue.first(waited) else {
                break;
            };
            if self.is_blocked(ix, formation.budget) {
                break;
            }
            let job = &self.jobs[ix];
            let target = job.prefill_target;
            let findable = if rules.recompute_last_block {
                target.saturating_sub(1)
            } else {
                target
            };
            let cached = self
                .kv
                .cached_prefix(job.sequence().block_keys(block, findable));
            let skipped = cached.len() as u32 * block;
            let n = self.prefill_chunk(target - skipped, skipped, formation.budget);
            let fits = self.allocate(ix, n, &cached);
            let job = &mut self.jobs[ix];
            if !fits {
                self.blocked_head = Some(BlockedHead {
                    serial: job.view.serial,
                    budget: formation.budget,
                    kv_version: self.kv.version(),
                });
                break;
            }
            self.queue.take(ix);
            self.queued_prompt_tokens -= u64::from(job.prompt());
            self.admissions += 1;
            job.seq = self.admissions;
            self.batch.push(Seat {
                seq: self.admissions,
                ix,
            });
            formation.budget -= n;
            job.running = true;
            job.scheduled = n;
            job.computed = skipped + n;
            if job.scheduling_delay_us.is_none() || !rules.first_scheduling_counts {
                job.scheduling_delay_us = Some(now - job.request.arrival_us);
            }
        }
    }
}
