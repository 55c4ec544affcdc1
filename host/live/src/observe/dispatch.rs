//! Sends every request when its time has come, and follow-ups when theirs has.

use super::answers::KnownAnswers;
use super::clock::{Clock, First, first};
use super::kv_counters::Reading;
use super::prompt::Prompts;
use super::send::{Origin, Outcome, Prepared, Preparer, Sending};
use super::{Answers, Observed, Settings};
use crate::client::Client;
use crate::clock::since_1970;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{FinishReason, Finished, Request, Source, Sym, TokenSeq};
use windtunnel_workload::trace_v2::observed::{KvCounters, Status};

/// From the call to the first arrival: what is sent first is ready by then.
const LEAD: Duration = Duration::from_millis(20);

/// What an observation is asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Nothing.
    #[default]
    Not,
    /// Sending: what is under way is waited for.
    Sending,
    /// Waiting, too.
    Waiting,
}

/// How far an observation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests in all, if that is known.
    pub total: Option<u64>,
    /// Requests sent.
    pub sent: u64,
    /// Requests that ended, well or not.
    pub ended: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Time since the start, microseconds.
    pub elapsed_us: i64,
    /// The latest that a request was sent after its time, microseconds.
    pub late_us: i64,
}

/// What was observed.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The requests in the order in which they were to be sent.
    pub requests: Vec<Observed>,
    /// It was stopped before all was sent.
    pub stopped: bool,
    /// The prefix cache's counters over the observation.
    pub kv: Option<KvCounters>,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

/// Observes the server behind `client`: sends the requests of `source` at their times, until there
/// are no more or `stop` says so.
///
/// # Errors
/// When the workload cannot be sent to a server. What goes wrong with a request is part of what is
/// observed.
pub async fn observe(
    client: &Client,
    settings: &Settings,
    prompts: &Prompts,
    source: &mut dyn Source,
    mut stop: watch::Receiver<Stop>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Observation, InputError> {
    if source.idle_step_us().is_some() {
        let message =
            "the workload creates requests with the steps of a simulation: no server tells them";
        return Err(InputError::new(message));
    }
    let mut seen = Observation::default();
    let mut before = None;
    if settings.scrape_kv {
        match Reading::now(client).await {
            Ok(reading) => before = Some(reading),
            Err(why) => seen.notes.push(format!("no hit rate: {why}")),
        }
    }
    let (tell, mut ended) = unbounded_channel();
    let (give_up, given_up) = watch::channel(false);
    let mut dispatcher = Dispatcher {
        client,
        settings,
        preparer: Preparer {
            settings,
            prompts,
            nonce: since_1970().as_nanos() as u64,
        },
        known: KnownAnswers::default(),
        said: FxHashMap::default(),
        ahead: None,
        follow_ups: BTreeMap::new(),
        held_since: None,
        under_way: 0,
        number: 0,
        origin: Origin::at(Instant::now() + LEAD),
        tell,
        given_up,
        progress: Progress {
            total: source.size_hint(),
            ..Progress::default()
        },
    };
    dispatcher.look_ahead(source);
    dispatcher.origin = Origin::at(Instant::now() + LEAD);
    let outcomes = dispatcher
        .run(source, &mut stop, &give_up, &mut ended, progress)
        .await;
    seen.stopped = *stop.borrow() != Stop::Not && dispatcher.next_due().is_some();
    seen.requests = outcomes.into_values().collect();
    if let Some(before) = before {
        let now = Reading::now(client).await;
        match now.and_then(|now| now.since(&before)) {
            Ok(counters) => seen.kv = Some(counters),
            Err(why) => seen.notes.push(format!("no hit rate: {why}")),
        }
    }
    Ok(seen)
}

/// What waits to be sent, and what is under way.
struct Dispatcher<'a> {
    client: &'a Client,
    settings: &'a Settings,
    preparer: Preparer<'a>,
    known: KnownAnswers,
    /// Prompt and answer of each session's last round, and its number.
    said: FxHashMap<Sym, (u32, TokenSeq)>,
    /// The next request of the workload.
    ahead: Option<Prepared>,
    /// Follow-ups by arrival, and the order in which they came to be.
    follow_ups: BTreeMap<(i64, u64), Prepared>,
    /// Since when requests are held back, microseconds.
    held_since: Option<i64>,
    under_way: usize,
    number: u64,
    origin: Origin,
    tell: UnboundedSender<(u64, Outcome)>,
    given_up: watch::Receiver<bool>,
    progress: Progress,
}

