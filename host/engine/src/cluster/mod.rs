//! The cluster: one clock, the front end (admission, routing, dispatch), and the instances behind
//! it.
//!
//! Order of events is total: time; at equal times the front end before the instances; at the front
//! end arrivals, then admissions, then routings, then what a gateway does, each in order of
//! creation; among instances the lowest index first.

mod advance;
mod autoscaler;
mod backends;
mod close;
mod config;
mod disaggregation;
mod engines;
mod events;
mod gateway;
mod happenings;
mod held_requests;
mod inspect;
mod interval;
mod lifecycle;
mod lockstep;
mod membership;
mod next_events;
mod nodes;
mod prefix_holders;
mod queue_limits;
mod rank_limits;
mod replay;
mod scaling;
mod schedule;
mod split_requests;
mod stages;
mod standalone;
mod step_ends;
mod transfers;

pub use advance::RunEnd;
pub use config::{ClusterConfig, ClusterError, EncodeDecider, PoolConfig, TransferConfig};
pub use events::{ClusterEvent, Events, Happening};
pub use nodes::check_nodes;
pub use queue_limits::QueueLimits;
pub use scaling::{Delay, Drain, NodePool, PoolScaling, Scaling};
pub use schedule::{Resize, Schedule};
pub use standalone::Standalone;

use crate::frontend::{
    Estimators, FrontEnd, FrontEndHook, FrontEndPolicies, FrontEndRecord, Pending,
};
use crate::instance::{FinishedRequest, Instance, InstanceEvent, InstanceHooks, NEVER, Part};
use backends::SimulatedBackends;
use disaggregation::Disaggregation;
use gateway::Gateway;
use lifecycle::Lifecycle;
use membership::Membership;
use next_events::NextEvents;
use queue_limits::Servers;
use std::borrow::Cow;
use windtunnel_base::adapter_streams::AdapterStreams;
use windtunnel_base::event_queue::EventQueue;
use windtunnel_base::fault::RunFault;
use windtunnel_base::record::{Outcome, PoolRecord, Recorder, RequestRecord, Role, RunRecord};
use windtunnel_base::request::{FinishReason, Finished, Request, Source, Sym};
use windtunnel_plugin_api::{Event, EventKind, Interests, Outcome as End, RequestView};

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Clock, microseconds.
    pub clock_us: i64,
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that are done with, in whatever way.
    pub finished: u64,
}

/// Shortest interval between the ticks of a policy, microseconds.
pub const LEAST_TICK_US: i64 = 1_000;

/// Shortest time after which a policy that puts a request off is asked again, microseconds. Looking
/// again has a cost: a thread or a timer of the router, whose decision takes its time once more.
pub const LEAST_WAIT_US: i64 = 1_000;

/// Events between two reports of progress.
const PROGRESS_EVERY: u64 = 1 << 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Arrival,
    Admission,
    Routing,
}

/// A simulated cluster.
pub struct Cluster<'s> {
    config: ClusterConfig,
    source: &'s mut dyn Source,
    /// Tells equal tokens of different adapters apart; `None` = they are equal.
    adapter_streams: Option<AdapterStreams>,
    /// The next request of the source.
    upcoming: Option<Request>,
    /// Requests between two stages of the front end, by time, stage and creation.
    due: EventQueue<(i64, Stage), Box<Pending>>,
    clock: i64,
    backends: SimulatedBackends,
    pool_names: Vec<Sym>,
    /// When something happens next on each instance.
    next_event: NextEvents,
    /// The same of instances from which something may come to others, where some prefill and some
    /// decode.
    concerning: NextEvents,
    /// Instances that prefill for others.
    sends: Vec<bool>,
    /// Instances that concern nobody run ahead of the others.
    runs_ahead: bool,
    front: FrontEnd,
    /// Where requests are held back, if they may be.
    gateway: Option<Gateway>,
    /// Requests that one instance prefills and another decodes, if there may be any.
    disaggregation: Option<Disaggregation>,
    /// Which instances take requests, and for what, where not all take all of them.
    membership: Option<Membership>,
    /// Instances that come and go by policies, if any do.
    lifecycle: Option<Box<Lifecycle>>,
    servers: Servers,
    lifecycle_events: bool,
    /// The next tick of each policy that wants any: (time, interval, whose).
    ticks: Vec<(i64, i64, FrontEndHook)>,
    /// Nothing that happens on an instance has an effect elsewhere before the front end looks, so
    /// instances run ahead one by one, each up to the next moment at which it is read or fed.
    independent: bool,
    /// While nothing runs, the source is asked for requests at this time; `NEVER` = it is not.
    idle_step_ends_us: i64,
    /// Steps that go together have ended, and the source was not told yet.
    steps_ended: bool,
    arrived: u64,
    /// Records not handed over yet.
    records: Vec<RequestRecord>,
    finished: u64,
    reports: Vec<InstanceEvent>,
    end: Option<RunEnd>,
}

