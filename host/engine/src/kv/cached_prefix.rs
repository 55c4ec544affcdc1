//! What a prefix lookup found.

use smallvec::SmallVec;

/// The cached blocks at the beginning of a sequence. Valid until the cache changes.
#[derive(Clone, Debug, Default)]
pub struct CachedPrefix {
    pub(super) parts: SmallVec<[Part; 3]>,
    blocks: u32,
}

/// Blocks of one extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) extent: u32,
    /// Blocks of the extent before them.
    pub(super) skip: u32,
    pub(super) blocks: u32,
}

impl CachedPrefix {
    /// How many blocks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Nothing found?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Leaves out the last block, if there is one.
    pub fn pop(&mut self) {
        let Some(last) = self.parts.last_mut() else {
            return;
        };
        self.blocks -= 1;
        last.blocks -= 1;
        if last.blocks == 0 {
            self.parts.pop();
        }
    }

    /// Blocks that count one by one.
    pub(super) fn of_single_blocks(blocks: Vec<u32>) -> Self {
        let part = |&extent: &u32| Part {
            extent,
            skip: 0,
            blocks: 1,
        };
        Self {
            parts: blocks.iter().map(part).collect(),
            blocks: blocks.len() as u32,
        }
    }

    /// The blocks, where they count one by one.
    pub(super) fn single_blocks(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().map(|part| part.extent)
    }

    pub(super) fn push(&mut self, part: Part) {
        self.blocks += part.blocks;
        match self.parts.last_mut() {
            // A prompt and its output meet inside of an extent.
            Some(last) if last.extent == part.extent && last.skip + last.blocks == part.skip => {
                last.blocks += part.blocks;
            }
            _ => self.parts.push(part),
        }
    }
}
