//! Traces that are held in memory: requests with recorded times, and sessions whose rounds come at
//! their times or follow the answer before them.

use super::cut::Selection;
use crate::limits::{MAX_TOKENS, MOST_LOOPED};
use crate::think::ThinkTime;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{
    Detail, FinishReason, Finished, Request, RequestId, Source, Span, Sym, Symbols, TokenSeq,
};

/// No turn.
const NONE: u32 = u32::MAX;

/// A request of a trace, as its file tells it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    /// When it was sent, nanoseconds from any origin. `None`: a first round is sent at the
    /// earliest time of the trace, a later one after the answer before it.
    pub(crate) sent_ns: Option<i64>,
    /// Pause of the client before a later round, microseconds. `None`: the gap of the times.
    pub(crate) think_us: Option<i64>,
    /// It begins with these tokens, in streams below [`Turns::shared`].
    pub(crate) shared: TokenSeq,
    /// It begins with the prompt and the answer of the round before it; goes before `shared`.
    pub(crate) repeats: bool,
    /// Tokens behind that, which occur nowhere else.
    pub(crate) new: u32,
    /// Length of the answer.
    pub(crate) output: u32,
    /// The answer's tokens, where they are known; streams as in `shared`.
    pub(crate) answer: TokenSeq,
    /// Session, `Sym::NONE` for none. Rounds of one session are in order.
    pub(crate) session: Sym,
    /// Client.
    pub(crate) client: Sym,
    /// The client's own priority, higher is more important.
    pub(crate) priority: Option<i32>,
    /// LoRA adapter.
    pub(crate) adapter: Sym,
    /// Does the client stream the answer?
    pub(crate) streaming: bool,
}

impl Turn {
    /// Tokens of the prompt without those it repeats.
    fn own(&self) -> u32 {
        if self.repeats {
            self.new
        } else {
            self.shared.len() + self.new
        }
    }
}

/// The requests of a trace in the order of the file, and the names in them.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) list: Vec<Turn>,
    pub(crate) symbols: Symbols,
    /// Streams of tokens that several requests can have.
    pub(crate) shared: u32,
}

/// How a trace is replayed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldReplay {
    /// Later rounds follow the answer before them, whatever their recorded times.
    pub(crate) closed_loop: bool,
    /// Think time of all rounds, instead of the recorded ones.
    pub(crate) think_time: Option<ThinkTime>,
    /// Seed of drawn think times.
    pub(crate) seed: u64,
    /// No follow-up is sent after this, microseconds.
    pub(crate) horizon_us: i64,
    pub(crate) selection: Selection,
}

/// What does not change while a trace is replayed.
#[derive(Debug)]
struct Data {
    turns: Vec<Turn>,
    /// The round before and after each turn in its session, or [`NONE`].
    before: Vec<u32>,
    after: Vec<u32>,
    round: Vec<u32>,
    /// Arrival of each turn, microseconds; of one without a time, that of the first.
    times_us: Vec<i64>,
    shared: u32,
}

/// A turn that is sent by the clock.
#[derive(Clone, Copy, Debug)]
struct Start {
    at_us: i64,
    pass: u32,
    turn: u32,
}

/// The [`Source`] of a trace that is held in memory.
#[derive(Clone, Debug)]
pub struct Held {
    data: Arc<Data>,
    replay: HeldReplay,
    starts: Arc<[Start]>,
    next: usize,
    symbols: Symbols,
    total: u64,
    /// The last turn of a session that the cap on requests ends early: pass and turn.
    cut: Option<(u32, u32)>,
}

impl Held {
    /// A source of these requests.
    ///
    /// # Errors
    /// When there are more than 2^31 requests or tokens in a session.
    pub(crate) fn new(name: &str, turns: Turns, replay: HeldReplay) -> Result<Self, InputError> {
        let Turns {
            list,
            symbols,
            shared,
        } = turns;
        let passes = u64::from(replay.selection.loops);
        if u64::from(shared) + passes * list.len() as u64 > MAX_TOKENS {
            return Err(InputError::in_file(name, "more than 2^31 requests"));
        }
        let all = passes * list.len() as u64;
        if replay.selection.max_requests.is_none() && passes > 1 && all > MOST_LOOPED {
            let message = format!(
                "{passes} loops have {all} requests; at most {MOST_LOOPED} make sense, or limit the requests"
            );
            return Err(InputError::in_file(name, message));
        }
        let data = Data::new(list, shared);
        data.check_lengths(name)?;
        let mut held = Self {
            data: Arc::new(data),
            replay,
            starts: Arc::default(),
            next: 0,
            symbols,
            total: 0,
            cut: None,
        };
        held.schedule();
        Ok(held)
    }

    /// Does the trace name sessions at all?
    pub(crate) fn has_sessions(&self) -> bool {
        self.data.turns.iter().any(|t| !t.session.is_none())
    }

    /// Sets the time after which no follow-up is sent.
    pub(crate) fn set_horizon_us(&mut self, horizon_us: i64) {
        self.replay.horizon_us = horizon_us;
    }

