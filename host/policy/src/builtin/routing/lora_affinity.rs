//! `lora-affinity`: requests go where their LoRA adapter is.

use crate::builtin::policy::{BuiltIn, Make};
use std::cmp::Reverse;
use windtunnel_plugin_api::{
    AdapterSignal, ClusterView, InstanceView, Interests, PolicyError, RequestView, Route, Router,
};

/// `lora-affinity`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "lora-affinity",
    "Where the LoRA adapter is loaded, else where there is room for one; ties to the least loaded.",
    Make::Routing(|_, _| Box::new(LoraAffinity::default())),
);

/// How well an instance suits a request with an adapter, the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Affinity {
    /// Others take all places for adapters.
    Full,
    /// The same, but some request waits for this adapter.
    Awaited,
    /// The requests there leave a place for one more adapter.
    Room,
    /// The adapter is there.
    There,
}

impl Affinity {
    /// Of an instance where the adapter is there, or where `waiting` requests wait for it.
    #[must_use]
    pub fn of(there: bool, waiting: u32, instance: &InstanceView) -> Self {
        let taken = instance.running_lora_adapters + instance.waiting_lora_adapters;
        if there {
            Self::There
        } else if instance.max_loras == 0 || taken < instance.max_loras {
            Self::Room
        } else if waiting > 0 {
            Self::Awaited
        } else {
            Self::Full
        }
    }

    /// The score of llm-d's `lora-affinity-scorer`.
    #[must_use]
    pub fn score(self) -> f64 {
        match self {
            Self::There => 1.0,
            Self::Room => 0.8,
            Self::Awaited => 0.6,
            Self::Full => 0.0,
        }
    }
}

/// An adapter is there when it is on the GPU: no time passes for it. Requests without an adapter
/// need none and go to the least loaded.
#[derive(Default)]
pub struct LoraAffinity {
    loaded: Vec<u32>,
    waiting: Vec<u32>,
    chosen: Option<Affinity>,
}

impl Router for LoraAffinity {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS | Interests::ADAPTERS
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let asks = [
            (AdapterSignal::Loaded, &mut self.loaded),
            (AdapterSignal::Waiting, &mut self.waiting),
        ];
        for (signal, column) in asks {
            column.resize(cluster.instances.len(), 0);
            cluster.host.adapter_signal(signal, column);
        }
        let affinity = |i: usize, instance: &InstanceView| {
            let there = self.loaded[i] > 0;
            (request.adapter != 0).then(|| Affinity::of(there, self.waiting[i], instance))
        };
        // Another adapter would leave the GPU, though no request there has it just now.
        let evicts = |affinity, instance: &InstanceView| {
            let full = instance.loaded_lora_adapters >= instance.max_loras;
            affinity == Some(Affinity::Room) && instance.max_loras != 0 && full
        };
        let ranked = cluster.instances.iter().enumerate().map(|(i, instance)| {
            let (affinity, load) = (affinity(i, instance), instance.effective_load());
            (Reverse(affinity), evicts(affinity, instance), load, i)
        });
        let (Reverse(affinity), .., chosen) = ranked.min().unwrap_or((Reverse(None), false, 0, 0));
        self.chosen = affinity;
        Ok(Route::To(chosen))
    }

    fn reason(&self) -> String {
        let how = match self.chosen {
            None => "no adapter",
            Some(Affinity::There) => "adapter is loaded",
            Some(Affinity::Room) => "room for one more adapter",
            Some(Affinity::Awaited) => "adapter is waited for",
            Some(Affinity::Full) => "others take all places",
        };
        format!("lora-affinity ({how})")
    }
}
