//! Instances that are started and go: which phase each is in, what is due, and what it all took.
//!
//! All instances that a pool may ever have exist from the start. One that went may come again; it
//! is another one then, with an empty cache.

use super::config::ClusterConfig;
use super::events::Happening;
use super::interval::Interval;
use super::nodes::{NodeDue, Nodes};
use crate::frontend::Pending;
use crate::instance::NEVER;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use windtunnel_base::event_queue::EventQueue;
use windtunnel_base::record::{PoolCounts, PoolScaling, ScalingRecord};

/// While nothing but its ticks happens, a scaling policy is asked for so long at most,
/// microseconds, and so often: by then no window of what it remembers is open.
const PATIENCE_US: i64 = 3_600_000_000;
const PATIENCE_TICKS: i64 = 2_000;

/// How long that is in a cluster, microseconds; instances that are being started have their time
/// besides.
pub(super) fn patience_us(config: &ClusterConfig) -> i64 {
    let scaled = || config.scaling.pools.iter().flatten();
    let longest = scaled().map(|scaling| scaling.interval_us).max();
    let ticks = longest.map(|us| us.saturating_mul(PATIENCE_TICKS));
    let patience = ticks.map_or(PATIENCE_US, |us| us.min(PATIENCE_US));
    let startups = scaled().map(|scaling| scaling.startup.longest_us());
    let nodes = config.scaling.nodes.iter();
    let node_us = nodes.map(|pool| pool.provisioning.longest_us()).max();
    let events = config.events.all.iter().map(|event| match event.what {
        Happening::Fail { restart_us } => restart_us.unwrap_or(0),
        Happening::Slow { .. } => 0,
        Happening::Roll { startup_us, .. } => startup_us,
    });
    let longest = startups.chain(events).max().unwrap_or(0);
    patience
        .saturating_add(longest)
        .saturating_add(node_us.unwrap_or(0))
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is not there.
    Absent,
    /// It waits for a node with room.
    Pending,
    /// It is being started.
    Loading,
    /// It takes requests.
    Ready,
    /// It finishes what it has.
    Draining,
}

/// What is due, in this order at equal times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A node is there.
    NodeReady {
        /// Its number.
        node: u32,
    },
    /// A node has had no instance for a while.
    NodeIdle {
        /// Its number.
        node: u32,
        /// Since when, microseconds: since then others may have come.
        since_us: i64,
    },
    /// An instance has started.
    Ready {
        /// Its number.
        instance: u32,
        /// Its start, counted from 1: others were called off.
        start: u32,
    },
    /// Routers learn that an instance is not there any more.
    Noticed {
        /// Its number.
        instance: u32,
    },
    /// An instance is as fast as it should be again.
    Recovered {
        /// Its number.
        instance: u32,
        /// How often it was slow: another time counts for itself.
        slow: u32,
    },
    /// An event of the run happens.
    Event {
        /// Its number.
        event: usize,
    },
    /// A rolling replacement may go on.
    Look,
    /// The policy of a pool is asked.
    Tick {
        /// Position of the pool.
        pool: usize,
    },
}

/// A place for an instance.
#[derive(Clone, Copy, Debug)]
struct Place {
    pool: usize,
    phase: Phase,
    /// When that began.
    since_us: i64,
    /// Starts so far.
    starts: u32,
    /// How long the last one takes once there is a node, microseconds.
    startup_us: i64,
    /// When a request left it last.
    left_us: i64,
    /// It was there before: whoever comes now is another one.
    used: bool,
    /// It failed, and routers do not know yet.
    unnoticed: bool,
    /// How often it was slow.
    slows: u32,
}

/// Instances that are replaced one after the other.
#[derive(Clone, Debug)]
pub(super) struct Rolling {
    /// Those whose turn is still to come.
    pub(super) left: VecDeque<u32>,
    /// Those under way, and whether the one in their place was started.
    pub(super) under_way: Vec<(u32, bool)>,
    /// As many at once.
    pub(super) at_once: usize,
    pub(super) startup_us: i64,
}

