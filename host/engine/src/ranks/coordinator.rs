//! How old the loads are by which ranks are chosen: vLLM's coordinator collects what the engines
//! report and publishes it to the API servers now and then.

use crate::instance::Load;
use std::collections::VecDeque;

/// After so long at the earliest it publishes loads that have changed, microseconds.
const PUBLISH_EVERY_US: i64 = 100_000;
/// After so long it publishes loads that have not.
const REPEAT_EVERY_US: i64 = 5_000_000;
/// For so long it waits for the reports of the other ranks on a step that all take together.
const WAIT_FOR_STEP_US: i64 = 50_000;

/// Requests of an engine as an API server knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KnownLoad {
    /// Requests that wait.
    pub waiting: u64,
    /// Requests that run.
    pub running: u64,
    /// Share of the KV blocks in use, 0 to 1.
    pub kv_usage: f64,
}

/// A message to the coordinator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) at_us: i64,
    /// The rank, and its load; `None` = the message is about something else.
    pub(super) load: Option<(usize, Load)>,
    /// The wave and the step of it that the rank is at, where all step together.
    pub(super) step: (u64, u64),
}

/// The coordinator. It is asked when a request comes, and does then what it would have done until
/// that moment. Messages take no time.
#[derive(Clone, Debug)]
pub(super) struct Coordinator {
    /// Do the ranks step together? Then it publishes loads as they are between two steps.
    together: bool,
    loads: Vec<KnownLoad>,
    /// The loads before the step that is reported now.
    before_step: Option<Vec<KnownLoad>>,
    /// The last wave and step that were reported.
    last_step: Option<(u64, u64)>,
    changed: bool,
    published_us: i64,
    /// It waits for messages since then.
    since_us: i64,
    reports: VecDeque<Report>,
}

impl Coordinator {
    pub(super) fn new(ranks: usize, together: bool) -> Self {
        Self {
            together,
            loads: vec![KnownLoad::default(); ranks],
            before_step: None,
            last_step: None,
            changed: false,
            // It has been there for long.
            published_us: -REPEAT_EVERY_US,
            since_us: 0,
            reports: VecDeque::new(),
        }
    }

    /// It gets messages.
    pub(super) fn hear(&mut self, reports: impl IntoIterator<Item = Report>) {
        for report in reports {
            // Nearly always behind all others.
            let earlier = |known: &&Report| known.at_us > report.at_us;
            let later = self.reports.iter().rev().take_while(earlier).count();
            self.reports.insert(self.reports.len() - later, report);
        }
    }

    /// What it publishes until `now`, the last of it: API servers forget what they knew.
    pub(super) fn publishes_until(&mut self, now: i64) -> Option<Vec<KnownLoad>> {
        let mut last = None;
        loop {
            let report = self.reports.front().copied();
            let report = report.filter(|report| report.at_us <= now);
            if self.publishes_at() <= report.map_or(now, |report| report.at_us) {
                self.publish(&mut last);
            } else if let Some(report) = report {
                self.reports.pop_front();
                self.take(report);
            } else {
                return last;
            }
        }
    }

    /// When it publishes if no message comes before.
    fn publishes_at(&self) -> i64 {
        let every_us = match self.changed {
            true => PUBLISH_EVERY_US,
            false => REPEAT_EVERY_US,
        };
        let wait_us = match self.together && self.before_step.is_none() {
            true => WAIT_FOR_STEP_US,
            false => 0,
        };
        (self.since_us + wait_us).max(self.published_us + every_us)
    }

    fn publish(&mut self, last: &mut Option<Vec<KnownLoad>>) {
        self.published_us = self.publishes_at();
        self.since_us = self.published_us;
        *last = self.before_step.take().or_else(|| {
            self.changed = false;
            Some(self.loads.clone())
        });
    }

    fn take(&mut self, report: Report) {
        self.since_us = report.at_us;
        let Some((rank, load)) = report.load else {
            return;
        };
        if self.together && self.last_step.is_none_or(|last| report.step > last) {
            if self.changed {
                self.before_step = Some(self.loads.clone());
            }
            self.last_step = Some(report.step);
        }
        self.loads[rank] = KnownLoad {
            waiting: load.waiting,
            running: load.running,
            kv_usage: load.kv_usage,
        };
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(at_us: i64, rank: usize, running: u64, step: u64) -> Report {
        let load = Load {
            at_us,
            waiting: 0,
            running,
            kv_usage: 0.0,
        };
        Report {
            at_us,
            load: Some((rank, load)),
            step: (0, step),
        }
    }

    fn running(published: Option<Vec<KnownLoad>>) -> Option<Vec<u64>> {
        published.map(|loads| loads.iter().map(|load| load.running).collect())
    }

    #[test]
    fn changes_are_published_every_tenth_of_a_second() {
        let mut coordinator = Coordinator::new(2, false);
        // At the start, and nothing more for five seconds.
        assert_eq!(running(coordinator.publishes_until(0)), Some(vec![0, 0]));
        assert_eq!(coordinator.publishes_until(4_999_999), None);
        assert_eq!(
            running(coordinator.publishes_until(5_000_000)),
            Some(vec![0, 0])
        );
        // A change after a quiet time is published at once, the next one 100 ms later.
        coordinator.hear([report(5_200_000, 0, 1, 0), report(5_210_000, 1, 2, 0)]);
        assert_eq!(
            running(coordinator.publishes_until(5_205_000)),
            Some(vec![1, 0])
        );
        assert_eq!(coordinator.publishes_until(5_299_999), None);
        assert_eq!(
            running(coordinator.publishes_until(5_300_000)),
            Some(vec![1, 2])
        );
    }

    #[test]
    fn of_steps_together_it_publishes_what_was_before_the_last() {
        let mut coordinator = Coordinator::new(2, true);
        assert_eq!(coordinator.publishes_until(49_999), None);
        assert_eq!(
            running(coordinator.publishes_until(50_000)),
            Some(vec![0, 0])
        );
        // Step 0 of both ranks, step 1 of one; it waits 50 ms for more.
        let steps = [
            report(200_000, 0, 1, 0),
            report(200_000, 1, 4, 0),
            report(220_000, 0, 2, 1),
        ];
        coordinator.hear(steps);
        // 100 ms after the last time were over long ago: with step 1 it has a whole step 0.
        assert_eq!(
            running(coordinator.publishes_until(220_000)),
            Some(vec![1, 4])
        );
        // The rest 100 ms later.
        assert_eq!(coordinator.publishes_until(319_999), None);
        assert_eq!(
            running(coordinator.publishes_until(320_000)),
            Some(vec![2, 4])
        );
    }
}
