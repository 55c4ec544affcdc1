//! Which prompts begin alike: gives token sequences rooted names, block by block.
//!
//! Only whole KV blocks are ever shared, so a block is known by what stands in it and before it. A
//! block that nobody asked for in a long time is forgotten; should it come again, it counts as new,
//! like one that a cache of that many blocks has lost.

use super::text::hash;
use rustc_hash::FxHashMap;
use windtunnel_base::request::{Span, TokenSeq};

/// Streams are below 2^31.
const STREAMS: u32 = 1 << 31;

/// The names of blocks.
pub struct Prefixes {
    block_size: u32,
    /// Streams by what stands in a block and before it: the younger half, and the older one.
    young: FxHashMap<u64, u32>,
    old: FxHashMap<u64, u32>,
    /// Blocks in each of them.
    most: usize,
    next_stream: u32,
}

/// A prompt and its answer.
pub struct Named {
    /// The prompt.
    pub prompt: TokenSeq,
    /// The answer, which goes on where the prompt ends.
    pub output: TokenSeq,
    /// What each block of the prompt is known by, the last one too where it is not full.
    pub blocks: Vec<u64>,
}

impl Prefixes {
    /// Names for an instance with so many KV blocks of so many tokens.
    pub fn new(block_size: u32, kv_blocks: u64) -> Self {
        Self {
            block_size: block_size.max(1),
            young: FxHashMap::default(),
            old: FxHashMap::default(),
            // What a cache holds is remembered several times over.
            most: usize::try_from(kv_blocks)
                .unwrap_or(usize::MAX)
                .clamp(1 << 12, 1 << 20)
                * 2,
            next_stream: 0,
        }
    }

    /// From now on at most so many names are remembered.
    pub fn limit(&mut self, names: usize) {
        // The younger half takes the older one's place when it is full.
        self.most = (names / 2).max(1);
        if self.young.len() >= self.most {
            self.old = FxHashMap::default();
            self.young = FxHashMap::default();
        }
        if self.old.len() > self.most {
            self.old = FxHashMap::default();
        }
    }

