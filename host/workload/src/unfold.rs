//! All requests of a source in order of arrival, without a cluster: every request is answered at
//! once, a microsecond per output token.

use windtunnel_base::event_queue::EventQueue;
use windtunnel_base::request::{FinishReason, Finished, Request, Source};

/// Iterates over a source and the follow-ups it makes.
pub struct Unfold<'s> {
    source: &'s mut dyn Source,
    upcoming: Option<Request>,
    /// Follow-ups, by arrival.
    waiting: EventQueue<i64, Request>,
}

impl<'s> Unfold<'s> {
    /// Begins with the first request.
    pub fn new(source: &'s mut dyn Source) -> Self {
        Self {
            upcoming: source.next_request(),
            source,
            waiting: EventQueue::default(),
        }
    }

    /// The names in the requests.
    #[must_use]
    pub fn symbols(&self) -> &windtunnel_base::request::Symbols {
        self.source.symbols()
    }
}

impl Iterator for Unfold<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let request = match (&self.upcoming, self.waiting.peek()) {
            (Some(next), Some(at)) if *at < next.arrival_us => self.waiting.pop()?.1,
            (None, Some(_)) => self.waiting.pop()?.1,
            (None, None) => return None,
            (Some(_), _) => {
                let next = self.source.next_request();
                std::mem::replace(&mut self.upcoming, next)?
            }
        };
        let output = request.output.len();
        let follow_up = self.source.on_finished(&Finished {
            request: &request,
            reason: FinishReason::Completed,
            at_us: request.arrival_us.saturating_add(output.into()),
            // The last sampled token never enters the KV cache.
            generated_tokens: output.max(1) - 1,
        });
        if let Some(request) = follow_up {
            self.waiting.push(request.arrival_us, request);
        }
        Some(request)
    }
}
