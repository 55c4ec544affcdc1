//! What an instance has to do with each LoRA adapter, as a scrape reads it.

use windtunnel_base::request::Sym;
use windtunnel_plugin_api::{AdapterSignal, InstanceView};

/// A LoRA adapter on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterState {
    /// Which.
    pub adapter: Sym,
    /// It is on the GPU.
    pub loaded: bool,
    /// Running requests with it.
    pub running: u32,
    /// Waiting requests with it.
    pub waiting: u32,
}

impl AdapterState {
    /// An adapter that is not on the GPU and that nobody asks for.
    #[must_use]
    pub fn of(adapter: Sym) -> Self {
        Self {
            adapter,
            loaded: false,
            running: 0,
            waiting: 0,
        }
    }

    /// What a signal says of it.
    #[must_use]
    pub fn signal(&self, signal: AdapterSignal) -> u32 {
        match signal {
            AdapterSignal::Loaded => self.loaded.into(),
            AdapterSignal::Running => self.running,
            AdapterSignal::Waiting => self.waiting,
        }
    }

    /// Adds the requests of another rank that has the adapter, too.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.running += other.running;
        self.waiting += other.waiting;
        self.loaded |= other.loaded;
    }

    /// Counts the adapters of an instance into its view.
    pub(crate) fn count(all: &[Self], view: &mut InstanceView) {
        let count = |is: fn(&Self) -> bool| all.iter().filter(|state| is(state)).count() as u32;
        view.loaded_lora_adapters = count(|state| state.loaded);
        view.running_lora_adapters = count(|state| state.running > 0);
        view.waiting_lora_adapters = count(|state| state.running == 0 && state.waiting > 0);
    }
}

/// What the LoRA adapters of an instance cost where each is loaded for the requests that wait for
/// it, as in the reference simulator.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterCosts {
    /// Adapters that an instance has room for, at least 1.
    pub capacity: u32,
    /// The adapters.
    pub adapters: Vec<AdapterCost>,
    /// By rank, in order: what each adapter of a step adds to its time, as a share of it.
    pub overheads: Vec<(u32, f64)>,
}

/// An adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterCost {
    /// Its name.
    pub name: String,
    /// Its rank.
    pub rank: u32,
    /// Time to load it, microseconds.
    pub load_us: i64,
}

impl AdapterCosts {
    /// The factor on a step with so many adapters, of which the highest rank is `rank`: that of the
    /// rank that is known and nearest, the lower one of two.
    #[must_use]
    pub(crate) fn step_factor(&self, adapters: usize, rank: u32) -> f64 {
        let nearest = self
            .overheads
            .iter()
            .min_by_key(|(known, _)| known.abs_diff(rank));
        match nearest {
            Some((_, share)) if adapters > 0 => 1.0 + share * adapters as f64,
            _ => 1.0,
        }
    }
}
