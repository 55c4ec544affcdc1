//! A part of a trace, faster or slower, again and again: options of every format.

use rand::RngExt;
use std::cell::OnceCell;
use std::collections::VecDeque;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Finished, Request, RequestId, Source, Symbols};
use windtunnel_base::rng;

/// What of a trace is replayed, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// Requests before this time of the trace are left out, and it becomes time 0; microseconds.
    pub from_us: Option<i64>,
    /// Requests from this time of the trace on are left out, microseconds.
    pub to_us: Option<i64>,
    /// Share of the requests (of sessions: of the sessions) that is kept, drawn by their numbers.
    pub sample: f64,
    /// How often the selected part is replayed, one after the other.
    pub loops: u32,
    /// Requests of one time are spread evenly up to the next time.
    pub spread_ties: bool,
    /// Factor on the arrival rate: times are divided by it.
    pub rate_scale: f64,
    /// Most requests, in order of arrival.
    pub max_requests: Option<u64>,
    /// Time limit of every request that has none, microseconds; `None` = none.
    pub timeout_us: Option<i64>,
    /// Seed of the sample.
    pub seed: u64,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            from_us: None,
            to_us: None,
            sample: 1.0,
            loops: 1,
            spread_ties: false,
            rate_scale: 1.0,
            max_requests: None,
            timeout_us: None,
            seed: 0,
        }
    }
}

impl Selection {
    /// Checks the numbers; messages name the flags.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn check(&self) -> Result<(), InputError> {
        let refuse = |message: String| Err(InputError::new(message));
        if !(self.rate_scale.is_finite() && self.rate_scale > 0.0) {
            return refuse(format!(
                "the rate scale is {}; expected a finite number above 0",
                self.rate_scale
            ));
        }
        if !(self.sample > 0.0 && self.sample <= 1.0) {
            return refuse(format!(
                "the sample is {}; expected a share above 0, at most 1",
                self.sample
            ));
        }
        if self.loops == 0 {
            return refuse("0 loops would replay nothing; expected at least 1".into());
        }
        let from = self.from_us.unwrap_or(0);
        if from < 0 || self.to_us.is_some_and(|to| to <= from) {
            return refuse(format!(
                "the window from {} s to {} is empty; expected 0 <= from < to",
                from as f64 / 1e6,
                self.to_us
                    .map_or("the end".into(), |to| format!("{} s", to as f64 / 1e6)),
            ));
        }
        match self.timeout_us {
            Some(us) if us <= 0 => {
                refuse(format!("the timeout is {us} us; expected a time above 0"))
            }
            _ => Ok(()),
        }
    }

    /// Is a request or session of this number and time part of it?
    #[must_use]
    pub fn keeps(&self, number: u64, time_us: i64) -> bool {
        self.from_us.is_none_or(|from| time_us >= from)
            && self.to_us.is_none_or(|to| time_us < to)
            && (self.sample >= 1.0
                || rng::stream(self.seed, "sample", 0, number).random::<f64>() < self.sample)
    }

    /// Time of a pass, microseconds of the trace: the window, or up to the last request and one
    /// mean gap.
    #[must_use]
    pub fn period_us(&self, latest_us: i64, requests: u64) -> i64 {
        let from = self.from_us.unwrap_or(0);
        let gap = latest_us / i64::try_from(requests.max(2) - 1).unwrap_or(i64::MAX);
        let end = self
            .to_us
            .unwrap_or_else(|| latest_us.saturating_add(gap.max(1)));
        (end - from).max(1)
    }

    /// When something of time `time_us` happens in a pass.
    #[must_use]
    pub fn moved_us(&self, time_us: i64, pass: u32, period_us: i64) -> i64 {
        let begin = period_us.saturating_mul(pass.into());
        let moved = (time_us - self.from_us.unwrap_or(0)).saturating_add(begin);
        if self.rate_scale == 1.0 {
            moved
        } else {
            (moved as f64 / self.rate_scale).round() as i64
        }
    }
}

/// A trace that can be read again.
pub trait Rewind: Source {
    /// Starts over; what is private to a request stays private to it.
    fn rewind(&mut self);

    /// Requests in one pass.
    fn rows(&self) -> u64;

    /// The latest arrival, microseconds; `None` without requests.
    fn latest_arrival_us(&self) -> Option<i64>;

    /// All requests that have a number have one below this.
    fn numbers(&self) -> u64 {
        self.rows()
    }
}

/// A [`Selection`] of a trace.
#[derive(Clone, Debug)]
pub struct Cut<S> {
    trace: S,
    selection: Selection,
    pass: u32,
    given: u64,
    /// Requests of one time, and the first one after them.
    ties: VecDeque<Request>,
    next: Option<Request>,
    /// Time of a pass and how many numbers its requests take, once they were needed.
    of_a_pass: OnceCell<(i64, u64)>,
}

