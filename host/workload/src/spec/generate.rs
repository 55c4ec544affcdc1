//! The requests of a spec, one after the other, in order of arrival.
//!
//! Every client has lanes: its arrival process, an open window, its users, a session whose rounds
//! do not wait. A heap holds the next event of each lane, so memory follows clients and live
//! sessions, not requests. All numbers are drawn from streams named after (seed, purpose, client,
//! number of the request), so neither another client nor the order of calls changes them.

mod conversations;

use super::deal::Dealer;
use super::lanes::{Lane, Lanes};
use super::planned::{Counted, Kind, Modalities, Plan, Planned, Prompt, Traffic};
use crate::import::Rewind;
use crate::limits::MAX_TOKENS;
use crate::sample::MOST_LENGTH;
use rand::RngExt;
use rand_distr::StandardNormal;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use windtunnel_base::request::{
    Detail, FinishReason, Finished, Request, RequestId, Source, Span, Sym, Symbols, TokenSeq,
};
use windtunnel_base::rng;

/// Most items of a modality in one prompt.
const MOST_ITEMS: u32 = 1 << 12;

/// Limits of a whole workload.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Seed of everything random.
    pub seed: u64,
    /// Nothing starts from this time on, microseconds.
    pub horizon_us: i64,
    /// Most requests in all.
    pub num_requests: Option<u64>,
    /// Time limit of every request instead of the clients' own, microseconds; 0 = none.
    pub timeout_us: Option<i64>,
    /// When the next round of a session follows that does not wait for the answer.
    pub pauses: Pauses,
}

/// The time from one round of a session to the next, where that does not wait for the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pauses {
    /// The think time and a microsecond per token of the answer, as in the reference simulator.
    /// Whoever sees both arrivals can read off how long the answer is.
    #[default]
    Reference,
    /// The think time, longer or shorter by chance each time (log-normal; half of the pauses are
    /// within a factor of 1.4 of their median), and nothing of the answer.
    Drawn,
}

/// Standard deviation of the logarithm of a drawn pause; its mean stays the think time.
const PAUSE_SIGMA: f64 = 0.5;

/// Names of a client, as symbols.
#[derive(Clone, Copy, Debug)]
struct Names {
    client: Sym,
    tenant: Sym,
    slo_class: Sym,
    model: Sym,
    adapter: Sym,
    prefix_group: Sym,
    prefix_stream: u32,
}

/// The [`Source`] of a workload spec.
#[derive(Clone, Debug)]
pub struct Generator {
    bounds: Bounds,
    clients: Arc<[Planned]>,
    names: Vec<Names>,
    /// Of the clients with a set of prompts.
    dealers: Vec<Option<Dealer>>,
    /// Requests that were found while the next round of a conversation was looked for.
    ready: VecDeque<Request>,
    /// Requests or sessions each client has started.
    started: Vec<u32>,
    lanes: Lanes,
    symbols: Symbols,
    next_stream: u32,
    given: u64,
    follow_ups: u64,
    /// Requests that may still start; `None` = no limit.
    left: Option<u64>,
    /// The session that got fewer rounds than planned because of the limit: (tag, rounds).
    cut: Option<(u64, u32)>,
    closed_loops: bool,
}

/// What starts a request.
struct Start<'a> {
    client: u32,
    /// Number of the request or session within its client.
    serial: u32,
    round: u32,
    send_us: i64,
    context: TokenSeq,
    /// The window it starts in.
    window: Option<&'a Counted>,
    think_us: i64,
    session: Sym,
}