impl<'s> Cluster<'s> {
    /// A cluster that is about to serve the requests of `source`. `hooks` yields the policies
    /// inside each instance.
    ///
    /// # Errors
    /// When such a cluster cannot be simulated, or there are fewer hooks than instances.
    pub fn new(
        config: ClusterConfig,
        policies: FrontEndPolicies,
        hooks: impl IntoIterator<Item = InstanceHooks>,
        source: &'s mut dyn Source,
    ) -> Result<Self, ClusterError> {
        config.check()?;
        if let Some(pool) = config.pools.iter().find(|pool| pool.ranks.are_several())
            && source.idle_step_us().is_some()
        {
            return Err(ClusterError::Ranks {
                pool: pool.name.clone(),
                ranks: pool.ranks.count,
                with: "requests that are created when steps end",
            });
        }
        let interests = policies.interests();
        let symbols = source.symbols_mut();
        let names = config.pools.iter().map(|pool| symbols.intern(&pool.name));
        let names: Vec<Sym> = names.collect();
        let backends = SimulatedBackends::new(&config, &names, symbols, interests, hooks)?;
        let pools = names.iter().enumerate();
        let estimators = pools.map(|(k, name)| (*name, config.estimator(k)));
        let exact_model_tags = |pool: &PoolConfig| pool.engine.rules.exact_model_tags;
        let mut estimators = Estimators::new(estimators);
        let disaggregation = Disaggregation::of(&config);
        if disaggregation.is_some() {
            let per_token = config
                .pools
                .iter()
                .map(|pool| config.transfer.us_per_byte() * pool.kv_bytes_per_token);
            let base_us = config.transfer.base_latency_us;
            estimators = estimators.with_transfers(per_token.collect(), base_us);
        }
        let mut front = FrontEnd::new(
            &config.front,
            config.seed,
            config.pools.iter().any(exact_model_tags),
            policies,
            estimators,
        );
        let members = Membership::of(&config);
        if let Some(members) = &members {
            front.set_members(members.now());
        }
        let nobody = members.as_ref().is_some_and(Membership::lack_somebody);
        let limits = config
            .pools
            .iter()
            .flat_map(|pool| std::iter::repeat_n(pool.queue_limits, pool.instances as usize));
        let servers = Servers::new(limits.collect());
        let lifecycle_events = interests.has(Interests::LIFECYCLE);
        let heard = lifecycle_events || interests.has(Interests::TOKENS);
        let ticks = FrontEndHook::ALL.into_iter();
        let ticks = ticks
            .map(|hook| (front.tick_us(hook), hook))
            .filter(|(us, _)| *us > 0)
            .map(|(us, hook)| (us.max(LEAST_TICK_US), us.max(LEAST_TICK_US), hook))
            .collect();
        let at_step_ends = source.idle_step_us().is_some();
        let unheard = !heard && !config.lockstep && !source.has_follow_ups() && !at_step_ends;
        let independent = unheard && disaggregation.is_none();
        let runs_ahead = unheard && disaggregation.is_some();
        let mut sends = vec![false; backends.instances.len()];
        if disaggregation.is_some() {
            for i in config.who(Role::prefills) {
                sends[i as usize] = true;
            }
        }
        Ok(Self {
            upcoming: source.next_request(),
            source,
            adapter_streams: Some(AdapterStreams::default()),
            due: EventQueue::default(),
            clock: 0,
            next_event: NextEvents::new(backends.instances.len()),
            concerning: NextEvents::new(backends.instances.len()),
            sends,
            runs_ahead,
            backends,
            front,
            gateway: Gateway::of(&config),
            disaggregation,
            membership: members,
            lifecycle: Lifecycle::of(&config, nobody).map(Box::new),
            servers,
            pool_names: names,
            lifecycle_events,
            ticks,
            independent,
            idle_step_ends_us: if at_step_ends { 0 } else { NEVER },
            steps_ended: false,
            arrived: 0,
            records: Vec::new(),
            finished: 0,
            reports: Vec::new(),
            end: None,
            config,
        })
    }

