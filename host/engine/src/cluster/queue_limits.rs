//! What a server of an instance refuses: vLLM's API server answers 503 when its limits are
//! reached, before a request comes to the engine.

use rustc_hash::FxHashMap;
use windtunnel_base::record::Outcome;

/// Limits of what a server takes; `None` = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most requests there at once, waiting and running ones alike.
    pub requests: Option<u32>,
    /// A request is refused while so many prompt tokens, or more, belong to requests that have no
    /// first token yet. What of them is computed or cached already counts, too.
    pub prompt_tokens: Option<u64>,
}

/// The limits of all instances, and what counts towards them.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    limits: Vec<QueueLimits>,
    /// Prompt tokens of requests without a first token, by instance.
    prefilling: Vec<u64>,
    /// These requests, by serial number; kept where there is a limit.
    tokens: FxHashMap<u64, u32>,
}

impl Servers {
    pub(super) fn new(limits: Vec<QueueLimits>) -> Self {
        Self {
            prefilling: vec![0; limits.len()],
            limits,
            tokens: FxHashMap::default(),
        }
    }

    /// Why the server of instance `i` refuses one more request, if it does; `unfinished` are those
    /// that it has.
    pub(super) fn refuses(&self, i: usize, unfinished: u64) -> Option<Outcome> {
        let QueueLimits {
            requests,
            prompt_tokens,
        } = self.limits[i];
        if requests.is_some_and(|most| unfinished >= most.into()) {
            return Some(Outcome::RequestsQueued);
        }
        let full = prompt_tokens.is_some_and(|most| self.prefilling[i] >= most);
        full.then_some(Outcome::TokensQueued)
    }

    /// A request goes to instance `i`.
    pub(super) fn takes(&mut self, i: usize, serial: u64, prompt_tokens: u32) {
        if self.limits[i].prompt_tokens.is_some() {
            self.tokens.insert(serial, prompt_tokens);
            self.prefilling[i] += u64::from(prompt_tokens);
        }
    }

    /// It has its first token, or leaves.
    pub(super) fn prefilled(&mut self, i: usize, serial: u64) {
        if self.limits[i].prompt_tokens.is_some()
            && let Some(tokens) = self.tokens.remove(&serial)
        {
            self.prefilling[i] -= u64::from(tokens);
        }
    }
}
