//! Asking the policies inside an instance: priorities, sort keys, victims; and telling the
//! scheduler what happened.

use super::queue::{JobIx, WaitQueue};
use super::{EngineConfig, Instance, NEVER, Report};
use crate::kv::KvPool;
use crate::latency::Estimator;
use windtunnel_base::fault::{PolicyCall, RunFault};
use windtunnel_base::hook::Hook;
use windtunnel_base::request::Ending;
use windtunnel_base::rng::Stream;
use windtunnel_plugin_api::{
    Event, EventKind, Host, InstanceView, Interests, KeyRefresh, List, Outcome, PolicyError,
    QueueOrder, QueueView, QueuedView, RequestView, RunningView, Services,
};

/// Ends a run whose policy gave no usable answer, whatever was asked.
const NO_ANSWER: f64 = 0.0;

/// The services of one decision inside an instance.
struct Asked<'a> {
    estimator: &'a Estimator,
    random: Stream<'a>,
}

impl Services for Asked<'_> {
    fn random(&self) -> u64 {
        self.random.next()
    }

    fn est_prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        self.estimator.prefill_us(tokens, cached)
    }

    fn est_step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        self.estimator.step_us(prefill_tokens, decodes, context)
    }

    fn est_ttft_us(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        self.estimator.ttft_on(instance, prompt_tokens, cached)
    }
}

/// Work on an instance, tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Prompt tokens of the waiting requests.
    pub queued_prompt_tokens: u64,
    /// Prompt tokens of the running batch that are still to be prefilled.
    pub running_prefill_tokens: u64,
    /// Running requests that decode.
    pub decodes: u32,
    /// Their context, tokens in all.
    pub decode_context_tokens: u64,
}

/// What an instance is made of, as far as its policies see it.
struct Surroundings<'a> {
    now: i64,
    index: u32,
    config: &'a EngineConfig,
    kv: &'a KvPool,
    batch_size: usize,
    queue_depth: usize,
    asked: Asked<'a>,
}

impl<'a> Surroundings<'a> {
    /// Calls `f` with the view of the queue that shows these requests.
    fn show<T>(
        &self,
        waiting: &'a [QueuedView<'a>],
        running: &'a [RunningView<'a>],
        f: impl FnOnce(&QueueView<'_>) -> T,
    ) -> T {
        let services: &dyn Services = &self.asked;
        let blocks = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        f(&QueueView {
            now_us: self.now,
            waiting: List::new(waiting),
            running: List::new(running),
            host: Host::new(&services),
            instance: self.index,
            max_batch_size: self.config.max_running,
            batch_size: self.batch_size as u32,
            queue_depth: self.queue_depth as u32,
            kv_free_blocks: blocks(self.kv.free()),
            kv_total_blocks: blocks(self.kv.total()),
            block_size: self.config.block_size,
            max_step_tokens: self.config.max_batched_tokens,
        })
    }
}

/// The surroundings of a decision at `$now` keyed by `$label` and `$about`: borrows every field by
/// itself, so that the policies stay free.
macro_rules! surroundings {
    ($self:ident, $now:expr, $label:literal, $about:expr) => {
        Surroundings {
            now: $now,
            index: $self.index,
            config: &$self.config,
            kv: &$self.kv,
            batch_size: $self.batch.len(),
            queue_depth: $self.queue.len(),
            asked: Asked {
                estimator: &$self.estimator,
                random: Stream::new($self.seed, $label, $self.index.into(), $about),
            },
        }
    };
}

impl Instance {
    /// A policy failed: the run cannot go on.
    fn failed(
        &mut self,
        hook: Hook,
        call: PolicyCall,
        on: Option<JobIx>,
        e: &PolicyError,
        out: &mut Vec<Report>,
    ) {
        self.faulty = true;
        let request = on.map(|ix| self.jobs[ix].request.id.to_string());
        out.push(Report::Fault(RunFault::failed(hook, call, request, e)));
    }

    /// Asks for the priority of a request.
    pub(super) fn ask_priority(&mut self, ix: JobIx, now: i64, out: &mut Vec<Report>) {
        let job = &self.jobs[ix];
        let around = surroundings!(self, now, "priority policy", job.view.serial);
        let priority = &mut self.hooks.priority;
        let answer = around.show(&[], &[], |queue| priority.priority(&job.view, queue));
        match number(answer) {
            Ok(value) => self.jobs[ix].priority = value,
            Err(e) => {
                self.jobs[ix].priority = NO_ANSWER;
                self.failed(Hook::Priority, PolicyCall::Decision, Some(ix), &e, out);
            }
        }
    }

