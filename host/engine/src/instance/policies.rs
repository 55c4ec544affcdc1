//! Calls of the policies inside an instance: priorities, sort keys, limits of steps, preemption
//! victims, and the scheduler's events.

use super::config::{EngineConfig, NEVER};
use super::events::InstanceEvent;
use super::slot::Slot;
use super::state::{CLOSED, Instance};
use crate::kv::KvCache;
use crate::latency::Estimator;
use windtunnel_base::fault::{PolicyCall, RunFault};
use windtunnel_base::hook::Hook;
use windtunnel_base::request::FinishReason;
use windtunnel_base::rng::Stream;
use windtunnel_plugin_api::{
    BatchLimits, Event, EventKind, Host, InstanceView, Interests, KeyRefresh, List, Outcome,
    PolicyError, QueueOrder, QueueView, QueuedView, RequestView, RunningView, Services, StepView,
};

/// Stands in for an unusable answer until the run ends, which it does at once.
const NO_ANSWER: f64 = 0.0;

/// The services that a policy may call during one decision.
struct DecisionServices<'a> {
    estimator: &'a Estimator,
    random: Stream<'a>,
}

impl Services for DecisionServices<'_> {
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

/// What policies see of an instance at one decision.
struct Decision<'a> {
    now: i64,
    index: u32,
    config: &'a EngineConfig,
    kv: &'a KvCache,
    batch_size: usize,
    queue_depth: usize,
    services: DecisionServices<'a>,
}

impl<'a> Decision<'a> {
    /// Calls `policy` with a view of the queue that shows these requests.
    fn call<T>(
        &self,
        waiting: &'a [QueuedView<'a>],
        running: &'a [RunningView<'a>],
        policy: impl FnOnce(&QueueView<'_>) -> T,
    ) -> T {
        let services: &dyn Services = &self.services;
        let blocks = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        policy(&QueueView {
            now_us: self.now,
            waiting: List::new(waiting),
            running: List::new(running),
            host: Host::new(&services),
            instance: self.index,
            max_batch_size: self.config.max_num_seqs,
            batch_size: self.batch_size as u32,
            queue_depth: self.queue_depth as u32,
            kv_free_blocks: blocks(self.kv.free()),
            kv_total_blocks: blocks(self.kv.total()),
            block_size: self.config.block_size,
            max_step_tokens: self.config.max_num_batched_tokens,
        })
    }
}

/// A decision at `$now` whose random numbers are named by `$label` and `$about`. A macro because it
/// borrows each field by itself, so that the policy can be borrowed beside them.
macro_rules! decision {
    ($self:ident, $now:expr, $label:literal, $about:expr) => {
        Decision {
            now: $now,
            index: $self.index,
            config: &$self.config,
            kv: &$self.kv,
            batch_size: $self.running.len(),
            queue_depth: $self.waiting_requests(),
            services: DecisionServices {
                estimator: &$self.estimator,
                random: Stream::new($self.seed, $label, $self.index.into(), $about),
            },
        }
    };
}

impl Instance {
    /// Reports that a policy failed: the run cannot go on.
    fn fail(
        &mut self,
        hook: Hook,
        call: PolicyCall,
        on: Option<Slot>,
        e: &PolicyError,
        events: &mut Vec<InstanceEvent>,
    ) {
        self.failed = true;
        let request = on.map(|slot| self.requests[slot].request.id.to_string());
        events.push(InstanceEvent::Fault(RunFault::failed(
            hook, call, request, e,
        )));
    }

    /// Has the priority of a request computed.
    pub(super) fn update_priority(
        &mut self,
        slot: Slot,
        now: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        let request = &self.requests[slot];
        let decision = decision!(self, now, "priority policy", request.view.serial);
        let priority = &mut self.hooks.priority;
        let answer = decision.call(&[], &[], |queue| priority.priority(&request.view, queue));
        match number(answer) {
            Ok(value) => self.requests[slot].priority = value,
            Err(e) => {
                self.requests[slot].priority = NO_ANSWER;
                self.fail(Hook::Priority, PolicyCall::Decision, Some(slot), &e, events);
            }
        }
    }

