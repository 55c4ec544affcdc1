//! Running decodes as a group: each gets one token per step, so the group advances in O(1).
//!
//! A member's own fields are not updated from the step it joined in; [`DecodeGroup`] keeps the
//! sums. What concerns single members is found by step number: those that need a KV block (or fill
//! one that must become findable) by the phase of their last block, and those that finish by a
//! calendar.

use super::group_lengths::GroupLengths;
use super::slot::BatchEntry;
use crate::latency::{StepAggregates, StepItem};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// With larger blocks there would be more phases than it is worth to keep lists for.
pub(super) const MAX_BLOCK_SIZE: u32 = 1024;

/// What a step of the group changes for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupChange {
    /// A decode that needs a new block for its token.
    OpensBlock,
    /// A decode that fills its last block, which becomes findable.
    FillsBlock,
    /// A prefill of so many tokens.
    Prefill(u32),
}

/// The running decodes of an instance.
#[derive(Clone, Debug, Default)]
pub(super) struct DecodeGroup {
    /// Members.
    pub(super) count: u64,
    /// Sum of the members' computed tokens before the next step.
    pub(super) context: u64,
    /// The same by how long each context is, where the step-time model reads it.
    pub(super) lengths: Option<GroupLengths>,
    /// Members by the step (modulo the block size) in which they open a block; each list in batch
    /// order.
    opens: Vec<Vec<BatchEntry>>,
    /// Of these, the members whose filled blocks must become findable.
    fills: Vec<Vec<BatchEntry>>,
    /// A bit for each phase in which a member opens or fills a block.
    busy: Vec<u64>,
    /// Step after which a member leaves. Members that left otherwise are skipped by their admission
    /// number.
    finishes: BinaryHeap<Reverse<(u64, BatchEntry)>>,
}

impl DecodeGroup {
    pub(super) fn new(block_size: u32, with_lengths: bool) -> Self {
        let lists = || vec![Vec::new(); block_size as usize];
        Self {
            opens: lists(),
            fills: lists(),
            busy: vec![0; (block_size as usize).div_ceil(64)],
            lengths: with_lengths.then(GroupLengths::default),
            ..Self::default()
        }
    }

    fn phase(&self, step: u64) -> usize {
        (step % self.opens.len() as u64) as usize
    }

    /// Adds a member before step `step`: it has `computed` tokens computed, `room` tokens fit into
    /// its last block, it decodes in this step for the first time and in step `last` for the last
    /// time.
    pub(super) fn join(
        &mut self,
        entry: BatchEntry,
        step: u64,
        computed: u32,
        room: u32,
        last: u64,
        findable: bool,
    ) {
        self.count += 1;
        self.context += u64::from(computed);
        if let Some(lengths) = &mut self.lengths {
            lengths.join(step, computed);
        }
        let phase = self.phase(step + u64::from(room));
        insert(&mut self.opens[phase], entry);
        if findable {
            insert(&mut self.fills[phase], entry);
        }
        self.note_busy(phase);
        self.finishes.push(Reverse((last, entry)));
    }

    /// Removes a member before step `step`. It has `computed` tokens by now.
    pub(super) fn leave(&mut self, entry: BatchEntry, step: u64, computed: u32, room: u32) {
        self.count -= 1;
        self.context -= u64::from(computed);
        if let Some(lengths) = &mut self.lengths {
            lengths.leave(step, computed);
        }
        let phase = self.phase(step + u64::from(room));
        remove(&mut self.opens[phase], entry);
        remove(&mut self.fills[phase], entry);
        self.note_busy(phase);
    }

    /// The lists of a phase have changed: members fill a block in the phase before.
    fn note_busy(&mut self, phase: usize) {
        let before = phase.checked_sub(1).unwrap_or(self.opens.len() - 1);
        for phase in [before, phase] {
            let filling = &self.fills[(phase + 1) % self.fills.len()];
            let is_busy = !self.opens[phase].is_empty() || !filling.is_empty();
            let bit = 1 << (phase % 64);
            match is_busy {
                true => self.busy[phase / 64] |= bit,
                false => self.busy[phase / 64] &= !bit,
            }
        }
    }

