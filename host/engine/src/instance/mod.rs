//! One serving engine: wait queue, continuous batching, preemption, steps.
//!
//! This is the plain path: it touches every request of the batch in every step, and it is the
//! definition of correctness. An instance depends on nothing outside itself between
//! [`deliver`](Instance::deliver) calls, reads no clock and does no I/O.

mod ask;
mod batch;
mod fast;
mod gaps;
mod group;
mod job;
mod queue;
mod rules;
mod slab;
mod step;

pub use ask::Work;
pub use rules::{EngineRules, Preset};

use crate::kv::KvPool;
use crate::latency::{Estimator, LatencyModel, StepLimits};
use batch::BlockedHead;
use fast::Touch;
use gaps::GapLog;
use group::{DecodeGroup, Seat};
use job::Job;
use queue::{JobIx, WaitQueue};
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use windtunnel_base::fault::RunFault;
use windtunnel_base::record::{InstanceTotals, Outcome, RequestRecord};
use windtunnel_base::request::{Ending, Request};
use windtunnel_plugin_api::{
    EventKind, Interests, Priority, QueueOrder, RequestView, Scheduler, Victim,
};

/// "Never", as a time.
pub const NEVER: i64 = i64::MAX;

/// Limits and rules of an instance.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// KV blocks.
    pub total_kv_blocks: u64,
    /// Tokens per KV block.
    pub block_size: u32,
    /// Most requests in the running batch.
    pub max_running: u32,
    /// Most new tokens per step.
    pub max_batched_tokens: u32,
    /// Most prefill tokens of one request per step; 0 = no limit.
    pub long_prefill_threshold: u32,
    /// Most tokens of prompt and output; 0 = no limit.
    pub max_model_len: u64,
    /// Nothing happens after this time, microseconds.
    pub horizon_us: i64,
    /// Switches.
    pub rules: EngineRules,
    /// Report first tokens and preemptions.
    pub token_events: bool,
    /// Touch every request in every step. Slow; the definition of what the fast path must give.
    pub plain: bool,
}

impl EngineConfig {
    /// The limits under which steps are formed.
    #[must_use]
    pub fn step_limits(&self) -> StepLimits {
        StepLimits {
            max_tokens: self.max_batched_tokens,
            max_prefill_tokens: self.long_prefill_threshold,
        }
    }
}

/// When the queue's numbers were computed last, microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Refreshed {
    priorities: i64,
    keys: i64,
}

/// The policies inside an instance.
pub struct InstanceHooks {
    /// Priority of a waiting request.
    pub priority: Box<dyn Priority>,
    /// Order of the wait queue.
    pub scheduler: Box<dyn Scheduler>,
    /// Who is preempted.
    pub victim: Box<dyn Victim>,
}

/// What an instance tells the cluster.
#[derive(Debug)]
pub enum Report {
    /// A request left for good.
    Finished(Box<Departure>),
    /// A request produced its first token.
    FirstToken {
        /// The request.
        view: RequestView,
        /// Time to first token, microseconds.
        ttft_us: i64,
    },
    /// A request lost its place in the batch.
    Preempted {
        /// The request.
        view: RequestView,
        /// Output tokens it had produced.
        output_tokens: u32,
    },
    /// A policy failed or gave an answer that makes no sense; the run cannot go on.
    Fault(RunFault),
}

/// A request that left its instance.
#[derive(Debug)]
pub struct Departure {
    /// The request.
    pub request: Request,
    /// The request as policies see it.
    pub view: RequestView,
    /// Its results.
    pub record: RequestRecord,
    /// How it ended.
    pub ending: Ending,
    /// When it ended for its client, microseconds (the end of its last step).
    pub at_us: i64,
    /// Output tokens it had produced.
    pub output_tokens: u32,
    /// Output tokens that a follow-up prompt contains: those whose KV was computed.
    pub processed_tokens: u32,
}

