//! `slo-deadline`: by priority and tenant, and then the request whose target passes first.

use super::turns::{TURNS, Turns};
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Dispatch, GatewayView, Interests, PolicyError};

/// `slo-deadline`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[TURNS],
    ..BuiltIn::new(
        "slo-deadline",
        "The highest priority first; of that, from the tenant of the first to come (with turns, one after the other), the request whose target passes first.",
        Make::Dispatch(|_, values| {
            Box::new(SloDeadline {
                turns: Turns::of(values),
            })
        }),
    )
};

/// The highest priority first; of that, the tenant whose turn it is, and of its requests the one
/// whose target passes first. Those without a target come last.
pub struct SloDeadline {
    turns: Turns,
}

impl Dispatch for SloDeadline {
    fn interests(&self) -> Interests {
        Interests::HELD
    }
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        _cluster: &ClusterView<'_>,
    ) -> Result<Option<usize>, PolicyError> {
        let held = gateway.held;
        Ok(self.turns.next_of_highest(held).min_by_key(|&i| {
            let due = match held[i].due_us {
                0 => i64::MAX,
                us => us,
            };
            (due, held[i].sequence)
        }))
    }
}
