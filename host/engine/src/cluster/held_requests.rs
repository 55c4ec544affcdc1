//! The way of a request through the gateway: it is held while the instances are saturated, goes on
//! to the router when its turn comes, or is turned away.

use super::engines::Engines;
use super::gateway::{Due, Known, Target};
use super::{Cluster, Stage};
use crate::frontend::{AtGateway, Enqueued, Held, Pending};
use crate::instance::NEVER;
use windtunnel_base::record::{GatewayTimes, Outcome, RequestRecord, State};
use windtunnel_base::request::Request;

impl Cluster<'_> {
    /// A request was admitted: it comes to the gateway, if there is one. Gives it back if not.
    pub(super) fn hold(&mut self, pending: Box<Pending>) -> Option<Box<Pending>> {
        let Some(gateway) = &mut self.gateway else {
            return Some(pending);
        };
        let (now, serial) = (self.clock, pending.view.serial);
        let symbols = self.source.symbols();
        let id = pending.request.id.clone();
        let known = Known {
            times: GatewayTimes {
                enqueued_us: now,
                dispatched_us: None,
            },
            on_the_way: false,
        };
        let due_us = gateway.due_us(&pending.request, symbols, now);
        let limits = [gateway.config.max_depth, gateway.config.per_band];
        let shedding = gateway.config.shedding;
        let outcome = gateway
            .queue
            .enqueue(pending, now, due_us, limits, shedding, symbols);
        let (place, gone) = match outcome {
            Enqueued::Full(pending) => {
                gateway.count(&pending.request, symbols, |c| c.rejected += 1);
                self.front
                    .trace_admitted(now, &id, "flow-control-queue-rejected");
                self.refuse(&pending, u32::MAX, Outcome::GatewayFull);
                return None;
            }
            Enqueued::At(place) => (place, None),
            Enqueued::InPlaceOf(place, gone) => (place, Some(gone)),
        };
        self.front.trace_admitted(now, &id, "flow-control-enqueued");
        gateway.known.insert(serial, known);
        let ttl_us = gateway.config.ttl_us;
        if ttl_us > 0 {
            let at = now.saturating_add(ttl_us);
            gateway.due.push((at, Due::Expire), Target::Held(place));
        }
        if let Some(gone) = gone {
            gateway.count(&gone.pending.request, symbols, |c| c.shed += 1);
            self.refuse(&gone.pending, u32::MAX, Outcome::Shed);
        }
        self.dispatch(true);
        None
    }

    /// Lets go of what may go now; while more is held, a tick is due. `evicts`: takes a request
    /// back from an instance if it must.
    fn dispatch(&mut self, evicts: bool) {
        self.look(true);
        self.let_all_go(evicts);
        self.look(false);
    }

    fn look(&mut self, looks: bool) {
        if let Some(gateway) = &mut self.gateway {
            (gateway.looks, gateway.departures) = (looks, false);
        }
    }

    fn let_all_go(&mut self, evicts: bool) {
        let now = self.clock;
        loop {
            let Some(gateway) = self.gateway.as_mut().filter(|g| !g.queue.is_empty()) else {
                return;
            };
            if !gateway.ticks && !gateway.stuck {
                gateway.ticks = true;
                let at = now.saturating_add(gateway.config.tick_us);
                gateway.due.push((at, Due::Tick), Target::None);
            }
            let one = gateway.waits_for_ticks;
            if !one || self.front.gateway_looks(now) {
                self.advance_all(now);
            }
            let Some(gateway) = &mut self.gateway else {
                return;
            };
            // Under the reference's rules only those count that an instance has.
            let on_the_way = if one { 0 } else { gateway.on_the_way };
            let detector = gateway.config.detector;
            let backends = &mut self.backends;
            let saturation = self.front.saturation(now, detector, on_the_way, backends);
            let taken_back = gateway.config.evicts
                && evicts
                && saturation >= 1.0
                && gateway.queue.holds_important();
            if taken_back && let Some((serial, instance)) = gateway.victims.pop() {
                let target = Target::Sent { serial, instance };
                gateway.due.push((now, Due::Evict), target);
                return;
            }
            let asked = AtGateway {
                queue: &gateway.queue,
                saturation,
                usage_limit: gateway.config.usage_limit,
                on_the_way: gateway.on_the_way,
            };
            let chosen = self.front.next_held(now, asked, backends);
            let Some(held) = chosen.and_then(|place| gateway.queue.take(&place)) else {
                return;
            };
            gateway.quiet = None;
            self.let_go(held);
            if one {
                return;
            }
        }
    }

    /// A held request goes on to the router.
    fn let_go(&mut self, held: Held) {
        let Held { mut pending, .. } = held;
        pending.view.attempts = 0;
        if let Some(gateway) = &mut self.gateway
            && let Some(known) = gateway.known.get_mut(&pending.view.serial)
        {
            known.times.dispatched_us = Some(self.clock);
            known.on_the_way = true;
            gateway.on_the_way += 1;
        }
        let at = self.clock;
        let at = at.saturating_add(self.config.front.routing_latency_us);
        self.push(at, Stage::Routing, pending);
    }

    /// A request that one instance serves whole is on its way to instance `i`.
    pub(super) fn gateway_sends(&mut self, i: usize, serial: u64, priority: i32) {
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        gateway.arrived(serial);
        let dispatched = gateway.known.get(&serial);
        let dispatched = dispatched.and_then(|known| known.times.dispatched_us);
        if let (true, Some(at)) = (gateway.config.evicts && priority < 0, dispatched) {
            gateway.victims.add(serial, priority, at, i as u32);
        }
    }

    /// A request has come to an instance, which does only a part of it.
    pub(super) fn gateway_splits(&mut self, serial: u64) {
        if let Some(gateway) = &mut self.gateway {
            gateway.arrived(serial);
        }
    }

    /// Requests have left instances, at the clock: others may go.
    pub(super) fn gateway_hears(&mut self) {
        let heard = self.gateway.as_ref();
        if heard.is_some_and(|g| g.departures && g.listens() && !g.looks) {
            self.dispatch(false);
        }
    }

    /// Runs what the gateway does next.
    pub(super) fn run_gateway(&mut self) {
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        let Some(((_, due), target)) = gateway.due.pop() else {
            return;
        };
        match (due, target) {
            (Due::Expire, Target::Held(place)) => {
                if let Some(held) = gateway.queue.take(&place) {
                    let request = &held.pending.request;
                    gateway.count(request, self.source.symbols(), |c| c.expired += 1);
                    self.refuse(&held.pending, u32::MAX, Outcome::Expired);
                }
            }
            (Due::Evict, Target::Sent { serial, instance }) => {
                self.evict(serial, instance as usize);
            }
            (Due::Tick, _) => self.gateway_ticks(),
            _ => {}
        }
    }

    fn gateway_ticks(&mut self) {
        self.dispatch(true);
        let quiet = self.is_quiet();
        let now = self.clock;
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        gateway.quiet = match (quiet, gateway.quiet) {
            (false, _) => None,
            (true, None) => Some((now, 1)),
            (true, Some((since, ticks))) => Some((since, ticks + 1)),
        };
        // What was so through so many looks stays so: nothing is there that could change it.
        gateway.stuck = gateway
            .quiet
            .is_some_and(|(since, ticks)| ticks > 2 && now - since >= gateway.patience_us);
        gateway.ticks = !gateway.queue.is_empty() && !gateway.stuck;
        if gateway.ticks {
            let at = now.saturating_add(gateway.config.tick_us);
            gateway.due.push((at, Due::Tick), Target::None);
        }
    }

    /// Is nothing to happen but the ticks of the gateway, and of policies?
    fn is_quiet(&mut self) -> bool {
        let gateway = self.gateway.as_ref();
        let due = gateway.is_some_and(|g| g.due.peek().is_none());
        let resized = self.membership.as_ref().map_or(NEVER, |m| m.next_us());
        let front = self.upcoming.is_none() && self.due.peek().is_none() && resized == NEVER;
        let front = front && !self.lifecycle.as_ref().is_some_and(|life| life.awaits());
        if !(due && front && self.idle_step_ends_us == NEVER) {
            return false;
        }
        let split = self.disaggregation.as_mut();
        if split.is_some_and(|split| split.next_us() != NEVER) {
            return false;
        }
        // They may be behind, where nobody looked.
        self.advance_all(self.clock);
        self.backends.instances.iter().all(Engines::is_idle)
            && self.next_event.earliest().1 == NEVER
    }

    /// Takes a request back from instance `i`, if it still waits or runs there.
    fn evict(&mut self, serial: u64, i: usize) {
        self.advance_one(i, self.clock);
        let acting = self.backends.acting(i);
        if acting.evict(serial, self.clock, &mut self.reports) {
            self.after_instance(i);
        }
    }

    /// A request was taken back from an instance.
    pub(super) fn evicted(&mut self, request: &Request) {
        if let Some(gateway) = &mut self.gateway {
            gateway.count(request, self.source.symbols(), |c| c.evicted += 1);
        }
    }

    /// Notes what is held when the run ends.
    pub(super) fn close_gateway(&mut self) -> u64 {
        let Some(gateway) = &mut self.gateway else {
            return 0;
        };
        let mut left: Vec<_> = gateway.drain().collect();
        left.sort_unstable_by_key(|pending| pending.view.serial);
        let records = left.iter().map(|pending| {
            let serial = pending.view.serial;
            RequestRecord::unserved(serial, &pending.request, State::Queued, Outcome::Held)
        });
        self.records.extend(records);
        left.len() as u64
    }
}
