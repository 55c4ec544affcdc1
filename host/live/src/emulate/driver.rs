//! The engine behind the servers: it passes the time of the simulation as the machine's passes,
//! and tells the servers what happens.

use super::counters::Counters;
use super::job::{Command, End, Job, Load, News};
use super::log::RequestLog;
use crate::clock::Clock;
use crate::prometheus::MetricNames;
use crate::prompts::Prefixes;
use crate::prompts::text::hash;
use rustc_hash::FxHashMap;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use windtunnel_base::fault::RunFault;
use windtunnel_base::record::Outcome;
use windtunnel_base::request::{Request, RequestId, Sym};
use windtunnel_engine::cluster::Standalone;
use windtunnel_engine::instance::{FinishedRequest, InstanceEvent, NEVER};

/// Longest time for which nothing is looked at.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A request that an instance has.
struct Live {
    job: u64,
    server: usize,
    news: UnboundedSender<News>,
    max_tokens: u32,
    prompt_tokens: u32,
    arrival_us: i64,
    last_token_us: i64,
    /// What the blocks of its prompt are known by, where requests are logged.
    blocks: Vec<u64>,
}

/// News that are due at a time; those of equal times in the order in which they came.
struct Due {
    at_us: i64,
    order: u64,
    news: News,
    to: UnboundedSender<News>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

/// All instances, and what is known of the requests on them.
pub struct Driver {
    engine: Standalone,
    clock: Clock,
    /// Name under which each server counts.
    model: String,
    names: MetricNames,
    log: Option<RequestLog>,
    prefixes: Vec<Prefixes>,
    counters: Vec<Counters>,
    /// When something happens next on each instance, microseconds.
    next_us: Vec<i64>,
    live: FxHashMap<u64, Live>,
    /// Serial numbers by those of jobs.
    serials: FxHashMap<u64, u64>,
    /// Requests that nobody waits for, and that could not be taken back yet.
    given_up: Vec<(usize, u64)>,
    due: BinaryHeap<Reverse<Due>>,
    ordered: u64,
    events: Vec<InstanceEvent>,
    fault: Option<RunFault>,
}

impl Driver {
    /// Instances that begin at the time that `clock` shows as 0. `model` is the first name under
    /// which it is served.
    pub fn new(
        engine: Standalone,
        clock: Clock,
        model: String,
        names: MetricNames,
        log: Option<RequestLog>,
    ) -> Self {
        let all = 0..engine.len();
        let config = |i: usize| *engine.instance(i).config();
        let prefixes = |i: usize| Prefixes::new(config(i).block_size, config(i).total_kv_blocks);
        Self {
            prefixes: all.clone().map(prefixes).collect(),
            counters: all
                .clone()
                .map(|i| Counters::new(config(i).max_model_len))
                .collect(),
            next_us: vec![NEVER; engine.len()],
            engine,
            clock,
            model,
            names,
            log,
            live: FxHashMap::default(),
            serials: FxHashMap::default(),
            given_up: Vec::new(),
            due: BinaryHeap::new(),
            ordered: 0,
            events: Vec::new(),
            fault: None,
        }
    }

    /// Passes the time until the servers end, or are gone.
    ///
    /// # Errors
    /// When a policy inside an instance fails, or the log cannot be written.
    pub fn run(mut self, commands: &Receiver<Command>) -> Result<(), String> {
        loop {
            self.pass(self.clock.now_us());
            if let Some(fault) = self.fault.take() {
                return Err(fault.to_string());
            }
            let next = self.next_event_us();
            let wait = match next {
                NEVER => LONGEST_WAIT,
                // What happens at a time has happened when it is over.
                _ => self.clock.until(next + 1).min(LONGEST_WAIT),
            };
            let mut command = match commands.recv_timeout(wait) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(now) = command.take() {
                if matches!(now, Command::End) {
                    return self.log.map_or(Ok(()), RequestLog::finish);
                }
                self.obey(now);
                command = commands.try_recv().ok();
            }
        }
        self.log.map_or(Ok(()), RequestLog::finish)
    }

    fn next_event_us(&self) -> i64 {
        let due = self.due.peek().map_or(NEVER, |Reverse(due)| due.at_us);
        let given_up = self.given_up.iter().map(|(i, _)| self.next_us[*i]);
        let events = self.next_us.iter().copied().chain(given_up);
        events.min().unwrap_or(NEVER).min(due)
    }

