//! The blocks of one request, and the tokens that they store.

use crate::key_range::Keys;
use windtunnel_base::request::TokenSeq;

/// The blocks that one request holds.
///
/// A block that a prefix lookup may find has an identity; the others are anonymous and only
/// counted. The identified blocks come first: no lookup asks for tokens from the first private one
/// on, and a block that is not full yet has no identity.
#[derive(Clone, Debug, Default)]
pub struct BlockTable {
    /// The identified blocks, in order.
    pub(super) held: Vec<Held>,
    /// How many those are.
    pub(super) identified: u32,
    /// How many anonymous blocks follow.
    pub(super) anonymous: u32,
    /// Tokens stored in the last block, `1..=block_size`; 0 without blocks.
    pub(super) tail: u32,
    /// The first block was opened by an output token: the prompt is empty, or fully cached and
    /// (under `blis` rules) not claimed.
    pub(super) detached: bool,
    /// Where each block counts by itself, as there are tiers below: the blocks in order. All of
    /// them are among the anonymous ones, too.
    pub(super) single: Vec<u32>,
}

/// Blocks of an extent, from its first one on. If it has fewer, the others are in the extents that
/// were split off from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) extent: u32,
    pub(super) blocks: u32,
}

impl BlockTable {
    /// Blocks table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.identified as usize + self.anonymous as usize
    }

    /// Holds nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens stored in the last block; 0 without blocks.
    #[must_use]
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Tokens that still fit into the last block, of `block_size` tokens; 0 without blocks.
    #[must_use]
    pub fn room(&self, block_size: u32) -> u32 {
        if self.tail == 0 {
            0
        } else {
            block_size - self.tail
        }
    }

    /// Sets how full the last block is, where the caller kept count; blocks that filled up
    /// meanwhile were private.
    pub fn set_tail(&mut self, tail: u32) {
        self.tail = tail;
    }
}

/// The tokens that a request stores: its prompt, then its output.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Prompt.
    pub prompt: &'a TokenSeq,
    /// Output.
    pub output: &'a TokenSeq,
    /// Tokens from this position on are in no other request.
    pub private_from: u32,
}

impl<'a> Sequence<'a> {
    /// The key of the token before position `end`, if it is one of the sequence.
    pub(super) fn key_before(&self, end: u32) -> Option<u64> {
        let position = end.checked_sub(1)?;
        let prompt = self.prompt.token_key(position);
        prompt.or_else(|| {
            self.output
                .token_key(position.checked_sub(self.prompt.len())?)
        })
    }

    /// Blocks `from` up to `to`, of `size` tokens.
    pub(super) fn keys(&self, size: u32, from: u32, to: u32) -> Keys<'a> {
        Keys::of_both(self.prompt, self.output, size, from, to)
    }
}
