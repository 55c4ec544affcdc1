//! A radix tree that turns sequences of real token ids into rooted spans.
//!
//! Each edge of the tree is a piece of a token stream. A sequence is the path from the root along
//! the edges, so sequences that begin alike get the same spans as far as they agree, and a token
//! `(stream, offset)` always has the same tokens before it. Splitting an edge where a new sequence
//! leaves it keeps the names of its tokens.

use rustc_hash::FxHashMap;
use windtunnel_base::request::{Span, TokenSeq};

/// The tree. It is needed while a source is read, not afterwards.
#[derive(Clone, Debug, Default)]
pub struct Trie {
    /// Tokens of each stream.
    streams: Vec<Vec<u32>>,
    /// Edges; an edge ends in the node of the same number plus one. Node 0 is the root.
    edges: Vec<Span>,
    /// Does anything follow the edge?
    inner: Vec<bool>,
    /// (node, first token of the edge) to edge.
    next: FxHashMap<(u32, u32), u32>,
}

/// Where sequences begin. Sequences of different roots have no token in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root(u32);

impl Trie {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A root of its own: what is [inserted under](Self::insert_under) it shares no token with
    /// what stands elsewhere.
    ///
    /// # Panics
    /// With more than 2^31 roots and edges.
    pub fn new_root(&mut self) -> Root {
        let edge = count(self.edges.len());
        self.edges.push(Span {
            stream: 0,
            start: 0,
            len: 0,
        });
        // Nothing is appended to it, so that all begins in a new stream.
        self.inner.push(true);
        Root(edge + 1)
    }

    /// Puts a sequence into the tree and returns it as spans.
    ///
    /// # Panics
    /// With more than 2^31 streams or tokens in one stream.
    pub fn insert(&mut self, tokens: &[u32]) -> TokenSeq {
        self.insert_under(Root::default(), tokens)
    }

    /// The same under one of several roots.
    ///
    /// # Panics
    /// With more than 2^31 streams or tokens in one stream.
    pub fn insert_under(&mut self, root: Root, tokens: &[u32]) -> TokenSeq {
        let mut seq = TokenSeq::default();
        let mut node = root.0;
        let mut at = 0usize;
        while at < tokens.len() {
            let Some(&edge) = self.next.get(&(node, tokens[at])) else {
                seq.push(self.grow(node, &tokens[at..]));
                return seq;
            };
            let span = self.edges[edge as usize];
            let stored =
                &self.streams[span.stream as usize][span.start as usize..][..span.len as usize];
            let same = stored
                .iter()
                .zip(&tokens[at..])
                .take_while(|(a, b)| a == b)
                .count();
            let len = u32::try_from(same).expect("an edge is shorter than 2^31 tokens");
            seq.push(Span { len, ..span });
            at += same;
            node = if len < span.len && at < tokens.len() {
                self.split(node, edge, len)
            } else {
                edge + 1
            };
        }
        seq
    }

    /// Tokens after `node`: at the end of its stream if they can stand there, else in a stream of
    /// their own.
    fn grow(&mut self, node: u32, tokens: &[u32]) -> Span {
        if let Some(edge) = (node as usize).checked_sub(1)
            && !self.inner[edge]
        {
            // The edge of a leaf ends where its stream ends.
            let span = self.edges[edge];
            let stream = &mut self.streams[span.stream as usize];
            stream.extend_from_slice(tokens);
            let len = count(tokens.len());
            self.edges[edge].len += len;
            return Span {
                stream: span.stream,
                start: span.start + span.len,
                len,
            };
        }
        let span = Span {
            stream: count(self.streams.len()),
            start: 0,
            len: count(tokens.len()),
        };
        self.streams.push(tokens.to_vec());
        self.add_edge(node, tokens[0], span, false);
        span
    }

    /// Cuts an edge after `len` tokens and returns the node there. The lower half keeps its number.
    fn split(&mut self, node: u32, edge: u32, len: u32) -> u32 {
        let span = self.edges[edge as usize];
        let token = |at: u32| self.streams[span.stream as usize][at as usize];
        let (first, below) = (token(span.start), token(span.start + len));
        let upper = self.add_edge(node, first, Span { len, ..span }, true);
        self.edges[edge as usize] = Span {
            stream: span.stream,
            start: span.start + len,
            len: span.len - len,
        };
        self.next.insert((upper + 1, below), edge);
        upper + 1
    }