/// One serving engine.
pub struct Instance {
    index: u32,
    config: EngineConfig,
    latency: Arc<dyn LatencyModel>,
    estimator: Estimator,
    /// Of the random numbers that policies draw.
    seed: u64,
    hooks: InstanceHooks,
    scheduler_interests: Interests,
    queue_order: QueueOrder,
    refreshed: Refreshed,
    /// A policy gave an answer that makes no sense: nothing happens here any more.
    faulty: bool,
    /// Prompt tokens of the waiting requests.
    queued_prompt_tokens: u64,
    kv: KvPool,
    jobs: Slab<Job>,
    queue: WaitQueue,
    /// The running batch in order of admission.
    batch: Vec<Seat>,
    /// Admissions so far.
    admissions: u64,
    /// Running decodes move on as a group, and those in prefill are listed.
    grouped: bool,
    group: DecodeGroup,
    /// While grouped: running requests in prefill, in batch order.
    prefilling: Vec<JobIx>,
    /// The step at hand was formed fast.
    formed_fast: bool,
    blocked_head: Option<BlockedHead>,
    /// Dispatched, not yet in the queue: (time, order, request).
    incoming: BinaryHeap<Reverse<(i64, u64, JobIx)>>,
    /// Client deadlines: (time, order, request, its serial). Entries of departed requests are
    /// dropped lazily.
    timeouts: BinaryHeap<Reverse<(i64, u64, JobIx, u64)>>,
    order: u64,
    /// The next step starts then.
    step_at: Option<i64>,
    /// The running step ends then (only when its effects become visible at its end).
    step_ends_at: Option<i64>,
    /// End of the last step that started.
    busy_until: i64,
    last_step_start: i64,
    /// When a request entered the wait queue last.
    last_enqueued: i64,
    /// Time of the last event.
    clock: i64,
    /// Latest end of a step that completed a request; the clock reaches it.
    last_departure: i64,
    gaps: GapLog,
    totals: InstanceTotals,
    /// Scratch lists, kept for their memory.
    keys: Vec<f64>,
    touched: Vec<(Seat, Touch)>,
    done: Vec<Seat>,
}

impl Instance {
    /// An idle instance at time 0.
    #[must_use]
    pub fn new(
        index: u32,
        config: EngineConfig,
        latency: Arc<dyn LatencyModel>,
        hooks: InstanceHooks,
        seed: u64,
    ) -> Self {
        let queue_order = hooks.scheduler.order();
        let mut config = config;
        config.plain |= config.block_size > fast::MOST_PHASES;
        Self {
            index,
            kv: KvPool::new(
                config.total_kv_blocks,
                config.block_size,
                config.rules.find_all_copies,
            ),
            estimator: Estimator::new(Arc::clone(&latency), config.step_limits()),
            seed,
            scheduler_interests: hooks.scheduler.interests(),
            config,
            latency,
            hooks,
            queue_order,
            refreshed: Refreshed::default(),
            faulty: false,
            queued_prompt_tokens: 0,
            jobs: Slab::default(),
            queue: WaitQueue::new(queue_order),
            batch: Vec::new(),
            admissions: 0,
            grouped: false,
            group: DecodeGroup::new(config.block_size.min(fast::MOST_PHASES)),
            prefilling: Vec::new(),
            formed_fast: false,
            blocked_head: None,
            incoming: BinaryHeap::new(),
            timeouts: BinaryHeap::new(),
            order: 0,
            step_at: None,
            step_ends_at: None,
            busy_until: 0,
            last_step_start: i64::MIN,
            last_enqueued: i64::MIN,
            clock: 0,
            last_departure: 0,
            gaps: GapLog::default(),
            totals: InstanceTotals::default(),
            keys: Vec::new(),
            touched: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Requests waiting.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.queue.len()
    }

    /// Requests running.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        self.batch.len()
    }

    /// Preemptions so far.
    #[must_use]
    pub fn preemptions(&self) -> u64 {
        self.totals.preemptions
    }

    /// The KV pool, to read.
    #[must_use]
    pub fn kv(&self) -> &KvPool {
        &self.kv
    }

    /// The KV pool, to refresh its delayed signal.
    pub fn kv_mut(&mut self) -> &mut KvPool {
        &mut self.kv
    }

    /// A request reaches the instance at `now`; it enters the wait queue after the model's queueing
    /// delay.
    pub fn deliver(&mut self, request: Request, view: RequestView, now: i64) {
        self.clock = self.clock.max(now);
        let queued_at = now.saturating_add(self.latency.queueing_us(request.prompt_tokens()));
        let ix = self.jobs.insert(Job::new(request, view));
        self.order += 1;
        self.incoming.push(Reverse((queued_at, self.order, ix)));
    }

    /// When something happens here next, [`NEVER`] if nothing is due.
    pub fn next_event_us(&mut self) -> i64 {
        if self.faulty {
            return NEVER;
        }
        while let Some(Reverse((_, _, ix, serial))) = self.timeouts.peek()
            && self
                .jobs
                .get(*ix)
                .is_none_or(|job| job.view.serial != *serial)
        {
            self.timeouts.pop();
        }
        let incoming = self.incoming.peek().map_or(NEVER, |Reverse(e)| e.0);
        let timeout = self.timeouts.peek().map_or(NEVER, |Reverse(e)| e.0);
        let step = self
            .step_at
            .unwrap_or(NEVER)
            .min(self.step_ends_at.unwrap_or(NEVER));
        incoming.min(timeout).min(step)
    }

