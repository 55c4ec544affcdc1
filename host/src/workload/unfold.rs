//! All requests of a source in order of arrival, without a cluster: every request is answered at once, a microsecond per output token.

use crate::request::{Ending, Finished, Request, Source};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Iterates over a source and the follow-ups it makes.
pub struct Unfold<'s> {
    source: &'s mut dyn Source,
    upcoming: Option<Request>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
}

struct Waiting {
    order: u64,
    request: Request,
}

impl Waiting {
    fn key(&self) -> (i64, u64) {
        (self.request.arrival_us, self.order)
    }
}
impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<'s> Unfold<'s> {
    /// Begins with the first request.
    pub fn new(source: &'s mut dyn Source) -> Self {
        Self {
            upcoming: source.next_request(),
            source,
            waiting: BinaryHeap::new(),
            order: 0,
        }
    }

    /// The names in the requests.
    #[must_use]
    pub fn symbols(&self) -> &crate::request::Symbols {
        self.source.symbols()
    }
}

impl Iterator for Unfold<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let waiting = self.waiting.peek().map(|Reverse(w)| w.request.arrival_us);
        let request = match (&self.upcoming, waiting) {
            (Some(next), Some(at)) if at < next.arrival_us => self.waiting.pop()?.0.request,
            (None, Some(_)) => self.waiting.pop()?.0.request,
            (None, None) => return None,
            (Some(_), _) => {
                let next = self.source.next_request();
                std::mem::replace(&mut self.upcoming, next)?
            }
        };
        let output = request.output.len();
        let follow_up = self.source.on_finished(&Finished {
            request: &request,
            ending: Ending::Completed,
            at_us: request.arrival_us.saturating_add(output.into()),
            // The last sampled token never enters the KV cache.
            generated_tokens: output.max(1) - 1,
        });
        if let Some(request) = follow_up {
            self.order += 1;
            let order = self.order;
            self.waiting.push(Reverse(Waiting { order, request }));
        }
        Some(request)
    }
}
