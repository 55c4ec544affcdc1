//! The blocks of one request, and the tokens that they store.

use windtunnel_base::request::TokenSeq;

/// The blocks that one request holds.
///
/// A block that a prefix lookup may find has an identity; the others are anonymous and only
/// counted. The identified blocks come first: no lookup asks for tokens from the first private one
/// on, and a block that is not full yet has no identity.
#[derive(Clone, Debug, Default)]
pub struct BlockTable {
    /// Numbers of the identified blocks, in order.
    pub(super) identified: Vec<u32>,
    /// How many anonymous blocks follow.
    pub(super) anonymous: u32,
    /// Tokens stored in the last block, `1..=block_size`; 0 without blocks.
    pub(super) tail: u32,
    /// The first block was opened by an output token: the prompt is empty, or fully cached and
    /// (under `blis` rules) not claimed.
    pub(super) detached: bool,
}

impl BlockTable {
    /// Blocks table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.identified.len() + self.anonymous as usize
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

impl Sequence<'_> {
    pub(super) fn key_at(&self, position: u32) -> u64 {
        let prompt = self.prompt.len();
        let key = if position < prompt {
            self.prompt.token_key(position)
        } else {
            self.output.token_key(position - prompt)
        };
        key.expect("a stored token lies inside the sequence")
    }

    /// Keys of the full blocks among the first `tokens` tokens.
    pub fn block_keys(&self, block: u32, tokens: u32) -> impl Iterator<Item = u64> + '_ {
        let whole = self.prompt.len() / block;
        let wanted = tokens / block;
        self.prompt
            .block_keys(block)
            .take(wanted as usize)
            .chain((whole..wanted).map(move |k| self.key_at((k + 1) * block - 1)))
    }
}
