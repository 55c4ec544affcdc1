//! Which instances have which blocks.

use super::positions::Positions;
use crate::key_range::KeyRange;
use rustc_hash::FxHashMap;

/// The instances that have a block, for all blocks that some have.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockHolders {
    /// By line, in order and without overlaps.
    lines: FxHashMap<u64, Vec<Held>>,
}

/// Blocks of a line from `first` up to `end`, which the same instances have.
#[derive(Clone, Debug)]
struct Held {
    first: u32,
    end: u32,
    instances: Positions,
}

/// What is known of the first blocks of a range, up to `end`.
pub(super) struct Holders<'a> {
    /// `None`: no instance has them.
    pub(super) instances: Option<&'a Positions>,
    pub(super) end: u32,
}

/// The first entry that ends behind a block.
fn position(list: &[Held], block: u32) -> usize {
    list.partition_point(|held| held.end <= block)
}

/// Makes two of an entry that goes on over the beginning of a block.
fn cut(list: &mut Vec<Held>, block: u32) {
    let at = position(list, block);
    if let Some(held) = list.get_mut(at)
        && held.first < block
    {
        let head = Held {
            end: block,
            ..held.clone()
        };
        held.first = block;
        list.insert(at, head);
    }
}

/// Joins entries that touch and have the same instances, around those of `range`.
fn join(list: &mut Vec<Held>, range: KeyRange) {
    let mut at = position(list, range.first.saturating_sub(1));
    while at + 1 < list.len() && list[at].first <= range.end() {
        let next = &list[at + 1];
        if list[at].end == next.first && list[at].instances == next.instances {
            list[at].end = next.end;
            list.remove(at + 1);
        } else {
            at += 1;
        }
    }
}

impl BlockHolders {
    /// Who has the first blocks of `range`, which is not empty.
    pub(super) fn first(&self, range: KeyRange) -> Holders<'_> {
        let list = self.lines.get(&range.line);
        let next = list.and_then(|list| list.get(position(list, range.first)));
        match next {
            Some(held) if held.first <= range.first => Holders {
                instances: Some(&held.instances),
                end: held.end.min(range.end()),
            },
            _ => Holders {
                instances: None,
                end: next.map_or(range.end(), |held| held.first.min(range.end())),
            },
        }
    }

    /// Instance `i` has these blocks from now on.
    pub(super) fn add(&mut self, range: KeyRange, i: u32) {
        let list = self.lines.entry(range.line).or_default();
        cut(list, range.first);
        cut(list, range.end());
        let (mut at, mut first) = (position(list, range.first), range.first);
        while first < range.end() {
            match list.get_mut(at) {
                Some(held) if held.first == first => held.instances.insert(i),
                next => {
                    let end = next.map_or(range.end(), |held| held.first.min(range.end()));
                    let instances = Positions::One(i);
                    let held = Held {
                        first,
                        end,
                        instances,
                    };
                    list.insert(at, held);
                }
            }
            first = list[at].end;
            at += 1;
        }
        join(list, range);
    }

    /// Instance `i` does not have these blocks any more.
    pub(super) fn remove(&mut self, range: KeyRange, i: u32) {
        let Some(list) = self.lines.get_mut(&range.line) else {
            return;
        };
        cut(list, range.first);
        cut(list, range.end());
        let (from, to) = (position(list, range.first), position(list, range.end() - 1));
        let mut at = from;
        for _ in from..(to + 1).min(list.len()) {
            let inside = list[at].end <= range.end();
            if inside && list[at].instances.remove(i) {
                list.remove(at);
            } else {
                at += 1;
            }
        }
        join(list, range);
        if list.is_empty() {
            self.lines.remove(&range.line);
        }
    }
}
