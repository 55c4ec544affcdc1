//! Running decodes as a group: they all gain one token per step, so the group moves on in O(1).
//!
//! A member's own fields stand still from the step it joined in; [`DecodeGroup`] keeps the sums.
//! What does concern a single member is found by step number: which ones need a KV block (or fill
//! one that must become findable) by the phase of their last block, and which ones finish by a
//! calendar.

use super::queue::JobIx;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A request's place in the running batch; batch order is order of `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    /// Number of the admission.
    pub(super) seq: u64,
    pub(super) ix: JobIx,
}

/// The decodes of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct DecodeGroup {
    /// Members.
    pub(super) count: u64,
    /// Sum of the members' computed tokens before the next step.
    pub(super) context: u64,
    /// Members by the step (modulo the block size) in which they open a block; each list in batch
    /// order.
    opens: Vec<Vec<Seat>>,
    /// Of these, the members whose filled blocks must become findable.
    fills: Vec<Vec<Seat>>,
    /// Step after which a member leaves. Members that left otherwise are skipped by their seat.
    finishes: BinaryHeap<Reverse<(u64, Seat)>>,
}

impl DecodeGroup {
    pub(super) fn new(block_size: u32) -> Self {
        let lists = || vec![Vec::new(); block_size as usize];
        Self {
            opens: lists(),
            fills: lists(),
            ..Self::default()
        }
    }

    fn phase(&self, step: u64) -> usize {
        (step % self.opens.len() as u64) as usize
    }

    /// Adds a member before step `step`: it has `progress` tokens computed, `room` tokens fit into
    /// its last block, it decodes in this step for the first time and in step `last` for the last
    /// time.
    pub(super) fn join(
        &mut self,
        seat: Seat,
        step: u64,
        progress: u32,
        room: u32,
        last: u64,
        findable: bool,
    ) {
        self.count += 1;
        self.context += u64::from(progress);
        let phase = self.phase(step + u64::from(room));
        insert(&mut self.opens[phase], seat);
        if findable {
            insert(&mut self.fills[phase], seat);
        }
        self.finishes.push(Reverse((last, seat)));
    }

    /// Takes a member off before step `step`. It has `progress` tokens by now.
    pub(super) fn leave(&mut self, seat: Seat, step: u64, progress: u32, room: u32) {
        self.count -= 1;
        self.context -= u64::from(progress);
        let phase = self.phase(step + u64::from(room));
        remove(&mut self.opens[phase], seat);
        remove(&mut self.fills[phase], seat);
    }

    /// Members that open a block in `step`.
    pub(super) fn opening(&self, step: u64) -> &[Seat] {
        &self.opens[self.phase(step)]
    }

    /// Members whose last block fills up in `step` and must become findable. (With blocks of one
    /// token a decode's block is never findable.)
    pub(super) fn filling(&self, step: u64) -> &[Seat] {
        if self.opens.len() == 1 {
            &[]
        } else {
            &self.fills[self.phase(step + 1)]
        }
    }

    /// Steps from `step` on in which nobody opens a block or fills a findable one.
    #[inline]
    pub(super) fn quiet_steps(&self, step: u64) -> u64 {
        let phases = self.opens.len() as u64;
        let busy = |s: &u64| !self.opening(*s).is_empty() || !self.filling(*s).is_empty();
        (step..step + phases)
            .find(busy)
            .map_or(u64::MAX, |s| s - step)
    }

    /// Everyone computed one token in each of `steps` steps.
    pub(super) fn advance(&mut self, steps: u64) {
        self.context += self.count * steps;
    }

    /// The step after which the next entry of the calendar is due.
    pub(super) fn next_finish(&self) -> u64 {
        self.finishes
            .peek()
            .map_or(u64::MAX, |Reverse((step, _))| *step)
    }

    /// The next one due by the end of `step`, in batch order; may have left already.
    #[inline]
    pub(super) fn pop_finish(&mut self, step: u64) -> Option<Seat> {
        if self.next_finish() > step {
            return None;
        }
        self.finishes.pop().map(|Reverse((_, seat))| seat)
    }

    /// Everyone leaves.
    pub(super) fn clear(&mut self) {
        (self.count, self.context) = (0, 0);
        self.opens
            .iter_mut()
            .chain(&mut self.fills)
            .for_each(Vec::clear);
        self.finishes.clear();
    }
}

fn insert(list: &mut Vec<Seat>, seat: Seat) {
    let at = list.partition_point(|s| s.seq < seat.seq);
    list.insert(at, seat);
}

fn remove(list: &mut Vec<Seat>, seat: Seat) {
    if let Ok(at) = list.binary_search(&seat) {
        list.remove(at);
    }
}
