//! `priority`: the most important class first.

use super::turns::{TURNS, Turns};
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Dispatch, GatewayView, Interests, PolicyError};

/// `priority`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[TURNS],
    ..BuiltIn::new(
        "priority",
        "The highest priority first, and of that the first to come; with turns, its tenants one after the other.",
        Make::Dispatch(|_, values| {
            Box::new(ByPriority {
                turns: Turns::of(values),
            })
        }),
    )
};

/// The highest priority first; of that, the tenant whose turn it is, and of its requests the first
/// to come.
pub struct ByPriority {
    turns: Turns,
}

impl Dispatch for ByPriority {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        _cluster: &ClusterView<'_>,
    ) -> Result<Option<usize>, PolicyError> {
        Ok(Some(self.turns.next_of_highest(gateway.held).start))
    }
}