    /// Runs everything that happens before `until`.
    pub fn advance_to(&mut self, until: i64, out: &mut Vec<Report>) {
        while self.next_event_us() < until {
            self.run_next(until, out);
        }
    }

    /// Runs the next event, and with it the steps before `until` that only decode. At equal times:
    /// arrivals in the queue, the end of a step, the start of a step, timeouts.
    pub fn run_next(&mut self, until: i64, out: &mut Vec<Report>) {
        let now = self.next_event_us();
        if now == NEVER {
            return;
        }
        self.clock = now;
        if self.incoming.peek().is_some_and(|Reverse(e)| e.0 == now) {
            let Some(Reverse((_, _, ix))) = self.incoming.pop() else {
                return;
            };
            self.enqueue(ix, now, out);
        } else if self.step_ends_at == Some(now) {
            self.step_ends_at = None;
            self.finish_step(self.last_step_start, now, out);
        } else if self.step_at == Some(now) {
            let incoming = self.incoming.peek().map_or(NEVER, |Reverse(e)| e.0);
            // A step that starts at a deadline still goes before it.
            let timeout = self
                .timeouts
                .peek()
                .map_or(NEVER, |Reverse(e)| e.0.saturating_add(1));
            let later = self.fast_forward(now, until.min(incoming).min(timeout));
            if later > now {
                self.step_at = Some(later);
                return;
            }
            self.step_at = None;
            self.step(now, out);
        } else if let Some(Reverse((_, _, ix, _))) = self.timeouts.pop() {
            self.time_out(ix, now, out);
        }
    }

    fn enqueue(&mut self, ix: JobIx, now: i64, out: &mut Vec<Report>) {
        let limit = self.config.max_model_len;
        let job = &mut self.jobs[ix];
        let prompt = u64::from(job.prompt());
        let budget = u64::from(job.request.max_output_tokens);
        let too_long = limit > 0 && (prompt >= limit || prompt + budget > limit);
        if too_long
            || prompt.div_ceil(u64::from(self.config.block_size)) > self.config.total_kv_blocks
        {
            self.totals.dropped += 1;
            self.depart(ix, Ending::Dropped, Outcome::Dropped, now, out);
            self.tell_departure(out);
            return;
        }
        self.totals.input_tokens += prompt;
        let deadline = job.request.deadline_us;
        if deadline > 0 && deadline <= now {
            self.totals.timed_out += 1;
            self.depart(ix, Ending::TimedOut, Outcome::TimedOut, now, out);
            self.tell_departure(out);
            return;
        }
        job.enqueued_us = now;
        self.last_enqueued = now;
        self.tell_scheduler(EventKind::Dispatch, ix, now, out);
        self.ask_priority(ix, now, out);
        if self.queue_order != QueueOrder::Fifo {
            self.ask_key(ix, now, out);
        }
        let job = &self.jobs[ix];
        self.queue.push(ix, || job.place());
        self.queued_prompt_tokens += prompt;
        if deadline > 0 && deadline <= self.config.horizon_us {
            self.order += 1;
            self.timeouts
                .push(Reverse((deadline, self.order, ix, job.view.serial)));
        }
        self.wake(now);
    }

    /// Starts a step if the engine sleeps and somebody waits.
    fn wake(&mut self, now: i64) {
        let asleep = self.step_at.is_none() && self.step_ends_at.is_none();
        if asleep && !self.queue.is_empty() {
            self.step_at = Some(if self.config.rules.one_step_at_a_time {
                now.max(self.busy_until)
            } else {
                now
            });
        }
    }

    fn time_out(&mut self, ix: JobIx, now: i64, out: &mut Vec<Report>) {
        self.totals.timed_out += 1;
        if self.jobs[ix].grouped {
            self.leave_group(ix);
        }
        let job = &mut self.jobs[ix];
        self.kv.release(&mut job.held);
        if job.running {
            self.batch.retain(|seat| seat.ix != ix);
            self.prefilling.retain(|&other| other != ix);
        } else {
            self.queue.remove(ix);
            self.queued_prompt_tokens -= u64::from(self.jobs[ix].prompt());
        }
        self.depart(ix, Ending::TimedOut, Outcome::TimedOut, now, out);
        self.tell_departure(out);
        if self.batch.is_empty() {
            self.wake(now);
        }
    }

