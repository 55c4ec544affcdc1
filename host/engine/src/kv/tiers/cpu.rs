//! The CPU's blocks: by name, the least recently used first to go.

use rustc_hash::FxHashMap;

const NONE: u32 = u32::MAX;
/// The name in a place that has no block; no block has it.
const NOBODY: u64 = u64::MAX;

/// What the tier has of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Missing,
    /// A place that is being written from a tier below.
    Pending,
    /// The block.
    Ready,
}

/// A place for a block.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: u64,
    /// Transfers that read it; it stays as long as there are some.
    readers: u32,
    /// It is being written and cannot be read.
    pending: bool,
    /// Neighbours in the order of use. Only those are in it that may go.
    previous: u32,
    next: u32,
}

/// Blocks by name.
#[derive(Clone, Debug)]
pub(crate) struct CpuTier {
    capacity: u64,
    places: Vec<Place>,
    empty: Vec<u32>,
    index: FxHashMap<u64, u32>,
    /// The least and the most recently used of those that may go.
    oldest: u32,
    newest: u32,
    may_go: u64,
    evictions: u64,
}

impl CpuTier {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            places: Vec::new(),
            empty: Vec::new(),
            index: FxHashMap::default(),
            oldest: NONE,
            newest: NONE,
            may_go: 0,
            evictions: 0,
        }
    }

    /// Blocks that made room for others so far.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Blocks in it, those being written included.
    pub(super) fn used(&self) -> u64 {
        self.index.len() as u64
    }

    pub(crate) fn find(&self, name: u64) -> Found {
        match self.index.get(&name) {
            None => Found::Missing,
            Some(&place) if self.places[place as usize].pending => Found::Pending,
            Some(_) => Found::Ready,
        }
    }

    /// Makes a block the most recently used one. `hint` is where it was last, and is set to where
    /// it is. `false`: there is none.
    pub(super) fn touch_at(&mut self, name: u64, hint: &mut u32) -> bool {
        let there = self.places.get(*hint as usize);
        if there.is_none_or(|place| place.name != name) {
            let Some(&place) = self.index.get(&name) else {
                return false;
            };
            *hint = place;
        }
        self.touch_place(*hint);
        true
    }

    /// Makes a block the most recently used one.
    pub(crate) fn touch(&mut self, name: u64) {
        self.touch_at(name, &mut NONE.clone());
    }

    fn touch_place(&mut self, place: u32) {
        let at = &self.places[place as usize];
        if at.readers == 0 && !at.pending && self.newest != place {
            self.unlink(place);
            self.append(place);
        }
    }

    /// Stores a block that is not there, as the most recently used one. `false`: it is full of what
    /// must stay.
    pub(crate) fn store(&mut self, name: u64) -> bool {
        if self.used() >= self.capacity && !self.evict() {
            return false;
        }
        let place = self.place(name, false);
        self.append(place);
        true
    }

    /// Makes room for those of these blocks that are not there and are to be written: for all of
    /// them, or for none. Returns for how many.
    pub(super) fn reserve(&mut self, names: &[u64]) -> u64 {
        let new = names.iter().filter(|name| !self.index.contains_key(name));
        let new: Vec<u64> = new.copied().collect();
        let (wanted, room) = (new.len() as u64, self.capacity - self.used());
        if wanted > room + self.may_go {
            return 0;
        }
        for _ in room..wanted {
            self.evict();
        }
        for name in new {
            self.place(name, true);
        }
        wanted
    }

    /// A block has been written.
    pub(super) fn complete(&mut self, name: u64) {
        if let Some(&place) = self.index.get(&name)
            && std::mem::take(&mut self.places[place as usize].pending)
        {
            self.append(place);
        }
    }

    /// A transfer begins to read a block, which stays until it has.
    pub(crate) fn pin(&mut self, name: u64) {
        let Some(&place) = self.index.get(&name) else {
            return;
        };
        let at = self.places[place as usize];
        if at.pending {
            return;
        }
        if at.readers == 0 {
            self.unlink(place);
        }
        self.places[place as usize].readers += 1;
    }

    /// A transfer has read a block.
    pub(crate) fn unpin(&mut self, name: u64) {
        let Some(&place) = self.index.get(&name) else {
            return;
        };
        let at = &mut self.places[place as usize];
        if at.readers > 0 {
            at.readers -= 1;
            if at.readers == 0 {
                self.append(place);
            }
        }
    }

    fn place(&mut self, name: u64, pending: bool) -> u32 {
        let new = Place {
            name,
            readers: 0,
            pending,
            previous: NONE,
            next: NONE,
        };
        let place = match self.empty.pop() {
            Some(place) => {
                self.places[place as usize] = new;
                place
            }
            None => {
                self.places.push(new);
                self.places.len() as u32 - 1
            }
        };
        self.index.insert(name, place);
        place
    }

    fn evict(&mut self) -> bool {
        if self.oldest == NONE {
            return false;
        }
        let place = self.oldest;
        self.unlink(place);
        let name = std::mem::replace(&mut self.places[place as usize].name, NOBODY);
        self.index.remove(&name);
        self.empty.push(place);
        self.evictions += 1;
        true
    }

    fn append(&mut self, place: u32) {
        let newest = std::mem::replace(&mut self.newest, place);
        let at = &mut self.places[place as usize];
        (at.previous, at.next) = (newest, NONE);
        match newest {
            NONE => self.oldest = place,
            newest => self.places[newest as usize].next = place,
        }
        self.may_go += 1;
    }

    fn unlink(&mut self, place: u32) {
        let Place { previous, next, .. } = self.places[place as usize];
        match previous {
            NONE => self.oldest = next,
            previous => self.places[previous as usize].next = next,
        }
        match next {
            NONE => self.newest = previous,
            next => self.places[next as usize].previous = previous,
        }
        self.may_go -= 1;
    }

    /// Names from the least to the most recently used that may go; for tests.
    pub(super) fn order(&self) -> Vec<u64> {
        let mut order = Vec::new();
        let mut at = self.oldest;
        while at != NONE && order.len() <= self.places.len() {
            order.push(self.places[at as usize].name);
            at = self.places[at as usize].next;
        }
        order
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let order = self.order();
        let stays = |place: &u32| {
            let place = &self.places[*place as usize];
            place.pending || place.readers > 0
        };
        let staying = self.index.values().filter(|place| stays(place)).count();
        if self.used() > self.capacity
            || order.len() as u64 != self.may_go
            || order.len() + staying != self.index.len()
            || self.index.len() + self.empty.len() != self.places.len()
        {
            return Err(format!(
                "the CPU tier has {} of {} blocks: {} may go, {staying} stay, {} are counted",
                self.used(),
                self.capacity,
                order.len(),
                self.may_go
            ));
        }
        Ok(())
    }
}