    /// Everything happens that does before `now_us`.
    fn pass(&mut self, now_us: i64) {
        for i in 0..self.next_us.len() {
            if self.next_us[i] < now_us {
                self.advance(i, now_us);
            }
        }
        let given_up = std::mem::take(&mut self.given_up);
        for (i, serial) in given_up {
            self.take_back(i, serial, now_us);
        }
        while self
            .due
            .peek()
            .is_some_and(|Reverse(due)| due.at_us <= now_us)
        {
            if let Some(Reverse(due)) = self.due.pop() {
                let _ = due.to.send(due.news);
            }
        }
    }

    fn advance(&mut self, i: usize, now_us: i64) {
        self.act(i, now_us, |engine, events| {
            engine.advance_to(i, now_us, events)
        });
    }

    /// Does something with instance `i`, and hears what comes of it.
    fn act(
        &mut self,
        i: usize,
        now_us: i64,
        act: impl FnOnce(&mut Standalone, &mut Vec<InstanceEvent>),
    ) {
        let mut events = std::mem::take(&mut self.events);
        act(&mut self.engine, &mut events);
        self.hear(i, now_us, &mut events);
        self.events = events;
        self.next_us[i] = self.engine.next_event_us(i);
    }

    fn hear(&mut self, i: usize, now_us: i64, events: &mut Vec<InstanceEvent>) {
        for event in events.drain(..) {
            match event {
                InstanceEvent::Tokens {
                    serial,
                    output_tokens,
                    at_us,
                } => self.token(serial, output_tokens, at_us, now_us),
                InstanceEvent::Finished(left) => self.finished(i, &left, now_us),
                InstanceEvent::Fault(what) => self.fault = Some(what),
                InstanceEvent::FirstToken { .. }
                | InstanceEvent::Preempted { .. }
                | InstanceEvent::WantsKv { .. }
                | InstanceEvent::Kv(_) => {}
            }
        }
    }

    fn token(&mut self, serial: u64, output_tokens: u32, at_us: i64, now_us: i64) {
        let Some(live) = self.live.get_mut(&serial) else {
            return;
        };
        let first = (live.last_token_us == NEVER).then_some(live.prompt_tokens);
        let since = match first {
            Some(_) => live.arrival_us,
            None => live.last_token_us,
        };
        live.last_token_us = at_us;
        let to = live.news.clone();
        self.counters[live.server].tokens(at_us, 1, first, at_us - since);
        self.tell(to, News::Tokens(output_tokens), at_us, now_us);
    }

    fn tell(&mut self, to: UnboundedSender<News>, news: News, at_us: i64, now_us: i64) {
        if at_us <= now_us && self.due.is_empty() {
            // Whoever is gone has said so, or will.
            let _ = to.send(news);
            return;
        }
        self.ordered += 1;
        self.due.push(Reverse(Due {
            at_us,
            order: self.ordered,
            news,
            to,
        }));
    }

    fn finished(&mut self, i: usize, left: &FinishedRequest, now_us: i64) {
        let serial = left.view.serial;
        let record = &left.record;
        let Some(live) = self.live.remove(&serial) else {
            return;
        };
        self.serials.remove(&live.job);
        let end = match record.outcome {
            Outcome::Completed => End::Complete,
            Outcome::LengthCapped => End::Length,
            Outcome::Failed => End::Lost,
            _ => End::Impossible,
        };
        self.counters[i].ended(end, record, live.max_tokens);
        if let Some(log) = &mut self.log {
            log.ended(serial, i, record, &live.blocks);
        }
        let cached_tokens = record.cached_tokens.unwrap_or(0);
        let at_us = record
            .e2e_us
            .map_or(left.at_us, |e2e| record.arrival_us + e2e);
        let news = News::Ended { end, cached_tokens };
        self.tell(live.news, news, at_us, now_us);
    }