    /// The latest time at which a request is sent by the clock, microseconds.
    pub(crate) fn latest_arrival_us(&self) -> Option<i64> {
        self.starts.last().map(|s| s.at_us)
    }

    /// Is it sent when the answer before it comes?
    fn follows(&self, turn: u32) -> bool {
        let t = turn as usize;
        self.data.before[t] != NONE
            && (self.replay.closed_loop || self.data.turns[t].sent_ns.is_none())
    }

    /// The turn that follows the answer to this one, if any.
    fn follow_up(&self, turn: u32) -> Option<u32> {
        let after = self.data.after[turn as usize];
        (after != NONE && self.follows(after)).then_some(after)
    }

    fn schedule(&mut self) {
        let s = self.replay.selection;
        let count = self.data.turns.len() as u32;
        let mut sent: Vec<(i64, u32)> = (0..count)
            .filter(|&k| !self.follows(k))
            .map(|k| (self.data.times_us[k as usize], k))
            .collect();
        sent.sort_unstable();
        if s.spread_ties {
            spread(&mut sent);
        }
        let latest = sent.last().map_or(0, |(at, _)| *at);
        let period = s.period_us(latest, u64::from(count));
        sent.retain(|&(at, k)| s.keeps(u64::from(self.data.first_of(k)), at));
        // Every start takes one from the cap, and passes follow each other.
        let enough = s.max_requests.unwrap_or(u64::MAX);
        let enough = enough.div_ceil(sent.len().max(1) as u64);
        let loops = s.loops.min(u32::try_from(enough).unwrap_or(u32::MAX));
        let mut starts: Vec<Start> = (0..loops)
            .flat_map(|pass| sent.iter().map(move |&(at, turn)| (pass, at, turn)))
            .map(|(pass, at, turn)| Start {
                at_us: s.moved_us(at, pass, period),
                pass,
                turn,
            })
            .collect();
        starts.sort_by_key(|s| s.at_us);
        // A session takes its rounds from the cap when it starts.
        let mut left = s.max_requests.unwrap_or(u64::MAX);
        let mut taken = 0;
        for start in &starts {
            if left == 0 {
                break;
            }
            taken += 1;
            let mut last = start.turn;
            left -= 1;
            self.total += 1;
            while let Some(next) = self.follow_up(last) {
                if left == 0 {
                    self.cut = Some((start.pass, last));
                    break;
                }
                (left, last) = (left - 1, next);
                self.total += 1;
            }
        }
        starts.truncate(taken);
        self.starts = starts.into();
    }

    fn span(&self, pass: u32, turn: u32, start: u32, len: u32) -> Span {
        let stream = self.data.shared + pass * self.data.turns.len() as u32 + turn;
        Span { stream, start, len }
    }

    /// The prompt of a turn; `context` is what it repeats, if it does.
    fn prompt(&self, pass: u32, turn: u32, context: TokenSeq) -> TokenSeq {
        let t = &self.data.turns[turn as usize];
        let mut prompt = if t.repeats { context } else { t.shared.clone() };
        prompt.push(self.span(pass, turn, 0, t.new));
        prompt
    }

    fn answer(&self, pass: u32, turn: u32) -> TokenSeq {
        let t = &self.data.turns[turn as usize];
        let mut answer = t.answer.clone();
        answer.push(self.span(pass, turn, t.new, t.output - answer.len()));
        answer
    }

    /// What a turn repeats when all answers before it are as recorded.
    fn context(&self, pass: u32, turn: u32) -> TokenSeq {
        let mut rounds = Vec::new();
        let mut at = turn;
        while self.data.turns[at as usize].repeats && self.data.before[at as usize] != NONE {
            at = self.data.before[at as usize];
            rounds.push(at);
        }
        let mut context = TokenSeq::default();
        for turn in rounds.into_iter().rev() {
            context = self.prompt(pass, turn, context);
            let output = self.data.turns[turn as usize].output;
            context.extend_from(&self.answer(pass, turn), output);
        }
        context
    }

    fn request(&mut self, pass: u32, turn: u32, arrival_us: i64, context: TokenSeq) -> Request {
        let data = Arc::clone(&self.data);
        let k = turn as usize;
        let t = &data.turns[k];
        let prompt = self.prompt(pass, turn, context);
        let output = self.answer(pass, turn);
        let after = data.after[k];
        let repeated = after != NONE && data.turns[after as usize].repeats;
        let private_from = if t.repeats || repeated || !t.answer.is_empty() {
            u32::MAX
        } else {
            t.shared.len()
        };
        let session = match pass {
            _ if t.session.is_none() => Sym::NONE,
            0 => t.session,
            _ => {
                let name = format!("{}#{pass}", self.symbols.name(t.session));
                self.symbols.intern(&name)
            }
        };
        let timeout = self.replay.selection.timeout_us;
        Request {
            private_from,
            deadline_us: timeout.map_or(0, |us| arrival_us.saturating_add(us)),
            client: t.client,
            priority: t.priority,
            client_priority: t.priority.map_or(0, i32::saturating_neg),
            adapter: t.adapter,
            session,
            round: data.round[k],
            streaming: t.streaming,
            source_tag: (u64::from(pass) << 32) | u64::from(turn),
            detail: Detail {
                think_us: data.think_us(turn),
                ..Detail::default()
            }
            .boxed(),
            ..Request::new(
                RequestId::Number(u64::from(pass) * data.turns.len() as u64 + k as u64),
                arrival_us,
                prompt,
                output,
            )
        }
    }
}

