//! `least-loaded`: the instance with the least effective load.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{
    ClusterView, InstanceView, Interests, PolicyError, RequestView, Route, Router,
};

/// `least-loaded`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "least-loaded",
    "The least effective load.",
    Make::Routing(|_, _| Box::new(LeastLoaded::default())),
);

/// Position of the first instance with the least effective load, and that load.
pub(super) fn least_loaded(cluster: &ClusterView<'_>) -> (usize, u64) {
    let loads = cluster.instances.iter().map(InstanceView::effective_load);
    loads
        .enumerate()
        .min_by_key(|&(_, load)| load)
        .unwrap_or_default()
}

/// Least effective load.
#[derive(Default)]
pub struct LeastLoaded {
    load: u64,
}

impl Router for LeastLoaded {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let (chosen, load) = least_loaded(cluster);
        self.load = load;
        Ok(Route::To(chosen))
    }
    fn reason(&self) -> String {
        format!("least-loaded (load={})", self.load)
    }
}
