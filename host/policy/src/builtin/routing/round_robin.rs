//! `round-robin`: the instances in turn.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, RequestView, Route, Router};

/// `round-robin`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "round-robin",
    "The instances in turn.",
    Make::Routing(|_, _| Box::new(RoundRobin::default())),
);

/// The instances in turn.
#[derive(Default)]
pub struct RoundRobin {
    next: u64,
}

impl Router for RoundRobin {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let chosen = self.next % cluster.instances.len() as u64;
        self.next += 1;
        Ok(Route::To(chosen as usize))
    }
    fn reason(&self) -> String {
        format!("round-robin[{}]", self.next - 1)
    }
}