    /// Has the sort key of a request computed that enters the queue.
    pub(super) fn update_key(&mut self, slot: Slot, now: i64, events: &mut Vec<InstanceEvent>) {
        let request = &self.requests[slot];
        let decision = decision!(self, now, "scheduler", request.view.serial);
        let scheduler = &mut self.hooks.scheduler;
        let queued = request.queued_view(slot);
        let answer = decision.call(&[], &[], |queue| scheduler.key(&queued, queue));
        match number(answer) {
            Ok(value) => self.requests[slot].key = value,
            Err(e) => {
                self.requests[slot].key = NO_ANSWER;
                self.fail(
                    Hook::Scheduler,
                    PolicyCall::Decision,
                    Some(slot),
                    &e,
                    events,
                );
            }
        }
    }

    /// Brings priorities and order of the queue up to date before requests are admitted at `now`.
    pub(super) fn refresh_wait_queue(&mut self, now: i64, events: &mut Vec<InstanceEvent>) {
        let due = |refresh, last: i64| match refresh {
            KeyRefresh::AtEnqueue => false,
            KeyRefresh::EachStep => true,
            KeyRefresh::Every(us) => now.div_euclid(us.max(1)) != last.div_euclid(us.max(1)),
        };
        let priorities = due(
            self.hooks.priority.refresh(),
            self.last_refresh.priorities_us,
        );
        let keys = match self.queue_order {
            QueueOrder::Fifo => false,
            QueueOrder::Keyed(refresh) => priorities || due(refresh, self.last_refresh.keys_us),
        };
        if !priorities && !keys {
            return;
        }
        let waiting: Vec<Slot> = self.waiting.iter().collect();
        if priorities {
            self.last_refresh.priorities_us = now;
            for &slot in &waiting {
                self.update_priority(slot, now, events);
            }
        }
        if keys {
            self.last_refresh.keys_us = now;
            self.update_keys(&waiting, now, events);
            let requests = &self.requests;
            let entries = waiting.into_iter();
            self.waiting
                .reorder(entries.map(|slot| (requests[slot].queue_key(), slot)));
        }
    }

    /// When the priorities or keys of waiting requests are due to be computed again: [`NEVER`] if
    /// they do not change by themselves, `i64::MIN` if they change in each step.
    pub(super) fn next_refresh_us(&self) -> i64 {
        let next = |refresh, last: i64| match refresh {
            KeyRefresh::AtEnqueue => NEVER,
            KeyRefresh::EachStep => i64::MIN,
            KeyRefresh::Every(us) => (last.div_euclid(us.max(1)) + 1).saturating_mul(us.max(1)),
        };
        let priorities = next(
            self.hooks.priority.refresh(),
            self.last_refresh.priorities_us,
        );
        match self.queue_order {
            QueueOrder::Fifo => priorities,
            QueueOrder::Keyed(refresh) => priorities.min(next(refresh, self.last_refresh.keys_us)),
        }
    }

