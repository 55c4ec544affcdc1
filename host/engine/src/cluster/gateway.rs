//! The gateway before the router: what it holds and knows of requests, and what it does next.

use super::config::ClusterConfig;
use super::lifecycle;
use crate::frontend::{FlowControl, GatewayQueue, HeldAt, Pending, Victims};
use crate::instance::NEVER;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use windtunnel_base::event_queue::EventQueue;
use windtunnel_base::record::{GatewayTimes, GatewayTotals, RequestRecord, TurnedAway};
use windtunnel_base::request::{Request, Symbols};

/// While nothing but its ticks happens, the gateway looks again for so long at least, microseconds,
/// and for two scrapes. What it says after that it says for ever.
const PATIENCE_US: i64 = 10_000_000;

/// What the gateway does next, in this order at equal times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Evict,
    Expire,
    Tick,
}

/// What it does that to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    None,
    Held(HeldAt),
    Sent { serial: u64, instance: u32 },
}

/// A request that came to the gateway and is not done with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) times: GatewayTimes,
    /// It left the gateway and is at no instance yet.
    pub(super) on_the_way: bool,
}

/// A gateway.
pub(super) struct Gateway {
    pub(super) config: FlowControl,
    pub(super) queue: GatewayQueue,
    pub(super) due: EventQueue<(i64, Due), Target>,
    pub(super) ticks: bool,
    pub(super) known: FxHashMap<u64, Known>,
    pub(super) on_the_way: u32,
    pub(super) victims: Victims,
    all: TurnedAway,
    by_class: BTreeMap<String, TurnedAway>,
    /// One request goes at a time, and none when another one leaves.
    pub(super) waits_for_ticks: bool,
    /// A request left an instance since it looked last.
    pub(super) departures: bool,
    /// It is about to look: instances that are brought up to date need not say so.
    pub(super) looks: bool,
    pub(super) patience_us: i64,
    /// Since when nothing but ticks happens, and how many.
    pub(super) quiet: Option<(i64, u32)>,
    pub(super) stuck: bool,
}

impl Gateway {
    /// The gateway of this front end, if there is one.
    pub(super) fn of(cluster: &ClusterConfig) -> Option<Self> {
        let (front, rules) = (&cluster.front, &cluster.pools[0].engine.rules);
        let config = front.flow_control.clone()?;
        let looks_us = front.snapshot_refresh_us.saturating_mul(2);
        let patience_us = match cluster.scaling.is_on() {
            // Instances may come of what a policy sees held.
            true => PATIENCE_US.max(lifecycle::patience_us(cluster)),
            false => PATIENCE_US,
        }
        .max(looks_us);
        Some(Self {
            config,
            queue: GatewayQueue::default(),
            due: EventQueue::default(),
            ticks: false,
            known: FxHashMap::default(),
            on_the_way: 0,
            victims: Victims::default(),
            all: TurnedAway::default(),
            by_class: BTreeMap::new(),
            waits_for_ticks: rules.gateway_waits_for_ticks,
            departures: false,
            looks: false,
            patience_us,
            quiet: None,
            stuck: false,
        })
    }

    /// When it does something next, [`NEVER`] if nothing is due.
    pub(super) fn next_us(&self) -> i64 {
        self.due.peek().map_or(NEVER, |(at_us, _)| *at_us)
    }

    /// Requests that it holds.
    pub(super) fn held(&self) -> u64 {
        self.queue.len()
    }

    /// Does it want to know at once when a request leaves an instance?
    pub(super) fn listens(&self) -> bool {
        !self.waits_for_ticks && !self.queue.is_empty()
    }

    /// Counts a request as turned away.
    pub(super) fn count(&mut self, request: &Request, symbols: &Symbols, add: fn(&mut TurnedAway)) {
        let class = match symbols.name(request.slo_class) {
            "" => "standard",
            class => class,
        };
        add(&mut self.all);
        match self.by_class.get_mut(class) {
            Some(counters) => add(counters),
            None => {
                let mut counters = TurnedAway::default();
                add(&mut counters);
                self.by_class.insert(class.to_owned(), counters);
            }
        }
    }

    /// When a request that comes at `now` is to go on at the latest; 0 = whenever.
    pub(super) fn due_us(&self, request: &Request, symbols: &Symbols, now: i64) -> i64 {
        let own = Some(request.slo_ttft_us).filter(|us| *us > 0);
        let class = symbols.name(request.slo_class);
        let of_class = || {
            let mut targets = self.config.class_targets.iter();
            targets.find(|(name, _)| name == class).map(|(_, us)| *us)
        };
        let target = own.or_else(of_class);
        target.map_or(0, |us| now.saturating_add(us))
    }

    /// A request has come to an instance, or will not.
    pub(super) fn arrived(&mut self, serial: u64) {
        if let Some(known) = self.known.get_mut(&serial)
            && std::mem::take(&mut known.on_the_way)
        {
            self.on_the_way -= 1;
        }
    }

    /// A request is done with: its record gets its times.
    pub(super) fn complete(&mut self, record: &mut RequestRecord) {
        self.arrived(record.serial);
        if let Some(known) = self.known.remove(&record.serial) {
            record.gateway = Some(Box::new(known.times));
        }
    }

    /// A request left an instance.
    pub(super) fn departed(&mut self, serial: u64) {
        self.victims.remove(serial);
        self.departures = true;
    }

    /// Takes out all that it holds.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Box<Pending>> {
        self.queue.drain().map(|held| held.pending)
    }

    /// What it leaves behind, of which `held` requests were there at the end.
    pub(super) fn totals(self, held: u64) -> GatewayTotals {
        GatewayTotals {
            all: self.all,
            by_class: self.by_class.into_iter().collect(),
            held,
            most_held: self.queue.most(),
            stuck: self.stuck,
        }
    }
}