impl Dispatcher<'_> {
    async fn run(
        &mut self,
        source: &mut dyn Source,
        stop: &mut watch::Receiver<Stop>,
        give_up: &watch::Sender<bool>,
        ended: &mut UnboundedReceiver<(u64, Outcome)>,
        progress: &mut dyn FnMut(&Progress),
    ) -> BTreeMap<u64, Observed> {
        let mut outcomes = BTreeMap::new();
        let mut clock = Clock::new();
        // Nobody can say stop any more when the sender is gone.
        let mut can_stop = true;
        loop {
            let state = *stop.borrow_and_update();
            if state == Stop::Waiting {
                let _ = give_up.send(true);
            }
            let due = self.next_due().filter(|_| state == Stop::Not);
            if due.is_none() && self.under_way == 0 {
                return outcomes;
            }
            let now_us = self.origin.now_us();
            let has_place = self
                .settings
                .max_concurrency
                .is_none_or(|most| self.under_way < most);
            match due {
                Some(at) if at <= now_us && has_place => {
                    self.dispatch(source, now_us);
                    // It is sent when this task lets others go on.
                    tokio::task::yield_now().await;
                    continue;
                }
                Some(at) if at <= now_us => {
                    self.held_since.get_or_insert(now_us);
                }
                _ => self.held_since = None,
            }
            let timer = async {
                match due.filter(|_| has_place) {
                    Some(at) => clock.until(self.origin.moment(at)).await,
                    None => std::future::pending().await,
                }
            };
            let asked_to_stop = async {
                if !can_stop || stop.changed().await.is_err() {
                    can_stop = false;
                    std::future::pending::<()>().await;
                }
            };
            if let First::A(Some((number, outcome))) =
                first(ended.recv(), first(timer, asked_to_stop)).await
            {
                outcomes.insert(number, self.end(source, outcome));
                progress(&self.progress);
            }
        }
    }

    /// When the next request is due, microseconds after the start.
    fn next_due(&self) -> Option<i64> {
        let ahead = self.ahead.as_ref().map(|p| p.request.arrival_us);
        let follow_up = self.follow_ups.keys().next().map(|(at, _)| *at);
        [ahead, follow_up].into_iter().flatten().min()
    }

    /// Makes the next request of the workload ready.
    fn look_ahead(&mut self, source: &mut dyn Source) {
        let next = source.next_request();
        let next = next.filter(|r| r.arrival_us < self.settings.horizon_us);
        self.ahead = next.map(|request| self.prepare(request, source));
    }

    fn prepare(&mut self, request: Request, source: &dyn Source) -> Prepared {
        let mut repeated = 0;
        if !request.session.is_none() {
            let before = self.said.get(&request.session);
            if let Some((_, text)) = before.filter(|(round, _)| round + 1 == request.round) {
                repeated = common_tokens(text, &request.prompt);
            }
            let mut text = request.prompt.clone();
            text.extend_from(&request.output, request.output.len());
            self.said.insert(request.session, (request.round, text));
        }
        self.preparer
            .prepare(request, source.symbols(), &self.known, repeated)
    }

    /// Sends what is due; a follow-up goes before what the workload sends at the same time.
    fn dispatch(&mut self, source: &mut dyn Source, now_us: i64) {
        let follow_up = self.follow_ups.keys().next().copied();
        let ahead = self.ahead.as_ref().map(|p| p.request.arrival_us);
        let from_workload = follow_up.is_none_or(|(at, _)| ahead.is_some_and(|ahead| ahead < at));
        let prepared = match (from_workload, follow_up) {
            (false, Some(key)) => self.follow_ups.remove(&key),
            _ => self.ahead.take(),
        };
        let Some(mut prepared) = prepared else {
            return;
        };
        let number = self.number;
        self.number += 1;
        let arrival_us = prepared.request.arrival_us;
        let held_us = self
            .held_since
            .map_or(0, |since| now_us - since.max(arrival_us));
        self.preparer.number(&mut prepared, number);
        let sending = Sending {
            client: self.client.clone(),
            api: self.settings.api,
            origin: self.origin,
            timeout: self.settings.timeout,
            answers: self.settings.answers,
            given_up: self.given_up.clone(),
        };
        let tell = self.tell.clone();
        let warm_up = number < self.settings.warm_up;
        tokio::spawn(async move {
            let outcome = sending.send(prepared, held_us, warm_up).await;
            // Nobody listens when the whole observation was given up.
            let _ = tell.send((number, outcome));
        });
        self.under_way += 1;
        self.progress.sent += 1;
        if from_workload {
            self.look_ahead(source);
        }
    }

    /// Takes what came of a request, and asks the workload for its follow-up.
    fn end(&mut self, source: &mut dyn Source, outcome: Outcome) -> Observed {
        let Outcome {
            mut observed,
            answer,
            ended_us,
        } = outcome;
        self.under_way -= 1;
        let status = observed.row.status;
        let request = &observed.request;
        if self.settings.answers == Answers::Real && !request.session.is_none() {
            self.known.add(request, answer);
        }
        let came = observed.row.output_tokens.min(request.output.len());
        let follow_up = source.on_finished(&Finished {
            request,
            reason: match status {
                Status::Ok => FinishReason::Completed,
                _ => FinishReason::TimedOut,
            },
            at_us: ended_us,
            // The last token is never in the KV cache.
            generated_tokens: came.max(1) - 1,
        });
        if let Some(next) = follow_up.filter(|r| r.arrival_us < self.settings.horizon_us) {
            // Every request ends once, so no two follow-ups have one key.
            let key = (next.arrival_us, self.progress.ended);
            let prepared = self.prepare(next, source);
            self.follow_ups.insert(key, prepared);
        }
        let row = &mut observed.row;
        if row.server_input_tokens > 0 && row.input_tokens > 0 {
            let as_counted = f64::from(row.server_input_tokens) / f64::from(row.input_tokens);
            row.repeated_tokens = (f64::from(row.repeated_tokens) * as_counted).floor() as u32;
        }
        self.progress.ended += 1;
        self.progress.failed += u64::from(status != Status::Ok);
        self.progress.elapsed_us = self.origin.now_us();
        self.progress.late_us = self.progress.late_us.max(observed.late_us());
        observed
    }
}