impl Generator {
    /// A source of a plan's requests.
    pub(super) fn new(plan: Plan, bounds: Bounds) -> Self {
        let mut symbols = Symbols::default();
        let mut next_stream = 0;
        let mut prefixes: FxHashMap<Sym, u32> = FxHashMap::default();
        let mut names = Vec::with_capacity(plan.clients.len());
        for c in &plan.clients {
            let prefix_group = symbols.intern(&c.prefix_group);
            let prefix_stream = *prefixes.entry(prefix_group).or_insert_with(|| {
                next_stream += 1;
                next_stream - 1
            });
            names.push(Names {
                client: symbols.intern(&c.id),
                tenant: symbols.intern(&c.kind.tenant),
                slo_class: symbols.intern(&c.kind.slo_class),
                model: symbols.intern(&c.kind.model),
                adapter: symbols.intern(&c.kind.adapter),
                prefix_group,
                prefix_stream,
            });
        }
        let dealers = plan.clients.iter().map(|c| {
            let deal = c.kind.deal.as_ref()?;
            let (next, symbols) = (&mut next_stream, &mut symbols);
            Some(Dealer::new(c, deal, bounds.seed, next, symbols))
        });
        let dealers = dealers.collect();
        let waits = |c: &Planned| {
            matches!(c.traffic, Traffic::Users { .. })
                || c.kind.deal.as_ref().is_some_and(|d| d.conversations)
                || c.kind
                    .session
                    .is_some_and(|s| s.closed_loop && s.rounds > 1)
        };
        let closed_loops = plan.clients.iter().any(waits);
        let clients: Arc<[Planned]> = plan.clients.into();
        Self {
            lanes: Lanes::new(&clients, bounds.seed),
            names,
            dealers,
            ready: VecDeque::new(),
            started: vec![0; clients.len()],
            clients,
            symbols,
            next_stream,
            given: 0,
            follow_ups: 0,
            left: bounds.num_requests,
            cut: None,
            closed_loops,
            bounds,
        }
    }

    fn kind(&self, client: u32) -> Arc<Kind> {
        Arc::clone(&self.clients[client as usize].kind)
    }

    /// Takes up to `wanted` requests from the limit; how many it got.
    fn take(&mut self, wanted: u32) -> u32 {
        let Some(left) = &mut self.left else {
            return wanted;
        };
        let got = wanted.min(u32::try_from(*left).unwrap_or(u32::MAX));
        *left -= u64::from(got);
        got
    }

    /// A client starts a request, a session or a user.
    fn start(&mut self, client: u32, send_us: i64, window: Option<&Counted>) -> Option<Request> {
        let session = self.clients[client as usize].kind.session;
        let rounds = session.map_or(1, |s| s.rounds);
        let got = self.take(rounds);
        if got == 0 {
            return None;
        }
        let started = &mut self.started[client as usize];
        let serial = *started;
        *started = started.checked_add(1)?;
        let tag = tag(client, serial);
        if got < rounds {
            self.cut = Some((tag, got));
        }
        let id = &self.clients[client as usize].id;
        let name = if matches!(self.clients[client as usize].traffic, Traffic::Users { .. }) {
            Some(format!("concurrency_{id}_user_{serial}"))
        } else {
            let number = match self.hand_of(client, serial) {
                Some(hand) => Some(hand.prompt),
                None => session.map(|_| serial),
            };
            number.map(|n| format!("sess_{id}_{n}"))
        };
        let session = name.map_or(Sym::NONE, |name| self.symbols.intern(&name));
        self.build(Start {
            client,
            serial,
            round: 0,
            send_us,
            context: self.prefix(client),
            window,
            think_us: 0,
            session,
        })
    }

    fn prefix(&self, client: u32) -> TokenSeq {
        let tokens = self.clients[client as usize].kind.prefix_tokens;
        TokenSeq::of(self.names[client as usize].prefix_stream, tokens)
    }