    fn obey(&mut self, command: Command) {
        let now_us = self.clock.now_us();
        match command {
            Command::Serve(job) => self.serve(*job, now_us),
            Command::GiveUp(job) => {
                if let Some(&serial) = self.serials.get(&job)
                    && let Some(live) = self.live.get(&serial)
                {
                    let i = live.server;
                    self.advance(i, now_us);
                    self.take_back(i, serial, now_us);
                }
            }
            Command::Metrics(i, to) => {
                self.advance(i, now_us);
                let _ = to.send(self.metrics(i));
            }
            Command::Load(i, to) => {
                self.advance(i, now_us);
                let _ = to.send(self.load(i));
            }
            Command::Slow(i, factor) => {
                self.advance(i, now_us);
                self.engine.slow(i, factor);
            }
            Command::Crash(i) => {
                self.advance(i, now_us);
                self.act(i, now_us, |engine, events| {
                    engine.restart(i, now_us, events)
                });
                let longest = self.engine.instance(i).config().max_model_len;
                self.counters[i] = Counters::new(longest);
            }
            Command::End => {}
        }
    }

    fn serve(&mut self, job: Job, now_us: i64) {
        let i = job.server;
        self.advance(i, now_us);
        let name = |text: &Option<String>, engine: &mut Standalone| {
            text.as_deref()
                .map_or(Sym::NONE, |text| engine.intern(text))
        };
        let adapter = name(&job.adapter, &mut self.engine);
        // KV depends on the adapter, and is nobody else's under another salt.
        let salt = hash((&job.adapter, &job.cache_salt));
        let named = self.prefixes[i].name(salt, &job.prompt, &job.output);
        let request = Request {
            max_output_tokens: job.max_tokens,
            adapter,
            client_priority: job.priority,
            streaming: job.streaming,
            ..Request::new(
                RequestId::of_text(&job.id),
                now_us,
                named.prompt,
                named.output,
            )
        };
        let output = request.output_tokens();
        match self.engine.add(i, request, now_us) {
            Ok(serial) => {
                if let Some(log) = &mut self.log {
                    log.came(serial);
                }
                let live = Live {
                    job: job.number,
                    server: i,
                    news: job.news,
                    max_tokens: output.max(job.max_tokens),
                    prompt_tokens: job.prompt.len() as u32,
                    arrival_us: now_us,
                    last_token_us: NEVER,
                    blocks: named.blocks,
                };
                let _ = live.news.send(News::Taken);
                self.serials.insert(job.number, serial);
                self.live.insert(serial, live);
            }
            Err(why) => {
                self.counters[i].refused(why == Outcome::TokensQueued);
                let _ = job.news.send(News::Refused);
            }
        }
        self.next_us[i] = self.engine.next_event_us(i);
    }

    /// Nobody waits for a request any more.
    fn take_back(&mut self, i: usize, serial: u64, now_us: i64) {
        if !self.live.contains_key(&serial) {
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        let found = self.engine.take_back(i, serial, now_us, &mut events);
        if found {
            if let Some(live) = self.live.remove(&serial) {
                self.serials.remove(&live.job);
                self.counters[i].aborted();
            }
            if let Some(log) = &mut self.log {
                log.aborted(serial);
            }
        } else {
            self.given_up.push((i, serial));
        }
        self.hear(i, now_us, &mut events);
        self.events = events;
        self.next_us[i] = self.engine.next_event_us(i);
    }

    fn load(&self, i: usize) -> Load {
        let instance = self.engine.instance(i);
        let (kv, config) = (instance.kv(), instance.config());
        let size = u64::from(config.block_size);
        Load {
            running: instance.batch_size(),
            waiting: instance.queue_depth(),
            tokens: kv.used() * size,
            most_tokens: kv.total() * size,
            most_running: config.max_num_seqs,
        }
    }

    fn metrics(&mut self, i: usize) -> String {
        let load = self.load(i);
        let instance = self.engine.instance(i);
        let list = |wanted: fn(u32, u32) -> bool| {
            let all = instance.adapters();
            let all = all.filter(|a| !a.adapter.is_none() && wanted(a.running, a.waiting));
            let mut names: Vec<&str> = all.map(|a| self.engine.name(a.adapter)).collect();
            names.sort_unstable();
            names.join(",")
        };
        let adapters = [
            list(|running, _| running > 0),
            list(|running, waiting| running == 0 && waiting > 0),
        ];
        self.counters[i].text(instance, &load, &self.model, self.names, adapters)
    }
}