/// Spreads requests of one time up to the next time.
fn spread(sent: &mut [(i64, u32)]) {
    let mut from = 0;
    while from < sent.len() {
        let at = sent[from].0;
        let count = sent[from..].iter().take_while(|s| s.0 == at).count();
        if let Some(&(next, _)) = sent.get(from + count) {
            for (k, s) in (0..).zip(&mut sent[from..from + count]) {
                s.0 = at + (i128::from(next - at) * k / count as i128) as i64;
            }
        }
        from += count;
    }
}

impl Data {
    fn new(turns: Vec<Turn>, shared: u32) -> Self {
        let count = turns.len();
        let first = turns.iter().filter_map(|t| t.sent_ns).min().unwrap_or(0);
        let us = |ns: i64| (ns.saturating_sub(first).saturating_add(500)) / 1000;
        let mut data = Self {
            before: vec![NONE; count],
            after: vec![NONE; count],
            round: vec![0; count],
            times_us: turns
                .iter()
                .map(|t| us(t.sent_ns.unwrap_or(first)))
                .collect(),
            turns,
            shared,
        };
        let mut last = rustc_hash::FxHashMap::default();
        for k in 0..count {
            let session = data.turns[k].session;
            if session.is_none() {
                continue;
            }
            if let Some(before) = last.insert(session, k) {
                data.before[k] = before as u32;
                data.after[before] = k as u32;
                data.round[k] = data.round[before] + 1;
            }
        }
        data
    }

    /// The first turn of the session, or the turn itself: sessions are sampled as a whole.
    fn first_of(&self, turn: u32) -> u32 {
        let mut at = turn;
        while self.before[at as usize] != NONE {
            at = self.before[at as usize];
        }
        at
    }

    /// Pause before a later round, as recorded.
    fn think_us(&self, turn: u32) -> i64 {
        let (k, before) = (turn as usize, self.before[turn as usize]);
        if before == NONE {
            return 0;
        }
        let timed = |k: usize| self.turns[k].sent_ns.is_some();
        let gap = match timed(k) && timed(before as usize) {
            true => self.times_us[k] - self.times_us[before as usize],
            false => 0,
        };
        self.turns[k].think_us.unwrap_or(gap).max(0)
    }

    fn check_lengths(&self, name: &str) -> Result<(), InputError> {
        let mut sums = vec![0u64; self.turns.len()];
        for (k, turn) in self.turns.iter().enumerate() {
            let before = match self.before[k] {
                NONE => 0,
                before if turn.repeats => sums[before as usize],
                _ => 0,
            };
            sums[k] = before + u64::from(turn.own()) + u64::from(turn.output);
            if sums[k] > MAX_TOKENS {
                let message = format!(
                    "request {k}: {} tokens of prompt and output; at most {MAX_TOKENS} make sense",
                    sums[k]
                );
                return Err(InputError::in_file(name, message));
            }
        }
        Ok(())
    }
}

impl Source for Held {
    fn next_request(&mut self) -> Option<Request> {
        let start = *self.starts.get(self.next)?;
        self.next += 1;
        let context = self.context(start.pass, start.turn);
        Some(self.request(start.pass, start.turn, start.at_us, context))
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let tag = finished.request.source_tag;
        let (pass, turn) = ((tag >> 32) as u32, tag as u32);
        let next = self.follow_up(turn)?;
        let generated = finished.generated_tokens;
        let answered = finished.reason == FinishReason::Completed
            && generated <= finished.request.output.len();
        if !answered || self.cut == Some((pass, turn)) {
            return None;
        }
        let round = u64::from(self.data.round[next as usize]);
        let think_us = match self.replay.think_time {
            Some(think) => think.sample(self.replay.seed, self.data.first_of(next).into(), round),
            None => self.data.think_us(next),
        };
        let arrival_us = finished.at_us.saturating_add(think_us);
        if arrival_us > self.replay.horizon_us {
            return None;
        }
        let mut context = finished.request.prompt.clone();
        // The last token of an answer has no KV, but is part of the conversation; of a cut answer,
        // what there is.
        let answer = finished.request.output.len();
        let said = if generated + 1 >= answer {
            answer
        } else {
            generated
        };
        context.extend_from(&finished.request.output, said);
        Some(self.request(pass, next, arrival_us, context))
    }

    fn has_follow_ups(&self) -> bool {
        (0..self.data.turns.len() as u32).any(|k| self.follows(k))
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.total)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

#[cfg(test)]
mod tests;
