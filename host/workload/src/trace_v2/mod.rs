//! TraceV2: a YAML header and a CSV file of requests, replayed as recorded or, session by session,
//! as a closed loop.
//!
//! Such a trace carries lengths, not tokens. Requests of one prefix group share their first tokens;
//! everything else is unique, except that an accumulating session repeats its own past.

mod header;
pub mod observed;
mod read;
mod replay;
mod select;

pub use header::{
    ContextGrowth, Header, KvOffload, Mode, Network, ObservedKvMetrics, Server, SloTargets,
};
pub(crate) use read::COLUMNS;
pub use replay::{RealTime, Replay, SessionMode};

use super::import::RowErrors;
use super::limits::{MAX_TOKENS, MOST_LOOPED};
use super::table::Table;
use read::Record;
use replay::Planned;
use rustc_hash::FxHashMap;
use std::io::Read;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{
    FinishReason, Finished, Request, RequestId, Source, Span, Sym, Symbols, TokenSeq,
};

/// Time that the client of a follow-up waits for its answer, microseconds.
const FOLLOW_UP_TIMEOUT_US: i64 = 300_000_000;

/// A real trace's send times are Unix epoch microseconds, so they lie above this (it is 1973).
const EPOCH_US: i64 = 100_000_000_000_000;

/// A prefix group's tokens.
#[derive(Clone, Copy, Debug)]
struct Group {
    stream: u32,
    len: u32,
}

/// A session of a closed loop.
#[derive(Clone, Debug)]
struct Session {
    /// Rounds in order, as positions in the file.
    rounds: Vec<u32>,
    /// Pause before each round, microseconds; that of round 0 is unused.
    think_us: Vec<i64>,
    /// A cancelled session never resumes.
    active: bool,
}

/// The [`Source`] of a TraceV2 trace.
///
/// In a closed loop, [`Finished::generated_tokens`] must be `max(output, 1) - 1` for a complete
/// answer: the last sampled token never enters the KV cache, and the accumulated context of the
/// next round leaves it out, too.
#[derive(Clone, Debug)]
pub struct TraceV2 {
    replay: Replay,
    growth: ContextGrowth,
    symbols: Symbols,
    /// In file order. The private tokens of the k-th are stream `groups.len() + k`.
    planned: Vec<Planned>,
    groups: FxHashMap<Sym, Group>,
    /// Positions in `planned` of the requests sent by the clock, in order of arrival.
    order: Vec<u32>,
    next: usize,
    sessions: Vec<Session>,
    session_of: FxHashMap<Sym, u32>,
    /// Prompt and answer of each session's last round, and its number, where later rounds say how
    /// much they repeat of it; in the fixed mode.
    said: Option<FxHashMap<Sym, (u32, TokenSeq)>>,
    /// Follow-ups so far.
    follow_ups: u64,
    total: u64,
}

impl TraceV2 {
    /// Opens a trace. Without a header the defaults of [`Header`] hold.
    ///
    /// # Errors
    /// When a file cannot be read, or a value in it makes no sense.
    pub fn open(
        data: &Path,
        header: Option<&Header>,
        replay: Replay,
        errors: &mut RowErrors,
    ) -> Result<Self, InputError> {
        Self::build(Table::open(data)?, header, replay, errors)
    }

    /// Reads the data from `from`; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`TraceV2::open`].
    pub fn from_reader(
        name: &str,
        from: impl Read + Send + 'static,
        header: Option<&Header>,
        replay: Replay,
        errors: &mut RowErrors,
    ) -> Result<Self, InputError> {
        Self::build(
            Table::new(name.into(), Box::new(from))?,
            header,
            replay,
            errors,
        )
    }