    fn add_edge(&mut self, node: u32, first: u32, span: Span, inner: bool) -> u32 {
        let edge = count(self.edges.len());
        self.edges.push(span);
        self.inner.push(inner);
        self.next.insert((node, first), edge);
        if let Some(above) = (node as usize).checked_sub(1) {
            self.inner[above] = true;
        }
        edge
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n)
        .ok()
        .filter(|&n| n < 1 << 31)
        .expect("fewer than 2^31 streams and tokens of a stream")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_longer_sequence_extends_its_stream_and_a_fork_opens_one() {
        let mut trie = Trie::new();
        assert_eq!(trie.insert(&[1, 2, 3]).spans().len(), 1);
        assert_eq!(trie.insert(&[1, 2, 3, 4, 5]), TokenSeq::of(0, 5));
        assert_eq!(trie.insert(&[1, 2]), TokenSeq::of(0, 2));
        let fork = trie.insert(&[1, 2, 9]);
        assert_eq!(fork.token_key(1), Some(1));
        assert_eq!(fork.token_key(2), Some(1 << 32));
        assert_eq!(trie.insert(&[1, 2, 3, 4, 5, 6]), TokenSeq::of(0, 6));
        assert_eq!(trie.insert(&[1, 2, 9, 9]).token_key(3), Some((1 << 32) | 1));
        assert!(trie.insert(&[]).is_empty());
    }

    #[test]
    fn sequences_under_different_roots_share_nothing() {
        let mut trie = Trie::new();
        let [a, b] = [trie.new_root(), trie.new_root()];
        let plain = trie.insert(&[1, 2, 3]);
        let under_a = trie.insert_under(a, &[1, 2, 3]);
        let under_b = trie.insert_under(b, &[1, 2]);
        for at in 0..2 {
            let keys = [&plain, &under_a, &under_b].map(|seq| seq.token_key(at));
            assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        }
        assert_eq!(
            trie.insert_under(a, &[1, 2, 3, 4]).token_key(2),
            under_a.token_key(2)
        );
        assert_ne!(
            trie.insert_under(b, &[1, 9]).token_key(0),
            plain.token_key(0)
        );
        assert_eq!(
            trie.insert_under(b, &[1, 9]).token_key(0),
            under_b.token_key(0)
        );
    }

    fn sequences() -> impl Strategy<Value = Vec<Vec<u32>>> {
        // Few different tokens, so that sequences agree for a while, fork, extend and repeat each
        // other.
        prop::collection::vec(prop::collection::vec(0u32..3, 0..24), 1..40)
    }

    proptest! {
        #[test]
        fn keys_agree_exactly_as_far_as_the_tokens_do(sequences in sequences(), block in 1u32..5) {
            let mut trie = Trie::new();
            let spans: Vec<TokenSeq> = sequences.iter().map(|s| trie.insert(s)).collect();
            for (a, x) in sequences.iter().zip(&spans) {
                prop_assert_eq!(x.len() as usize, a.len());
                for (b, y) in sequences.iter().zip(&spans) {
                    let same = a.iter().zip(b).take_while(|(p, q)| p == q).count() as u32;
                    for (k, (p, q)) in (1..).zip(x.block_keys(block).zip(y.block_keys(block))) {
                        prop_assert_eq!(p == q, k * block <= same, "block {} of {:?} and {:?}", k, a, b);
                    }
                }
            }
            // Rooted: a key names the tokens before it wherever it stands.
            let mut before = FxHashMap::default();
            for (a, x) in sequences.iter().zip(&spans) {
                for n in 0..x.len() {
                    let path = a[..=n as usize].to_vec();
                    let known = before.entry(x.token_key(n).unwrap()).or_insert_with(|| path.clone());
                    prop_assert_eq!(known, &path);
                }
            }
        }
    }
}
