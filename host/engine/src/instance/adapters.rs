//! The LoRA adapters of an instance: which the step at hand has, and which are loaded.

use super::adapter_slots::AdapterSlots;
use crate::adapters::AdapterState;
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
    /// Those of the requests here, with how many run and wait; none of no requests.
    requests: Vec<AdapterState>,
    /// Where each is loaded for the requests that wait for it, beside the steps.
    pub(super) slots: Option<AdapterSlots>,
}

impl Adapters {
    /// At most `max` at once; 0 = no limit.
    pub(super) fn new(max: u32) -> Self {
        Self {
            limit: if max == 0 { usize::MAX } else { max as usize },
            group: Vec::new(),
            step: Vec::new(),
            loaded: Vec::new(),
            requests: Vec::new(),
            slots: None,
        }
    }

    /// So many requests more, or fewer, with this adapter run and wait.
    pub(super) fn count(&mut self, adapter: Sym, running: i32, waiting: i32) {
        if adapter.is_none() {
            return;
        }
        let at = self.requests.iter().position(|r| r.adapter == adapter);
        let at = at.unwrap_or_else(|| {
            self.requests.push(AdapterState::of(adapter));
            self.requests.len() - 1
        });
        let state = &mut self.requests[at];
        state.running = state.running.saturating_add_signed(running);
        state.waiting = state.waiting.saturating_add_signed(waiting);
        if (state.running, state.waiting) == (0, 0) {
            self.requests.swap_remove(at);
        }
    }

    /// Is this adapter on the GPU?
    fn is_loaded(&self, adapter: Sym) -> bool {
        match &self.slots {
            Some(slots) => slots.has(adapter),
            None => self.loaded.contains(&adapter),
        }
    }

    /// Those on the GPU, and those of the requests here, each once.
    pub(super) fn states(&self) -> impl Iterator<Item = AdapterState> {
        // Those of slots are not in the other list.
        let on_gpu = self.slots.iter().flat_map(AdapterSlots::loaded);
        let on_gpu = on_gpu.chain(self.loaded.iter().copied());
        let here = self.requests.iter().map(|state| AdapterState {
            loaded: self.is_loaded(state.adapter),
            ..*state
        });
        let asked_for = |adapter: Sym| self.requests.iter().any(|r| r.adapter == adapter);
        let idle = on_gpu.filter(move |a| !asked_for(*a));
        here.chain(idle.map(|adapter| AdapterState {
            loaded: true,
            ..AdapterState::of(adapter)
        }))
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

    /// Are the adapters of the whole decode group on the GPU?
    pub(super) fn group_is_loaded(&self) -> bool {
        let mut all = self.group.iter();
        self.slots.is_some() || all.all(|(adapter, _)| self.loaded.contains(adapter))
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

    /// May a request with this adapter be admitted to the step? Others may be, if not.
    pub(super) fn admits(&self, adapter: Sym) -> bool {
        adapter.is_none()
            || self.slots.is_some()
            || self.step.len() < self.limit
            || self.step.contains(&adapter)
    }

    /// Does a request with this adapter have to wait until it is loaded, and all others with it?
    pub(super) fn lacks(&self, adapter: Sym) -> bool {
        let slots = self.slots.as_ref();
        slots.is_some_and(|slots| !slots.has(adapter))
    }

    /// The factor by which the step takes longer for its adapters.
    pub(super) fn step_factor(&self) -> f64 {
        let slots = self.slots.as_ref();
        slots.map_or(1.0, |slots| slots.step_factor(&self.step))
    }

    /// Loads what the step needs; returns how many adapters were not on the GPU.
    pub(super) fn load(&mut self) -> u32 {
        if self.slots.is_some() {
            return 0;
        }
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
