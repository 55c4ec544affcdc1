//! Blocks of tokens that a trace names by ids, as Mooncake traces do.
//!
//! Equal ids mean equal tokens and equal tokens before them. A tree of ids keeps that promise
//! whatever a file says: an id behind another predecessor is another block.

use super::row::Row;
use rustc_hash::FxHashMap;
use windtunnel_base::request::{Span, TokenSeq};

/// Tokens of a block in the published traces.
pub const BLOCK: u32 = 512;

/// The blocks of a trace so far, as a tree, with the tokens of each.
#[derive(Debug)]
pub(super) struct Blocks {
    tokens: u32,
    nodes: Vec<Node>,
    /// (scope, node before it + 1, id) to node, but for those that go on in the stream of the node
    /// before them. Ids of one scope mean nothing in another.
    next: FxHashMap<(u32, u32, u64), u32>,
}

/// A block.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Stream and first token.
    stream: u32,
    start: u32,
    /// The node that goes on in its stream, and the id of that; `NONE` before there is one.
    continued: u32,
    id: u64,
}

const NONE: u32 = u32::MAX;

impl Default for Blocks {
    fn default() -> Self {
        Self::new(BLOCK)
    }
}

impl Blocks {
    /// No blocks yet, of so many tokens each.
    pub(super) fn new(tokens: u32) -> Self {
        Self {
            tokens,
            nodes: Vec::new(),
            next: FxHashMap::default(),
        }
    }

    /// Tokens of a block.
    pub(super) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Puts the tokens of a row's blocks into `prompt` and returns how many they are.
    pub(super) fn spans(&mut self, row: &Row, streams: &mut u32, prompt: &mut TokenSeq) -> u32 {
        self.add(0, &row.blocks, row.prompt, streams, prompt)
    }

    /// Puts up to `most` tokens of the blocks with these ids into `prompt` and returns how many
    /// they are.
    pub(super) fn add(
        &mut self,
        scope: u32,
        ids: &[u64],
        most: u32,
        streams: &mut u32,
        prompt: &mut TokenSeq,
    ) -> u32 {
        let mut before = None;
        let mut left = most;
        for &id in ids {
            let number = match before {
                None => self.branch((scope, 0, id), streams),
                Some(before) => self.behind(before, id, streams),
            };
            let Node { stream, start, .. } = self.nodes[number as usize];
            let len = left.min(self.tokens);
            prompt.push(Span { stream, start, len });
            left -= len;
            before = Some(number);
        }
        most - left
    }

    /// The node of this id behind another one.
    fn behind(&mut self, before: u32, id: u64, streams: &mut u32) -> u32 {
        let node = self.nodes[before as usize];
        if node.continued == NONE {
            // The first block behind another goes on in its stream, so that chains become one span.
            let new = self.push(node.stream, node.start + self.tokens);
            let node = &mut self.nodes[before as usize];
            (node.continued, node.id) = (new, id);
            return new;
        }
        if node.id == id {
            return node.continued;
        }
        self.branch((0, before + 1, id), streams)
    }

    /// The node of a key, which begins its stream.
    fn branch(&mut self, key: (u32, u32, u64), streams: &mut u32) -> u32 {
        if let Some(node) = self.next.get(&key) {
            return *node;
        }
        let new = self.push(*streams, 0);
        *streams += 1;
        self.next.insert(key, new);
        new
    }

    fn push(&mut self, stream: u32, start: u32) -> u32 {
        let number = u32::try_from(self.nodes.len()).ok().filter(|n| *n != NONE);
        self.nodes.push(Node {
            stream,
            start,
            continued: NONE,
            id: 0,
        });
        number.expect("fewer than 2^32 blocks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompt: u32, blocks: &[u64]) -> Row {
        Row {
            prompt,
            blocks: blocks.to_vec(),
            ..Row::default()
        }
    }

    #[test]
    fn equal_ids_behind_equal_ids_are_equal_tokens() {
        let (mut blocks, mut streams) = (Blocks::default(), 5);
        let mut of = |prompt, ids: &[u64]| {
            let mut seq = TokenSeq::default();
            assert_eq!(
                blocks.spans(&row(prompt, ids), &mut streams, &mut seq),
                prompt
            );
            seq
        };
        let a = of(1100, &[7, 8, 9]);
        assert_eq!((a.len(), a.spans().len()), (1100, 1));
        let b = of(1600, &[7, 8, 10, 11]);
        let same = |x: &TokenSeq, y: &TokenSeq, at| x.token_key(at) == y.token_key(at);
        assert!(same(&a, &b, 0) && same(&a, &b, 1023) && !same(&a, &b, 1024));
        assert_eq!(b.spans().len(), 2);
        // The same id somewhere else is another block.
        let c = of(512, &[8]);
        assert_eq!(c.token_key(0), Some(7 << 32));
        assert!(same(&of(512, &[8]), &c, 511));
    }
}