impl<S: Rewind> Cut<S> {
    /// The whole trace.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.trace
    }

    /// Selects from a trace.
    pub fn new(trace: S, selection: Selection) -> Self {
        Self {
            trace,
            selection,
            pass: 0,
            given: 0,
            ties: VecDeque::new(),
            next: None,
            of_a_pass: OnceCell::new(),
        }
    }

    fn of_a_pass(&self) -> (i64, u64) {
        *self.of_a_pass.get_or_init(|| {
            let latest = self.trace.latest_arrival_us().unwrap_or(0);
            let rows = self.trace.rows();
            let period = self.selection.period_us(latest, rows);
            (period, self.trace.numbers())
        })
    }

    fn period_us(&self) -> i64 {
        self.of_a_pass().0
    }

    /// The latest arrival, microseconds, if all of the trace is kept; `None` without requests.
    #[must_use]
    pub fn latest_arrival_us(&self) -> Option<i64> {
        let s = &self.selection;
        let last = self.trace.latest_arrival_us()?;
        let last = s
            .to_us
            .map_or(last, |to| last.min(to - 1))
            .max(s.from_us.unwrap_or(0));
        Some(s.moved_us(last, s.loops - 1, self.period_us()))
    }

    /// The next request of the trace, ties spread where that is wanted.
    fn raw(&mut self) -> Option<Request> {
        if !self.selection.spread_ties {
            return self.trace.next_request();
        }
        if self.ties.is_empty() {
            let first = self.next.take().or_else(|| self.trace.next_request())?;
            let at = first.arrival_us;
            self.ties.push_back(first);
            self.next = loop {
                match self.trace.next_request() {
                    Some(r) if r.arrival_us == at => self.ties.push_back(r),
                    other => break other,
                }
            };
            if let Some(next) = &self.next {
                let (n, gap) = (self.ties.len() as i64, next.arrival_us - at);
                for (k, r) in (0..).zip(&mut self.ties) {
                    r.arrival_us = at + (i128::from(gap) * k / i128::from(n)) as i64;
                }
            }
        }
        self.ties.pop_front()
    }

    /// The next request of this pass that is kept.
    fn kept(&mut self) -> Option<Request> {
        loop {
            let request = self.raw()?;
            let at = request.arrival_us;
            if self.selection.to_us.is_some_and(|to| at >= to) {
                return None;
            }
            let number = match request.id {
                RequestId::Number(n) => n,
                // Its source says which row it is.
                RequestId::Named(_) => request.source_tag,
            };
            if self.selection.keeps(number, at) {
                return Some(request);
            }
        }
    }
}

impl<S: Rewind> Source for Cut<S> {
    fn next_request(&mut self) -> Option<Request> {
        if self
            .selection
            .max_requests
            .is_some_and(|most| self.given >= most)
        {
            return None;
        }
        let mut request = match self.kept() {
            Some(request) => request,
            None if self.pass + 1 < self.selection.loops && self.given > 0 => {
                self.pass += 1;
                self.ties.clear();
                self.next = None;
                self.trace.rewind();
                self.kept()?
            }
            None => return None,
        };
        self.given += 1;
        let arrival_us = self
            .selection
            .moved_us(request.arrival_us, self.pass, self.period_us());
        request.deadline_us = match (request.deadline_us, self.selection.timeout_us) {
            (0, Some(us)) => arrival_us.saturating_add(us),
            (0, None) => 0,
            (deadline, _) => (deadline - request.arrival_us).saturating_add(arrival_us),
        };
        request.arrival_us = arrival_us;
        match &mut request.id {
            RequestId::Number(n) => *n += u64::from(self.pass) * self.of_a_pass().1,
            RequestId::Named(name) if self.pass > 0 => {
                *name = format!("{name}#{}", self.pass).into();
            }
            RequestId::Named(_) => {}
        }
        Some(request)
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        self.trace.on_finished(finished)
    }

    fn has_follow_ups(&self) -> bool {
        self.trace.has_follow_ups()
    }

    fn size_hint(&self) -> Option<u64> {
        let s = &self.selection;
        if s.from_us.is_some() || s.to_us.is_some() || s.sample < 1.0 {
            return s.max_requests;
        }
        let all = self.trace.rows() * u64::from(s.loops);
        Some(s.max_requests.map_or(all, |most| all.min(most)))
    }

    fn symbols(&self) -> &Symbols {
        self.trace.symbols()
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        self.trace.symbols_mut()
    }
}
