//! Inter-token latencies as run lengths: one gap per step, runs of equal ones joined, never one per
//! token.
//!
//! All requests that get a token in a step share the step's gap. A request remembers the ranges of
//! steps that gave it tokens; the sum of its gaps is a difference of prefix sums, and when it
//! finishes its ranges become weight changes. Steps that no live request refers to any more are
//! folded into a histogram, so memory is O(steps since the oldest live request).

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// The steps that gave a request a token after its first.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenSteps {
    /// Half-open ranges of step numbers, ascending.
    ranges: SmallVec<[(u64, u64); 1]>,
    /// Gaps of its own, unlike that of the step (tokens after an interruption), microseconds.
    own: Vec<i64>,
    /// Tokens that came in one step with the token before them, and the gap of each, microseconds.
    together: u64,
    together_us: i64,
}

impl TokenSteps {
    /// The request got a token in each step of `from..to`.
    pub(crate) fn extend(&mut self, from: u64, to: u64) {
        if from == to {
            return;
        }
        match self.ranges.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => self.ranges.push((from, to)),
        }
    }

    /// The request got a token after a gap of its own.
    pub(crate) fn push_own(&mut self, gap_us: i64) {
        self.own.push(gap_us);
    }

    /// The request got `count` more tokens in a step that gave it one, each `gap_us` after the one
    /// before, which is the same for all of its steps.
    pub(crate) fn push_together(&mut self, count: u64, gap_us: i64) {
        self.together += count;
        self.together_us = gap_us;
    }

    /// Gaps so far.
    pub(crate) fn len(&self) -> u64 {
        let shared = self.ranges.iter().map(|(a, b)| b - a).sum::<u64>();
        shared + self.own.len() as u64 + self.together
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
        self.own.clear();
        self.together = 0;
    }

    /// The first step it refers to.
    pub(crate) fn first_step(&self) -> Option<u64> {
        self.ranges.first().map(|r| r.0)
    }
}

/// Consecutive steps with one gap.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    gap_us: i64,
    /// Sum of the gaps before the run.
    before_us: i64,
}

/// The inter-token gaps of one instance.
#[derive(Clone, Debug)]
pub(crate) struct ItlLog {
    runs: VecDeque<Run>,
    /// Number of the next step.
    next: u64,
    total_us: i64,
    /// From this step on, so many more (or fewer) finished requests were served.
    changes: Vec<(u64, i64)>,
    /// Everything before this step is folded; the weight carried into it.
    folded_to: u64,
    carried: i64,
    /// Gaps are counted to the nearest multiple of this.
    resolution: i64,
    histogram: FxHashMap<i64, u64>,
}

impl ItlLog {
    /// Nothing yet; gaps are counted to the nearest multiple of `resolution`, at least 1.
    pub(crate) fn new(resolution: i64) -> Self {
        Self {
            runs: VecDeque::new(),
            next: 0,
            total_us: 0,
            changes: Vec::new(),
            folded_to: 0,
            carried: 0,
            resolution,
            histogram: FxHashMap::default(),
        }
    }

    fn count_gaps(&mut self, gap_us: i64, count: u64) {
        let multiple = match self.resolution {
            1 => gap_us,
            unit => (gap_us + unit / 2).div_euclid(unit) * unit,
        };
        *self.histogram.entry(multiple).or_default() += count;
    }

    /// Number of the next step.
    pub(crate) fn next_step(&self) -> u64 {
        self.next
    }

    /// Records `count` steps of the same gap.
    pub(crate) fn record(&mut self, gap_us: i64, count: u64) {
        if self.runs.back().is_none_or(|run| run.gap_us != gap_us) {
            self.runs.push_back(Run {
                first: self.next,
                gap_us,
                before_us: self.total_us,
            });
        }
        self.next += count;
        self.total_us += gap_us * count as i64;
    }

    /// Sum of all gaps before `step`.
    fn before(&self, step: u64) -> i64 {
        if step == self.next {
            return self.total_us;
        }
        let at = self.runs.partition_point(|run| run.first <= step) - 1;
        let run = self.runs[at];
        run.before_us + run.gap_us * (step - run.first) as i64
    }

    /// The first of a request's gaps that are those of steps, microseconds.
    pub(crate) fn first(&self, steps: &TokenSteps) -> Option<i64> {
        let step = steps.first_step()?;
        Some(self.before(step + 1) - self.before(step))
    }

