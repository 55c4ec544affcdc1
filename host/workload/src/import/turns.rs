//! Traces with conversations: a later turn arrives when it was recorded, or is sent some time after
//! the answer before it.

use super::blocks::Blocks;
use super::cut::Rewind;
use super::row::Row;
use crate::limits::MAX_TOKENS;
use crate::think::ThinkTime;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use windtunnel_base::request::{
    Detail, FinishReason, Finished, Request, RequestId, Source, Span, Sym, Symbols, TokenSeq,
};

/// What the later turns of sessions say of the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// Their blocks name it.
    ById,
    /// Their length covers it.
    InLength,
    /// Nothing: they say what is new.
    LeftOut,
}

/// A request of a trace, and when it is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) row: Row,
    /// Does the row have a time? Else it follows the turn before it.
    pub(crate) timed: bool,
    /// Time from the answer before it, microseconds.
    pub(crate) delay_us: Option<i64>,
}

/// A turn in its session.
#[derive(Clone, Debug)]
struct Place {
    turn: Turn,
    /// Its session's name, `Sym::NONE` for none, and its number in the trace.
    session: Sym,
    number: u32,
    round: u32,
    /// The turn after it.
    next: Option<u32>,
    /// The turn before it.
    before: Option<u32>,
}

/// The [`Source`] of a trace with conversations.
#[derive(Debug)]
pub struct Turns {
    places: Arc<[Place]>,
    block: u32,
    history: History,
    /// Every later turn waits for the answer before it.
    closed_loop: bool,
    think_time: Option<(ThinkTime, u64)>,
    /// Turns that the clock sends, in order of time.
    order: Arc<[u32]>,
    first_ticks: i64,
    next: usize,
    pass: u64,
    streams: u32,
    blocks: Blocks,
    /// Prompts and answers of turns whose next one the clock sends.
    sent: FxHashMap<u32, (TokenSeq, TokenSeq)>,
    /// As they were when it was opened: a copy starts with them.
    names: Symbols,
    symbols: Symbols,
}

impl Clone for Turns {
    /// A copy that starts from the first turn.
    fn clone(&self) -> Self {
        Self {
            places: Arc::clone(&self.places),
            order: Arc::clone(&self.order),
            blocks: Blocks::new(self.block),
            sent: FxHashMap::default(),
            names: self.names.clone(),
            symbols: self.names.clone(),
            next: 0,
            pass: 0,
            streams: 0,
            ..*self
        }
    }
}

impl Turns {
    /// A source of turns in the order of their file.
    ///
    /// # Errors
    /// When a conversation has more tokens than make sense.
    pub(crate) fn new(turns: Vec<Turn>, block: u32, history: History) -> Result<Self, String> {
        let mut symbols = Symbols::default();
        let mut last: FxHashMap<Sym, u32> = FxHashMap::default();
        let mut places: Vec<Place> = Vec::with_capacity(turns.len());
        let mut sessions = 0;
        for (k, turn) in (0u32..).zip(turns) {
            let name = turn.row.labels.as_ref().map_or("", |l| l.session.as_str());
            let session = symbols.intern(name);
            let before = if session.is_none() {
                None
            } else {
                last.insert(session, k)
            };
            let (number, round) = before.map_or((sessions, 0), |b| {
                let before = &places[b as usize];
                (before.number, before.round + 1)
            });
            sessions += u32::from(before.is_none());
            if let Some(b) = before {
                places[b as usize].next = Some(k);
            }
            // A turn whose beginning was skipped as damaged is sent first of its session.
            places.push(Place {
                turn,
                session,
                number,
                round,
                next: None,
                before,
            });
        }
        let turns = Self {
            block,
            history,
            closed_loop: false,
            think_time: None,
            order: [].into(),
            first_ticks: 0,
            next: 0,
            pass: 0,
            streams: 0,
            blocks: Blocks::new(block),
            sent: FxHashMap::default(),
            names: symbols.clone(),
            symbols,
            places: places.into(),
        };
        turns.check_lengths()?;
        Ok(turns.ordered())
    }

    /// The same, whose later turns all wait for the answers before them, with think times of
    /// `think_time` and its seed instead of the recorded ones.
    pub(crate) fn as_closed_loop(self, think_time: Option<(ThinkTime, u64)>) -> Self {
        let closed = Self {
            closed_loop: true,
            think_time,
            ..self
        };
        closed.ordered()
    }

    fn ordered(self) -> Self {
        let clocked =
            |place: &Place| place.before.is_none() || (place.turn.timed && !self.closed_loop);
        let mut order: Vec<u32> = (0u32..)
            .zip(self.places.iter())
            .filter(|(_, place)| clocked(place))
            .map(|(k, _)| k)
            .collect();
        order.sort_by_key(|k| self.places[*k as usize].turn.row.ticks);
        let first_ticks = order.first();
        Self {
            first_ticks: first_ticks.map_or(0, |k| self.places[*k as usize].turn.row.ticks),
            order: order.into(),
            ..self
        }
    }

    fn check_lengths(&self) -> Result<(), String> {
        let mut tokens: FxHashMap<Sym, u64> = FxHashMap::default();
        for place in self.places.iter() {
            let row = &place.turn.row;
            let own = u64::from(row.prompt) + u64::from(row.output);
            let all = tokens.entry(place.session).or_default();
            *all = match (self.history, place.session.is_none()) {
                (History::LeftOut, false) => *all + own,
                _ => own,
            };
            if *all > MAX_TOKENS {
                return Err(format!(
                    "session {:?} has {all} tokens; at most {MAX_TOKENS} make sense",
                    self.symbols.name(place.session)
                ));
            }
        }
        Ok(())
    }

