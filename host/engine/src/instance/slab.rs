//! A vector with holes, whose indices stay valid until removal.

use std::ops::{Index, IndexMut};

/// Values by stable index; freed indices are used again.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(ix) = self.free.pop() {
            self.slots[ix as usize] = Some(value);
            return ix;
        }
        self.slots.push(Some(value));
        self.slots.len() as u32 - 1
    }

    pub(crate) fn remove(&mut self, ix: u32) -> T {
        let value = self.slots[ix as usize]
            .take()
            .expect("a removed index was in use");
        self.free.push(ix);
        value
    }

    pub(crate) fn get(&self, ix: u32) -> Option<&T> {
        self.slots.get(ix as usize).and_then(Option::as_ref)
    }

    pub(crate) fn get_mut(&mut self, ix: u32) -> Option<&mut T> {
        self.slots.get_mut(ix as usize).and_then(Option::as_mut)
    }

    /// The indices in use, ascending.
    pub(crate) fn slots(&self) -> Vec<u32> {
        let numbered = (0..).zip(&self.slots);
        let used = numbered.filter(|(_, slot)| slot.is_some());
        used.map(|(ix, _)| ix).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, ix: u32) -> &T {
        self.slots[ix as usize]
            .as_ref()
            .expect("the index is in use")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, ix: u32) -> &mut T {
        self.slots[ix as usize]
            .as_mut()
            .expect("the index is in use")
    }
}
