//! The thread on which policies decide. Whatever else happens is told to it, one thing after the
//! other, so policies see an order of events as in a simulation.

mod decide;
mod page;
pub mod policies;
mod state;
mod take_over;

use super::backends::LiveBackends;
use super::config::Config;
use super::message::{Described, Message};
use crate::clock::Clock;
use crate::decisions::record::DecisionLog;
use crate::prompts::Prefixes;
use page::Counts;
use policies::front_end;
use rustc_hash::FxHashMap;
pub use state::Control;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use take_over::shadows;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Symbols;
use windtunnel_engine::frontend::{Backends, FrontEnd, FrontEndHook, StageMembers};
use windtunnel_plugin_api::{Event, EventKind, Outcome, RequestView};

/// Longest time for which nothing is looked at.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

impl Control {
    /// Nothing has happened yet. `servers` are those that there are.
    ///
    /// # Errors
    /// When policies, model or pools make no sense.
    pub fn new(
        config: Arc<Config>,
        servers: &[Described],
        log: Option<Box<dyn Write>>,
    ) -> Result<Self, InputError> {
        let mut symbols = Symbols::default();
        let known = policies::known(&config, &mut symbols)?;
        let mut backends = LiveBackends::new(known.facts.clone(), config.block_size);
        backends.grow(servers, &mut symbols);
        let log = log.map(DecisionLog::new);
        let logged = log.as_ref().map(|log| (log, "start"));
        let policies = &config.policies;
        let front = front_end(policies, &config, &known, &backends, &mut symbols, logged)?;
        let shadows = shadows(&config, &known, &backends, &mut symbols)?;
        backends.limit(config.limits.index_blocks);
        let mut prefixes = Prefixes::new(backends.common_block_size(), 0);
        prefixes.limit(config.limits.prefix_names);
        let mut control = Self {
            clock: Clock::new(1.0),
            symbols,
            known,
            front,
            fallen_back: None,
            shadows,
            backends,
            members: (0..servers.len() as u32).collect(),
            prefixes,
            here: FxHashMap::default(),
            again: BinaryHeap::new(),
            held: 0,
            slow_decisions: 0,
            serial: 0,
            ticks: [(0, 0); 2],
            log,
            counts: Counts::default(),
            config,
        };
        control.look();
        control.set_members(&[]);
        control.set_ticks();
        Ok(control)
    }

    /// Decides until it is told to end.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn run(mut self, messages: &Receiver<Message>) -> Result<(), String> {
        loop {
            let now = self.clock.now_us();
            self.ask_again(now);
            self.tick(now);
            let next = self.again.peek().map(|Reverse((at, _))| *at);
            let tick = self
                .ticks
                .iter()
                .filter(|(every, _)| *every > 0)
                .map(|(_, at)| *at)
                .min();
            let next = next.into_iter().chain(tick).min();
            let wait = next.map_or(LONGEST_WAIT, |at| self.clock.until(at).min(LONGEST_WAIT));
            let mut message = match messages.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(now) = message.take() {
                if matches!(now, Message::End) {
                    return self.close();
                }
                self.hear(now);
                message = messages.try_recv().ok();
            }
            if let Some(log) = &self.log
                && let Err(e) = log.flush()
            {
                return Err(format!("the decision log cannot be written: {e}"));
            }
        }
        self.close()
    }

    fn close(self) -> Result<(), String> {
        let flushed = self.log.map_or(Ok(()), |log| log.flush());
        flushed.map_err(|e| format!("the decision log cannot be written: {e}"))
    }

    fn hear(&mut self, message: Message) {
        let now = self.clock.now_us();
        match message {
            Message::Arrived(number, meta, to) => self.arrive(number, *meta, to, now),
            Message::Again(number, to) => self.reroute(number, to, now),
            Message::FirstToken(number) => self.first_token(number, now),
            Message::Left(number, left) => self.left(number, &left, now),
            Message::Scraped(i, snapshot) => {
                self.backends.scraped(i, *snapshot, now, &mut self.symbols);
            }
            Message::Members(all, taking) => {
                self.backends.grow(&all, &mut self.symbols);
                self.members = taking;
                self.look();
                self.set_members(&[]);
                self.wake_those_without_server(now);
            }
            Message::Reload(config, to) => {
                let reloaded = self.reload(config).map_err(|e| e.to_string());
                let _ = to.send(reloaded);
            }
            Message::Metrics(to) => {
                let fallen_back = self.fallen_back.is_some();
                let tables = [
                    ("prefix", self.prefixes.count()),
                    ("client", self.symbols.count() as usize),
                ];
                let page =
                    self.counts
                        .page(&self.backends, &self.front, self.held, fallen_back, tables);
                let _ = to.send(page);
            }
            Message::End => {}
        }
    }

    /// Those that take requests, without these.
    fn set_members(&mut self, but: &[u32]) {
        let those = self.members.iter().filter(|i| !but.contains(i));
        let those: Vec<u32> = those.copied().collect();
        // Where all of them do, policies need not be shown a part.
        let those = (those.len() < self.backends.len()).then_some(those);
        for front in [&mut self.front]
            .into_iter()
            .chain(self.shadows.iter_mut().map(|s| &mut s.front))
        {
            front.set_members(StageMembers::default().of_those(those.clone()));
        }
    }

    fn set_ticks(&mut self) {
        let now = self.clock.now_us();
        self.ticks = FrontEndHook::ALL.map(|hook| {
            let every = self.front.tick_us(hook);
            (every, now + every)
        });
    }

    fn tick(&mut self, now: i64) {
        for (k, hook) in FrontEndHook::ALL.into_iter().enumerate() {
            let (every, at) = self.ticks[k];
            if every > 0 && at <= now {
                self.ticks[k].1 = now + every;
                if !self.here.is_empty() {
                    self.front.tick(hook, now, &mut self.backends);
                    self.check_fault();
                }
            }
        }
    }

    fn each_front(&mut self, mut act: impl FnMut(&mut FrontEnd)) {
        act(&mut self.front);
        self.shadows
            .iter_mut()
            .for_each(|shadow| act(&mut shadow.front));
    }

    /// Tells the policies what happened; `numbers` are output tokens, TTFT and E2E.
    fn tell(
        &mut self,
        kind: EventKind,
        outcome: Outcome,
        view: &RequestView,
        i: usize,
        numbers: [i64; 3],
        now_us: i64,
    ) {
        let event = event_of(kind, outcome, view, i, numbers, now_us);
        self.each_front(|front| front.tell(&event));
        self.check_fault();
    }
}

/// What happened to a request on the `i`-th server; `numbers` are output tokens, TTFT and E2E.
pub(crate) fn event_of(
    kind: EventKind,
    outcome: Outcome,
    view: &RequestView,
    i: usize,
    numbers: [i64; 3],
    now_us: i64,
) -> Event {
    Event {
        now_us,
        serial: view.serial,
        ttft_us: numbers[1],
        e2e_us: numbers[2],
        kind: kind as u32,
        outcome: outcome as u32,
        instance: i as u32,
        tenant: view.tenant,
        session: view.session,
        prompt_tokens: view.prompt_tokens,
        output_tokens: numbers[0] as u32,
        slo_class: view.slo_class,
    }
}