    fn place(&self, k: u32) -> &Place {
        &self.places[k as usize]
    }

    fn arrival_us(&self, place: &Place) -> i64 {
        let ticks = place.turn.row.ticks.saturating_sub(self.first_ticks);
        ticks.saturating_add(5) / 10
    }

    /// Does the turn after this one wait for its answer?
    fn waits(&self, place: &Place) -> bool {
        place.before.is_some() && (self.closed_loop || !place.turn.timed)
    }

    /// Pause before a turn, microseconds.
    fn pause_us(&self, place: &Place) -> i64 {
        if let Some((think, seed)) = &self.think_time {
            return think.sample(*seed, place.number.into(), place.round.into());
        }
        let recorded = || {
            let before = self.place(place.before?);
            let timed = place.turn.timed && before.turn.timed;
            timed.then(|| (self.arrival_us(place) - self.arrival_us(before)).max(0))
        };
        place.turn.delay_us.or_else(recorded).unwrap_or(0)
    }

    /// Turn `k` behind the conversation so far.
    fn request(
        &mut self,
        k: u32,
        arrival_us: i64,
        so_far: TokenSeq,
        think_us: i64,
    ) -> Option<Request> {
        let places = Arc::clone(&self.places);
        let place = &places[k as usize];
        let row = &place.turn.row;
        let own = self.streams;
        self.streams += 1;
        if u64::from(own) >= MAX_TOKENS {
            return None;
        }
        let in_session = !place.session.is_none();
        let goes_on = in_session && place.next.is_some() && self.history != History::ById;
        let mut prompt = so_far;
        let (shared, fresh) = match (self.history, place.before) {
            (History::LeftOut, Some(_)) => (prompt.len(), row.prompt),
            (History::InLength, Some(_)) => (prompt.len(), row.prompt.saturating_sub(prompt.len())),
            _ => {
                prompt = TokenSeq::default();
                let shared = self.blocks.spans(row, &mut self.streams, &mut prompt);
                (shared, row.prompt - shared)
            }
        };
        let push = |start, len, into: &mut TokenSeq| {
            into.push(Span {
                stream: own,
                start,
                len,
            });
        };
        push(0, fresh, &mut prompt);
        let mut output = TokenSeq::default();
        push(fresh, row.output, &mut output);
        let next_by_clock = place.next.filter(|n| !self.waits(&places[*n as usize]));
        if goes_on && next_by_clock.is_some() {
            self.sent.insert(k, (prompt.clone(), output.clone()));
        }
        let session = match self.pass {
            0 => place.session,
            _ if place.session.is_none() => Sym::NONE,
            pass => {
                let name = format!("{}#{pass}", self.symbols.name(place.session));
                self.symbols.intern(&name)
            }
        };
        let detail = Detail {
            think_us,
            ..Detail::default()
        };
        Some(Request {
            private_from: if goes_on { u32::MAX } else { shared },
            priority: row.priority,
            session,
            round: place.round,
            source_tag: (self.pass << 32) | u64::from(k),
            detail: detail.boxed(),
            ..Request::new(RequestId::Number(k.into()), arrival_us, prompt, output)
        })
    }
}

impl Source for Turns {
    fn next_request(&mut self) -> Option<Request> {
        let k = *self.order.get(self.next)?;
        self.next += 1;
        let place = self.place(k);
        let (arrival_us, before) = (self.arrival_us(place), place.before);
        let think_us = match before {
            Some(_) => self.pause_us(place),
            None => 0,
        };
        let so_far = before.and_then(|b| self.sent.remove(&b));
        let so_far = so_far.map(|(mut prompt, output)| {
            prompt.extend_from(&output, output.len());
            prompt
        });
        self.request(k, arrival_us, so_far.unwrap_or_default(), think_us)
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let before = finished.request;
        let k = before.source_tag as u32;
        let next = self.places.get(k as usize)?.next?;
        let place = self.place(next);
        // Who gave up or was refused does not come back.
        if !self.waits(place) || finished.reason != FinishReason::Completed {
            return None;
        }
        let pause_us = self.pause_us(place);
        let answer = before.output.len();
        // The last token of an answer has no KV, but is part of the conversation; of a cut answer,
        // what there is.
        let said = if finished.generated_tokens + 1 >= answer {
            answer
        } else {
            finished.generated_tokens
        };
        let mut so_far = before.prompt.clone();
        so_far.extend_from(&before.output, said);
        let pass = std::mem::replace(&mut self.pass, before.source_tag >> 32);
        let at_us = finished.at_us.saturating_add(pause_us);
        let request = self.request(next, at_us, so_far, pause_us);
        self.pass = pass;
        request.map(|r| Request {
            id: match before.id {
                RequestId::Number(n) => RequestId::Number(n - u64::from(k) + u64::from(next)),
                RequestId::Named(_) => r.id.clone(),
            },
            ..r
        })
    }

    fn has_follow_ups(&self) -> bool {
        self.places.iter().any(|place| self.waits(place))
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.places.len() as u64)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

impl Rewind for Turns {
    fn rewind(&mut self) {
        self.next = 0;
        self.pass += 1;
        self.sent.clear();
    }

    fn rows(&self) -> u64 {
        self.places.len() as u64
    }

    fn latest_arrival_us(&self) -> Option<i64> {
        let last = self.order.last()?;
        Some(self.arrival_us(self.place(*last)))
    }

    fn sample_number(&self, request: &Request) -> u64 {
        let place = self.places.get(request.source_tag as u32 as usize);
        place.map_or(0, |place| place.number.into())
    }
}