    /// Has the sort keys of all waiting requests computed.
    fn update_keys(&mut self, waiting: &[Slot], now: i64, events: &mut Vec<InstanceEvent>) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        keys.resize(waiting.len(), f64::NAN);
        let requests = &self.requests;
        let queued: Vec<QueuedView<'_>> = waiting
            .iter()
            .map(|&slot| requests[slot].queued_view(slot))
            .collect();
        let running: Vec<RunningView<'_>> = if self.scheduler_interests.has(Interests::RUNNING) {
            let (chosen, processed) = (self.chosen_steps, self.processed_steps());
            let entries = self.running.iter();
            entries
                .map(|entry| requests[entry.slot].running_view(entry.slot, chosen, processed))
                .collect()
        } else {
            Vec::new()
        };
        let decision = decision!(self, now, "scheduler order", now as u64);
        let scheduler = &mut self.hooks.scheduler;
        let answer = decision.call(&queued, &running, |queue| {
            scheduler.order_queue(queue, &mut keys)
        });
        let unusable = keys.iter().position(|key| key.is_nan());
        if let Err(e) = answer {
            self.fail(Hook::Scheduler, PolicyCall::Decision, None, &e, events);
        } else if let Some(k) = unusable {
            self.fail(
                Hook::Scheduler,
                PolicyCall::Decision,
                Some(waiting[k]),
                &not_a_number(),
                events,
            );
        }
        for (&slot, &key) in waiting.iter().zip(&keys) {
            self.requests[slot].key = if key.is_nan() { NO_ANSWER } else { key };
        }
        self.keys = keys;
    }

    /// Has the limits of the step that is chosen at `now` set, within the engine's own.
    pub(super) fn ask_batching(
        &mut self,
        step: &StepView,
        now: i64,
        events: &mut Vec<InstanceEvent>,
    ) -> BatchLimits {
        let head = match self.batching_interests.has(Interests::WAITING) {
            true => self.head_of_queue(step.with_kv),
            false => None,
        };
        let head = head.map(|slot| self.requests[slot].queued_view(slot));
        let decision = decision!(self, now, "batching strategy", step.step);
        let batching = &mut self.hooks.batching;
        let answer = decision.call(head.as_slice(), &[], |queue| {
            let limits = batching.limits(step, queue)?;
            limits.check(step, queue).map_err(PolicyError::new)?;
            Ok(limits.within(&BatchLimits::of_engine(step, queue)))
        });
        answer.unwrap_or_else(|e: PolicyError| {
            let call = PolicyCall::Step(step.step);
            self.fail(Hook::Batching, call, None, &e, events);
            CLOSED
        })
    }

    /// The limits that the batching policy set keep this request out for ever.
    pub(super) fn refuse_starving(&mut self, slot: Slot, events: &mut Vec<InstanceEvent>) {
        let e = PolicyError::new(format!(
            "max_new_tokens is {}, and nothing runs; expected enough for the prompt of the first waiting request, \
             {} tokens, which is not to be cut (`enable_chunked_prefill` is off)",
            self.step_limits.max_new_tokens,
            self.requests[slot].prompt_tokens()
        ));
        let call = PolicyCall::Step(self.chosen_steps);
        self.fail(Hook::Batching, call, None, &e, events);
    }

    /// Has the request to preempt chosen: a position in the batch.
    pub(super) fn choose_victim(&mut self, now: i64, events: &mut Vec<InstanceEvent>) -> usize {
        let requests = &self.requests;
        let (chosen, processed) = (self.chosen_steps, self.processed_steps());
        let running: Vec<RunningView<'_>> = self
            .running
            .iter()
            .map(|entry| requests[entry.slot].running_view(entry.slot, chosen, processed))
            .collect();
        let decision = decision!(self, now, "preemption policy", now as u64);
        let victim = &mut self.hooks.victim;
        let answer = decision.call(&[], &running, |queue| victim.victim(queue));
        let last = running.len() - 1;
        match answer {
            Ok(chosen) if chosen <= last => chosen,
            Ok(chosen) => {
                self.failed = true;
                let what = format!(
                    "chose request {chosen} of a batch of {}; expected 0 to {last}",
                    last + 1
                );
                let fault = RunFault::answered(Hook::Preemption, None, what);
                events.push(InstanceEvent::Fault(fault));
                last
            }
            Err(e) => {
                self.fail(Hook::Preemption, PolicyCall::Decision, None, &e, events);
                last
            }
        }
    }

    /// Tells the scheduler, if it listens, what happened to a request.
    pub(super) fn notify_scheduler(
        &mut self,
        kind: EventKind,
        slot: Slot,
        now: i64,
        events: &mut Vec<InstanceEvent>,
    ) {
        if !self.scheduler_interests.hears(kind) {
            return;
        }
        let request = &self.requests[slot];
        let ttft_us = request.ttft_us.unwrap_or(0);
        let event = Event {
            ttft_us,
            output_tokens: request.emitted_tokens(),
            ..event(kind, &request.view, self.index, now)
        };
        if let Err(e) = self.hooks.scheduler.on_event(&event) {
            self.fail(Hook::Scheduler, PolicyCall::Event, Some(slot), &e, events);
        }
    }

    /// Tells the scheduler, if it listens, of the request whose end is the last event.
    pub(super) fn notify_scheduler_of_finish(&mut self, events: &mut Vec<InstanceEvent>) {
        if !self.scheduler_interests.hears(EventKind::Complete) {
            return;
        }
        let Some(InstanceEvent::Finished(finished)) = events.last() else {
            return;
        };
        let outcome = match finished.reason {
            FinishReason::Completed => Outcome::Completed,
            FinishReason::TimedOut => Outcome::TimedOut,
            FinishReason::Dropped => Outcome::Dropped,
        };
        let event = Event {
            ttft_us: finished.record.ttft_us.unwrap_or(0),
            e2e_us: finished.record.e2e_us.unwrap_or(0),
            output_tokens: finished.output_tokens,
            outcome: outcome as u32,
            ..event(
                EventKind::Complete,
                &finished.view,
                self.index,
                finished.at_us,
            )
        };
        if let Err(e) = self.hooks.scheduler.on_event(&event) {
            self.fail(Hook::Scheduler, PolicyCall::Event, None, &e, events);
        }
    }
}

/// An event about a request, with what all kinds of events have.
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
