//! Inter-token gaps as run lengths: one value per step, never one per token.
//!
//! Every request that gets a token in a step shares the step's gap. A request remembers the ranges of steps that served it; its
//! sum is a difference of prefix sums, and at completion it adds its ranges to a difference array. Steps that no live
//! request can refer to any more are folded into a histogram, so memory is O(steps since the oldest live request).

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// The steps that gave a request a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct GapRuns {
    /// Half-open ranges of step numbers, ascending.
    ranges: SmallVec<[(u64, u64); 1]>,
    /// Gaps that are not the gap of their step (tokens after an interruption), microseconds.
    odd: Vec<i64>,
}

impl GapRuns {
    /// The request got a token in `step`.
    pub(crate) fn push(&mut self, step: u64) {
        match self.ranges.last_mut() {
            Some((_, end)) if *end == step => *end += 1,
            _ => self.ranges.push((step, step + 1)),
        }
    }

    /// The request got a token after a gap of its own.
    pub(crate) fn push_odd(&mut self, gap_us: i64) {
        self.odd.push(gap_us);
    }

    /// Gaps so far.
    pub(crate) fn len(&self) -> u64 {
        self.ranges.iter().map(|(a, b)| b - a).sum::<u64>() + self.odd.len() as u64
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
        self.odd.clear();
    }

    /// The first step it refers to.
    pub(crate) fn first_step(&self) -> Option<u64> {
        self.ranges.first().map(|r| r.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Step {
    gap_us: i64,
    /// Sum of the gaps before this step.
    before_us: i64,
    /// Change of the number of finished requests that this step served.
    weight_change: i64,
}

/// The gaps of one instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct GapLog {
    /// Number of the first step kept.
    first: u64,
    steps: VecDeque<Step>,
    /// Change of weight that the next step will carry.
    next_change: i64,
    /// Weight carried into the first step kept.
    carried: i64,
    total_us: i64,
    folded: FxHashMap<i64, u64>,
}

impl GapLog {
    /// Records a step and returns its number.
    pub(crate) fn step(&mut self, gap_us: i64) -> u64 {
        let weight_change = std::mem::take(&mut self.next_change);
        self.steps.push_back(Step {
            gap_us,
            before_us: self.total_us,
            weight_change,
        });
        self.total_us += gap_us;
        self.first + self.steps.len() as u64 - 1
    }

    fn before(&self, step: u64) -> i64 {
        self.steps
            .get((step - self.first) as usize)
            .map_or(self.total_us, |s| s.before_us)
    }

    /// Sum of a request's gaps, microseconds.
    pub(crate) fn sum(&self, runs: &GapRuns) -> i64 {
        let steps: i64 = runs
            .ranges
            .iter()
            .map(|&(a, b)| self.before(b) - self.before(a))
            .sum();
        steps + runs.odd.iter().sum::<i64>()
    }

    /// A request finished: its gaps count.
    pub(crate) fn count(&mut self, runs: &GapRuns) {
        for &(a, b) in &runs.ranges {
            self.steps[(a - self.first) as usize].weight_change += 1;
            match self.steps.get_mut((b - self.first) as usize) {
                Some(step) => step.weight_change -= 1,
                None => self.next_change -= 1,
            }
        }
        for &gap in &runs.odd {
            *self.folded.entry(gap).or_default() += 1;
        }
    }

    /// Steps kept in detail.
    pub(crate) fn detailed(&self) -> usize {
        self.steps.len()
    }

    /// Folds all steps before `oldest`: nobody will refer to them again.
    pub(crate) fn fold_before(&mut self, oldest: u64) {
        while self.first < oldest
            && let Some(step) = self.steps.pop_front()
        {
            self.first += 1;
            self.carried += step.weight_change;
            if self.carried > 0 {
                *self.folded.entry(step.gap_us).or_default() += self.carried as u64;
            }
        }
    }

    /// All counted gaps, ascending: (microseconds, how many).
    pub(crate) fn histogram(&mut self) -> Vec<(i64, u64)> {
        self.fold_before(u64::MAX);
        let mut all: Vec<(i64, u64)> = self.folded.iter().map(|(&gap, &n)| (gap, n)).collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_weights_equal_the_plain_lists() {
        let mut log = GapLog::default();
        let (mut a, mut b) = (GapRuns::default(), GapRuns::default());
        for (k, gap) in [5, 7, 5, 9].into_iter().enumerate() {
            let step = log.step(gap);
            a.push(step);
            if k % 2 == 0 {
                b.push(step);
            }
        }
        b.push_odd(100);
        assert_eq!((log.sum(&a), a.len()), (26, 4));
        assert_eq!((log.sum(&b), b.len()), (110, 3));
        log.count(&a);
        log.count(&b);
        assert_eq!(log.histogram(), vec![(5, 4), (7, 1), (9, 1), (100, 1)]);
    }

    #[test]
    fn folding_early_changes_nothing() {
        let mut log = GapLog::default();
        let mut a = GapRuns::default();
        a.push(log.step(5));
        a.push(log.step(6));
        log.count(&a);
        assert_eq!(log.sum(&a), 11);
        let mut b = GapRuns::default();
        b.push(log.step(7));
        log.fold_before(b.first_step().unwrap());
        assert_eq!(log.detailed(), 1);
        assert_eq!(log.sum(&b), 7);
        log.count(&b);
        assert_eq!(log.histogram(), vec![(5, 1), (6, 1), (7, 1)]);
    }
}
