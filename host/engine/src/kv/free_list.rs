//! Free blocks in order of reuse.
//!
//! Anonymous blocks are alike, so runs of them are only counted; the identified blocks between them
//! are linked. Allocating and freeing anonymous blocks therefore costs O(1), however many they are.

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// Anonymous blocks between the one before and this one.
    before: u64,
}

/// The free list. Blocks are allocated from the front and freed to either end.
#[derive(Clone, Debug)]
pub(super) struct FreeList {
    /// By number; only the entries of free blocks are valid.
    links: Vec<Link>,
    front: u32,
    end: u32,
    /// Anonymous blocks after the last identified one.
    after: u64,
    len: u64,
}

impl FreeList {
    /// A list of `blocks` anonymous blocks.
    pub(super) fn new(blocks: u64) -> Self {
        Self {
            links: Vec::new(),
            front: NONE,
            end: NONE,
            after: blocks,
            len: blocks,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Allocates the first block: its number, if it is identified. There must be one.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.len -= 1;
        let before = match self.front {
            NONE => &mut self.after,
            front => &mut self.links[front as usize].before,
        };
        if self.front == NONE || *before > 0 {
            *before -= 1;
            return None;
        }
        let front = self.front;
        self.unlink(front);
        Some(front)
    }

    /// Frees anonymous blocks.
    pub(super) fn append_anonymous(&mut self, blocks: u64) {
        self.after += blocks;
        self.len += blocks;
    }

    /// Frees anonymous blocks to the front: they are the next to be allocated.
    pub(super) fn prepend_anonymous(&mut self, blocks: u64) {
        match self.front {
            NONE => self.after += blocks,
            front => self.links[front as usize].before += blocks,
        }
        self.len += blocks;
    }

    /// Frees an identified block.
    pub(super) fn append(&mut self, block: u32) {
        let at = block as usize;
        if self.links.len() <= at {
            self.links.resize(
                at + 1,
                Link {
                    previous: NONE,
                    next: NONE,
                    before: 0,
                },
            );
        }
        self.links[at] = Link {
            previous: self.end,
            next: NONE,
            before: std::mem::take(&mut self.after),
        };
        match self.end {
            NONE => self.front = block,
            end => self.links[end as usize].next = block,
        }
        self.end = block;
        self.len += 1;
    }

    /// Allocates an identified block, wherever in the list it is.
    pub(super) fn remove(&mut self, block: u32) {
        self.len -= 1;
        self.unlink(block);
    }

    fn unlink(&mut self, block: u32) {
        let Link {
            previous,
            next,
            before,
        } = self.links[block as usize];
        match previous {
            NONE => self.front = next,
            p => self.links[p as usize].next = next,
        }
        match next {
            NONE => {
                self.end = previous;
                self.after += before;
            }
            n => {
                self.links[n as usize].previous = previous;
                self.links[n as usize].before += before;
            }
        }
    }

    /// The identified blocks in order, and the number of all blocks; for tests.
    pub(super) fn walk(&self) -> Result<(Vec<u32>, u64), String> {
        let (mut identified, mut all) = (Vec::new(), self.after);
        let (mut at, mut previous) = (self.front, NONE);
        while at != NONE {
            let link = self.links[at as usize];
            if link.previous != previous || identified.len() > self.links.len() {
                return Err(format!("free list is broken at block {at}"));
            }
            identified.push(at);
            all += 1 + link.before;
            (previous, at) = (at, link.next);
        }
        if previous != self.end || all != self.len {
            return Err(format!(
                "free list ends at {previous} with {all} blocks, expected {} with {}",
                self.end, self.len
            ));
        }
        Ok((identified, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Like a plain list of blocks in which those without identity are all called `None`.
        #[test]
        fn order_is_that_of_a_plain_list(steps in prop::collection::vec((0u8..5, 0u32..6), 0..80)) {
            let mut list = FreeList::new(3);
            let mut plain: Vec<Option<u32>> = vec![None; 3];
            for (what, block) in steps {
                let free = plain.contains(&Some(block));
                match what {
                    0 if !plain.is_empty() => prop_assert_eq!(list.take(), plain.remove(0)),
                    1 => {
                        list.append_anonymous(u64::from(block));
                        plain.extend((0..block).map(|_| None));
                    }
                    2 if !free => {
                        list.append(block);
                        plain.push(Some(block));
                    }
                    3 if free => {
                        list.remove(block);
                        plain.retain(|b| *b != Some(block));
                    }
                    4 => {
                        list.prepend_anonymous(u64::from(block));
                        plain.splice(0..0, (0..block).map(|_| None));
                    }
                    _ => {}
                }
                let (identified, all) = list.walk().map_err(TestCaseError::fail)?;
                prop_assert_eq!(identified, plain.iter().flatten().copied().collect::<Vec<_>>());
                prop_assert_eq!(all, plain.len() as u64);
            }
        }
    }
}
