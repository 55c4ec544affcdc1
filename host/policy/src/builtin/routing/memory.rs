//! What weighted routing remembers between decisions: requests that hit no cache, where sessions
//! were sent, and how many tokens are about to be prefilled on each instance.

use rustc_hash::FxHashMap;
use windtunnel_plugin_api::{Event, EventKind};

/// What weighted routing remembers.
#[derive(Default)]
pub struct Memory {
    /// For `no-hit-lru`.
    pub cold: ColdRequests,
    /// For `token-load`, and for the load gate of the affinity filter.
    pub ledger: Ledger,
    /// The instance that each session was last sent to.
    pub sessions: FxHashMap<u32, u32>,
}

/// What `no-hit-lru` remembers: which instances served requests that hit no cache.
#[derive(Default)]
pub struct ColdRequests {
    /// Indexes of those instances, least recently used first.
    pub(super) order: Vec<u32>,
    /// The request at hand hits nowhere. Known once the scorer has run.
    pub(super) current: bool,
}

impl ColdRequests {
    /// A decision begins.
    pub(super) fn begin(&mut self) {
        self.current = false;
    }

    /// The request at hand goes to this instance.
    pub(super) fn sent_to(&mut self, instance: u32) {
        if self.current {
            self.order.retain(|&other| other != instance);
            self.order.push(instance);
        }
    }
}

/// Prompt tokens that were sent to each instance, were not cached there, and have yielded no first
/// token yet. Kept from the router's own decisions and what it hears, so always fresh.
#[derive(Default)]
pub struct Ledger {
    /// By index of the instance.
    tokens: Vec<u64>,
    /// Instance and tokens of each request that counts, by its serial number.
    open: FxHashMap<u64, (u32, u64)>,
}

impl Ledger {
    /// Tokens in flight on the instance of this index.
    #[must_use]
    pub fn tokens(&self, instance: u32) -> u64 {
        self.tokens.get(instance as usize).copied().unwrap_or(0)
    }

    /// A request goes to an instance, which has not cached so many of its tokens.
    pub fn sent(&mut self, serial: u64, instance: u32, uncached: u64) {
        self.release(serial);
        let at = instance as usize;
        if self.tokens.len() <= at {
            self.tokens.resize(at + 1, 0);
        }
        self.tokens[at] += uncached;
        self.open.insert(serial, (instance, uncached));
    }

    /// A first token ends the prefill, as every other end of a request does.
    pub fn hear(&mut self, event: &Event) {
        let ends = [
            EventKind::FirstToken,
            EventKind::Complete,
            EventKind::Reject,
        ];
        if ends.iter().any(|kind| *kind as u32 == event.kind) {
            self.release(event.serial);
        }
    }

    fn release(&mut self, serial: u64) {
        if let Some((instance, tokens)) = self.open.remove(&serial) {
            self.tokens[instance as usize] -= tokens;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_until_its_first_token() {
        let mut ledger = Ledger::default();
        ledger.sent(7, 2, 100);
        ledger.sent(8, 2, 50);
        // Sent again, as after a hold: once.
        ledger.sent(8, 0, 60);
        assert_eq!([0, 1, 2, 9].map(|i| ledger.tokens(i)), [60, 0, 100, 0]);
        let event = |kind: EventKind, serial| Event {
            kind: kind as u32,
            serial,
            ..Event::default()
        };
        ledger.hear(&event(EventKind::Preempt, 7));
        assert_eq!(ledger.tokens(2), 100);
        ledger.hear(&event(EventKind::FirstToken, 7));
        ledger.hear(&event(EventKind::Complete, 7));
        ledger.hear(&event(EventKind::Reject, 8));
        assert_eq!([0, 2].map(|i| ledger.tokens(i)), [0, 0]);
    }
}
