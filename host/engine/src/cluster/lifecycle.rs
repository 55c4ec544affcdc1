//! Instances that are started and go: which phase each is in, what is due, and what it all took.
//!
//! All instances that a pool may ever have exist from the start. One that went may come again; it
//! is another one then, with an empty cache.

use super::config::ClusterConfig;
use super::interval::Interval;
use crate::frontend::Pending;
use crate::instance::NEVER;
use std::collections::VecDeque;
use windtunnel_base::event_queue::EventQueue;
use windtunnel_base::record::{PoolCounts, PoolScaling, ScalingRecord};

/// While nothing but its ticks happens, a scaling policy is asked for so long at most,
/// microseconds, and so often: by then no window of what it remembers is open.
const PATIENCE_US: i64 = 3_600_000_000;
const PATIENCE_TICKS: i64 = 2_000;

/// How long that is in a cluster, microseconds.
pub(super) fn patience_us(config: &ClusterConfig) -> i64 {
    let intervals = config.scaling.pools.iter().flatten();
    let longest = intervals.map(|scaling| scaling.interval_us).max();
    let ticks = longest.map(|us| us.saturating_mul(PATIENCE_TICKS));
    ticks.map_or(PATIENCE_US, |us| us.min(PATIENCE_US))
}

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is not there.
    Absent,
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
    /// An instance has started.
    Ready {
        /// Its number.
        instance: u32,
        /// Its start, counted from 1: others were called off.
        start: u32,
    },
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
    /// When a request left it last.
    left_us: i64,
    /// It was there before: whoever comes now is another one.
    used: bool,
}

/// A pool that is scaled.
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
    /// By position of the pool; `None` = it is not scaled.
    pub(super) pools: Vec<Option<ScaledPool>>,
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
}

impl Lifecycle {
    /// Of a cluster with pools that are scaled; `None` for others.
    pub(super) fn of(config: &ClusterConfig, nobody: bool) -> Option<Self> {
        if !config.scaling.is_on() {
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
                    left_us: 0,
                    used: there,
                }
            }));
        }
        let mut due = EventQueue::default();
        let pools = config.pools.iter().enumerate().map(|(k, pool)| {
            let scaling = config.scaling.of(k)?;
            due.push((scaling.interval_us, Due::Tick { pool: k }), ());
            Some(ScaledPool {
                interval: Interval::default(),
                seen: (0, 0),
                totals: PoolScaling {
                    pool: k as u32,
                    gpus_per_instance: pool.gpus_per_instance,
                    gpu_cost_per_hour: scaling.gpu_cost_per_hour,
                    ..PoolScaling::default()
                },
                starts: 0,
            })
        });
        Some(Self {
            pools: pools.collect(),
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
        })
    }

    /// When something is due next, [`NEVER`] if nothing is.
    pub(super) fn next_us(&self) -> i64 {
        self.due.peek().map_or(NEVER, |(at_us, _)| *at_us)
    }

    /// While requests wait and nothing else is to happen: may something come of the ticks at
    /// `now`?
    pub(super) fn may_help(&mut self, now: i64) -> bool {
        if self.loading > 0 {
            self.quiet_us = None;
            return true;
        }
        now - *self.quiet_us.get_or_insert(now) <= self.patience_us
    }

    /// Are instances being started?
    pub(super) fn is_loading(&self) -> bool {
        self.loading > 0
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
    }

    /// An instance is started at `now`; gives the number of the start in its pool, from 1.
    pub(super) fn start(&mut self, i: u32, now: i64) -> u64 {
        self.set(i, Phase::Loading, now);
        self.quiet_us = None;
        let place = &mut self.places[i as usize];
        place.starts += 1;
        match &mut self.pools[place.pool] {
            Some(pool) => {
                pool.starts += 1;
                pool.totals.started += 1;
                pool.starts
            }
            None => place.starts.into(),
        }
    }

    /// The start of an instance that is under way takes until `at_us`.
    pub(super) fn ready_at(&mut self, i: u32, at_us: i64) {
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
            })
            .collect();
        fn of(counts: &mut PoolCounts, phase: Phase) -> Option<&mut u32> {
            match phase {
                Phase::Absent => None,
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
        let scaled = |k: u32| self.pools[k as usize].is_some();
        let first = counts.iter().filter(|counts| scaled(counts.pool));
        let mut timeline: Vec<PoolCounts> = first.copied().collect();
        for (at_us, i, from, to) in log {
            let counts = &mut counts[self.places[i as usize].pool];
            if let Some(n) = of(counts, from) {
                *n -= 1;
            }
            if let Some(n) = of(counts, to) {
                *n += 1;
            }
            counts.at_us = at_us;
            if !scaled(counts.pool) {
                continue;
            }
            match timeline.iter_mut().rev().find(|c| c.pool == counts.pool) {
                Some(last) if last.at_us == at_us => *last = *counts,
                _ => timeline.push(*counts),
            }
        }
        let mut pools: Vec<PoolScaling> =
            self.pools.into_iter().flatten().map(|p| p.totals).collect();
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
        ScalingRecord {
            pools,
            timeline,
            ended_us,
            taken_back: self.taken_back,
            held: self.held.0,
            most_held: self.held.1,
        }
    }
}
