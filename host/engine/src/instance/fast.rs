//! The fast path: a step costs what changes in it, not what runs in it.
//!
//! Running decodes move on as a group; only requests in prefill, newly admitted ones, those that
//! need a KV block and those that finish are touched. A step that the group cannot take as a whole
//! (a block short, not enough token budget for everyone) is left to the plain path, which defines
//! what must come out.

use super::batch::Formation;
use super::group::Seat;
use super::queue::JobIx;
use super::{Instance, Report};
use crate::latency::{StepAggregates, StepItem};
use windtunnel_base::record::Outcome;

/// With larger blocks there would be more phases than it is worth to keep lists for.
pub(super) const MOST_PHASES: u32 = 1024;

/// What a touched request does in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// Opens a block for its output token.
    Open,
    /// Fills its last block, which becomes findable.
    Fill,
    /// Prefills so many tokens.
    Prefill(u32),
}

impl Instance {
    /// Forms the batch of the step at `now` if the group can take it as a whole. `false` changes
    /// nothing.
    pub(super) fn form_fast(&mut self, now: i64, out: &mut Vec<Report>) -> bool {
        if self.config.plain || !(self.grouped || self.regroup(now)) {
            return false;
        }
        let step = self.gaps.next_step();
        let decodes = self.group.count;
        let Some(mut budget) = u64::from(self.config.max_num_batched_tokens).checked_sub(decodes)
        else {
            return false;
        };
        let mut blocks = self.group.opening(step).len() as u64;
        let mut touched = std::mem::take(&mut self.touched);
        touched.clear();
        let mut short = false;
        for &ix in &self.prefilling {
            let job = &self.jobs[ix];
            let wanted =
                self.prefill_chunk(job.prefill_target - job.progress, job.progress, u32::MAX);
            let n = wanted.min(u32::try_from(budget).unwrap_or(u32::MAX));
            short |= n < wanted;
            budget -= u64::from(n);
            blocks += self.kv.blocks_for(&job.held, n);
            touched.push((job.seat(ix), Touch::Prefill(n)));
        }
        // Where the budget is short, the requests in front are served first: the decodes must all
        // stand there.
        let fits = blocks <= self.kv.free() && (!short || self.prefills_stand_last());
        if fits {
            touched.extend(
                self.group
                    .opening(step)
                    .iter()
                    .map(|&seat| (seat, Touch::Open)),
            );
            touched.extend(
                self.group
                    .filling(step)
                    .iter()
                    .map(|&seat| (seat, Touch::Fill)),
            );
            touched.sort_unstable_by_key(|(seat, _)| *seat);
            touched
                .iter()
                .for_each(|&(seat, touch)| self.store(seat, touch));
        }
        self.touched = touched;
        if fits {
            let budget = u32::try_from(budget).unwrap_or(u32::MAX);
            let admitted_from = self.batch.len();
            self.admit_waiting(
                now,
                &mut Formation {
                    budget,
                    preempted: false,
                },
                out,
            );
            let admitted = self.batch[admitted_from..].iter().map(|seat| seat.ix);
            self.prefilling.extend(admitted);
        }
        fits
    }

    /// Do all requests in prefill stand behind all decodes?
    fn prefills_stand_last(&self) -> bool {
        let first = self.prefilling.first().copied();
        self.batch
            .get(self.batch.len() - self.prefilling.len())
            .map(|seat| seat.ix)
            == first
    }

    fn store(&mut self, seat: Seat, touch: Touch) {
        let job = &mut self.jobs[seat.ix];
        let mut held = std::mem::take(&mut job.held);
        match touch {
            Touch::Open => {
                // The member's tail stands still at what it was when it joined; nothing held has as
                // little room as a full block.
                let tail = if held.is_empty() {
                    self.config.block_size
                } else {
                    held.tail()
                };
                self.kv.open_block(&mut held);
                held.set_tail(tail);
            }
            Touch::Fill => self.kv.register_last(&mut held, job.sequence()),
            Touch::Prefill(n) => {
                let fits = self.kv.allocate_prefill(&mut held, job.sequence(), n, &[]);
                debug_assert!(fits, "the blocks were counted");
                job.scheduled = n;
                job.computed = job.progress + n;
            }
        }
        job.held = held;
    }

