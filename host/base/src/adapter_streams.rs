//! Token streams per LoRA adapter: KV of equal tokens is equal within one adapter only.
//!
//! Sources name tokens without regard to adapters. Where a request meets prefix caches, streams
//! that another request can have get a name of their own for each adapter, so that no cache and no
//! prefix index has to know of adapters.

use crate::request::{Request, Span, Sym, TokenSeq};
use rustc_hash::FxHashMap;

/// Streams are numbered from here downwards, sources number theirs from 0 upwards.
const LAST: u32 = (1 << 31) - 1;

/// The streams of adapters, by what their source calls them. One for each run.
#[derive(Clone, Debug, Default)]
pub struct AdapterStreams {
    own: FxHashMap<(Sym, u32), u32>,
    /// What the sources call them, by `LAST - stream`.
    originals: Vec<u32>,
}

impl AdapterStreams {
    /// Names the streams of a request that has an adapter. What occurs in no other request keeps
    /// its name.
    pub fn separate(&mut self, request: &mut Request) {
        if request.adapter.is_none() {
            return;
        }
        let mut shared = request.private_from;
        for tokens in [&mut request.prompt, &mut request.output] {
            *tokens = renamed(tokens, |span| {
                let is_private = shared == 0;
                shared = shared.saturating_sub(span.len);
                if is_private {
                    span.stream
                } else {
                    self.of(request.adapter, span.stream)
                }
            });
        }
    }

    /// The request as its source made it.
    #[must_use]
    pub fn original(&self, request: &Request) -> Request {
        let original = |span: &Span| {
            let number = LAST.checked_sub(span.stream);
            let known = number.and_then(|n| self.originals.get(n as usize));
            known.copied().unwrap_or(span.stream)
        };
        Request {
            prompt: renamed(&request.prompt, original),
            output: renamed(&request.output, original),
            ..request.clone()
        }
    }

    fn of(&mut self, adapter: Sym, stream: u32) -> u32 {
        let originals = &mut self.originals;
        *self.own.entry((adapter, stream)).or_insert_with(|| {
            originals.push(stream);
            LAST - (originals.len() as u32 - 1)
        })
    }
}

fn renamed(tokens: &TokenSeq, mut name: impl FnMut(&Span) -> u32) -> TokenSeq {
    let mut seq = TokenSeq::default();
    for span in tokens.spans() {
        let stream = name(span);
        seq.push(Span { stream, ..*span });
    }
    seq
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestId;

    fn request(adapter: u32, private_from: u32) -> Request {
        let mut prompt = TokenSeq::of(0, 32);
        prompt.push(Span {
            stream: 5,
            start: 0,
            len: 8,
        });
        Request {
            adapter: Sym(adapter),
            private_from,
            ..Request::new(RequestId::Number(0), 0, prompt, TokenSeq::of(9, 4))
        }
    }

    #[test]
    fn equal_tokens_are_equal_within_one_adapter_only() {
        let mut streams = AdapterStreams::default();
        let mut of = |adapter, private_from| {
            let mut request = request(adapter, private_from);
            streams.separate(&mut request);
            request
        };
        let [plain, a, b, again] = [of(0, 32), of(1, 32), of(2, 32), of(1, 32)];
        assert_eq!(plain.prompt, request(0, 32).prompt);
        let first = |r: &Request| r.prompt.token_key(31);
        assert!(first(&plain) != first(&a) && first(&a) != first(&b));
        assert_eq!(a.prompt, again.prompt);
        // Private tokens need no name of their own: nobody else has them.
        assert_eq!(a.prompt.token_key(32), plain.prompt.token_key(32));
        let shared = of(1, u32::MAX);
        assert_ne!(shared.prompt.token_key(32), plain.prompt.token_key(32));
        assert_ne!(shared.output, plain.output);
    }

    #[test]
    fn a_source_gets_back_what_it_made() {
        let mut streams = AdapterStreams::default();
        for adapter in [0, 1, 2] {
            let made = request(adapter, u32::MAX);
            let mut request = made.clone();
            streams.separate(&mut request);
            let back = streams.original(&request);
            assert_eq!((back.prompt, back.output), (made.prompt, made.output));
        }
    }
}
