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

    /// Counts the adapters of an instance into its view.
    pub(crate) fn count(all: &[Self], view: &mut InstanceView) {
        let count = |is: fn(&Self) -> bool| all.iter().filter(|state| is(state)).count() as u32;
        view.loaded_lora_adapters = count(|state| state.loaded);
        view.running_lora_adapters = count(|state| state.running > 0);
        view.waiting_lora_adapters = count(|state| state.running == 0 && state.waiting > 0);
    }
}
