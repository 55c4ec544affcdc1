//! Requests that take the prompts of a fixed set in turn.

use super::planned::{Deal, Planned};
use rand::RngExt;
use std::collections::VecDeque;
use windtunnel_base::request::{Sym, Symbols};
use windtunnel_base::rng;

/// The turns of a client's prompts.
#[derive(Clone, Debug)]
pub(super) struct Dealer {
    /// In which order the prompts have their turns.
    order: Vec<u32>,
    per_group: u32,
    /// Requests so far that took a prompt.
    dealt: u64,
    /// Streams of the groups' prefixes and behind them of the prompts.
    first_stream: u32,
    groups: Vec<Sym>,
    /// When the later rounds of each conversation are due, microseconds.
    due: Vec<VecDeque<i64>>,
}

/// A prompt whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hand {
    /// Its number in the set, and that of its group.
    pub(super) prompt: u32,
    pub(super) group: u32,
    pub(super) prefix_stream: u32,
    pub(super) prompt_stream: u32,
    pub(super) prefix_group: Sym,
}

impl Dealer {
    /// The dealer of a client with a set of prompts; takes its streams from `next_stream`.
    pub(super) fn new(
        client: &Planned,
        deal: &Deal,
        seed: u64,
        next_stream: &mut u32,
        symbols: &mut Symbols,
    ) -> Self {
        let prompts = deal.prompts();
        let mut order: Vec<u32> = (0..prompts).collect();
        let mut random = rng::stream(seed, "order of prompts", client.key, 0);
        for k in (1..order.len()).rev() {
            order.swap(k, random.random_range(0..=k));
        }
        let first_stream = *next_stream;
        *next_stream += deal.groups + prompts;
        let group = |g: u32| symbols.intern(&format!("{}-prefix-{g}", client.id));
        Self {
            order,
            per_group: deal.per_group,
            dealt: 0,
            first_stream,
            groups: (0..deal.groups).map(group).collect(),
            due: if deal.conversations {
                vec![VecDeque::new(); prompts as usize]
            } else {
                Vec::new()
            },
        }
    }

    /// Prompts in all.
    pub(super) fn prompts(&self) -> u32 {
        u32::try_from(self.order.len()).unwrap_or(u32::MAX)
    }

    /// The prompt of the `k`-th request.
    pub(super) fn hand(&self, k: u64) -> Hand {
        let prompt = self.order[(k % self.order.len() as u64) as usize];
        let group = prompt / self.per_group;
        let groups = self.groups.len() as u32;
        Hand {
            prompt,
            group,
            prefix_stream: self.first_stream + group,
            prompt_stream: self.first_stream + groups + prompt,
            prefix_group: self.groups[group as usize],
        }
    }

    /// The prompt of the next request.
    pub(super) fn next(&mut self) -> Hand {
        self.dealt += 1;
        self.hand(self.dealt - 1)
    }

    /// Notes when the next round of the `k`-th request's conversation is due.
    pub(super) fn put_off(&mut self, k: u64, at_us: i64) {
        let prompt = self.hand(k).prompt as usize;
        self.due[prompt].push_back(at_us);
    }

    /// When the next round of a conversation is due, as far as that is known.
    pub(super) fn take_due(&mut self, prompt: u32) -> Option<i64> {
        self.due.get_mut(prompt as usize)?.pop_front()
    }

    /// Starts over.
    pub(super) fn rewind(&mut self) {
        self.dealt = 0;
        self.due.iter_mut().for_each(VecDeque::clear);
    }
}
