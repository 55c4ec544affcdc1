//! Tokens that several requests of a trace have: blocks named by ids, and texts.

use super::blocks::Blocks;
use super::held::Turns;
use crate::trie::Trie;
use rustc_hash::FxHashMap;
use windtunnel_base::request::{Span, TokenSeq};

/// Blocks named by ids, as a tree: equal ids behind equal ids are equal tokens, and an id behind
/// another predecessor is another block, whatever a file says.
#[derive(Debug)]
pub(super) struct BlockTree {
    blocks: Blocks,
}

impl BlockTree {
    pub(super) fn new(block: u32) -> Self {
        Self {
            blocks: Blocks::new(block),
        }
    }

    /// The tokens of a prompt that has these blocks. A prompt that does not end with a block may
    /// have an id for its last part or none; then that part is left out.
    ///
    /// # Errors
    /// When there are more or fewer ids.
    pub(super) fn prompt(
        &mut self,
        scope: u32,
        ids: &[u64],
        prompt: u32,
        turns: &mut Turns,
    ) -> Result<TokenSeq, String> {
        let block = self.blocks.tokens();
        let (whole, all) = (prompt / block, prompt.div_ceil(block));
        let found = ids.len() as u64;
        if found != u64::from(whole) && found != u64::from(all) {
            return Err(format!(
                "hash_ids: expected an id for every block of {block} tokens, so {all} for {prompt} tokens, found {found}"
            ));
        }
        let mut tokens = TokenSeq::default();
        let streams = &mut turns.shared;
        self.blocks.add(scope, ids, prompt, streams, &mut tokens);
        Ok(tokens)
    }
}

/// Bytes of a token where nothing but a text is known, as llm-d estimates it.
pub(super) const BYTES_PER_TOKEN: f64 = 4.0;

/// Ids of parts of texts begin here; those of tokenizers lie below.
const FIRST_PART: u32 = 1 << 31;

/// Texts and token ids as tokens: those that begin alike share their first tokens.
#[derive(Debug)]
pub(super) struct SharedTokens {
    trie: Trie,
    /// Parts of texts that were seen, each a token.
    parts: FxHashMap<Box<[u8]>, u32>,
    bytes_per_token: f64,
}

impl SharedTokens {
    /// `bytes_per_token` is for texts.
    pub(super) fn new(bytes_per_token: f64) -> Self {
        Self {
            trie: Trie::new(),
            parts: FxHashMap::default(),
            bytes_per_token: bytes_per_token.max(1.0),
        }
    }

    /// How many tokens a text has, about.
    pub(super) fn count(&self, text: &str) -> u32 {
        let tokens = (text.len() as f64 / self.bytes_per_token).ceil();
        tokens.min(f64::from(u32::MAX)) as u32
    }

    /// A text cut into tokens of about equal length, at the same places in every text.
    pub(super) fn of_text(&mut self, text: &str) -> Vec<u32> {
        let bytes = text.as_bytes();
        let end =
            |k: u32| ((f64::from(k) * self.bytes_per_token).round() as usize).min(bytes.len());
        (0..self.count(text))
            .map(|k| {
                let part = &bytes[end(k)..end(k + 1)];
                let next = FIRST_PART + self.parts.len() as u32;
                match self.parts.get(part) {
                    Some(id) => *id,
                    None => *self.parts.entry(part.into()).or_insert(next),
                }
            })
            .collect()
    }

    /// The tokens as part of the trace.
    pub(super) fn insert(&mut self, tokens: &[u32], turns: &mut Turns) -> TokenSeq {
        let seq = self.trie.insert(tokens);
        for span in seq.spans() {
            turns.shared = turns.shared.max(span.stream + 1);
        }
        seq
    }

    /// A prompt and its answer as part of the trace.
    pub(super) fn insert_both(
        &mut self,
        mut tokens: Vec<u32>,
        answer: &[u32],
        turns: &mut Turns,
    ) -> (TokenSeq, TokenSeq) {
        let prompt = tokens.len() as u32;
        tokens.extend_from_slice(answer);
        let whole = self.insert(&tokens, turns);
        let (mut before, mut behind) = (TokenSeq::default(), TokenSeq::default());
        for span in whole.spans() {
            let first = span.len.min(prompt - before.len());
            before.push(Span {
                len: first,
                ..*span
            });
            behind.push(Span {
                start: span.start + first,
                len: span.len - first,
                ..*span
            });
        }
        (before, behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ids_behind_equal_ids_are_equal_tokens_within_their_scope() {
        let (mut tree, mut turns) = (BlockTree::new(16), Turns::default());
        let mut of = |scope, ids: &[u64], prompt| tree.prompt(scope, ids, prompt, &mut turns);
        let a = of(0, &[7, 8, 9], 40).unwrap();
        assert_eq!((a.len(), a.spans().len()), (40, 1));
        let b = of(0, &[7, 8, 10], 48).unwrap();
        let same = |x: &TokenSeq, y: &TokenSeq, at| x.token_key(at) == y.token_key(at);
        assert!(same(&a, &b, 31) && !same(&a, &b, 32));
        // Without an id for its last part.
        assert_eq!(of(0, &[7, 8], 40).unwrap().len(), 32);
        let other = of(1, &[7, 8], 32).unwrap();
        assert!(!same(&a, &other, 0));
        assert_eq!(
            of(0, &[7], 40).unwrap_err(),
            "hash_ids: expected an id for every block of 16 tokens, so 3 for 40 tokens, found 1"
        );
    }

    #[test]
    fn texts_that_begin_alike_share_tokens() {
        let (mut shared, mut turns) = (SharedTokens::new(4.0), Turns::default());
        let mut of = |text: &str| {
            let tokens = shared.of_text(text);
            shared.insert(&tokens, &mut turns)
        };
        let (a, b) = (of("You are terse. Why?"), of("You are terse. Now??"));
        assert_eq!((a.len(), b.len()), (5, 5));
        let same = |at| a.token_key(at) == b.token_key(at);
        assert!(same(0) && same(2) && !same(3));
        assert_eq!(of("").len(), 0);
        let (prompt, answer) = shared.insert_both(vec![1, 2, 3], &[4, 5], &mut turns);
        assert_eq!((prompt.len(), answer.len()), (3, 2));
        let again = shared.insert(&[1, 2, 3, 4], &mut turns);
        assert_eq!(again.token_key(3), answer.token_key(0));
    }

    #[test]
    fn a_measured_ratio_cuts_all_texts_at_the_same_places() {
        let mut shared = SharedTokens::new(3.7);
        let (a, b) = ("x".repeat(100), "x".repeat(370));
        let (a, b) = (shared.of_text(&a), shared.of_text(&b));
        assert_eq!((a.len(), b.len()), (28, 100));
        assert_eq!(a[..27], b[..27]);
    }
}
