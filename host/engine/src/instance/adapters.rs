//! The LoRA adapters of an instance: which the step at hand has, and which are loaded.

use windtunnel_base::request::Sym;

/// Adapters on an instance.
#[derive(Clone, Debug)]
pub(super) struct Adapters {
    /// Most in one step, and most loaded; `usize::MAX` = no limit.
    limit: usize,
    /// How many members of the decode group have each; none of no members.
    group: Vec<(Sym, u32)>,
    /// Those of the step at hand.
    step: Vec<Sym>,
    /// Those on the GPU, the least recently used first.
    loaded: Vec<Sym>,
}

impl Adapters {
    /// At most `max` at once; 0 = no limit.
    pub(super) fn new(max: u32) -> Self {
        Self {
            limit: if max == 0 { usize::MAX } else { max as usize },
            group: Vec::new(),
            step: Vec::new(),
            loaded: Vec::new(),
        }
    }

    /// A member joins the decode group.
    pub(super) fn join_group(&mut self, adapter: Sym) {
        if adapter.is_none() {
            return;
        }
        match self.group.iter_mut().find(|(a, _)| *a == adapter) {
            Some((_, members)) => *members += 1,
            None => self.group.push((adapter, 1)),
        }
    }

    /// A member leaves the decode group.
    pub(super) fn leave_group(&mut self, adapter: Sym) {
        if let Some(at) = self.group.iter().position(|(a, _)| *a == adapter) {
            self.group[at].1 -= 1;
            if self.group[at].1 == 0 {
                self.group.swap_remove(at);
            }
        }
    }

    /// The decode group is dissolved.
    pub(super) fn clear_group(&mut self) {
        self.group.clear();
    }

    /// A step begins in which the whole decode group takes part.
    pub(super) fn start_step_of_group(&mut self) {
        self.step.clear();
        self.step
            .extend(self.group.iter().map(|(adapter, _)| *adapter));
    }

    /// A step begins in which nobody takes part yet.
    pub(super) fn start_step(&mut self) {
        self.step.clear();
    }

    /// A request with this adapter takes part in the step.
    pub(super) fn add(&mut self, adapter: Sym) {
        if !adapter.is_none() && !self.step.contains(&adapter) {
            self.step.push(adapter);
        }
    }

    /// May a request with this adapter be admitted to the step?
    pub(super) fn admits(&self, adapter: Sym) -> bool {
        adapter.is_none() || self.step.len() < self.limit || self.step.contains(&adapter)
    }

    /// Loads what the step needs; returns how many adapters were not on the GPU.
    pub(super) fn load(&mut self) -> u32 {
        let mut new = 0;
        // The order of loading is that of the names' numbers, so that it does not depend on how the
        // step was formed.
        self.step.sort_unstable();
        for &adapter in &self.step {
            match self.loaded.iter().position(|a| *a == adapter) {
                Some(at) => {
                    self.loaded.remove(at);
                }
                None => new += 1,
            }
            self.loaded.push(adapter);
        }
        let over = self.loaded.len().saturating_sub(self.limit);
        self.loaded.drain(..over);
        new
    }
}