    /// Asks for the sort key of a request that enters the queue.
    pub(super) fn ask_key(&mut self, ix: JobIx, now: i64, out: &mut Vec<Report>) {
        let job = &self.jobs[ix];
        let around = surroundings!(self, now, "scheduler", job.view.serial);
        let scheduler = &mut self.hooks.scheduler;
        let queued = job.queued_view(ix);
        let answer = around.show(&[], &[], |queue| scheduler.key(&queued, queue));
        match number(answer) {
            Ok(value) => self.jobs[ix].key = value,
            Err(e) => {
                self.jobs[ix].key = NO_ANSWER;
                self.failed(Hook::Scheduler, PolicyCall::Decision, Some(ix), &e, out);
            }
        }
    }

    /// Brings priorities and order of the queue up to date before somebody is admitted at `now`.
    pub(super) fn refresh_queue(&mut self, now: i64, out: &mut Vec<Report>) {
        let due = |refresh, last: i64| match refresh {
            KeyRefresh::AtEnqueue => false,
            KeyRefresh::EachStep => true,
            KeyRefresh::Every(us) => now.div_euclid(us.max(1)) != last.div_euclid(us.max(1)),
        };
        let priorities = due(self.hooks.priority.refresh(), self.refreshed.priorities);
        let keys = match self.queue_order {
            QueueOrder::Fifo => false,
            QueueOrder::Keyed(refresh) => priorities || due(refresh, self.refreshed.keys),
        };
        if !priorities && !keys {
            return;
        }
        let waiting: Vec<JobIx> = self.queue.iter().collect();
        if priorities {
            self.refreshed.priorities = now;
            for &ix in &waiting {
                self.ask_priority(ix, now, out);
            }
        }
        if keys {
            self.refreshed.keys = now;
            self.ask_order(&waiting, now, out);
            let mut queue = WaitQueue::new(self.queue_order);
            queue.fill(waiting.into_iter().map(|ix| (self.jobs[ix].place(), ix)));
            self.queue = queue;
        }
    }

    /// When the numbers of waiting requests change next, by the clock: [`NEVER`] if they stand
    /// still, the past if each step counts.
    pub(super) fn keys_change_at(&self) -> i64 {
        let next = |refresh, last: i64| match refresh {
            KeyRefresh::AtEnqueue => NEVER,
            KeyRefresh::EachStep => i64::MIN,
            KeyRefresh::Every(us) => (last.div_euclid(us.max(1)) + 1).saturating_mul(us.max(1)),
        };
        let priorities = next(self.hooks.priority.refresh(), self.refreshed.priorities);
        match self.queue_order {
            QueueOrder::Fifo => priorities,
            QueueOrder::Keyed(refresh) => priorities.min(next(refresh, self.refreshed.keys)),
        }
    }