/// A pool, and what its policy is to know if it has one.
#[derive(Clone, Debug)]
pub(super) struct ScaledPool {
    pub(super) interval: Interval,
    /// Requests and prompt tokens that had arrived when the policy was asked last.
    pub(super) seen: (u64, u64),
    pub(super) totals: PoolScaling,
    /// Starts so far.
    starts: u64,
}

/// The instances of a cluster in which they come and go.
pub(super) struct Lifecycle {
    places: Vec<Place>,
    /// By position.
    pub(super) pools: Vec<ScaledPool>,
    pub(super) due: EventQueue<(i64, Due), ()>,
    /// Changes: when, which instance, from and to which phase.
    log: Vec<(i64, u32, Phase, Phase)>,
    /// Those that finish what they have, ascending.
    draining: Vec<u32>,
    /// Instances that are being started.
    loading: u32,
    /// No instance does some part of the work.
    pub(super) nobody: bool,
    /// Requests that wait for an instance that takes any.
    pub(super) waiting: VecDeque<Box<Pending>>,
    /// Since when nothing but ticks happens, and for how long it may.
    quiet_us: Option<i64>,
    patience_us: i64,
    /// Requests that arrived so far, and their prompt tokens.
    pub(super) arrived: (u64, u64),
    pub(super) taken_back: u64,
    pub(super) held: (u64, u64),
    /// Requests that still waited when the run ended.
    pub(super) left_waiting: u64,
    pub(super) rolling: Vec<Rolling>,
    /// How often the clients of requests sent them again.
    pub(super) retries: FxHashMap<u64, u32>,
    /// How often instances that went gave them back.
    pub(super) returned: FxHashMap<u64, u32>,
    pub(super) failures: u64,
    pub(super) retried: u64,
    pub(super) lost: u64,
    events: bool,
    /// The nodes that instances run on, if that matters.
    nodes: Option<Nodes>,
    /// Times in which instances waited for a node, microseconds.
    pending_us: i128,
}

impl Lifecycle {
    /// Of a cluster in which instances come and go, or something happens to them; `None` for
    /// others.
    pub(super) fn of(config: &ClusterConfig, nobody: bool) -> Option<Self> {
        if !config.instances_change() {
            return None;
        }
        let mut places = Vec::new();
        for (k, (pool, initial)) in config.pools.iter().zip(config.initial()).enumerate() {
            places.extend((0..pool.instances).map(|i| {
                let there = i < initial;
                Place {
                    pool: k,
                    phase: if there { Phase::Ready } else { Phase::Absent },
                    since_us: 0,
                    starts: 0,
                    startup_us: 0,
                    left_us: 0,
                    used: there,
                    unnoticed: false,
                    slows: 0,
                }
            }));
        }
        let mut due = EventQueue::default();
        let pools = config.pools.iter().enumerate().map(|(k, pool)| {
            let scaling = config.scaling.of(k);
            if let Some(scaling) = scaling {
                due.push((scaling.interval_us, Due::Tick { pool: k }), ());
            }
            ScaledPool {
                interval: Interval::default(),
                seen: (0, 0),
                totals: PoolScaling {
                    pool: k as u32,
                    gpus_per_instance: pool.gpus_per_instance,
                    by_policy: scaling.is_some(),
                    ..PoolScaling::default()
                },
                starts: 0,
            }
        });
        let pools = pools.collect();
        let events = &config.events.all;
        for (k, event) in events.iter().enumerate() {
            due.push((event.at_us, Due::Event { event: k }), ());
        }
        Some(Self {
            pools,
            places,
            due,
            log: Vec::new(),
            draining: Vec::new(),
            loading: 0,
            nobody,
            waiting: VecDeque::new(),
            quiet_us: None,
            patience_us: patience_us(config),
            arrived: (0, 0),
            taken_back: 0,
            held: (0, 0),
            left_waiting: 0,
            rolling: Vec::new(),
            retries: FxHashMap::default(),
            returned: FxHashMap::default(),
            failures: 0,
            retried: 0,
            lost: 0,
            events: !events.is_empty(),
            nodes: Nodes::of(config).and_then(Result::ok),
            pending_us: 0,
        })
        .map(|mut life: Self| {
            life.hear_of_nodes();
            life
        })
    }