    /// The same where KV blocks are shared whatever their adapter, as in the reference simulator.
    #[must_use]
    pub fn sharing_across_adapters(self) -> Self {
        Self {
            adapter_streams: None,
            ..self
        }
    }

    /// Runs until nothing is left to do or the horizon is reached, and keeps every request's
    /// record.
    #[must_use]
    pub fn run(self, progress: &mut dyn FnMut(Progress)) -> RunRecord {
        let mut requests = Vec::new();
        let mut record = self.run_into(&mut requests, progress);
        requests.sort_unstable_by_key(|r| r.serial);
        record.requests = requests;
        record
    }

    /// Runs as [`run`](Self::run) does, but hands every request's record to `recorder`.
    #[must_use]
    pub fn run_into(
        mut self,
        recorder: &mut dyn Recorder,
        progress: &mut dyn FnMut(Progress),
    ) -> RunRecord {
        let mut events = 0u64;
        while self.advance() {
            self.hand_over(recorder);
            events += 1;
            if events.is_multiple_of(PROGRESS_EVERY) {
                progress(self.progress());
            }
        }
        progress(self.progress());
        self.finish(recorder)
    }

    fn hand_over(&mut self, recorder: &mut dyn Recorder) {
        self.finished += self.records.len() as u64;
        for mut request in self.records.drain(..) {
            if let Some(gateway) = &mut self.gateway {
                gateway.complete(&mut request);
            }
            if let Some(life) = &mut self.lifecycle {
                request.retries = life.retries.remove(&request.serial).unwrap_or(0);
                life.returned.remove(&request.serial);
            }
            recorder.record(request, self.source.symbols());
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            clock_us: self.clock,
            arrived: self.arrived,
            finished: self.finished,
        }
    }

    /// Tells the front-end policies; `numbers` are output tokens, TTFT and E2E latency.
    fn tell(&mut self, kind: EventKind, view: &RequestView, instance: u32, numbers: [i64; 3]) {
        self.tell_end(kind, End::Completed, view, instance, numbers);
    }

    fn tell_end(
        &mut self,
        kind: EventKind,
        outcome: End,
        view: &RequestView,
        instance: u32,
        numbers: [i64; 3],
    ) {
        let token_event = matches!(kind, EventKind::FirstToken | EventKind::Preempt);
        if !token_event && !self.lifecycle_events {
            return;
        }
        self.front.tell(&Event {
            now_us: self.clock,
            serial: view.serial,
            ttft_us: numbers[1],
            e2e_us: numbers[2],
            kind: kind as u32,
            outcome: outcome as u32,
            instance,
            tenant: view.tenant,
            session: view.session,
            prompt_tokens: view.prompt_tokens,
            output_tokens: numbers[0] as u32,
            slo_class: view.slo_class,
        });
    }

    fn after_instance(&mut self, i: usize) {
        self.reschedule(i);
        let mut reports = std::mem::take(&mut self.reports);
        for report in reports.drain(..) {
            match report {
                InstanceEvent::Finished(departure) => self.finished(i, *departure),
                InstanceEvent::WantsKv {
                    serial,
                    slot,
                    tokens,
                } => self.fetch_kv(i, serial, slot, tokens),
                InstanceEvent::FirstToken { view, ttft_us } => {
                    self.servers.prefilled(i, view.serial);
                    self.tell(EventKind::FirstToken, &view, i as u32, [1, ttft_us, 0]);
                }
                // Instances of a run report none.
                InstanceEvent::Tokens { .. } => {}
                InstanceEvent::Preempted {
                    view,
                    output_tokens,
                } => {
                    self.tell(
                        EventKind::Preempt,
                        &view,
                        i as u32,
                        [output_tokens.into(), 0, 0],
                    );
                }
                InstanceEvent::Kv(event) => self.backends.kv_events.push(event),
                InstanceEvent::Fault(what) => self.front.fault(what),
            }
        }
        self.reports = reports;
        if self.lifecycle.is_some() {
            self.retire();
        }
        self.gateway_hears();
    }

