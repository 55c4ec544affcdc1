//! What an instance does over time.

use super::config::NEVER;
use std::collections::VecDeque;
use windtunnel_base::record::{Series, Span};

/// Sums up steps. The last ones are held back, as others may still say when they end.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    series: Series,
    held: VecDeque<Span>,
}

impl Sampler {
    /// Without steps, in intervals of this length, microseconds; `None` = as long as it takes for
    /// 500 to 1000 of them.
    pub(super) fn new(interval_us: Option<i64>) -> Self {
        Self {
            series: Series::new(interval_us),
            held: VecDeque::new(),
        }
    }

    /// The next steps.
    pub(super) fn add(&mut self, span: Span) {
        while let Some(first) = self.held.front().filter(|first| first.end_us != NEVER) {
            self.series.add(first);
            self.held.pop_front();
        }
        self.held.push_back(span);
    }

    /// A step yielded so many tokens more than one for each request.
    pub(super) fn more_output(&mut self, at_us: i64, tokens: u64) {
        self.series.add_output(at_us, tokens);
    }

    /// The last step ends then.
    pub(super) fn prolong(&mut self, end_us: i64) {
        if let Some(last) = self.held.back_mut() {
            last.end_us = end_us;
        }
    }

    /// The first step whose end is open runs then.
    pub(super) fn close(&mut self, start_us: i64, end_us: i64) {
        if let Some(open) = self.held.iter_mut().find(|span| span.end_us == NEVER) {
            (open.start_us, open.end_us) = (start_us, end_us);
        }
    }

    /// All of it, up to the end of the run.
    pub(super) fn finish(mut self, ended_us: i64) -> Series {
        for span in self.held.iter().filter(|span| span.end_us != NEVER) {
            self.series.add(span);
        }
        self.series.until(ended_us)
    }
}