    /// Takes over what is due of nodes.
    fn hear_of_nodes(&mut self) {
        for (at_us, due) in self.nodes.iter_mut().flat_map(|nodes| nodes.news.drain(..)) {
            let due = match due {
                NodeDue::Ready(node) => Due::NodeReady { node },
                NodeDue::Idle(node, since_us) => Due::NodeIdle { node, since_us },
            };
            self.due.push((at_us, due), ());
        }
    }

    /// Instances that wait for room go where there is some.
    pub(super) fn settle(&mut self, now: i64) {
        let Some(nodes) = self.nodes.as_mut().filter(|nodes| nodes.waits() > 0) else {
            return;
        };
        for i in nodes.settle(now) {
            self.load(i, now);
        }
        self.hear_of_nodes();
    }

    /// A node is there: the instances that waited for it start.
    pub(super) fn node_is_ready(&mut self, node: u32, now: i64) {
        let ready = self.nodes.as_mut().map(|nodes| nodes.is_ready(node, now));
        for i in ready.unwrap_or_default() {
            self.load(i, now);
        }
        self.hear_of_nodes();
    }

    /// A node that has been idle since then goes back, if it may.
    pub(super) fn node_is_idle(&mut self, node: u32, since_us: i64) {
        if let Some(nodes) = &mut self.nodes {
            nodes.may_go(node, since_us);
        }
    }

    /// Checks that the GPUs of nodes are conserved.
    pub(super) fn check(&self) -> Result<(), String> {
        let takes = |i: u32| self.phase(i) != Phase::Absent;
        self.nodes
            .as_ref()
            .map_or(Ok(()), |nodes| nodes.check(takes))
    }

    /// An instance has a node that is there: it starts.
    fn load(&mut self, i: u32, now: i64) {
        self.set(i, Phase::Loading, now);
        let startup_us = self.places[i as usize].startup_us;
        self.ready_at(i, now.saturating_add(startup_us));
    }

    /// An instance starts, as soon as there is a node, and takes `startup_us` for that.
    fn begin(&mut self, i: u32, startup_us: i64, now: i64) {
        let place = &mut self.places[i as usize];
        place.starts += 1;
        place.startup_us = startup_us;
        let there = self.nodes.as_mut().is_none_or(|nodes| nodes.place(i, now));
        match there {
            true => self.load(i, now),
            false => self.set(i, Phase::Pending, now),
        }
        self.hear_of_nodes();
    }

    /// When something is due next, [`NEVER`] if nothing is.
    pub(super) fn next_us(&self) -> i64 {
        self.due.peek().map_or(NEVER, |(at_us, _)| *at_us)
    }

    /// While requests wait and nothing else is to happen: may something come of what is due of
    /// instances at `now`? Not for ever: a policy may call off all that it starts.
    pub(super) fn may_help(&mut self, now: i64) -> bool {
        now - *self.quiet_us.get_or_insert(now) <= self.patience_us
    }

    /// Something else happens.
    pub(super) fn goes_on(&mut self) {
        self.quiet_us = None;
    }

    /// Is something to come of what is due, whatever policies say?
    pub(super) fn awaits(&self) -> bool {
        let happens = |due: &Due| !matches!(due, Due::Tick { .. } | Due::NodeIdle { .. });
        self.loading > 0 || self.due.keys().any(|(_, due)| happens(due))
    }

    /// Does any instance finish what it has?
    pub(super) fn drains(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Those that do.
    pub(super) fn draining(&self) -> &[u32] {
        &self.draining
    }

    /// The instances of pool `k` in a phase, ascending.
    pub(super) fn all(&self, k: usize, phase: Phase) -> impl Iterator<Item = u32> + '_ {
        let numbered = (0..).zip(&self.places);
        numbered
            .filter(move |(_, place)| (place.pool, place.phase) == (k, phase))
            .map(|(i, _)| i)
    }

