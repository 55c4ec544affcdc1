//! Names of the contents of blocks, each with all that stands before it.

use rustc_hash::FxHashMap;

/// Names from here on are made up: no stream has so high a number.
const FIRST_MADE_UP: u64 = 0xffff_ffff_0000_0000;

/// A name, and where in its sequence the block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: u64,
    /// It is so many blocks from the beginning, counted with it; 0 = its blocks are not those of a
    /// sequence from its beginning on, so that no lookup of a prompt asks for it.
    depth: u32,
}

impl Chain {
    /// The key of its last token, if a lookup of a prompt may ask for it.
    pub(super) fn key(self) -> Option<u64> {
        (self.depth > 0).then_some(self.name)
    }
}

/// The names that were made up: those of blocks that a request stores out of step with its
/// sequence, where it holds more than it has computed or does not hold what it found.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    made_up: FxHashMap<(Option<u64>, u64), u64>,
    count: u64,
}

impl Names {
    /// The name of a block whose last token has this key and ends at position `end`, behind the
    /// block `before`, if that has one.
    pub(super) fn behind(&mut self, before: Option<Chain>, key: u64, end: u32, size: u32) -> Chain {
        self.known(before, key, end, size).unwrap_or_else(|| {
            let chain = self.fresh();
            let before = before.map(|chain| chain.name);
            self.made_up.insert((before, key), chain.name);
            chain
        })
    }

    /// The same, if any block had it so far.
    pub(super) fn known(
        &self,
        before: Option<Chain>,
        key: u64,
        end: u32,
        size: u32,
    ) -> Option<Chain> {
        let depth = match before {
            None => 1,
            Some(before) if before.depth > 0 => before.depth + 1,
            Some(_) => 0,
        };
        if depth > 0 && u64::from(end) == u64::from(depth) * u64::from(size) {
            return Some(Chain { name: key, depth });
        }
        let name = self.made_up.get(&(before.map(|chain| chain.name), key));
        name.map(|&name| Chain { name, depth: 0 })
    }

    /// A name that nothing else has.
    pub(super) fn fresh(&mut self) -> Chain {
        self.count += 1;
        Chain {
            name: FIRST_MADE_UP + self.count,
            depth: 0,
        }
    }
}