    fn build(
        table: Table,
        header: Option<&Header>,
        replay: Replay,
        errors: &mut RowErrors,
    ) -> Result<Self, InputError> {
        let name = table.name().to_owned();
        let mut symbols = Symbols::default();
        let records = read::read(table, &mut symbols, errors)?;
        let observed = header.map_or_else(
            || records.iter().any(|r| r.send_us > EPOCH_US),
            |h| h.mode == Mode::Real,
        );
        let start_us = match replay.real_time {
            RealTime::Rebased if observed => records
                .iter()
                .map(|r| r.send_us)
                .filter(|&t| t > 0)
                .min()
                .unwrap_or(0),
            _ => 0,
        };
        let growth = header.map_or(ContextGrowth::Independent, |h| h.session_context_growth);
        let groups = groups(&records);
        let selection = &replay.selection;
        let all = u64::from(selection.loops).saturating_mul(records.len() as u64);
        if selection.max_requests.is_none() && selection.loops > 1 && all > MOST_LOOPED {
            let message = format!(
                "{} loops have {all} requests; at most {MOST_LOOPED} make sense, or limit the requests",
                selection.loops
            );
            return Err(InputError::in_file(name, message));
        }
        let repeats = records.iter().any(|r| r.repeated > 0);
        let said = repeats && replay.session_mode == SessionMode::Fixed;
        let planned = records.into_iter().map(|r| plan(r, start_us)).collect();
        let planned = select::select(planned, &replay, &mut symbols);
        let mut source = Self {
            replay,
            growth,
            symbols,
            groups,
            planned,
            order: Vec::new(),
            next: 0,
            sessions: Vec::new(),
            session_of: FxHashMap::default(),
            said: said.then(FxHashMap::default),
            follow_ups: 0,
            total: 0,
        };
        source.check_lengths(&name)?;
        source.schedule(&name)?;
        Ok(source)
    }

