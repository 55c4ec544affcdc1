//! The gateway's own account and front end before simulated servers, and what the log says.

use super::outcome::{Comparison, Mode};
use super::probe::{Last, Probed};
use super::script::{Asked, Begin, Script, Step, fresh};
use super::servers::{News, Servers};
use crate::decisions::{Answer, Call};
use crate::gateway::backends::LiveBackends;
use crate::gateway::config::Config;
use crate::gateway::control::event_of;
use crate::gateway::control::policies::{self, Known, front_end_of};
use crate::gateway::message::Described;
use crate::gateway::pair;
use crate::gateway::scrape::Snapshot;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use windtunnel_base::input::InputError;
use windtunnel_base::record::RoutingStage;
use windtunnel_base::request::{Request, RequestId, Sym, Symbols, TokenSeq};
use windtunnel_engine::frontend::{
    Backends, FrontEnd, FrontEndHook, Pending, Routed, StageMembers, Verdict,
};
use windtunnel_plugin_api::{EventKind, InstanceView, Outcome, RequestView};

/// A request that waits for a decision is given up after this time, as the gateway's default has
/// it, microseconds.
const LONGEST_HOLD_US: i64 = 30_000_000;

/// A request that has not left.
pub(super) struct Here {
    pub(super) pending: Pending,
    on: Option<usize>,
    first_token_us: Option<i64>,
    admitted: bool,
}

pub(super) struct World<'a> {
    pub(super) script: &'a Script,
    pub(super) mode: Mode,
    pub(super) config: Config,
    pub(super) servers: Servers,
    pub(super) backends: LiveBackends,
    /// What each server said shortly before its last scrape, and will have said before the next.
    pub(super) before: Vec<[Vec<Snapshot>; 2]>,
    pub(super) known: Known,
    pub(super) symbols: Symbols,
    /// Symbols by their numbers in the log.
    pub(super) names: FxHashMap<u32, Sym>,
    pub(super) begin: &'a Begin,
    pub(super) front: FrontEnd,
    pub(super) last: [Last; 2],
    pub(super) here: BTreeMap<u64, Here>,
    /// Requests that policies put off: when they are asked about again.
    pub(super) again: BinaryHeap<Reverse<(i64, u64)>>,
    pub(super) comparison: Comparison,
}

impl<'a> World<'a> {
    pub(super) fn new(
        script: &'a Script,
        servers: Servers,
        config: Config,
        mode: Mode,
        begin: &'a Begin,
    ) -> Result<Self, InputError> {
        let mut symbols = named(begin);
        let known = policies::known(&config, &mut symbols)?;
        let mut backends =
            LiveBackends::new(known.facts.clone(), Some(script.deployment.block_size));
        let all = script.deployment.servers.iter();
        let all = all.map(|(name, pool)| Described {
            name: name.clone(),
            pool: pool.clone(),
        });
        let all: Vec<Described> = all.collect();
        backends.grow(&all, &mut symbols);
        let last = [Last::default(), Last::default()];
        let front = front(begin, &config, &known, &mut symbols, &last)?;
        let mut world = Self {
            script,
            mode,
            servers,
            before: vec![Default::default(); all.len()],
            backends,
            known,
            symbols,
            names: FxHashMap::default(),
            begin,
            front,
            last,
            here: BTreeMap::new(),
            again: BinaryHeap::new(),
            comparison: Comparison {
                taken_over: script.taken_over,
                ..Comparison::default()
            },
            config,
        };
        world.learn_first_names();
        world.front.look(0, &mut world.backends);
        Ok(world)
    }

    fn learn_first_names(&mut self) {
        let all = 0..self.symbols.count();
        self.names = all.map(|k| (k, Sym(k))).collect();
    }

    /// Everything happens that does until `now_us`.
    pub(super) fn pass(&mut self, now_us: i64) -> Result<(), InputError> {
        loop {
            let again = self.again.peek().map(|Reverse((at, _))| *at);
            let until = again.map_or(now_us, |at| at.min(now_us));
            self.servers.pass(until);
            while let Some((at, serial, news)) = self.servers.next(until) {
                self.hear(at, serial, news);
            }
            match self.again.pop() {
                Some(Reverse((at, serial))) if at <= now_us => self.decide(serial, at)?,
                Some(later) => {
                    self.again.push(later);
                    break;
                }
                None => break,
            }
        }
        match self.servers.fault() {
            Some(what) => Err(InputError::new(what)),
            None => Ok(()),
        }
    }

