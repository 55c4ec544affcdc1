//! `always-busiest`: the instance with the most effective load, for comparison.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, RequestView, Route, Router};

/// `always-busiest`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "always-busiest",
    "The most effective load: what a broken balancer would do.",
    Make::Routing(|_, _| Box::new(AlwaysBusiest::default())),
);

/// Most effective load: what a broken balancer would do, for comparison.
#[derive(Default)]
pub struct AlwaysBusiest {
    load: u64,
}

impl Router for AlwaysBusiest {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let mut chosen = 0;
        self.load = 0;
        for (i, instance) in cluster.instances.iter().enumerate() {
            if instance.effective_load() > self.load {
                (chosen, self.load) = (i, instance.effective_load());
            }
        }
        Ok(Route::To(chosen))
    }
    fn reason(&self) -> String {
        format!("always-busiest (load={})", self.load)
    }
}