    /// Every prompt with its output must fit; so must a whole accumulated session.
    fn check_lengths(&self, name: &str) -> Result<(), InputError> {
        let mut sessions: FxHashMap<Sym, u64> = FxHashMap::default();
        let streams = self.groups.len() + self.planned.len();
        if streams as u64 > MAX_TOKENS {
            return Err(InputError::in_file(name, "more than 2^31 requests"));
        }
        for p in &self.planned {
            let r = &p.record;
            let prefix = self.prefix(r).map_or(0, |g| g.len);
            let mut tokens =
                u64::from(prefix) + u64::from(r.effective_input()) + u64::from(r.output_tokens);
            if self.accumulates() && !r.session.is_none() {
                let all = sessions.entry(r.session).or_default();
                *all += tokens;
                tokens = *all;
            }
            if tokens > MAX_TOKENS {
                return Err(InputError::at(
                    name,
                    r.line,
                    0,
                    format!(
                        "{tokens} tokens of prompt and output; at most {MAX_TOKENS} make sense"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Decides what is sent by the clock and what by a closed loop.
    fn schedule(&mut self, name: &str) -> Result<(), InputError> {
        let mut by_time: Vec<u32> = (0..self.planned.len())
            .map(|k| u32::try_from(k).expect("fewer than 2^31 requests"))
            .collect();
        by_time.sort_by_key(|&k| self.planned[k as usize].inject_us);
        let most = self
            .replay
            .selection
            .max_requests
            .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let cut = by_time.len().min(most);
        if self.replay.session_mode == SessionMode::Fixed {
            by_time.truncate(cut);
            self.total = by_time.len() as u64;
            self.order = by_time;
            return Ok(());
        }
        self.collect_sessions(name)?;
        if cut < by_time.len() {
            let mut kept = vec![false; by_time.len()];
            for &k in &by_time[..cut] {
                kept[k as usize] = true;
            }
            for session in &mut self.sessions {
                let whole = session.rounds.iter().take_while(|&&k| kept[k as usize]);
                let rounds = whole.count();
                session.rounds.truncate(rounds);
            }
            self.order = by_time.into_iter().filter(|&k| kept[k as usize]).collect();
        } else {
            self.order = by_time;
        }
        // Requests that arrive together: first the sessions in order of their first row, then the
        // loners.
        let planned = &self.planned;
        let sessions = &self.session_of;
        self.order.retain(|&k| {
            let r = &planned[k as usize].record;
            r.session.is_none() || r.round == 0
        });
        self.order.sort_by_key(|&k| {
            let p = &planned[k as usize];
            let session = sessions.get(&p.record.session).copied();
            (p.inject_us, session.unwrap_or(u32::MAX), k)
        });
        let loners = self
            .order
            .iter()
            .filter(|&&k| self.planned[k as usize].record.session.is_none())
            .count();
        let rounds: usize = self.sessions.iter().map(|s| s.rounds.len()).sum();
        self.total = (loners + rounds) as u64;
        Ok(())
    }

    /// Gathers the rounds of every session and the pauses before them.
    fn collect_sessions(&mut self, name: &str) -> Result<(), InputError> {
        for (k, p) in self.planned.iter().enumerate() {
            let session = p.record.session;
            if session.is_none() {
                continue;
            }
            let next = u32::try_from(self.sessions.len()).expect("fewer sessions than requests");
            let at = *self.session_of.entry(session).or_insert(next);
            if at == next {
                self.sessions.push(Session {
                    rounds: Vec::new(),
                    think_us: Vec::new(),
                    active: true,
                });
            }
            let k = u32::try_from(k).expect("fewer than 2^31 requests");
            self.sessions[at as usize].rounds.push(k);
        }
        for (number, session) in self.sessions.iter_mut().enumerate() {
            let record = |k: u32| &self.planned[k as usize].record;
            session.rounds.sort_by_key(|&k| record(k).round);
            for (expected, &k) in session.rounds.iter().enumerate() {
                let r = record(k);
                if r.round as usize != expected {
                    return Err(InputError::at(
                        name,
                        r.line,
                        0,
                        format!(
                            "session {:?} has a round {} where round {expected} is due; a closed loop needs the \
                             rounds 0, 1, 2, ... of each session once each",
                            self.symbols.name(r.session),
                            r.round
                        ),
                    ));
                }
            }
            let recorded = session
                .rounds
                .iter()
                .skip(1)
                .any(|&k| record(k).think_us > 0);
            session.think_us = (0..session.rounds.len())
                .map(|n| {
                    let this = record(session.rounds[n]);
                    let before = record(session.rounds[n.saturating_sub(1)]);
                    match self.replay.think_time {
                        Some(think) => think.sample(self.replay.seed, number as u64, n as u64),
                        None if recorded => this.think_us,
                        None => (this.arrival_us - before.arrival_us).max(0),
                    }
                })
                .collect();
        }
        Ok(())
    }

    fn accumulates(&self) -> bool {
        self.growth == ContextGrowth::Accumulate
            && self.replay.session_mode == SessionMode::ClosedLoop
    }

    fn prefix(&self, record: &Record) -> Option<Group> {
        self.groups.get(&record.prefix_group).copied()
    }

    /// A span of the private tokens of the k-th request of the file.
    fn private(&self, k: u32, start: u32, len: u32) -> Span {
        let groups = u32::try_from(self.groups.len()).expect("fewer groups than requests");
        Span {
            stream: groups + k,
            start,
            len,
        }
    }

    /// The request of a record, behind a context that is already there.
    fn request(
        &self,
        k: u32,
        id: RequestId,
        arrival_us: i64,
        mut prompt: TokenSeq,
        new: u32,
    ) -> Request {
        let p = &self.planned[k as usize];
        let r = &p.record;
        // A later round of an accumulating session repeats this one's prompt and output.
        let repeated = (self.accumulates() || self.said.is_some()) && !r.session.is_none();
        let private_from = if repeated { u32::MAX } else { prompt.len() };
        prompt.push(self.private(k, 0, new));
        let mut output = TokenSeq::default();
        output.push(self.private(k, new, r.output_tokens));
        Request {
            private_from,
            deadline_us: p.deadline_us,
            slo_ttft_us: r.slo_ttft_us,
            client: r.client,
            tenant: r.tenant,
            slo_class: r.slo_class,
            model: r.model,
            adapter: r.adapter,
            client_priority: r.client_priority,
            session: r.session,
            round: r.round,
            prefix_group: r.prefix_group,
            prefix_tokens: self.prefix(r).map_or(0, |g| g.len),
            streaming: r.streaming,
            accepted: r.accepted.clone(),
            detail: r.detail.clone(),
            ..Request::new(id, arrival_us, prompt, output)
        }
    }

    fn prefix_of(&self, record: &Record) -> TokenSeq {
        self.prefix(record)
            .map_or_else(TokenSeq::default, |g| TokenSeq::of(g.stream, g.len))
    }

    /// The latest time at which a request is sent by the clock, microseconds; `None` for an empty
    /// trace.
    #[must_use]
    pub fn latest_arrival_us(&self) -> Option<i64> {
        self.order
            .last()
            .map(|&k| self.planned[k as usize].inject_us)
    }

    /// Sets the time after which no follow-up is sent. To be called before the first request is
    /// taken.
    pub fn set_horizon_us(&mut self, horizon_us: i64) {
        self.replay.horizon_us = horizon_us;
    }

    /// Does every request say how many of its drafts are right?
    #[must_use]
    pub fn says_accepted(&self) -> bool {
        let mut all = self.planned.iter();
        !self.planned.is_empty() && all.all(|p| p.record.accepted.is_some())
    }

    /// Does the trace name sessions at all?
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.planned.iter().any(|p| !p.record.session.is_none())
    }
}

impl Source for TraceV2 {
    fn next_request(&mut self) -> Option<Request> {
        let k = *self.order.get(self.next)?;
        self.next += 1;
        let p = &self.planned[k as usize];
        let id = p.record.id();
        let (session, round) = (p.record.session, p.record.round);
        let mut prompt = self.prefix_of(&p.record);
        let mut new = p.record.effective_input();
        if let Some((before, text)) = self.said.as_ref().and_then(|said| said.get(&session))
            && p.record.repeated > 0
            && before + 1 == round
        {
            // At least one token of a prompt is its own.
            let repeated = p.record.repeated.min(text.len()).min(new.saturating_sub(1));
            prompt = TokenSeq::default();
            prompt.extend_from(text, repeated);
            new -= repeated;
        }
        let request = self.request(k, id, p.inject_us, prompt, new);
        if let Some(said) = &mut self.said
            && !session.is_none()
        {
            let mut text = request.prompt.clone();
            text.extend_from(&request.output, request.output.len());
            said.insert(session, (round, text));
        }
        Some(request)
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let before = finished.request;
        let at = *self.session_of.get(&before.session)? as usize;
        if !self.sessions[at].active {
            return None;
        }
        let round = before.round as usize + 1;
        let generated = finished.generated_tokens;
        let next = self.sessions[at].rounds.get(round).copied();
        // An answer longer than the recorded one would mean tokens that nobody knows.
        if finished.reason != FinishReason::Completed
            || next.is_none()
            || generated > before.output.len()
        {
            self.sessions[at].active = false;
            return None;
        }
        let k = next?;
        let arrival_us = finished
            .at_us
            .saturating_add(self.sessions[at].think_us[round]);
        if arrival_us > self.replay.horizon_us {
            self.sessions[at].active = false;
            return None;
        }
        self.follow_ups += 1;
        let first = &self.planned[self.sessions[at].rounds[0] as usize].record;
        let id = format!(
            "session_{}_round_{round}_{}",
            self.symbols.name(before.session),
            self.follow_ups
        );
        let this = &self.planned[k as usize].record;
        let id = match &this.name {
            Some(_) => this.id(),
            None => RequestId::Named(id.into()),
        };
        let (prompt, new) = if self.accumulates() {
            let mut context = before.prompt.clone();
            context.extend_from(&before.output, generated);
            (context, this.input_tokens)
        } else {
            (self.prefix_of(first), this.effective_input())
        };
        // Who asks does not change during a session.
        Some(Request {
            deadline_us: arrival_us.saturating_add(FOLLOW_UP_TIMEOUT_US),
            slo_ttft_us: first.slo_ttft_us,
            client: first.client,
            tenant: first.tenant,
            slo_class: first.slo_class,
            model: first.model,
            prefix_group: before.prefix_group,
            prefix_tokens: before.prefix_tokens,
            ..self.request(k, id, arrival_us, prompt, new)
        })
    }

    fn has_follow_ups(&self) -> bool {
        self.sessions.iter().any(|s| s.rounds.len() > 1)
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

/// The prefix of each group: as long as its first record with a prefix says.
fn groups(records: &[Record]) -> FxHashMap<Sym, Group> {
    let mut groups = FxHashMap::default();
    for r in records {
        if !r.prefix_group.is_none() && r.prefix_length > 0 {
            let stream = u32::try_from(groups.len()).expect("fewer than 2^31 requests");
            groups.entry(r.prefix_group).or_insert(Group {
                stream,
                len: r.prefix_length,
            });
        }
    }
    groups
}

fn plan(record: Record, start_us: i64) -> Planned {
    let inject_us = if record.send_us > 0 {
        // A row that was never sent has no epoch time to move.
        record.send_us - start_us
    } else {
        record.arrival_us
    };
    Planned {
        // A deadline moves with what is rebased.
        deadline_us: if record.deadline_us > 0 && start_us > 0 {
            (record.deadline_us - record.arrival_us).saturating_add(inject_us)
        } else {
            record.deadline_us
        },
        record,
        inject_us,
    }
}

#[cfg(test)]
mod tests;