    /// Those of them that came last, the last one first; of several the highest number.
    pub(super) fn youngest(&self, k: usize, phase: Phase) -> Vec<u32> {
        let mut all: Vec<u32> = self.all(k, phase).collect();
        all.sort_by_key(|&i| std::cmp::Reverse((self.places[i as usize].since_us, i)));
        all
    }

    /// The pool of an instance.
    pub(super) fn pool_of(&self, i: u32) -> usize {
        self.places[i as usize].pool
    }

    /// Its phase.
    pub(super) fn phase(&self, i: u32) -> Phase {
        self.places[i as usize].phase
    }

    /// An instance comes to another phase at `at_us`.
    pub(super) fn set(&mut self, i: u32, phase: Phase, at_us: i64) {
        let place = &mut self.places[i as usize];
        let before = std::mem::replace(&mut place.phase, phase);
        if before == Phase::Pending {
            self.pending_us += i128::from(at_us - place.since_us);
        }
        place.since_us = at_us;
        self.log.push((at_us, i, before, phase));
        self.loading -= u32::from(before == Phase::Loading);
        self.loading += u32::from(phase == Phase::Loading);
        if before == Phase::Draining {
            self.draining.retain(|&other| other != i);
        }
        if phase == Phase::Draining {
            let at = self.draining.partition_point(|&other| other < i);
            self.draining.insert(at, i);
        }
        if phase == Phase::Absent
            && let Some(nodes) = &mut self.nodes
        {
            nodes.leave(i, at_us);
            self.hear_of_nodes();
        }
    }

    /// An instance is started at `now`; `startup_us` says how long the start of this number in its
    /// pool, from 1, takes.
    pub(super) fn start(&mut self, i: u32, now: i64, startup_us: impl FnOnce(u64) -> i64) {
        let pool = &mut self.pools[self.places[i as usize].pool];
        pool.starts += 1;
        pool.totals.started += 1;
        let us = startup_us(pool.starts);
        self.begin(i, us, now);
    }

    /// An instance is started in the place of another, which takes `startup_us`.
    pub(super) fn restart(&mut self, i: u32, startup_us: i64, now: i64) {
        self.begin(i, startup_us, now);
    }

    /// An instance failed; routers know of it from `at_us` on.
    pub(super) fn fail_unnoticed(&mut self, i: u32, at_us: i64) {
        self.places[i as usize].unnoticed = true;
        self.due.push((at_us, Due::Noticed { instance: i }), ());
    }

    /// Did it, and routers do not know yet?
    pub(super) fn failed_unnoticed(&self, i: u32) -> bool {
        self.places[i as usize].unnoticed
    }

    /// Routers know of it, or another one is there.
    pub(super) fn noticed(&mut self, i: u32) {
        self.places[i as usize].unnoticed = false;
    }

    /// The instances of pool `k` that routers see, ascending.
    pub(super) fn shown(&self, k: usize) -> Vec<u32> {
        let numbered = (0..).zip(&self.places);
        let shown = numbered.filter(|(_, place)| {
            place.pool == k && (place.phase == Phase::Ready || place.unnoticed)
        });
        shown.map(|(i, _)| i).collect()
    }

    /// An instance is slow until `at_us`.
    pub(super) fn slowed(&mut self, i: u32, at_us: i64) {
        let place = &mut self.places[i as usize];
        place.slows += 1;
        let slow = place.slows;
        self.due
            .push((at_us, Due::Recovered { instance: i, slow }), ());
    }

    /// Is its slowness of this number the last one?
    pub(super) fn recovers(&self, i: u32, slow: u32) -> bool {
        self.places[i as usize].slows == slow
    }

    /// The start of an instance that is under way takes until `at_us`.
    fn ready_at(&mut self, i: u32, at_us: i64) {
        let start = self.places[i as usize].starts;
        self.due
            .push((at_us, Due::Ready { instance: i, start }), ());
    }

    /// Has the instance started with this start? Others were called off.
    pub(super) fn has_started(&self, i: u32, start: u32) -> bool {
        let place = &self.places[i as usize];
        place.phase == Phase::Loading && place.starts == start
    }

    /// The instance takes requests from now on: was another one there before?
    pub(super) fn replaces(&mut self, i: u32) -> bool {
        std::mem::replace(&mut self.places[i as usize].used, true)
    }