    /// Makes a request behind the context that is already there. `None` when its tokens would be
    /// more than make sense.
    fn build(&mut self, start: Start<'_>) -> Option<Request> {
        let Start {
            client,
            serial,
            round,
            ..
        } = start;
        let kind = self.kind(client);
        let key = self.clients[client as usize].key;
        let conversation = self.hand_of(client, serial);
        let hand = match (&mut self.dealers[client as usize], conversation) {
            (Some(dealer), None) => Some(dealer.next()),
            (_, hand) => hand,
        };
        let own_number = (u64::from(serial) << 32) | u64::from(round);
        // What is drawn for a prompt of a set is drawn once.
        let number = hand.map_or(own_number, |h| u64::from(h.prompt) << 32);
        let seed = self.bounds.seed;
        let stream = |label| rng::stream(seed, label, key, number);
        let mut context = start.context;
        if let Some(hand) = hand
            && (round == 0 || conversation.is_none())
        {
            let lengths = kind.deal.as_ref().and_then(|d| d.prefix.as_ref());
            let mut rng = rng::stream(seed, "prefix length", key, hand.group.into());
            let tokens = lengths.map_or(0, |lengths| lengths.sample(&mut rng));
            context = TokenSeq::of(hand.prefix_stream, tokens);
        }
        let adapter = match &kind.adapters[..] {
            [] => self.names[client as usize].adapter,
            adapters => {
                let u: f64 = rng::stream(seed, "adapter", key, own_number).random();
                let k = adapters.partition_point(|(_, share)| *share <= u);
                self.symbols.intern(&adapters[k.min(adapters.len() - 1)].0)
            }
        };
        let mut detail = Detail {
            think_us: start.think_us,
            ..Detail::default()
        };
        let prompt = start.window.and_then(|w| w.prompt.as_deref());
        let input = match prompt.unwrap_or(&kind.prompt) {
            Prompt::Text(lengths) => lengths.sample(&mut stream("input length")),
            Prompt::Multimodal(modalities) => {
                multimodal(modalities, &mut stream("input length"), &mut detail)
            }
        };
        let output = start.window.and_then(|w| w.output.as_deref());
        let output = output.unwrap_or(&kind.output);
        let output = output.sample(&mut stream("output length"));
        let reasoning = start.window.and_then(|w| w.reasoning.as_deref());
        if let Some(lengths) = reasoning.or(kind.reasoning.as_ref()) {
            let percent = lengths.sample_from_zero(&mut stream("reason ratio"));
            detail.reason_ratio = f64::from(percent.min(100)) / 100.0;
        }
        let tokens = u64::from(context.len()) + u64::from(input) + u64::from(output);
        if tokens > MAX_TOKENS || u64::from(self.next_stream) >= MAX_TOKENS {
            return None;
        }
        let own = self.next_stream;
        self.next_stream += 1;
        let accumulates =
            conversation.is_some() || kind.session.is_some_and(|s| s.accumulate && s.rounds > 1);
        let prefix_tokens = match hand {
            Some(_) if round == 0 || conversation.is_none() => context.len(),
            _ => kind.prefix_tokens,
        };
        let mut prompt = context;
        // The same prompt of a set is the same tokens; in a conversation it stands elsewhere.
        let repeated = hand.filter(|_| conversation.is_none());
        prompt.push(Span {
            stream: repeated.map_or(own, |h| h.prompt_stream),
            start: 0,
            len: input,
        });
        let mut answer = TokenSeq::default();
        answer.push(Span {
            stream: own,
            start: if repeated.is_some() { 0 } else { input },
            len: output,
        });
        let arrival_us = start.send_us.saturating_add(kind.wire.us(input));
        let names = self.names[client as usize];
        let timeout_us = self.bounds.timeout_us.unwrap_or(kind.timeout_us);
        let prefixed = prefix_tokens > 0;
        Some(Request {
            private_from: if accumulates {
                u32::MAX
            } else if repeated.is_some() {
                prompt.len()
            } else {
                prefix_tokens
            },
            deadline_us: if timeout_us > 0 {
                start.send_us.saturating_add(timeout_us)
            } else {
                0
            },
            slo_ttft_us: kind.slo_ttft_us,
            client: names.client,
            tenant: names.tenant,
            slo_class: names.slo_class,
            model: names.model,
            adapter,
            session: start.session,
            round,
            prefix_group: if prefixed {
                hand.map_or(names.prefix_group, |h| h.prefix_group)
            } else {
                Sym::NONE
            },
            prefix_tokens,
            streaming: kind.streaming,
            source_tag: tag(client, serial),
            detail: detail.boxed(),
            ..Request::new(RequestId::Number(0), arrival_us, prompt, answer)
        })
    }

