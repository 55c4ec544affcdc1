//! `prefix-affinity`: repeated prompts go where they went before.

use super::least_loaded::least_loaded;
use crate::builtin::policy::{BuiltIn, Make};
use rustc_hash::FxHashMap;
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, RequestView, Route, Router};

/// `prefix-affinity`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "prefix-affinity",
    "Repeated prompts to where they went before, others to the least loaded.",
    Make::Routing(|_, _| Box::new(PrefixAffinity::default())),
);

/// An exact repeat of a prompt goes where the prompt went before; a new prompt goes to the least
/// loaded instance.
#[derive(Default)]
pub struct PrefixAffinity {
    homes: FxHashMap<u64, u32>,
    hit: bool,
}

impl Router for PrefixAffinity {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let home = self.homes.get(&request.prompt_key);
        let home = home.and_then(|&index| cluster.instances.iter().position(|i| i.index == index));
        self.hit = home.is_some();
        let chosen = home.unwrap_or_else(|| {
            let (chosen, _) = least_loaded(cluster);
            self.homes
                .insert(request.prompt_key, cluster.instances[chosen].index);
            chosen
        });
        Ok(Route::To(chosen))
    }
    fn reason(&self) -> String {
        let how = if self.hit {
            "cache-hit"
        } else {
            "cache-miss, fallback to least-loaded"
        };
        format!("prefix-affinity ({how})")
    }
}