    /// A request left an instance at `at_us`.
    pub(super) fn left(&mut self, i: usize, at_us: i64) {
        let place = &mut self.places[i];
        place.left_us = place.left_us.max(at_us);
    }

    /// An instance has nothing left to finish: when it was done.
    pub(super) fn done_us(&self, i: u32) -> i64 {
        let place = &self.places[i as usize];
        place.left_us.max(place.since_us)
    }

    /// Requests wait, as no instance takes any.
    pub(super) fn hold(&mut self, pending: Box<Pending>) {
        self.waiting.push_back(pending);
        self.held.0 += 1;
        self.held.1 = self.held.1.max(self.waiting.len() as u64);
    }

    /// What it all took, up to `ended_us`.
    pub(super) fn record(self, ended_us: i64) -> ScalingRecord {
        let mut log = self.log;
        log.sort_by_key(|&(at_us, i, ..)| (at_us, i));
        // Before all changes.
        let mut before: Vec<Phase> = self.places.iter().map(|place| place.phase).collect();
        for &(_, i, from, _) in log.iter().rev() {
            before[i as usize] = from;
        }
        let mut counts: Vec<PoolCounts> = (0..self.pools.len() as u32)
            .map(|pool| PoolCounts {
                at_us: 0,
                pool,
                ready: 0,
                loading: 0,
                draining: 0,
                pending: 0,
            })
            .collect();
        fn of(counts: &mut PoolCounts, phase: Phase) -> Option<&mut u32> {
            match phase {
                Phase::Absent => None,
                Phase::Pending => Some(&mut counts.pending),
                Phase::Loading => Some(&mut counts.loading),
                Phase::Ready => Some(&mut counts.ready),
                Phase::Draining => Some(&mut counts.draining),
            }
        }
        for (place, phase) in self.places.iter().zip(before) {
            if let Some(n) = of(&mut counts[place.pool], phase) {
                *n += 1;
            }
        }
        let mut timeline: Vec<PoolCounts> = counts.clone();
        for (at_us, i, from, to) in log {
            let counts = &mut counts[self.places[i as usize].pool];
            if let Some(n) = of(counts, from) {
                *n -= 1;
            }
            if let Some(n) = of(counts, to) {
                *n += 1;
            }
            counts.at_us = at_us;
            match timeline.iter_mut().rev().find(|c| c.pool == counts.pool) {
                Some(last) if last.at_us == at_us => *last = *counts,
                _ => timeline.push(*counts),
            }
        }
        let mut pools: Vec<PoolScaling> = self.pools.into_iter().map(|p| p.totals).collect();
        for pool in &mut pools {
            let own: Vec<&PoolCounts> = timeline.iter().filter(|c| c.pool == pool.pool).collect();
            pool.most = own.iter().map(|c| c.all()).max().unwrap_or(0);
            for (k, counts) in own.iter().enumerate() {
                let until = own.get(k + 1).map_or(ended_us, |next| next.at_us);
                let us = until.min(ended_us) - counts.at_us.min(ended_us);
                pool.instance_us += i128::from(us) * i128::from(counts.all());
            }
        }
        timeline.retain(|counts| counts.at_us <= ended_us);
        let still = self
            .places
            .iter()
            .filter(|place| place.phase == Phase::Pending);
        let still: Vec<i64> = still.map(|place| ended_us - place.since_us).collect();
        let pending_us = self.pending_us + still.iter().copied().map(i128::from).sum::<i128>();
        ScalingRecord {
            pending: self.nodes.as_ref().map_or(0, |nodes| nodes.waited),
            pending_us,
            still_pending: still.len() as u64,
            nodes: self
                .nodes
                .map_or_else(Vec::new, |nodes| nodes.record(ended_us)),
            pools,
            timeline,
            ended_us,
            taken_back: self.taken_back,
            held: self.held.0,
            most_held: self.held.1,
            waiting: self.left_waiting,
            events: self.events,
            failures: self.failures,
            retried: self.retried,
            lost: self.lost,
        }
    }
}