    /// The round after `before`, sent at `send_us`; `generated` tokens of its answer are part of
    /// the context.
    fn next_round(
        &mut self,
        before: &Request,
        send_us: i64,
        think_us: i64,
        generated: u32,
    ) -> Option<Request> {
        let (client, serial) = untag(before.source_tag);
        let accumulate = self.kind(client).session.is_some_and(|s| s.accumulate);
        let context = if accumulate {
            let mut context = before.prompt.clone();
            context.extend_from(&before.output, generated);
            context
        } else {
            self.prefix(client)
        };
        self.build(Start {
            client,
            serial,
            round: before.round + 1,
            send_us,
            context,
            window: None,
            think_us,
            session: before.session,
        })
    }

    /// Rounds of a session.
    fn rounds(&self, tag: u64, planned: u32) -> u32 {
        match self.cut {
            Some((cut, rounds)) if cut == tag => rounds,
            _ => planned,
        }
    }

    /// How long after `request` the next round of its session is sent.
    fn pause_us(&self, request: &Request, think_us: i64) -> i64 {
        match self.bounds.pauses {
            Pauses::Reference => think_us.saturating_add(request.output.len().into()),
            Pauses::Drawn => {
                let (client, serial) = untag(request.source_tag);
                let key = self.clients[client as usize].key;
                let number = (u64::from(serial) << 32) | u64::from(request.round);
                let mut rng = rng::stream(self.bounds.seed, "pause", key, number);
                let z: f64 = rng.sample(StandardNormal);
                let factor = (PAUSE_SIGMA * z - PAUSE_SIGMA * PAUSE_SIGMA / 2.0).exp();
                (think_us as f64 * factor).round() as i64
            }
        }
    }

    /// A request that the clock sends: puts the rounds after it and those that are still on the
    /// wire into lanes.
    fn send(&mut self, request: Request, send_us: i64) -> Option<Request> {
        let (client, _) = untag(request.source_tag);
        if let Some(session) = self.kind(client).session
            && !session.closed_loop
            && request.round + 1 < self.rounds(request.source_tag, session.rounds)
        {
            let at = send_us.saturating_add(self.pause_us(&request, session.think_us));
            self.lanes
                .push(at, client, Lane::Round(Box::new(request.clone())));
        }
        if request.arrival_us > send_us {
            self.lanes
                .push(request.arrival_us, client, Lane::Wire(Box::new(request)));
            return None;
        }
        Some(request)
    }

    fn numbered(&mut self, mut request: Request) -> Request {
        request.id = RequestId::Number(self.given);
        self.given += 1;
        request
    }

    /// One more event of the lanes. `Err(())` = none is left.
    fn step(&mut self) -> Result<Option<Request>, ()> {
        let (at_us, client, lane) = self.lanes.pop().ok_or(())?;
        if at_us >= self.bounds.horizon_us {
            return Ok(None);
        }
        let clients = Arc::clone(&self.clients);
        let planned = &clients[client as usize];
        let started = match lane {
            Lane::Wire(request) => return Ok(Some(*request)),
            Lane::Round(before) => {
                let think = planned.kind.session.map_or(0, |s| s.think_us);
                let generated = before.output.len();
                self.next_round(&before, at_us, think, generated)
            }
            // Where nothing may start, nothing is drawn ahead for a window either.
            Lane::Open(_) if self.left == Some(0) => None,
            Lane::Open(k) => {
                self.lanes.open(planned, client, k);
                None
            }
            Lane::Steady(_) | Lane::Window(_) if self.puts_off(client, at_us) => {
                if self.left != Some(0) {
                    self.lanes.advance(planned, client, lane);
                }
                None
            }
            Lane::Steady(_) | Lane::Window(_) | Lane::Users(_) => {
                let started = self.start(client, at_us, lane.window(planned));
                let once = planned.kind.session.is_some_and(|s| s.once);
                if started.is_some() && !once && self.left != Some(0) {
                    self.lanes.advance(planned, client, lane);
                }
                started
            }
        };
        Ok(started.and_then(|request| self.send(request, at_us)))
    }
}