    /// Names that are remembered.
    pub fn count(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Names a prompt and the answer to it. Prompts with another `salt` share nothing; equal
    /// prompts have equal names.
    pub fn name(&mut self, salt: u64, prompt: &[u32], output: &[u32]) -> Named {
        let size = self.block_size as usize;
        let fresh = self.next_stream;
        self.next_stream = (fresh + 1) % STREAMS;
        let (full, len) = (prompt.len() / size, prompt.len() + output.len());
        let mut named = Named {
            prompt: TokenSeq::default(),
            output: TokenSeq::default(),
            blocks: Vec::with_capacity(full + 1),
        };
        let mut known = salt;
        let mut tokens = prompt.iter().chain(output).copied();
        for k in 0..len / size {
            if k == full {
                self.name_rest(&mut named, known, &prompt[full * size..], fresh);
            }
            known = hash((known, self.next_tokens(&mut tokens)));
            let stream = self.stream(known, fresh);
            if k < full {
                named.blocks.push(known);
                named.prompt.push(span(stream, k * size, size));
            } else {
                // The block may begin with the end of the prompt.
                let from = (k * size).max(prompt.len());
                named.output.push(span(stream, from, (k + 1) * size - from));
            }
        }
        if len / size <= full {
            self.name_rest(&mut named, known, &prompt[full * size..], fresh);
        }
        let from = (len / size * size).max(prompt.len());
        named.output.push(span(fresh, from, len - from));
        named
    }

    /// Names what a prompt has behind its last full block.
    fn name_rest(&mut self, named: &mut Named, known: u64, rest: &[u32], fresh: u32) {
        if rest.is_empty() {
            return;
        }
        let known = hash((known, rest));
        let stream = self.stream(known, fresh);
        let start = named.prompt.len() as usize;
        named.blocks.push(known);
        named.prompt.push(span(stream, start, rest.len()));
    }

    fn next_tokens(&self, tokens: &mut impl Iterator<Item = u32>) -> u64 {
        let block = tokens.take(self.block_size as usize);
        block.fold(0, |before, token| hash((before, token)))
    }

    /// The stream of a block; `fresh` is that of one that nobody asked for yet.
    fn stream(&mut self, known: u64, fresh: u32) -> u32 {
        if let Some(&stream) = self.young.get(&known) {
            return stream;
        }
        let stream = self.old.get(&known).copied().unwrap_or(fresh);
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(known, stream);
        stream
    }
}

/// Tokens keep their place in the sequence, so a stream is the same wherever it is entered.
fn span(stream: u32, start: usize, len: usize) -> Span {
    Span {
        stream,
        start: start as u32,
        len: len as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shared(a: &TokenSeq, b: &TokenSeq, block: u32) -> usize {
        let keys = a.block_keys(block).zip(b.block_keys(block));
        keys.take_while(|(a, b)| a == b).count()
    }

    #[test]
    fn the_next_turn_finds_prompt_and_answer() {
        let mut prefixes = Prefixes::new(4, 100);
        let first = prefixes.name(0, &[1, 2, 3, 4, 5, 6], &[7, 8, 9]);
        assert_eq!((first.prompt.len(), first.output.len()), (6, 3));
        assert_eq!(first.blocks.len(), 2);
        let mut all = first.prompt.clone();
        all.extend_from(&first.output, 3);
        let next = prefixes.name(0, &[1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13], &[]);
        assert_eq!(shared(&all, &next.prompt, 4), 2);
        let other = prefixes.name(1, &[1, 2, 3, 4, 5, 6, 7, 8], &[]);
        assert_eq!(shared(&all, &other.prompt, 4), 0);
    }

    #[test]
    fn what_was_forgotten_is_new() {
        let mut prefixes = Prefixes::new(1, 1);
        let before = prefixes.name(0, &[1], &[]).prompt;
        for token in 2..30_000 {
            prefixes.name(0, &[token], &[]);
        }
        assert!(prefixes.young.len() + prefixes.old.len() <= 2 * prefixes.most);
        assert_eq!(shared(&before, &prefixes.name(0, &[1], &[]).prompt, 1), 0);
    }

    #[test]
    fn no_more_names_are_remembered_than_may_be() {
        let mut prefixes = Prefixes::new(1, 100);
        for token in 0..5_000 {
            prefixes.name(0, &[token], &[]);
        }
        assert_eq!(prefixes.count(), 5_000);
        prefixes.limit(64);
        assert!(prefixes.count() <= 64);
        for token in 0..5_000 {
            prefixes.name(0, &[token, token + 1], &[]);
            assert!(prefixes.count() <= 64, "{token}: {}", prefixes.count());
        }
        // What came a moment ago is known.
        let last = prefixes.name(0, &[4_999, 5_000], &[]).prompt;
        assert_eq!(shared(&last, &prefixes.name(0, &[4_999], &[]).prompt, 1), 1);
    }

    proptest! {
        /// Sequences share exactly as many leading blocks as they have in common.
        #[test]
        fn blocks_are_shared_as_far_as_tokens_agree(
            all in prop::collection::vec(prop::collection::vec(0u32..2, 0..14), 1..12),
            block in 1u32..4,
        ) {
            let mut prefixes = Prefixes::new(block, 1000);
            let named: Vec<TokenSeq> = all.iter().map(|t| prefixes.name(0, t, &[]).prompt).collect();
            for (a, x) in all.iter().zip(&named) {
                prop_assert_eq!(x.len() as usize, a.len());
                for (b, y) in all.iter().zip(&named) {
                    let last = |seq: &TokenSeq| seq.token_key(seq.len().wrapping_sub(1));
                    prop_assert_eq!(a == b, last(x) == last(y));
                    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
                    let expected = same / block as usize;
                    prop_assert_eq!(shared(x, y, block), expected);
                }
            }
        }
    }
}
