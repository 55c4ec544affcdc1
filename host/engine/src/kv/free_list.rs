//! Free blocks in order of reuse.
//!
//! A block without identity is like any other without identity, so runs of them are only counted;
//! the numbered blocks between them are linked. Giving back and taking private blocks costs no
//! memory access, however many there are.

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// Counted blocks between the one before and this one.
    before: u64,
}

/// The free list. Blocks are taken at the front and given back at the end.
#[derive(Clone, Debug)]
pub(super) struct FreeList {
    /// By number; only those of free blocks mean something.
    links: Vec<Link>,
    front: u32,
    end: u32,
    /// Counted blocks after the last numbered one.
    after: u64,
    len: u64,
}

impl FreeList {
    /// `blocks` blocks without identity.
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

    /// Takes the first block: its number, if it has one. There must be one.
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

    /// Gives back blocks without identity.
    pub(super) fn append_counted(&mut self, blocks: u64) {
        self.after += blocks;
        self.len += blocks;
    }

    /// Gives back a numbered block.
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

    /// Takes a numbered block from wherever it stands.
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

    /// The numbered blocks in order, and how many blocks there are in all; for tests.
    pub(super) fn walk(&self) -> Result<(Vec<u32>, u64), String> {
        let (mut numbered, mut all) = (Vec::new(), self.after);
        let (mut at, mut previous) = (self.front, NONE);
        while at != NONE {
            let link = self.links[at as usize];
            if link.previous != previous || numbered.len() > self.links.len() {
                return Err(format!("free list is broken at block {at}"));
            }
            numbered.push(at);
            all += 1 + link.before;
            (previous, at) = (at, link.next);
        }
        if previous != self.end || all != self.len {
            return Err(format!(
                "free list ends at {previous} with {all} blocks, expected {} with {}",
                self.end, self.len
            ));
        }
        Ok((numbered, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Like a plain list of blocks in which those without identity are all called `None`.
        #[test]
        fn order_is_that_of_a_plain_list(steps in prop::collection::vec((0u8..4, 0u32..6), 0..80)) {
            let mut list = FreeList::new(3);
            let mut plain: Vec<Option<u32>> = vec![None; 3];
            for (what, block) in steps {
                let free = plain.contains(&Some(block));
                match what {
                    0 if !plain.is_empty() => prop_assert_eq!(list.take(), plain.remove(0)),
                    1 => {
                        list.append_counted(u64::from(block));
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
                    _ => {}
                }
                let (numbered, all) = list.walk().map_err(TestCaseError::fail)?;
                prop_assert_eq!(numbered, plain.iter().flatten().copied().collect::<Vec<_>>());
                prop_assert_eq!(all, plain.len() as u64);
            }
        }
    }
}