fn multimodal(modalities: &Modalities, rng: &mut impl rand::Rng, detail: &mut Detail) -> u32 {
    let text = modalities.text.as_ref();
    let text = text.map_or(0, |lengths| lengths.sample(rng));
    let mut of = [0u32; 3];
    for (total, modality) in of.iter_mut().zip(&modalities.others) {
        let Some((count, items)) = modality else {
            continue;
        };
        for _ in 0..count.sample(rng).min(MOST_ITEMS) {
            *total = total.saturating_add(items.sample(rng)).min(MOST_LENGTH);
        }
    }
    [
        detail.image_tokens,
        detail.audio_tokens,
        detail.video_tokens,
    ] = of;
    detail.text_tokens = text;
    (text + of.iter().sum::<u32>()).max(1)
}

fn tag(client: u32, serial: u32) -> u64 {
    (u64::from(client) << 32) | u64::from(serial)
}

fn untag(tag: u64) -> (u32, u32) {
    ((tag >> 32) as u32, tag as u32)
}

impl Source for Generator {
    fn next_request(&mut self) -> Option<Request> {
        if let Some(request) = self.ready.pop_front() {
            return Some(self.numbered(request));
        }
        loop {
            match self.step() {
                Ok(Some(request)) => return Some(self.numbered(request)),
                Ok(None) => {}
                Err(()) => return None,
            }
        }
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let before = finished.request;
        let generated = finished.generated_tokens;
        let (client, serial) = untag(before.source_tag);
        if self.hand_of(client, serial).is_some() {
            return self.next_in_conversation(finished);
        }
        // Who gave up or was refused does not come back. An answer longer than planned would mean
        // tokens that nobody knows.
        if before.session.is_none()
            || finished.reason != FinishReason::Completed
            || generated > before.output.len()
        {
            return None;
        }
        let kind = self.kind(client);
        let think_us = match (&self.clients[client as usize].traffic, kind.session) {
            (Traffic::Users { think_us, .. }, _) => {
                let think_us = *think_us;
                if self.take(1) == 0 {
                    return None;
                }
                think_us
            }
            (_, Some(s)) if s.closed_loop => {
                if before.round + 1 >= self.rounds(before.source_tag, s.rounds) {
                    return None;
                }
                s.think_us
            }
            _ => return None,
        };
        let answered_us = finished
            .at_us
            .saturating_add(kind.wire.us(before.output.len()));
        let send_us = answered_us.saturating_add(think_us);
        if send_us > self.bounds.horizon_us {
            return None;
        }
        let mut request = self.next_round(before, send_us, think_us, generated)?;
        self.follow_ups += 1;
        let name = self.symbols.name(before.session);
        let id = format!("session_{name}_round_{}_{}", request.round, self.follow_ups);
        request.id = RequestId::Named(id.into());
        Some(request)
    }

    fn has_follow_ups(&self) -> bool {
        self.closed_loops
    }

    fn size_hint(&self) -> Option<u64> {
        self.bounds.num_requests
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

impl Rewind for Generator {
    /// The same traffic once more, with new tokens of its own.
    fn rewind(&mut self) {
        self.lanes = Lanes::new(&self.clients, self.bounds.seed);
        self.started.fill(0);
        self.ready.clear();
        self.dealers.iter_mut().flatten().for_each(Dealer::rewind);
        self.left = self.bounds.num_requests;
    }

    /// About as many as there will be.
    fn rows(&self) -> u64 {
        let expected = |c: &Planned| match &c.traffic {
            Traffic::Windows(windows) => windows.iter().map(|w| w.expected).sum(),
            _ => 0.0,
        };
        self.clients.iter().map(expected).sum::<f64>() as u64
    }

    /// The end of the last window.
    fn latest_arrival_us(&self) -> Option<i64> {
        let windows = self.clients.iter().filter_map(|c| match &c.traffic {
            Traffic::Windows(windows) => windows.iter().map(|w| w.end_us).max(),
            _ => None,
        });
        windows.max()
    }
}
