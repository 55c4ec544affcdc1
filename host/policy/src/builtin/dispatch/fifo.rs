//! `fifo`: first come, first served, whatever the class.

use super::turns::{Flow, TURNS, Turns};
use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Dispatch, GatewayView, Interests, PolicyError};

/// `fifo`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[TURNS],
    ..BuiltIn::new(
        "fifo",
        "First come, first served, whatever the class; with turns, the tenants one after the other.",
        Make::Dispatch(|_, values| {
            Box::new(Fifo {
                turns: Turns::of(values),
            })
        }),
    )
};

/// The first to come first; with tenants one after the other, the first of the tenant's whose turn
/// it is.
pub struct Fifo {
    turns: Turns,
}

impl Dispatch for Fifo {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        _cluster: &ClusterView<'_>,
    ) -> Result<Option<usize>, PolicyError> {
        let held = gateway.held;
        // Of each tenant the first of all priorities.
        let mut firsts: Vec<Flow> = Vec::new();
        for (i, view) in held.iter().enumerate() {
            match firsts.iter_mut().find(|flow| flow.tenant == view.flow) {
                Some(flow) if view.sequence < held[flow.range.start].sequence => {
                    flow.range = i..i + 1;
                }
                Some(_) => {}
                None => firsts.push(Flow {
                    tenant: view.flow,
                    range: i..i + 1,
                }),
            }
        }
        // Turns go around in an order that lasts while requests come and go.
        firsts.sort_unstable_by_key(|flow| flow.tenant);
        Ok(Some(self.turns.next(0, &firsts, held).range.start))
    }
}
