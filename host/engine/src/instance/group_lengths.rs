//! The contexts of a decode group by how long they are, kept up to date in O(1) per step: members
//! grow alike, so it is known in which step each comes to the next length.

use crate::latency::{LENGTH_BOUNDS, length_class};
use std::collections::BTreeMap;

/// Classes of lengths.
const CLASSES: usize = LENGTH_BOUNDS.len() + 1;

/// Members and their contexts by class.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupLengths {
    /// The next step.
    next_step: u64,
    members: [u64; CLASSES],
    /// Sums of contexts before the next step, tokens.
    pub(super) contexts: [u64; CLASSES],
    /// How many members reach each bound before which step.
    reaching: [BTreeMap<u64, u64>; CLASSES - 1],
    /// The first of those steps; 0 of none, which no step is.
    first: [u64; CLASSES - 1],
}

impl GroupLengths {
    /// A member with `context` tokens joins before step `step`.
    pub(super) fn join(&mut self, step: u64, context: u32) {
        self.next_step = step;
        let class = length_class(context);
        self.members[class] += 1;
        self.contexts[class] += u64::from(context);
        for (k, bound) in LENGTH_BOUNDS.into_iter().enumerate().skip(class) {
            let at = step + u64::from(bound - context);
            *self.reaching[k].entry(at).or_default() += 1;
            self.find_first(k);
        }
    }

    /// A member, which has `context` tokens by now, leaves before step `step`.
    pub(super) fn leave(&mut self, step: u64, context: u32) {
        let class = length_class(context);
        self.members[class] -= 1;
        self.contexts[class] -= u64::from(context);
        for (k, bound) in LENGTH_BOUNDS.into_iter().enumerate().skip(class) {
            let at = step + u64::from(bound - context);
            if let Some(members) = self.reaching[k].get_mut(&at) {
                *members -= 1;
                if *members == 0 {
                    self.reaching[k].remove(&at);
                    self.find_first(k);
                }
            }
        }
    }

    /// All members grow by `steps` tokens.
    #[inline]
    pub(super) fn advance(&mut self, steps: u64) {
        self.next_step += steps;
        for (contexts, members) in self.contexts.iter_mut().zip(self.members) {
            *contexts += members * steps;
        }
        for k in 0..LENGTH_BOUNDS.len() {
            while self.first[k] != 0 && self.first[k] <= self.next_step {
                self.pass(k);
            }
        }
    }

    /// The next members reach bound `k`.
    fn pass(&mut self, k: usize) {
        if let Some((at, members)) = self.reaching[k].pop_first() {
            let since = self.next_step - at;
            let contexts = members * (u64::from(LENGTH_BOUNDS[k]) + since);
            self.members[k] -= members;
            self.contexts[k] -= contexts;
            self.members[k + 1] += members;
            self.contexts[k + 1] += contexts;
        }
        self.find_first(k);
    }

    fn find_first(&mut self, k: usize) {
        let first = self.reaching[k].first_key_value();
        self.first[k] = first.map_or(0, |(at, _)| *at);
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
        }
    }
}
