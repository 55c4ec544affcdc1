//! How much of all prompts a prefix cache without limits would hold: what no routing can exceed.

use rustc_hash::FxHashMap;
use windtunnel_base::request::{Request, Sym};

/// An infinite prefix cache, by token streams: streams are rooted, so what was seen of one is its
/// beginning.
#[derive(Clone, Debug)]
pub struct InfiniteCache {
    block: u32,
    /// Tokens of a fully cached prompt that are computed anyway.
    computed: u32,
    /// Equal tokens of different adapters are equal.
    across_adapters: bool,
    /// Tokens seen of each stream, under each adapter.
    seen: FxHashMap<(Sym, u32), u32>,
    hits: u64,
    tokens: u64,
}

impl InfiniteCache {
    /// An empty cache with blocks of so many tokens, of engines that always compute the last token
    /// of a prompt, as vLLM does.
    #[must_use]
    pub fn new(block: u32) -> Self {
        Self {
            block: block.max(1),
            computed: 1,
            across_adapters: false,
            seen: FxHashMap::default(),
            hits: 0,
            tokens: 0,
        }
    }

    /// The same for engines that compute nothing of a fully cached prompt.
    #[must_use]
    pub fn whole_prompts(mut self) -> Self {
        self.computed = 0;
        self
    }

    /// The same where equal tokens are found whatever their adapter.
    #[must_use]
    pub fn across_adapters(mut self) -> Self {
        self.across_adapters = true;
        self
    }

    /// Looks a prompt up and then puts it and its output in; the tokens it found. Whole blocks
    /// count.
    pub fn take(&mut self, request: &Request) -> u32 {
        let mut found = 0;
        let adapter = if self.across_adapters {
            Sym::NONE
        } else {
            request.adapter
        };
        for span in request.prompt.spans() {
            let known = self
                .seen
                .get(&(adapter, span.stream))
                .map_or(0, |end| end.saturating_sub(span.start));
            found += known.min(span.len);
            if known < span.len {
                break;
            }
        }
        let found =
            found.min(request.prompt.len().saturating_sub(self.computed)) / self.block * self.block;
        self.hits += u64::from(found);
        self.tokens += u64::from(request.prompt.len());
        // What nobody repeats need not be remembered.
        let mut at = 0u32;
        for span in request.prompt.spans().iter().chain(request.output.spans()) {
            if at >= request.private_from {
                break;
            }
            let end = self.seen.entry((adapter, span.stream)).or_default();
            *end = (*end).max(span.start + span.len);
            at += span.len;
        }
        found
    }

    /// Share of all prompt tokens that were found.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        if self.tokens == 0 {
            0.0
        } else {
            self.hits as f64 / self.tokens as f64
        }
    }
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "a test says what it skips")]
mod tests {
    use super::*;
    use crate::{OpenOptions, open};
    use std::path::Path;
    use windtunnel_base::request::Source;

    #[test]
    fn mooncake_traces_have_their_published_hit_rates() {
        for (file, rows, rate) in [
            ("mooncake_conversation.jsonl", 12_031, 0.3736),
            ("mooncake_synthetic.jsonl", 3_993, 0.6512),
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../../shared/data/traces")
                .join(file);
            if !path.exists() {
                println!("skipped: there is no {}", path.display());
                continue;
            }
            let mut trace = open(&path, None, &OpenOptions::default()).unwrap();
            let mut cache = InfiniteCache::new(16);
            let mut again = trace.clone();
            let mut count = 0;
            while let Some(request) = again.next_request() {
                cache.take(&request);
                count += 1;
            }
            assert_eq!(count, rows);
            assert!(
                (cache.hit_rate() - rate).abs() < 0.00005,
                "{file}: {}",
                cache.hit_rate()
            );
            assert!(trace.next_request().is_some());
        }
    }

    #[test]
    fn sessions_find_their_past_and_private_prompts_nothing() {
        use windtunnel_base::request::{RequestId, Span, TokenSeq};
        let request = |spans: &[(u32, u32, u32)], private_from: u32| {
            let mut prompt = TokenSeq::default();
            for &(stream, start, len) in spans {
                prompt.push(Span { stream, start, len });
            }
            Request {
                private_from,
                ..Request::new(RequestId::Number(0), 0, prompt, TokenSeq::default())
            }
        };
        let of = |adapter| Request {
            adapter: Sym(adapter),
            ..request(&[(0, 0, 32)], u32::MAX)
        };
        let mut per_adapter = InfiniteCache::new(16);
        let found = [1, 1, 2, 0].map(|adapter| per_adapter.take(&of(adapter)));
        assert_eq!(found, [0, 16, 0, 0]);
        let mut across = InfiniteCache::new(16).across_adapters();
        let found = [1, 1, 2, 0].map(|adapter| across.take(&of(adapter)));
        assert_eq!(found, [0, 16, 16, 16]);
        let mut cache = InfiniteCache::new(16);
        assert_eq!(cache.take(&request(&[(0, 0, 100), (1, 0, 20)], 100)), 0);
        assert_eq!(cache.take(&request(&[(0, 0, 100), (2, 0, 20)], 100)), 96);
        assert_eq!(cache.take(&request(&[(1, 0, 20)], 0)), 0);
        // The last token is computed, so a repeated prompt of whole blocks misses its last block.
        assert_eq!(cache.take(&request(&[(0, 0, 96)], u32::MAX)), 80);
        let mut whole = cache.clone().whole_prompts();
        assert_eq!(whole.take(&request(&[(0, 0, 96)], u32::MAX)), 96);
        assert_eq!(
            cache.take(&request(&[(0, 0, 50), (7, 0, 50)], u32::MAX)),
            48
        );
        assert!((cache.hit_rate() - 224.0 / 456.0).abs() < 1e-12);
    }
}