    /// Sum of a request's gaps, microseconds.
    pub(crate) fn sum(&self, steps: &TokenSteps) -> i64 {
        let shared: i64 = steps
            .ranges
            .iter()
            .map(|&(a, b)| self.before(b) - self.before(a))
            .sum();
        let together = steps.together as i64 * steps.together_us;
        shared + steps.own.iter().sum::<i64>() + together
    }

    /// Counts the gaps of a request that finished.
    pub(crate) fn count(&mut self, steps: &TokenSteps) {
        for &(a, b) in &steps.ranges {
            self.changes.push((a, 1));
            self.changes.push((b, -1));
        }
        for &gap in &steps.own {
            self.count_gaps(gap, 1);
        }
        if steps.together > 0 {
            self.count_gaps(steps.together_us, steps.together);
        }
    }

    /// Runs and weight changes kept in detail.
    pub(crate) fn detailed(&self) -> usize {
        self.runs.len() + self.changes.len()
    }

    /// Folds all steps before `oldest`: no live request refers to them.
    pub(crate) fn fold_before(&mut self, oldest: u64) {
        let oldest = oldest.min(self.next);
        self.changes.sort_unstable_by_key(|&(step, _)| step);
        let done = self.changes.partition_point(|&(step, _)| step < oldest);
        let (mut from, mut weight, mut run) = (self.folded_to, self.carried, 0);
        let changes = std::mem::take(&mut self.changes);
        let ends = changes.iter().take(done).copied().chain([(oldest, 0)]);
        for (step, change) in ends {
            while from < step {
                while self
                    .runs
                    .get(run + 1)
                    .is_some_and(|next| next.first <= from)
                {
                    run += 1;
                }
                let end = self
                    .runs
                    .get(run + 1)
                    .map_or(step, |next| next.first.min(step));
                if weight > 0 {
                    self.count_gaps(self.runs[run].gap_us, weight as u64 * (end - from));
                }
                from = end;
            }
            weight += change;
        }
        self.changes = changes;
        self.changes.drain(..done);
        self.runs.drain(..run);
        (self.folded_to, self.carried) = (oldest, weight);
    }

    /// All counted gaps, ascending: (microseconds, how many).
    pub(crate) fn histogram(&mut self) -> Vec<(i64, u64)> {
        self.fold_before(u64::MAX);
        let mut all: Vec<(i64, u64)> = self.histogram.iter().map(|(&gap, &n)| (gap, n)).collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Requests come and go while steps of random gaps run; sums and the histogram equal those
        /// of plain lists, however often the log is folded.
        #[test]
        fn runs_equal_plain_lists(
            steps in prop::collection::vec((0i64..4, 1u64..4, any::<u8>()), 1..60),
            odd in prop::option::of(0i64..9),
        ) {
            let mut log = ItlLog::new(1);
            let mut plain: Vec<i64> = Vec::new();
            let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
            let mut live = vec![(TokenSteps::default(), Vec::<i64>::new()); 2];
            for (gap, count, coin) in steps {
                let from = log.next_step();
                log.record(gap, count);
                plain.extend(std::iter::repeat_n(gap, count as usize));
                for (k, (runs, list)) in live.iter_mut().enumerate() {
                    if coin >> k & 1 == 1 {
                        runs.extend(from, from + count);
                        list.extend(std::iter::repeat_n(gap, count as usize));
                        if coin >> 6 & 1 == 1 {
                            runs.push_together(count, 0);
                            list.extend(std::iter::repeat_n(0, count as usize));
                        }
                    }
                }
                if coin >> 2 & 3 == 3 {
                    let (mut runs, mut list) = live.swap_remove((coin >> 4 & 1) as usize);
                    if let Some(gap) = odd {
                        runs.push_own(gap);
                        list.push(gap);
                    }
                    prop_assert_eq!(log.sum(&runs), list.iter().sum::<i64>());
                    prop_assert_eq!(runs.len(), list.len() as u64);
                    log.count(&runs);
                    list.iter().for_each(|&gap| *expected.entry(gap).or_default() += 1);
                    live.push(Default::default());
                }
                if coin >> 5 & 1 == 1 {
                    let oldest = live.iter().filter_map(|(runs, _)| runs.first_step()).min();
                    log.fold_before(oldest.unwrap_or(u64::MAX));
                }
            }
            prop_assert_eq!(log.histogram(), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
