//! The time in which requests arrive. A run goes on after it until all are done (the drain), so its
//! rates are below those that the cluster kept up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use windtunnel_base::record::RequestRecord;

/// What happened from the first arrival to the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalWindow {
    /// The first arrival, microseconds.
    pub start_us: i64,
    /// The last one; after `start_us`.
    pub end_us: i64,
    /// Requests that arrived after the first, whatever became of them: as many as gaps between
    /// arrivals, so that equal gaps give their exact rate.
    pub arrivals: u64,
    /// Requests that completed in it.
    pub completed: u64,
    /// Their output tokens.
    pub output_tokens: u64,
}

impl ArrivalWindow {
    /// Its length, seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.end_us - self.start_us) as f64 / 1e6
    }

    /// Requests that arrived per second.
    #[must_use]
    pub fn arrivals_per_sec(&self) -> f64 {
        self.arrivals as f64 / self.seconds()
    }

    /// Requests that completed per second.
    #[must_use]
    pub fn responses_per_sec(&self) -> f64 {
        self.completed as f64 / self.seconds()
    }

    /// Output tokens of the requests that completed, per second.
    #[must_use]
    pub fn tokens_per_sec(&self) -> f64 {
        self.output_tokens as f64 / self.seconds()
    }
}

/// Counts what completed up to the last arrival, while neither is known to be the last. Requests
/// that completed after the latest arrival so far wait; there are about as many as are in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals {
    count: u64,
    first: Option<i64>,
    last: i64,
    completed: u64,
    output_tokens: u64,
    /// (completion, output tokens).
    later: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Arrivals {
    /// Takes in one request. The order does not matter.
    pub(super) fn add(&mut self, r: &RequestRecord) {
        let first = self.first.unwrap_or(r.arrival_us);
        self.last = self
            .first
            .map_or(r.arrival_us, |_| self.last.max(r.arrival_us));
        self.first = Some(first.min(r.arrival_us));
        self.count += 1;
        match r.completion_us() {
            Some(at) if at > self.last => self.later.push(Reverse((at, r.generated_tokens))),
            Some(_) => self.complete(r.generated_tokens),
            None => {}
        }
        while let Some(&Reverse((at, tokens))) = self.later.peek()
            && at <= self.last
        {
            self.complete(tokens);
            self.later.pop();
        }
    }

    fn complete(&mut self, tokens: u32) {
        self.completed += 1;
        self.output_tokens += u64::from(tokens);
    }

    /// The window; `None` if no time passed between the first arrival and the last one.
    pub(super) fn window(&self) -> Option<ArrivalWindow> {
        let start_us = self.first.filter(|first| *first < self.last)?;
        Some(ArrivalWindow {
            start_us,
            end_us: self.last,
            arrivals: self.count - 1,
            completed: self.completed,
            output_tokens: self.output_tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{done, refused};
    use super::*;

    #[test]
    fn what_completes_in_the_drain_is_not_in_the_window() {
        // Arrivals at 1, 2 and 3 s; completions at 1.5, 3 and 4 s.
        let requests = [
            done(0, 1_000_000, 1, 500_000, 0),
            done(1, 2_000_000, 1, 1_000_000, 0),
            done(2, 3_000_000, 1, 1_000_000, 0),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut arrivals = Arrivals::default();
            order
                .into_iter()
                .for_each(|k: usize| arrivals.add(&requests[k]));
            let window = arrivals.window().unwrap();
            assert_eq!((window.start_us, window.end_us), (1_000_000, 3_000_000));
            assert_eq!(window.arrivals_per_sec(), 1.0);
            assert_eq!(window.responses_per_sec(), 1.0);
            assert_eq!(window.tokens_per_sec(), 3.0);
        }
    }

    #[test]
    fn a_burst_has_no_window() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.window(), None);
        arrivals.add(&refused(0, 7));
        arrivals.add(&done(1, 7, 1, 2, 0));
        assert_eq!(arrivals.window(), None);
    }
}
