//! The contexts of a decode group by how long they are, kept up to date in O(1) per step: members
//! grow alike, so it is known in which step each comes to the next length, and who is the longest.

use crate::latency::{LENGTH_BOUNDS, length_class};
use std::collections::BTreeMap;

/// Classes of lengths.
const CLASSES: usize = LENGTH_BOUNDS.len() + 1;

/// Members and their contexts by class.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupLengths {
    /// The next step.
    next_step: u64,
    /// How many members by their context less the number of the step before which they have it,
    /// which stays the same.
    by_start: BTreeMap<i64, u64>,
    members: [u64; CLASSES],
    /// Sums of contexts before the next step, tokens.
    pub(super) contexts: [u64; CLASSES],
    /// The largest of these; `None` without members.
    longest: Option<i64>,
    /// Step before which the next members reach each bound.
    next_at: [Option<u64>; CLASSES - 1],
}

impl GroupLengths {
    /// A member with `context` tokens joins before step `step`.
    pub(super) fn join(&mut self, step: u64, context: u32) {
        self.next_step = step;
        let class = length_class(context);
        self.members[class] += 1;
        self.contexts[class] += u64::from(context);
        *self.by_start.entry(self.start(context)).or_default() += 1;
        self.find_next();
    }

    /// A member, which has `context` tokens by now, leaves before step `step`.
    pub(super) fn leave(&mut self, step: u64, context: u32) {
        self.next_step = step;
        let class = length_class(context);
        self.members[class] -= 1;
        self.contexts[class] -= u64::from(context);
        let start = self.start(context);
        if let Some(members) = self.by_start.get_mut(&start) {
            *members -= 1;
            if *members == 0 {
                self.by_start.remove(&start);
            }
        }
        self.find_next();
    }

    /// All members grow by `steps` tokens.
    #[inline]
    pub(super) fn advance(&mut self, steps: u64) {
        self.next_step += steps;
        for (contexts, members) in self.contexts.iter_mut().zip(self.members) {
            *contexts += members * steps;
        }
        let due = |at: &Option<u64>| at.is_some_and(|at| at <= self.next_step);
        if self.next_at.iter().any(due) {
            (0..LENGTH_BOUNDS.len()).for_each(|k| self.pass(k));
            self.find_next();
        }
    }

    /// The longest context before the next step, tokens; `None` without members.
    #[inline]
    pub(super) fn longest(&self) -> Option<u32> {
        let context = self.longest? + self.next_step as i64;
        u32::try_from(context).ok()
    }

    /// By what a member with `context` tokens before the next step is found.
    fn start(&self, context: u32) -> i64 {
        i64::from(context) - self.next_step as i64
    }

    /// Takes note of the members that have reached bound `k` since it was looked for the next
    /// ones.
    fn pass(&mut self, k: usize) {
        let now = self.next_step as i64;
        let bound = i64::from(LENGTH_BOUNDS[k]);
        let first = self.next_at[k].map(|at| bound - at as i64);
        let Some(first) = first.filter(|first| *first >= bound - now) else {
            return;
        };
        for (start, members) in self.by_start.range(bound - now..=first) {
            let contexts = members * (start + now) as u64;
            self.members[k] -= members;
            self.contexts[k] -= contexts;
            self.members[k + 1] += members;
            self.contexts[k + 1] += contexts;
        }
    }

    fn find_next(&mut self) {
        let longest = self.by_start.last_key_value();
        self.longest = longest.map(|(start, _)| *start);
        for (bound, next) in LENGTH_BOUNDS.into_iter().zip(&mut self.next_at) {
            let reached = i64::from(bound) - self.next_step as i64;
            let below = self.by_start.range(..reached).next_back();
            *next = below.map(|(start, _)| (i64::from(bound) - start) as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_where_one_by_one_puts_them() {
        let mut lengths = GroupLengths::default();
        // (context, step of joining): some come and go, all grow.
        let mut all: Vec<u32> = Vec::new();
        let mut step = 1;
        for (k, (context, steps)) in [(510, 1), (1, 3), (2040, 600), (600, 1500), (3000, 2)]
            .into_iter()
            .enumerate()
        {
            lengths.join(step, context);
            all.push(context);
            if k == 3 {
                let gone = all.remove(1);
                lengths.leave(step, gone);
            }
            lengths.advance(steps);
            step += steps;
            all.iter_mut().for_each(|context| *context += steps as u32);
            let mut expected = [0; CLASSES];
            for context in &all {
                expected[length_class(*context)] += u64::from(*context);
            }
            assert_eq!(lengths.contexts, expected, "{k}");
            assert_eq!(lengths.longest(), all.iter().max().copied(), "{k}");
        }
    }
}