    /// Members that open a block in `step`.
    pub(super) fn opening(&self, step: u64) -> &[BatchEntry] {
        &self.opens[self.phase(step)]
    }

    /// Members whose last block fills up in `step` and must become findable.
    pub(super) fn filling(&self, step: u64) -> &[BatchEntry] {
        &self.fills[self.phase(step + 1)]
    }

    /// Steps from `step` on in which no member opens a block or fills a findable one.
    #[inline]
    pub(super) fn quiet_steps(&self, step: u64) -> u64 {
        let phase = self.phase(step);
        let wrapped = || self.next_busy(0).map(|busy| busy + self.opens.len());
        let busy = self.next_busy(phase).or_else(wrapped);
        busy.map_or(u64::MAX, |busy| (busy - phase) as u64)
    }

    /// The first phase from `from` on in which a member opens or fills a block.
    #[inline]
    fn next_busy(&self, from: usize) -> Option<usize> {
        let first = self.busy[from / 64] & (u64::MAX << (from % 64));
        let later = self.busy[from / 64 + 1..].iter().copied();
        let mut words = std::iter::once(first).chain(later).zip(from / 64..);
        let (bits, word) = words.find(|(bits, _)| *bits != 0)?;
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// All members computed one token in each of `steps` steps.
    pub(super) fn advance(&mut self, steps: u64) {
        self.context += self.count * steps;
        if let Some(lengths) = &mut self.lengths {
            lengths.advance(steps);
        }
    }

    /// Puts the contexts of the members before the next step, who are all that decodes, into what a
    /// step computes.
    #[inline]
    pub(super) fn update(&self, work: &mut StepAggregates) {
        work.decode_context = self.context;
        if let Some(lengths) = &self.lengths {
            work.pairs_by_length = lengths.contexts;
            work.longest = lengths.longest().map(StepItem::decode);
        }
    }

    /// The step after which the next entry of the calendar is due.
    pub(super) fn next_finish(&self) -> u64 {
        self.finishes
            .peek()
            .map_or(u64::MAX, |Reverse((step, _))| *step)
    }

    /// The next member that finishes by the end of `step`, in batch order; may have left already.
    #[inline]
    pub(super) fn pop_finish(&mut self, step: u64) -> Option<BatchEntry> {
        if self.next_finish() > step {
            return None;
        }
        self.finishes.pop().map(|Reverse((_, entry))| entry)
    }

    /// Removes all members.
    pub(super) fn clear(&mut self) {
        (self.count, self.context) = (0, 0);
        if let Some(lengths) = &mut self.lengths {
            *lengths = GroupLengths::default();
        }
        self.opens
            .iter_mut()
            .chain(&mut self.fills)
            .for_each(Vec::clear);
        self.busy.fill(0);
        self.finishes.clear();
    }
}

fn insert(list: &mut Vec<BatchEntry>, entry: BatchEntry) {
    let at = list.partition_point(|e| e.admission < entry.admission);
    list.insert(at, entry);
}

fn remove(list: &mut Vec<BatchEntry>, entry: BatchEntry) {
    if let Ok(at) = list.binary_search(&entry) {
        list.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Members come and go; the next step with a change of blocks is where looking at one step
        /// after the other finds it.
        #[test]
        fn quiet_steps_are_those_without_changes(
            block_size in 1u32..200,
            members in prop::collection::vec((any::<u32>(), any::<bool>(), any::<bool>()), 0..9),
            step in 0u64..500,
        ) {
            let mut group = DecodeGroup::new(block_size, false);
            for (k, (room, findable, stays)) in members.into_iter().enumerate() {
                let (k, room) = (k as u32, room % block_size);
                let entry = BatchEntry { admission: u64::from(k), slot: k };
                group.join(entry, 0, 1, room, 1000, findable);
                if !stays {
                    group.leave(entry, 0, 1, room);
                }
            }
            let busy =
                |s: &u64| !group.opening(*s).is_empty() || !group.filling(*s).is_empty();
            let found = (step..step + u64::from(block_size)).find(busy);
            prop_assert_eq!(group.quiet_steps(step), found.map_or(u64::MAX, |s| s - step));
        }
    }
}