    /// Duration of a step that was formed fast, microseconds.
    pub(super) fn price_fast(&self) -> i64 {
        let mut aggregates = StepAggregates {
            requests: self.group.count as u32,
            decodes: self.group.count,
            decode_context: self.group.context,
            ..StepAggregates::default()
        };
        let scheduled = self
            .prefilling
            .iter()
            .filter(|&&ix| self.jobs[ix].scheduled > 0);
        scheduled.for_each(|&ix| aggregates.add(self.step_item(ix)));
        self.latency
            .step_us(&aggregates, &mut self.fast_items())
            .max(1)
    }

    /// The scheduled requests in batch order, for models that must walk them.
    fn fast_items(&self) -> impl Iterator<Item = StepItem> + '_ {
        let step = self.gaps.next_step();
        self.batch.iter().filter_map(move |seat| {
            let job = &self.jobs[seat.ix];
            if !job.grouped {
                return (job.scheduled > 0).then(|| self.step_item(seat.ix));
            }
            Some(StepItem {
                new_tokens: 1,
                context: job.progress + (step - job.joined) as u32,
                prompt_tokens: job.prefill_target,
                is_prefill: false,
            })
        })
    }

    /// Everything that a fast step from `now` to `ends` brings about, but for planning the next
    /// one.
    pub(super) fn finish_fast(&mut self, now: i64, ends: i64, out: &mut Vec<Report>) {
        let token_us = self.latency.output_token_us();
        let step = self.gaps.next_step();
        self.gaps.steps(ends - now + token_us, 1);
        let mut prefilling = std::mem::take(&mut self.prefilling);
        for &ix in &prefilling {
            self.progress_one(ix, step, now, ends, out);
        }
        self.group.advance(1);

        let mut done = std::mem::take(&mut self.done);
        done.clear();
        while let Some(seat) = self.group.pop_finish(step) {
            if self
                .jobs
                .get(seat.ix)
                .is_some_and(|job| job.grouped && job.seq == seat.seq)
            {
                self.leave_group(seat.ix);
                done.push(seat);
            }
        }
        prefilling.retain(|&ix| {
            let job = &self.jobs[ix];
            let seat = job.seat(ix);
            if self.outcome_now(ix).is_some() {
                done.push(seat);
                return false;
            }
            if !self.jobs[ix].in_prefill() {
                self.join_group(ix);
                return false;
            }
            true
        });
        self.prefilling = prefilling;
        done.sort_unstable();
        for seat in &done {
            if let Some(outcome) = self.outcome_now(seat.ix) {
                self.complete_one(seat.ix, outcome, ends, out);
            }
            if let Ok(at) = self.batch.binary_search(seat) {
                self.batch.remove(at);
            }
        }
        self.done = done;
    }

    /// Does a request end with this step, and how?
    pub(super) fn outcome_now(&self, ix: JobIx) -> Option<Outcome> {
        let job = &self.jobs[ix];
        let limit = self.config.max_model_len;
        if job.progress >= job.finish_line() && !job.in_prefill() {
            Some(Outcome::Completed)
        } else if limit > 0 && u64::from(job.progress) >= limit - 1 {
            Some(Outcome::LengthCapped)
        } else {
            None
        }
    }

    /// Makes a group of the running decodes before the step at `now`. `false` if one of them
    /// pauses: its next gap is its own.
    fn regroup(&mut self, now: i64) -> bool {
        let own_gap = |ix: JobIx| {
            let job = &self.jobs[ix];
            self.config.rules.gaps_are_elapsed_time && !job.in_prefill() && job.last_token_us != now
        };
        if self.batch.iter().any(|seat| own_gap(seat.ix)) {
            return false;
        }
        self.grouped = true;
        for k in 0..self.batch.len() {
            let ix = self.batch[k].ix;
            if self.jobs[ix].in_prefill() {
                self.prefilling.push(ix);
            } else {
                self.join_group(ix);
            }
        }
        true
    }

    /// Every request stands on its own again, for the plain path.
    pub(super) fn ungroup(&mut self) {
        if !self.grouped {
            return;
        }
        for k in 0..self.batch.len() {
            let ix = self.batch[k].ix;
            if self.jobs[ix].grouped {
                self.catch_up(ix);
                self.jobs[ix].grouped = false;
            }
        }
        self.group.clear();
        self.prefilling.clear();
        self.grouped = false;
    }

    /// A request whose prefill is done decodes from the next step on.
    fn join_group(&mut self, ix: JobIx) {
        let step = self.gaps.next_step();
        let limit = self.config.max_model_len;
        let block = self.config.block_size;
        let job = &mut self.jobs[ix];
        let mut line = job.finish_line();
        if limit > 0 {
            line = line.min(u32::try_from(limit - 1).unwrap_or(u32::MAX));
        }
        job.grouped = true;
        job.joined = step;
        let last = step + u64::from(line.saturating_sub(job.progress).max(1)) - 1;
        let findable = job.request.private_from > job.prompt();
        let (seat, progress, room) = (job.seat(ix), job.progress, job.held.room(block));
        self.group.join(seat, step, progress, room, last, findable);
    }

    /// Takes a member out of the group, with all that happened to it meanwhile.
    pub(super) fn leave_group(&mut self, ix: JobIx) {
        self.catch_up(ix);
        let step = self.gaps.next_step();
        let job = &mut self.jobs[ix];
        job.grouped = false;
        let (seat, progress, room) = (
            job.seat(ix),
            job.progress,
            job.held.room(self.config.block_size),
        );
        self.group.leave(seat, step, progress, room);
    }

    /// Writes the steps since a member joined into its own fields.
    fn catch_up(&mut self, ix: JobIx) {
        let step = self.gaps.next_step();
        let block = self.config.block_size;
        let job = &mut self.jobs[ix];
        let steps = step - job.joined;
        if steps == 0 {
            return;
        }
        let room = u64::from(job.held.room(block));
        let room = (room + u64::from(block) - steps % u64::from(block)) % u64::from(block);
        job.held.set_tail(block - room as u32);
        job.progress += steps as u32;
        job.gaps.extend(job.joined, step);
        job.last_token_us = self.busy_until;
        job.joined = step;
    }

    /// Runs decode-only steps that start before `until` and in which nothing else happens; returns
    /// when the next step starts. The first one starts at `now`.
    pub(super) fn fast_forward(&mut self, mut now: i64, until: i64) -> i64 {
        let decodes = self.group.count;
        let all_served = decodes <= u64::from(self.config.max_num_batched_tokens);
        if !self.grouped
            || decodes == 0
            || !self.prefilling.is_empty()
            || !all_served
            || self.may_admit(now)
        {
            return now;
        }
        let until = if self.has_room() {
            until.min(self.keys_change_at())
        } else {
            until
        };
        let token_us = self.latency.output_token_us();
        let used = self.kv.used();
        let at_end = self.config.rules.visible_at_step_end;
        let first = self.gaps.next_step();
        // Steps until one in which somebody finishes, opens a block or fills a findable one.
        let mut left = self
            .group
            .next_finish()
            .saturating_sub(first)
            .min(self.group.quiet_steps(first));
        while left > 0 && now < until {
            let advance = self.price_fast();
            // Where effects show at a step's end, that end must lie before `until`; else its start.
            let in_time = ((until - now - 1) / advance) as u64 + u64::from(!at_end);
            let alike = if self.latency.ignores_decode_context() {
                left
            } else {
                1
            };
            let steps = in_time.min(alike);
            if steps == 0 {
                break;
            }
            let ends = now.saturating_add(advance.saturating_mul(steps as i64));
            self.gaps.steps(advance + token_us, steps);
            self.group.advance(steps);
            self.totals.steps += steps;
            self.totals.queue_length_sum += self.queue.len() as u64 * steps;
            self.totals.batch_size_sum += self.batch.len() as u64 * steps;
            self.totals.kv_peak_blocks = self.totals.kv_peak_blocks.max(used);
            self.totals.kv_block_time += i128::from(used) * i128::from(ends - now);
            self.totals.busy_us += ends - now;
            self.last_step_start = ends - advance;
            self.busy_until = ends;
            self.clock = if at_end { ends } else { self.last_step_start };
            now = ends;
            left -= steps;
        }
        now
    }

    /// Is there somebody to admit, with a place in the batch and tokens left in each step?
    fn has_room(&self) -> bool {
        let budget = self.config.max_num_batched_tokens - self.group.count as u32;
        let place = self.batch.len() < self.config.max_num_seqs as usize;
        place && budget > 0 && !self.queue.is_empty()
    }

    /// Might the step at `now` admit somebody, or does a policy want to be asked?
    fn may_admit(&self, now: i64) -> bool {
        if !self.has_room() {
            return false;
        }
        if self.keys_change_at() <= now {
            return true;
        }
        let newcomers =
            self.config.rules.async_scheduling && self.last_enqueued > self.last_step_start;
        let budget = self.config.max_num_batched_tokens - self.group.count as u32;
        newcomers
            || !self
                .queue
                .first(|_| true)
                .is_some_and(|ix| self.is_blocked(ix, budget))
    }
}