    /// Asks for the sort keys of all waiting requests.
    fn ask_order(&mut self, waiting: &[JobIx], now: i64, out: &mut Vec<Report>) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        keys.resize(waiting.len(), f64::NAN);
        let jobs = &self.jobs;
        let queued: Vec<QueuedView<'_>> =
            waiting.iter().map(|&ix| jobs[ix].queued_view(ix)).collect();
        let running: Vec<RunningView<'_>> = if self.scheduler_interests.has(Interests::RUNNING) {
            let steps = self.gaps.next_step();
            let seats = self.batch.iter();
            seats
                .map(|seat| jobs[seat.ix].running_view(seat.ix, steps))
                .collect()
        } else {
            Vec::new()
        };
        let around = surroundings!(self, now, "scheduler order", now as u64);
        let scheduler = &mut self.hooks.scheduler;
        let answer = around.show(&queued, &running, |queue| {
            scheduler.order_queue(queue, &mut keys)
        });
        let unusable = keys.iter().position(|key| key.is_nan());
        if let Err(e) = answer {
            self.failed(Hook::Scheduler, PolicyCall::Decision, None, &e, out);
        } else if let Some(k) = unusable {
            let on = Some(waiting[k]);
            self.failed(
                Hook::Scheduler,
                PolicyCall::Decision,
                on,
                &not_a_number(),
                out,
            );
        }
        for (&ix, &key) in waiting.iter().zip(&keys) {
            self.jobs[ix].key = if key.is_nan() { NO_ANSWER } else { key };
        }
        self.keys = keys;
    }

    /// Asks who is preempted: a position in the batch.
    pub(super) fn ask_victim(&mut self, now: i64, out: &mut Vec<Report>) -> usize {
        let jobs = &self.jobs;
        let steps = self.gaps.next_step();
        let running: Vec<RunningView<'_>> = self
            .batch
            .iter()
            .map(|seat| jobs[seat.ix].running_view(seat.ix, steps))
            .collect();
        let around = surroundings!(self, now, "preemption policy", now as u64);
        let victim = &mut self.hooks.victim;
        let answer = around.show(&[], &running, |queue| victim.victim(queue));
        let last = running.len() - 1;
        match answer {
            Ok(chosen) if chosen <= last => chosen,
            Ok(chosen) => {
                self.faulty = true;
                let what = format!(
                    "chose request {chosen} of a batch of {}; expected 0 to {last}",
                    last + 1
                );
                out.push(Report::Fault(RunFault::answered(
                    Hook::Preemption,
                    None,
                    what,
                )));
                last
            }
            Err(e) => {
                self.failed(Hook::Preemption, PolicyCall::Decision, None, &e, out);
                last
            }
        }
    }

    /// Tells the scheduler, if it listens, what happened to a request.
    pub(super) fn tell_scheduler(
        &mut self,
        kind: EventKind,
        ix: JobIx,
        now: i64,
        out: &mut Vec<Report>,
    ) {
        if !self.scheduler_interests.hears(kind) {
            return;
        }
        let job = &self.jobs[ix];
        let ttft_us = job.ttft_us.unwrap_or(0);
        let event = Event {
            ttft_us,
            output_tokens: job.emitted(),
            ..event(kind, &job.view, self.index, now)
        };
        if let Err(e) = self.hooks.scheduler.on_event(&event) {
            self.failed(Hook::Scheduler, PolicyCall::Event, Some(ix), &e, out);
        }
    }

    /// Tells the scheduler, if it listens, of the departure reported last.
    pub(super) fn tell_departure(&mut self, out: &mut Vec<Report>) {
        if !self.scheduler_interests.hears(EventKind::Complete) {
            return;
        }
        let Some(Report::Finished(departure)) = out.last() else {
            return;
        };
        let outcome = match departure.ending {
            Ending::Completed => Outcome::Completed,
            Ending::TimedOut => Outcome::TimedOut,
            Ending::Dropped => Outcome::Dropped,
        };
        let event = Event {
            ttft_us: departure.record.ttft_us.unwrap_or(0),
            e2e_us: departure.record.e2e_us.unwrap_or(0),
            output_tokens: departure.output_tokens,
            outcome: outcome as u32,
            ..event(
                EventKind::Complete,
                &departure.view,
                self.index,
                departure.at_us,
            )
        };
        if let Err(e) = self.hooks.scheduler.on_event(&event) {
            self.failed(Hook::Scheduler, PolicyCall::Event, None, &e, out);
        }
    }

    /// The work here, as a scrape reads it.
    #[must_use]
    pub fn work(&self) -> Work {
        let mut work = Work {
            queued_prompt_tokens: self.queued_prompt_tokens,
            ..Work::default()
        };
        let mut add = |ix: JobIx| {
            let job = &self.jobs[ix];
            if job.in_prefill() {
                work.running_prefill_tokens += u64::from(job.prefill_target - job.progress);
            } else {
                work.decodes += 1;
                work.decode_context_tokens += u64::from(job.progress);
            }
        };
        if self.grouped {
            self.prefilling.iter().for_each(|&ix| add(ix));
            work.decodes += self.group.count as u32;
            work.decode_context_tokens += self.group.context;
        } else {
            self.batch.iter().for_each(|seat| add(seat.ix));
        }
        work
    }
}

/// An event about a request, without the numbers of its kind.
fn event(kind: EventKind, view: &RequestView, instance: u32, now_us: i64) -> Event {
    Event {
        now_us,
        serial: view.serial,
        kind: kind as u32,
        instance,
        tenant: view.tenant,
        session: view.session,
        prompt_tokens: view.prompt_tokens,
        slo_class: view.slo_class,
        ..Event::default()
    }
}

fn not_a_number() -> PolicyError {
    PolicyError::new("its answer is not a number; expected a finite or infinite number")
}

/// Any number but NaN.
fn number(answer: Result<f64, PolicyError>) -> Result<f64, PolicyError> {
    answer.and_then(|x| {
        if x.is_nan() {
            Err(not_a_number())
        } else {
            Ok(x)
        }
    })
}