    pub(super) fn step(&mut self, now_us: i64, step: &'a Step) -> Result<(), InputError> {
        match step {
            Step::Before(server) => {
                let said = self.servers.say(*server as usize);
                self.before[*server as usize][1].push(said);
            }
            Step::Scrape(server) => {
                let i = *server as usize;
                let said = self.servers.say(i);
                let before = &mut self.before[i];
                before[0] = std::mem::take(&mut before[1]);
                self.backends.scraped(i, said, now_us, &mut self.symbols);
            }
            Step::Policies(begin) => {
                if !std::ptr::eq(self.begin, &**begin) {
                    self.take_over(begin, now_us)?;
                }
            }
            Step::Asked(asked) => self.asked(asked, now_us)?,
            Step::Tick(call) => {
                let hook = match call {
                    Call::TickAdmission => FrontEndHook::Admission,
                    _ => FrontEndHook::Routing,
                };
                self.front.tick(hook, now_us, &mut self.backends);
                self.check()?;
            }
            Step::Gone(serial) => {
                self.servers.take_back(*serial, now_us);
                self.left(*serial, Outcome::TimedOut, now_us);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Comparison, InputError> {
        while let Some(next) = [
            self.servers.next_us(),
            self.again.peek().map(|Reverse((at, _))| *at),
        ]
        .into_iter()
        .flatten()
        .min()
        {
            self.pass(next)?;
        }
        Ok(self.comparison)
    }

    /// Other policies take over, with the requests that there are.
    fn take_over(&mut self, begin: &'a Begin, now_us: i64) -> Result<(), InputError> {
        self.symbols = named(begin);
        let (config, known) = (&self.config, &self.known);
        self.front = front(begin, config, known, &mut self.symbols, &self.last)?;
        self.begin = begin;
        self.learn_first_names();
        self.backends.read_anew();
        self.front.look(now_us, &mut self.backends);
        for here in self.here.values() {
            if let Some(i) = here.on {
                self.front.dispatched(i, &here.pending.request);
            }
        }
        Ok(())
    }

    fn asked(&mut self, asked: &Asked, now_us: i64) -> Result<(), InputError> {
        for (number, name) in &asked.names {
            let sym = self.symbols.intern(name);
            self.names.insert(*number, sym);
        }
        let serial = asked.request.serial;
        let Some(became) = self.script.requests.get(&serial) else {
            self.comparison.unfinished += u64::from(asked.call == Call::Admit);
            return Ok(());
        };
        self.show(&asked.shown);
        let view = self.own_names(asked.request);
        let is_new = !self.here.contains_key(&serial);
        let here = self.here.entry(serial).or_insert_with(|| {
            let output = became.output_tokens.max(1);
            let request = Request {
                slo_ttft_us: view.slo_ttft_us,
                client_priority: view.client_priority,
                slo_class: Sym(view.slo_class),
                tenant: Sym(view.tenant),
                session: Sym(view.session),
                adapter: Sym(view.adapter),
                ..Request::new(
                    RequestId::of_text(&became.id),
                    became.arrival_us,
                    became.prompt.clone(),
                    TokenSeq::of(fresh(serial), output),
                )
            };
            Here {
                pending: Pending { request, view },
                on: None,
                first_token_us: None,
                admitted: false,
            }
        });
        match (self.mode, asked.call) {
            (Mode::Follow, _) => {
                here.pending.view = view;
                self.follow(asked, serial, now_us)
            }
            (Mode::Free, Call::Admit) if is_new => self.decide(serial, now_us),
            (Mode::Free, _) => Ok(()),
        }
    }

    /// The policies are shown these servers.
    fn show(&mut self, shown: &[InstanceView]) {
        let those: Vec<u32> = shown.iter().map(|view| view.index).collect();
        let those = (those.len() < self.backends.len()).then_some(those);
        self.front
            .set_members(StageMembers::default().of_those(those));
    }

    /// Asks what the log's policy was asked, and does what that answered.
    fn follow(&mut self, asked: &Asked, serial: u64, now_us: i64) -> Result<(), InputError> {
        if asked.call == Call::Route {
            // It failed where it was.
            self.servers.take_back(serial, now_us);
            self.forget_server(serial);
        }
        let Some(here) = self.here.get(&serial) else {
            return Ok(());
        };
        let (front, backends) = (&mut self.front, &mut self.backends);
        match asked.call {
            Call::Admit => drop(front.admit(now_us, &here.pending, backends, &self.symbols)),
            _ => {
                let stage = RoutingStage::Whole;
                front.route(now_us, &here.pending, stage, backends, &self.symbols);
            }
        }
        self.check()?;
        let seen = self.last[usize::from(asked.call == Call::Route)].take();
        let Some(seen) = seen else {
            return Ok(());
        };
        let equal = match (&seen.answer, &asked.answer) {
            // Why is a matter of words, for how long one of time.
            (Answer::Reject(_), Answer::Reject(_)) => true,
            (Answer::Hold(_), Answer::Hold(_)) | (Answer::Delay(_), Answer::Delay(_)) => true,
            (one, other) => one == other,
        };
        match asked.call {
            Call::Admit => self.comparison.admission.add(equal),
            _ => {
                self.comparison.routing.add(equal);
                if !equal {
                    self.explain(asked, &seen, serial)?;
                }
            }
        }
        match asked.answer {
            Answer::To(position) => {
                if let Some(view) = asked.shown.get(position) {
                    self.dispatch(serial, view.index as usize, now_us);
                }
            }
            Answer::Reject(_) => self.reject(serial, now_us),
            _ => {}
        }
        Ok(())
    }

    /// Asks the policies about a request, and does what they say.
    fn decide(&mut self, serial: u64, now_us: i64) -> Result<(), InputError> {
        let Some(here) = self.here.get_mut(&serial) else {
            return Ok(());
        };
        if now_us >= here.pending.request.arrival_us + LONGEST_HOLD_US {
            self.here.remove(&serial);
            return Ok(());
        }
        let (front, backends) = (&mut self.front, &mut self.backends);
        if !here.admitted {
            match front.admit(now_us, &here.pending, backends, &self.symbols) {
                Verdict::Admitted => {
                    here.admitted = true;
                    here.pending.view.attempts = 0;
                }
                Verdict::Delayed(us) => {
                    here.pending.view.attempts += 1;
                    self.again.push(Reverse((now_us + us.max(1_000), serial)));
                    return Ok(());
                }
                Verdict::Rejected => {
                    self.reject(serial, now_us);
                    return self.check();
                }
            }
        }
        let stage = RoutingStage::Whole;
        match front.route(now_us, &here.pending, stage, backends, &self.symbols) {
            Routed::To(i) => self.dispatch(serial, i, now_us),
            Routed::Held(us) => {
                here.pending.view.attempts += 1;
                self.again.push(Reverse((now_us + us.max(1_000), serial)));
            }
            Routed::Nowhere => drop(self.here.remove(&serial)),
        }
        self.check()
    }

    fn check(&self) -> Result<(), InputError> {
        match self.front.fault_text() {
            Some(what) => Err(InputError::new(format!("in the simulation: {what}"))),
            None => Ok(()),
        }
    }

    fn dispatch(&mut self, serial: u64, i: usize, now_us: i64) {
        let Some(here) = self.here.get_mut(&serial) else {
            return;
        };
        here.on = Some(i);
        let (request, view) = (here.pending.request.clone(), here.pending.view);
        if self.mode == Mode::Free {
            self.compare_place(serial, i);
        }
        self.backends.sent(i, &request);
        self.front.dispatched(i, &request);
        self.front.tell(&event_of(
            EventKind::Dispatch,
            Outcome::Completed,
            &view,
            i,
            [0; 3],
            now_us,
        ));
        let adapter = self.symbols.name(request.adapter).to_owned();
        self.servers.add(i, serial, request, &adapter, now_us);
    }

    fn compare_place(&mut self, serial: u64, i: usize) {
        let became = self.script.requests.get(&serial);
        let became = became.filter(|became| became.completed && became.retries == 0);
        let Some(endpoint) = became.and_then(|became| became.endpoint.as_ref()) else {
            return;
        };
        let equal = self.backends.name(i) == endpoint;
        self.comparison.routing.add(equal);
    }

    fn reject(&mut self, serial: u64, now_us: i64) {
        if let Some(here) = self.here.remove(&serial) {
            let view = here.pending.view;
            self.front.tell(&event_of(
                EventKind::Reject,
                Outcome::Completed,
                &view,
                0,
                [0; 3],
                now_us,
            ));
        }
    }

    fn hear(&mut self, at_us: i64, serial: u64, news: News) {
        match news {
            News::FirstToken => {
                let Some(here) = self.here.get_mut(&serial) else {
                    return;
                };
                let Some(i) = here.on else { return };
                here.first_token_us = Some(at_us);
                let view = here.pending.view;
                let ttft = at_us - here.pending.request.arrival_us;
                self.backends.first_token(i, view.prompt_tokens);
                let numbers = [1, ttft, 0];
                self.front.tell(&event_of(
                    EventKind::FirstToken,
                    Outcome::Completed,
                    &view,
                    i,
                    numbers,
                    at_us,
                ));
            }
            News::Complete => {
                self.measure(serial, at_us);
                self.left(serial, Outcome::Completed, at_us);
            }
            News::Lost => self.left(serial, Outcome::Dropped, at_us),
        }
    }

    fn measure(&mut self, serial: u64, at_us: i64) {
        let became = self.script.requests.get(&serial);
        let (Some(here), Some(became)) = (self.here.get(&serial), became) else {
            return;
        };
        if !became.completed {
            return;
        }
        let since = here.pending.request.arrival_us;
        if let (Some(logged), Some(at)) = (became.ttft_us, here.first_token_us) {
            self.comparison.ttft.add(logged, at - since);
        }
        self.comparison.e2e.add(became.e2e_us, at_us - since);
    }

    /// A request is on no server any more, and may be sent to another one.
    fn forget_server(&mut self, serial: u64) {
        if let Some(here) = self.here.get_mut(&serial)
            && let Some(i) = here.on.take()
        {
            let tokens = here.pending.view.prompt_tokens;
            self.backends.left(i, tokens, here.first_token_us.is_some());
            self.front.departed(i, &here.pending.request);
            here.first_token_us = None;
        }
    }

    fn left(&mut self, serial: u64, outcome: Outcome, now_us: i64) {
        let Some(here) = self.here.remove(&serial) else {
            return;
        };
        self.again.retain(|Reverse((_, other))| *other != serial);
        let (Some(i), view) = (here.on, here.pending.view) else {
            return;
        };
        let since = here.pending.request.arrival_us;
        let had_first = here.first_token_us.is_some();
        self.backends.left(i, view.prompt_tokens, had_first);
        self.front.departed(i, &here.pending.request);
        let ttft = here.first_token_us.map_or(0, |at| at - since);
        let output = match outcome {
            Outcome::Completed => here.pending.request.output_tokens().into(),
            _ => 0,
        };
        let numbers = [output, ttft, now_us - since];
        self.front.tell(&event_of(
            EventKind::Complete,
            outcome,
            &view,
            i,
            numbers,
            now_us,
        ));
    }

    /// A view of a request with the numbers that its names have here.
    fn own_names(&self, view: RequestView) -> RequestView {
        let own = |number: u32| self.names.get(&number).map_or(Sym::NONE.0, |sym| sym.0);
        RequestView {
            slo_class: own(view.slo_class),
            tenant: own(view.tenant),
            session: own(view.session),
            prefix_group: own(view.prefix_group),
            adapter: own(view.adapter),
            ..view
        }
    }
}

/// The names that policies knew at first.
fn named(begin: &Begin) -> Symbols {
    let mut symbols = Symbols::default();
    for name in &begin.names {
        symbols.intern(name);
    }
    symbols
}

fn front(
    begin: &Begin,
    config: &Config,
    known: &Known,
    symbols: &mut Symbols,
    last: &[Last; 2],
) -> Result<FrontEnd, InputError> {
    let policies = begin.spec()?;
    let ((admission, router), priorities) = pair(&policies, begin.instances, symbols)?;
    let watched = (
        Box::new(Probed::new(admission, &last[0])) as Box<_>,
        Box::new(Probed::new(router, &last[1])) as Box<_>,
    );
    Ok(front_end_of(watched, priorities, config, known))
}
