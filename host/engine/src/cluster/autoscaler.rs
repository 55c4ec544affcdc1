//! Scaling as it happens: the policy of a pool is asked, instances start and go, and requests wait
//! while there is none.

use super::lifecycle::{Due, Phase};
use super::scaling::Drain;
use super::{Cluster, Stage};
use crate::adapters::AdapterState;
use crate::frontend::{Backends, Pending};
use crate::instance::{FinishedRequest, InstanceEvent, NEVER};
use windtunnel_base::record::{Outcome, RequestRecord, State};
use windtunnel_plugin_api::{InstanceView, ScaleView};

/// A request that instances gave back so often is lost: a policy that lets them go faster than they
/// can serve anybody would have it go round for ever.
const MOST_RETURNS: u32 = 100;

impl Cluster<'_> {
    /// Does what is due of instances that come and go before or at the next event, at `next`.
    pub(super) fn lives_before(&mut self, next: i64) -> bool {
        let Some(life) = &self.lifecycle else {
            return false;
        };
        // What is due of nodes may be so since before the last look.
        let at = life.next_us().max(self.clock);
        if at == NEVER || at > next || at > self.config.horizon_us {
            return false;
        }
        self.advance_all(at);
        if next == NEVER && !self.goes_on(at) {
            return false;
        }
        self.clock = at;
        self.retire();
        let due = self.lifecycle.as_mut().and_then(|life| life.due.pop());
        match due {
            Some(((_, Due::NodeReady { node }), ())) => {
                if let Some(life) = &mut self.lifecycle {
                    life.node_is_ready(node, at);
                }
            }
            Some(((_, Due::NodeIdle { node, since_us }), ())) => {
                if let Some(life) = &mut self.lifecycle {
                    life.node_is_idle(node, since_us);
                }
                // Who waits goes where there is room when something else is due: that a node is
                // idle is seen sooner or later.
                return true;
            }
            Some(((_, Due::Ready { instance, start }), ())) => self.has_started(instance, start),
            Some(((_, Due::Noticed { instance }), ())) => self.notice(instance),
            Some(((_, Due::Recovered { instance, slow }), ())) => {
                let life = self.lifecycle.as_ref();
                if life.is_some_and(|life| life.recovers(instance, slow)) {
                    self.backends.slow(instance as usize, 1.0);
                }
            }
            Some(((_, Due::Event { event }), ())) => self.happens(event),
            Some(((_, Due::Look), ())) => self.roll(),
            Some(((_, Due::Tick { pool }), ())) => self.scale(pool),
            None => {}
        }
        if let Some(life) = &mut self.lifecycle {
            life.settle(at);
        }
        true
    }

    /// Is anything to happen but what is due of instances, all of which have come to `at`?
    fn goes_on(&mut self, at: i64) -> bool {
        let Some(life) = &mut self.lifecycle else {
            return false;
        };
        if self.next_event.earliest().1 != NEVER {
            life.goes_on();
            return true;
        }
        !life.waiting.is_empty() && life.may_help(at)
    }

    /// Asks the policy of pool `k` how many instances it should have, and sees to that.
    fn scale(&mut self, k: usize) {
        let now = self.clock;
        let Some(scaling) = self.config.scaling.of(k).copied() else {
            return;
        };
        let Some((view, views, ready)) = self.view_of_pool(k) else {
            return;
        };
        let answer = self
            .front
            .replicas(k, now, &view, &views, &ready, &self.backends);
        let Some(wanted) = answer else {
            return;
        };
        let wanted = wanted.clamp(view.min, view.max);
        let there = view.ready + view.loading;
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        life.due.push(
            (
                now.saturating_add(scaling.interval_us),
                Due::Tick { pool: k },
            ),
            (),
        );
        let totals = &mut life.pools[k].totals;
        totals.ups += u64::from(wanted > there);
        totals.downs += u64::from(wanted < there);
        if wanted > there {
            self.start(k, wanted - there);
        } else if wanted < there {
            self.stop(k, there - wanted);
        }
    }

    /// What the policy of pool `k` sees: of the pool, of its instances, and their numbers.
    fn view_of_pool(&mut self, k: usize) -> Option<(ScaleView, Vec<InstanceView>, Vec<u32>)> {
        let now = self.clock;
        let scaling = self.config.scaling.of(k)?;
        let pool = &self.config.pools[k];
        let life = self.lifecycle.as_mut()?;
        let ready: Vec<u32> = life.all(k, Phase::Ready).collect();
        let count = |phase| life.all(k, phase).count() as u32;
        // Those that wait for a node are on their way, too: nobody should ask for them again.
        let loading = count(Phase::Pending) + count(Phase::Loading);
        let draining = count(Phase::Draining);
        let held = self.gateway.as_ref().map_or(0, |gateway| gateway.held());
        let engine = &pool.engine;
        let [slo_ttft_us, slo_itl_us, slo_e2e_us] = self.config.scaling.targets_us;
        let mut view = ScaleView {
            held: held + life.waiting.len() as u64,
            kv_capacity_tokens: engine
                .total_kv_blocks
                .saturating_mul(engine.block_size.into()),
            interval_us: scaling.interval_us,
            startup_us: scaling.startup.mean_us as i64,
            slo_ttft_us,
            slo_itl_us,
            slo_e2e_us,
            cost_per_hour: scaling.gpu_usd_per_hour * f64::from(pool.gpus_per_instance),
            ready: ready.len() as u32,
            loading,
            draining,
            min: scaling.min,
            max: pool.instances,
            index: k as u32,
            pool: self.pool_names[k].0,
            role: pool.role.number(),
            gpus: pool.gpus_per_instance,
            max_batch_size: engine.max_num_seqs,
            ..ScaleView::default()
        };
        let arrived = life.arrived;
        let scaled = &mut life.pools[k];
        let seen = std::mem::replace(&mut scaled.seen, arrived);
        view.arrived = arrived.0 - seen.0;
        view.arrived_prompt_tokens = arrived.1 - seen.1;
        scaled.interval.take(&mut view);
        let mut views = Vec::with_capacity(ready.len());
        let mut adapters = Vec::new();
        for &i in &ready {
            let i = i as usize;
            let mut instance = self.backends.describe(i);
            self.backends.observe(i, now, true, &mut instance);
            adapters.clear();
            self.backends.adapters(i, &mut adapters);
            AdapterState::count(&adapters, &mut instance);
            let (in_flight, tokens) = self.front.outstanding(i);
            instance.in_flight = in_flight as u32;
            instance.dispatched_tokens = tokens;
            view.queued += u64::from(instance.queue_depth);
            view.running += u64::from(instance.batch_size);
            view.in_flight += in_flight;
            view.kv_utilization_mean += instance.kv_utilization;
            view.kv_utilization_max = view.kv_utilization_max.max(instance.kv_utilization);
            views.push(instance);
        }
        if !views.is_empty() {
            view.kv_utilization_mean /= views.len() as f64;
        }
        Some((view, views, ready))
    }

    /// Starts up to `n` instances of pool `k`: as many as it has places for.
    fn start(&mut self, k: usize, n: u32) {
        let (now, seed) = (self.clock, self.config.seed);
        let (Some(scaling), Some(life)) = (self.config.scaling.of(k), &mut self.lifecycle) else {
            return;
        };
        let places: Vec<u32> = life.all(k, Phase::Absent).take(n as usize).collect();
        for i in places {
            life.start(i, now, |start| scaling.startup.draw(seed, k, start));
        }
    }

    /// `n` instances of pool `k` go: those that are being started first, then those that came last.
    fn stop(&mut self, k: usize, n: u32) {
        let now = self.clock;
        let (Some(scaling), Some(life)) = (self.config.scaling.of(k), &mut self.lifecycle) else {
            return;
        };
        let drain = scaling.drain;
        let mut go = life.youngest(k, Phase::Pending);
        go.extend(life.youngest(k, Phase::Loading));
        go.extend(life.youngest(k, Phase::Ready));
        go.truncate(n as usize);
        life.pools[k].totals.stopped += go.len() as u64;
        let mut ready = Vec::new();
        for i in go {
            match life.phase(i) {
                Phase::Pending | Phase::Loading => life.set(i, Phase::Absent, now),
                _ => {
                    life.set(i, Phase::Draining, now);
                    ready.push(i);
                }
            }
        }
        self.update_members(k);
        for i in ready {
            match drain {
                Drain::Wait => {}
                Drain::Redirect => self.take_back(i as usize, false),
                Drain::Immediate => self.take_back(i as usize, true),
            }
        }
        self.retire();
    }

    /// An instance has started, unless its start was called off.
    fn has_started(&mut self, i: u32, start: u32) {
        let now = self.clock;
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        if !life.has_started(i, start) {
            return;
        }
        life.noticed(i);
        if life.replaces(i) {
            self.renew(i as usize);
        }
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        life.set(i, Phase::Ready, now);
        life.goes_on();
        let k = life.pool_of(i);
        self.update_members(k);
        self.release();
    }

    /// The place of an instance is empty: whoever comes there has an empty cache, and nothing was
    /// sent there.
    fn renew(&mut self, i: usize) {
        self.backends.renew(i);
        self.backends.unreachable(i, false);
        self.front.replaced(i, &self.backends);
        self.reschedule(i);
    }

    /// Tells the front end which instances of pool `k` take requests.
    pub(super) fn update_members(&mut self, k: usize) {
        let (Some(life), Some(members)) = (&mut self.lifecycle, &mut self.membership) else {
            return;
        };
        members.set(k, life.shown(k));
        life.nobody = members.lack_somebody();
        self.front.set_members(members.now());
    }

    /// Requests that waited for an instance go on to the router.
    fn release(&mut self) {
        let Some(life) = self.lifecycle.as_mut().filter(|life| !life.nobody) else {
            return;
        };
        for pending in std::mem::take(&mut life.waiting) {
            self.push(self.clock, Stage::Routing, pending);
        }
    }

    /// Keeps a request that is to be routed while no instance takes any; gives it back if one
    /// does.
    pub(super) fn wait_for_instance(&mut self, pending: Box<Pending>) -> Option<Box<Pending>> {
        match &mut self.lifecycle {
            Some(life) if life.nobody => {
                life.hold(pending);
                None
            }
            _ => Some(pending),
        }
    }

    /// Instances that finish what they have go when they are done, by the clock.
    pub(super) fn retire(&mut self) {
        self.retire_until(self.clock);
    }

    /// Those that are done by `now` go.
    pub(super) fn retire_until(&mut self, now: i64) {
        let Some(life) = self.lifecycle.as_mut().filter(|life| life.drains()) else {
            return;
        };
        let split = self.disaggregation.as_ref();
        let busy = |i: &u32| {
            let i = *i as usize;
            let (caches, _) = self.backends.instances[i].kept_kv();
            let part = |d: &super::Disaggregation| d.concerns(i);
            self.front.outstanding(i).0 > 0 || caches > 0 || split.is_some_and(part)
        };
        let done: Vec<u32> = life
            .draining()
            .iter()
            .copied()
            .filter(|i| !busy(i))
            .collect();
        for i in done {
            // What left it may be on its way for a while.
            let at_us = life.done_us(i);
            if at_us <= now {
                life.set(i, Phase::Absent, at_us);
            }
        }
    }

    /// Takes the requests back that wait on instance `i`, or all of them, and sends them to the
    /// router again. An instance that loses all of them is not there any more.
    fn take_back(&mut self, i: usize, all: bool) {
        for departure in self.given_back(i, all, Outcome::Evicted) {
            self.send_again(i, departure);
        }
        if all {
            self.renew(i);
        }
        self.reschedule(i);
    }

    /// The requests that instance `i` gives back: those that wait there, or all. `outcome` is that
    /// of those that are not sent again.
    pub(super) fn given_back(
        &mut self,
        i: usize,
        all: bool,
        outcome: Outcome,
    ) -> Vec<FinishedRequest> {
        let mut reports = Vec::new();
        let acting = self.backends.acting(i).only();
        acting.give_back(all, outcome, self.clock, &mut reports);
        let mut left = Vec::new();
        for report in reports {
            match report {
                InstanceEvent::Finished(departure) => left.push(*departure),
                InstanceEvent::Kv(event) => self.backends.kv_events.push(event),
                InstanceEvent::Fault(what) => self.front.fault(what),
                InstanceEvent::WantsKv { .. }
                | InstanceEvent::FirstToken { .. }
                | InstanceEvent::Tokens { .. }
                | InstanceEvent::Preempted { .. } => {}
            }
        }
        left
    }

    /// A request is on instance `i` no more.
    pub(super) fn leaves(&mut self, i: usize, departure: &FinishedRequest) {
        let serial = departure.view.serial;
        self.front.departed(i, &departure.request);
        self.backends.departed(i, &departure.request);
        self.servers.prefilled(i, serial);
        if let Some(gateway) = &mut self.gateway {
            gateway.departed(serial);
        }
        if let Some(life) = &mut self.lifecycle {
            life.left(i, self.clock);
        }
    }

    /// Routers learn that instance `i` is not there any more.
    fn notice(&mut self, i: u32) {
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        life.noticed(i);
        let k = life.pool_of(i);
        self.update_members(k);
    }

    fn send_again(&mut self, i: usize, departure: FinishedRequest) {
        let (now, routing_us) = (self.clock, self.config.front.routing_latency_us);
        self.leaves(i, &departure);
        if let Some(life) = &mut self.lifecycle {
            life.taken_back += 1;
            let times = life.returned.entry(departure.view.serial).or_default();
            *times += 1;
            if *times > MOST_RETURNS {
                life.lost += 1;
                let record = RequestRecord {
                    state: State::Queued,
                    outcome: Outcome::Failed,
                    ..departure.record
                };
                return self.end(
                    i,
                    FinishedRequest {
                        record,
                        ..departure
                    },
                );
            }
        }
        let FinishedRequest {
            request, mut view, ..
        } = departure;
        view.attempts = 0;
        let at = now.saturating_add(routing_us);
        self.push(at, Stage::Routing, Box::new(Pending { request, view }));
    }

    /// Notes an arrival.
    pub(super) fn counts_arrival(&mut self, prompt_tokens: u32) {
        if let Some(life) = &mut self.lifecycle {
            life.arrived.0 += 1;
            life.arrived.1 += u64::from(prompt_tokens);
        }
    }

    /// Notes the end of a request on instance `i`, for the pools that had a part in it.
    pub(super) fn counts_end(&mut self, i: usize, record: &RequestRecord) {
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        let own = life.pool_of(i as u32);
        let split = record.split.as_deref();
        let prefill = split.and_then(|split| split.prefill_instance);
        let other = prefill.map(|i| life.pool_of(i)).filter(|k| *k != own);
        for k in [Some(own), other].into_iter().flatten() {
            life.pools[k].interval.ended(record);
        }
    }

    /// Notes the requests that still wait when the run ends.
    pub(super) fn close_lifecycle(&mut self) {
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        let waiting = std::mem::take(&mut life.waiting);
        life.left_waiting = waiting.len() as u64;
        self.records.extend(waiting.iter().map(|pending| {
            let serial = pending.view.serial;
            RequestRecord::unserved(serial, &pending.request, State::Queued, Outcome::Held)
        }));
    }
}