    fn finished(&mut self, i: usize, departure: FinishedRequest) {
        if let Some(life) = &mut self.lifecycle {
            life.left(i, departure.at_us);
        }
        match departure.part {
            Part::Whole => self.depart(i, departure),
            Part::Prefill => self.prefill_ended(i, departure),
            Part::Decode(_) => self.decode_ended(i, departure),
        }
    }

    fn depart(&mut self, i: usize, departure: FinishedRequest) {
        self.front.departed(i, &departure.request);
        self.backends.departed(i, &departure.request);
        self.servers.prefilled(i, departure.view.serial);
        self.end(i, departure);
    }

    /// A request ends with what instance `i` did of it.
    fn end(&mut self, i: usize, departure: FinishedRequest) {
        let FinishedRequest {
            request,
            view,
            record,
            reason,
            seen_us,
            output_tokens,
            processed_tokens,
            ..
        } = departure;
        if self.lifecycle_events {
            let outcome = match reason {
                FinishReason::Completed => End::Completed,
                FinishReason::TimedOut => End::TimedOut,
                FinishReason::Dropped => End::Dropped,
            };
            let numbers = [
                i64::from(output_tokens),
                record.ttft_us.unwrap_or(0),
                record.e2e_us.unwrap_or(0),
            ];
            self.tell_end(EventKind::Complete, outcome, &view, i as u32, numbers);
        }
        let record = RequestRecord {
            pool: self.backends.pool(i),
            ..record
        };
        if let Some(split) = &mut self.disaggregation {
            split.saw(&record);
        }
        if self.lifecycle.is_some() {
            self.counts_end(i, &record);
        }
        if let Some(gateway) = &mut self.gateway {
            gateway.departed(record.serial);
        }
        let evicted = record.outcome == Outcome::Evicted;
        self.records.push(record);
        if evicted {
            // Its client does not go on.
            self.evicted(&request);
            return;
        }
        let made = match &self.adapter_streams {
            Some(streams) if !request.adapter.is_none() => Cow::Owned(streams.original(&request)),
            _ => Cow::Borrowed(&request),
        };
        let finished = Finished {
            request: &made,
            reason,
            at_us: seen_us,
            generated_tokens: processed_tokens,
        };
        if let Some(follow_up) = self.source.on_finished(&finished) {
            let at = follow_up.arrival_us.max(self.clock);
            let view = RequestView::default();
            self.push(
                at,
                Stage::Arrival,
                Box::new(Pending {
                    request: follow_up,
                    view,
                }),
            );
        }
    }

    /// Ends the run here and hands over its results.
    #[must_use]
    pub fn finish(mut self, recorder: &mut dyn Recorder) -> RunRecord {
        let held = self.close_gateway();
        self.close_lifecycle();
        let instances = self.close(recorder);
        let (transfers, sub_requests) = match self.disaggregation.take() {
            Some(split) => {
                let (totals, parts) = split.finish(&mut self.records);
                self.hand_over(recorder);
                (Some(totals), parts)
            }
            None => (None, Vec::new()),
        };
        let gateway = self.gateway.take().map(|gateway| gateway.totals(held));
        let ended = instances.iter().map(|totals| totals.ended_us).max();
        let ended_us = self.clock.max(ended.unwrap_or(0));
        self.retire_until(NEVER);
        let scaling = self.lifecycle.take().map(|life| life.record(ended_us));
        if self.finished != self.arrived {
            self.front.fault(RunFault::Invariant(format!(
                "{} requests arrived, but {} have records",
                self.arrived, self.finished
            )));
        }
        let FrontEndRecord {
            rejected_by_admission,
            rejected_by_routing,
            shed_by_class,
            put_off,
            decisions,
            observations,
            fault,
        } = self.front.into_record();
        let pools = self.config.pools.into_iter().zip(self.pool_names);
        let pools = pools.map(|(pool, name)| PoolRecord {
            name,
            role: pool.role,
            instances: pool.instances,
            ranks: pool.ranks.count,
            gpu: pool.gpu,
            gpus_per_instance: pool.gpus_per_instance,
        });
        RunRecord {
            requests: Vec::new(),
            pools: pools.collect(),
            instances,
            rejected_by_admission,
            rejected_by_routing,
            shed_by_class,
            put_off,
            gateway,
            scaling,
            decisions,
            observations,
            kv_events: self.backends.take_kv_events(),
            transfers,
            sub_requests,
            fault,
            symbols: self.source.symbols().clone(),
        }
    }
}
