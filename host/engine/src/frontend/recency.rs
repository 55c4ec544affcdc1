//! Positions of a list in the order in which they were last used.

/// No position.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
}

/// Positions from 0 on, the least recently used first. Every change costs O(1).
#[derive(Clone, Debug)]
pub(super) struct Recency {
    links: Vec<Link>,
    oldest: u32,
    newest: u32,
}

impl Default for Recency {
    fn default() -> Self {
        Self {
            links: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl Recency {
    /// How many positions there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// The most recently used position; [`NONE`] of none.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    /// The position that was used before `at`; [`NONE`] for the oldest.
    pub(super) fn before(&self, at: u32) -> u32 {
        self.links[at as usize].older
    }

    /// Adds a position at the end of the list, as the one used last; returns it.
    pub(super) fn push(&mut self) -> u32 {
        let at = self.links.len() as u32;
        self.links.push(Link {
            older: NONE,
            newer: NONE,
        });
        self.append(at);
        at
    }

    /// Removes the position at the end of the list.
    pub(super) fn pop(&mut self) {
        self.unlink(self.links.len() as u32 - 1);
        self.links.pop();
    }

    /// A position is used.
    pub(super) fn touch(&mut self, at: u32) {
        if self.newest != at {
            self.unlink(at);
            self.append(at);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Link { older, newer } = self.links[at as usize];
        match older {
            NONE => self.oldest = newer,
            o => self.links[o as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            n => self.links[n as usize].older = older,
        }
    }

    fn append(&mut self, at: u32) {
        let newest = self.newest;
        self.links[at as usize] = Link {
            older: newest,
            newer: NONE,
        };
        match newest {
            NONE => self.oldest = at,
            n => self.links[n as usize].newer = at,
        }
        self.newest = at;
    }
}