    /// Takes a request off the instance; its KV blocks must be free already.
    fn depart(
        &mut self,
        ix: JobIx,
        ending: Ending,
        outcome: Outcome,
        at_us: i64,
        out: &mut Vec<Report>,
    ) {
        let job = self.jobs.remove(ix);
        let record = job.record(self.index, outcome);
        let output_tokens = job.emitted();
        let processed_tokens = job.progress.saturating_sub(job.prompt());
        let departure = Departure {
            record,
            ending,
            at_us,
            output_tokens,
            processed_tokens,
            request: job.request,
            view: job.view,
        };
        out.push(Report::Finished(Box::new(departure)));
    }

    /// Ends the run: the counters, and a record of every request still here.
    pub fn finish(&mut self, unfinished: &mut Vec<RequestRecord>) -> InstanceTotals {
        let horizon = self.config.horizon_us;
        if self.last_departure <= horizon {
            self.clock = self.clock.max(self.last_departure);
        }
        let mut totals = std::mem::take(&mut self.totals);
        totals.still_queued = self.queue.len() as u64;
        totals.still_running = self.batch.len() as u64;
        totals.cache_hits = self.kv.hits();
        totals.cache_misses = self.kv.misses();
        totals.kv_total_blocks = self.kv.total();
        totals.ended_us = self.clock.min(horizon);
        totals.gaps = self.gaps.histogram();
        for job in self.queue.iter().map(|ix| &self.jobs[ix]) {
            unfinished.push(job.record(self.index, Outcome::Queued));
        }
        for job in self.batch.iter().map(|seat| &self.jobs[seat.ix]) {
            unfinished.push(job.record(self.index, Outcome::Running));
        }
        for Reverse((_, _, ix)) in &self.incoming {
            unfinished.push(self.jobs[*ix].record(self.index, Outcome::InTransit));
        }
        totals
    }

    /// Requests here, on their way to the queue included, and their prompt tokens.
    #[must_use]
    pub fn live(&self) -> (u64, u64) {
        self.jobs.iter().fold((0, 0), |(n, tokens), job| {
            (n + 1, tokens + u64::from(job.prompt()))
        })
    }

    /// Checks the invariants that hold between events, at `now`; for tests.
    ///
    /// # Errors
    /// A sentence that names the broken invariant.
    pub fn check(&self) -> Result<(), String> {
        let now = self.clock;
        self.kv.check(self.jobs.iter().map(|job| &job.held))?;
        let waiting = self
            .queue
            .iter()
            .map(|ix| u64::from(self.jobs[ix].prompt()));
        if waiting.sum::<u64>() != self.queued_prompt_tokens {
            return Err("the prompt tokens of the queue are miscounted".into());
        }
        let here = self.queue.len() + self.batch.len() + self.incoming.len();
        if here != self.jobs.iter().count() {
            return Err(format!(
                "{} requests in slab, {here} in queue, batch and on the way",
                self.jobs.iter().count()
            ));
        }
        if self.batch.len() > self.config.max_running as usize {
            return Err(format!(
                "{} requests run, at most {} may",
                self.batch.len(),
                self.config.max_running
            ));
        }
        let asleep = self.step_at.is_none() && self.step_ends_at.is_none();
        if asleep && !(self.queue.is_empty() && self.batch.is_empty()) {
            return Err("the engine sleeps although there is work".into());
        }
        // Work conservation: the next step starts when the last one ends, or at once.
        if let Some(at) = self.step_at
            && (at < now || at > now.max(self.busy_until))
        {
            return Err(format!(
                "at {now} the next step is planned for {at}, the last one ends at {}",
                self.busy_until
            ));
        }
        if self
            .step_ends_at
            .is_some_and(|ends| ends != self.busy_until)
        {
            return Err("the running step ends at two times".into());
        }
        for job in self.queue.iter().map(|ix| &self.jobs[ix]) {
            if !job.held.is_empty() || job.running {
                return Err(format!(
                    "{} waits but holds {} blocks",
                    job.request.id,
                    job.held.len()
                ));
            }
        }
        for job in self.batch.iter().map(|seat| &self.jobs[seat.ix]) {
            let most = job.prompt() + job.output().max(1);
            if !job.running || job.progress > most || job.prefill_target > most {
                return Err(format!(
                    "{} runs with {} tokens done and {} to compute first, of at most {most}",
                    job.request.id, job.progress, job.prefill_target
                ));
            }
        }
        Ok(())
    }
}
