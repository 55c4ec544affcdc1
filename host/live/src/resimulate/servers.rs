//! Simulated servers, and what happens on them in the order of time.

use crate::gateway::scrape::Snapshot;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use windtunnel_base::record::Outcome;
use windtunnel_base::request::{Request, Sym};
use windtunnel_engine::cluster::Standalone;
use windtunnel_engine::instance::InstanceEvent;

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// Its client has the first token.
    FirstToken,
    /// Its client has all of it.
    Complete,
    /// It can never be served, or was refused.
    Lost,
}

/// Servers that stand by themselves, by their numbers in the log.
pub(super) struct Servers {
    engine: Standalone,
    /// Numbers of instances, by those of servers.
    instances: Vec<usize>,
    /// Numbers in the log, by those in the engine; and the other way, with the server.
    logged: FxHashMap<u64, u64>,
    here: FxHashMap<u64, (usize, u64)>,
    /// Requests with a token.
    begun: rustc_hash::FxHashSet<u64>,
    /// What happens, when it is its time; of equal times in the order in which it was heard.
    due: BinaryHeap<Reverse<(i64, u64, u64, News)>>,
    heard: u64,
    events: Vec<InstanceEvent>,
    fault: Option<String>,
}

impl Servers {
    pub(super) fn new(engine: Standalone, instances: Vec<usize>) -> Self {
        Self {
            engine,
            instances,
            logged: FxHashMap::default(),
            here: FxHashMap::default(),
            begun: Default::default(),
            due: BinaryHeap::new(),
            heard: 0,
            events: Vec::new(),
            fault: None,
        }
    }

    /// A policy inside a server failed.
    pub(super) fn fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// Everything happens on all servers that does before `now_us`.
    pub(super) fn pass(&mut self, now_us: i64) {
        for i in 0..self.engine.len() {
            if self.engine.next_event_us(i) < now_us {
                self.advance(i, now_us);
            }
        }
    }

    /// What is due by `now_us`, first things first: when, to which request, and what.
    pub(super) fn next(&mut self, now_us: i64) -> Option<(i64, u64, News)> {
        match self.due.peek() {
            Some(Reverse((at, ..))) if *at <= now_us => {}
            _ => return None,
        }
        let Reverse((at, _, serial, news)) = self.due.pop()?;
        Some((at, serial, news))
    }

    /// When something happens next; `None` when nothing does.
    pub(super) fn next_us(&mut self) -> Option<i64> {
        let due = self.due.peek().map(|Reverse((at, ..))| *at);
        let all = 0..self.engine.len();
        let engine = all.map(|i| self.engine.next_event_us(i)).min();
        let engine = engine.filter(|at| *at != windtunnel_engine::instance::NEVER);
        // What happens at a time has happened when it is over.
        engine.map(|at| at + 1).into_iter().chain(due).min()
    }

    /// A request reaches a server.
    pub(super) fn add(
        &mut self,
        server: usize,
        serial: u64,
        request: Request,
        adapter: &str,
        now_us: i64,
    ) {
        let i = self.instances[server];
        self.advance(i, now_us);
        // Servers have names of their own, and are told no others.
        let request = Request {
            arrival_us: now_us,
            slo_class: Sym::NONE,
            tenant: Sym::NONE,
            session: Sym::NONE,
            adapter: match adapter {
                "" => Sym::NONE,
                name => self.engine.intern(name),
            },
            ..request
        };
        match self.engine.add(i, request, now_us) {
            Ok(own) => {
                self.logged.insert(own, serial);
                self.here.insert(serial, (i, own));
            }
            Err(_) => self.tell(now_us, serial, News::Lost),
        }
    }

    /// Nobody waits for a request any more.
    pub(super) fn take_back(&mut self, serial: u64, now_us: i64) {
        let Some((i, own)) = self.here.remove(&serial) else {
            return;
        };
        self.advance(i, now_us);
        // What is on its way to the queue stays, and nobody hears of it.
        self.logged.remove(&own);
        let mut events = std::mem::take(&mut self.events);
        self.engine.take_back(i, own, now_us, &mut events);
        self.hear(&mut events);
        self.events = events;
    }

    /// What a server says of itself now.
    pub(super) fn say(&self, server: usize) -> Snapshot {
        let instance = self.engine.instance(self.instances[server]);
        let (kv, config, totals) = (instance.kv(), instance.config(), instance.counters());
        let names = |wanted: fn(u32, u32) -> bool| {
            let all = instance.adapters();
            let all = all.filter(|a| !a.adapter.is_none() && wanted(a.running, a.waiting));
            let mut names: Vec<String> = all
                .map(|a| self.engine.name(a.adapter).to_owned())
                .collect();
            names.sort_unstable();
            names
        };
        Snapshot {
            waiting: instance.queue_depth() as f64,
            running: instance.batch_size() as f64,
            kv_usage: kv.used() as f64 / kv.total().max(1) as f64,
            preemptions: totals.preemptions as f64,
            prefix: Some((totals.prefix_queries as f64, totals.prefix_hits as f64)),
            kv: Some((config.block_size, config.total_kv_blocks)),
            adapters: Some((
                names(|running, _| running > 0),
                names(|running, waiting| running == 0 && waiting > 0),
                config.scheduling.max_loras,
            )),
        }
    }

    fn advance(&mut self, i: usize, now_us: i64) {
        let mut events = std::mem::take(&mut self.events);
        self.engine.advance_to(i, now_us, &mut events);
        self.hear(&mut events);
        self.events = events;
    }

    fn hear(&mut self, events: &mut Vec<InstanceEvent>) {
        for event in events.drain(..) {
            match event {
                InstanceEvent::Tokens { serial, at_us, .. } => {
                    if let Some(&logged) = self.logged.get(&serial)
                        && self.begun.insert(serial)
                    {
                        self.tell(at_us, logged, News::FirstToken);
                    }
                }
                InstanceEvent::Finished(left) => {
                    let own = left.view.serial;
                    self.begun.remove(&own);
                    let Some(logged) = self.logged.remove(&own) else {
                        continue;
                    };
                    self.here.remove(&logged);
                    let record = &left.record;
                    let e2e = record.e2e_us;
                    let at_us = e2e.map_or(left.at_us, |e2e| record.arrival_us + e2e);
                    let news = match record.outcome {
                        Outcome::Completed | Outcome::LengthCapped => News::Complete,
                        _ => News::Lost,
                    };
                    self.tell(at_us, logged, news);
                }
                InstanceEvent::Fault(what) => {
                    self.fault.get_or_insert_with(|| what.to_string());
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, at_us: i64, serial: u64, news: News) {
        self.heard += 1;
        self.due.push(Reverse((at_us, self.heard, serial, news)));
    }
}