/// Tokens at the start that both sequences have.
fn common_tokens(a: &TokenSeq, b: &TokenSeq) -> u32 {
    let mut common = 0;
    let (mut a, mut b) = (a.spans().iter().copied(), b.spans().iter().copied());
    let (mut left, mut right) = (a.next(), b.next());
    while let (Some(mut x), Some(mut y)) = (left, right) {
        if (x.stream, x.start) != (y.stream, y.start) {
            break;
        }
        let len = x.len.min(y.len);
        common += len;
        for span in [&mut x, &mut y] {
            span.start += len;
            span.len -= len;
        }
        left = if x.len > 0 { Some(x) } else { a.next() };
        right = if y.len > 0 { Some(y) } else { b.next() };
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::Span;

    #[test]
    fn common_tokens_end_where_the_sequences_part() {
        let seq = |spans: &[(u32, u32, u32)]| {
            let mut seq = TokenSeq::default();
            for (stream, start, len) in spans {
                seq.push(Span {
                    stream: *stream,
                    start: *start,
                    len: *len,
                });
            }
            seq
        };
        let said = seq(&[(1, 0, 10), (2, 0, 5)]);
        let common = |spans: &[(u32, u32, u32)]| common_tokens(&said, &seq(spans));
        assert_eq!(common(&[(1, 0, 10), (2, 0, 4), (3, 0, 9)]), 14);
        assert_eq!(common(&[(1, 0, 7), (3, 0, 9)]), 7);
        assert_eq!(common(&[(3, 0, 9)]), 0);
        assert_eq!(common(&[(1, 0, 10), (2, 0, 50)]), 15);
    }
}
