//! The hook that says which of the requests held at the gateway goes on to the router. Since 1.1.

use crate::table::{kind, table};
use crate::{ClusterView, Event, Interests, List, PolicyError, RequestView};

table! {
    /// A request that the gateway holds. Since 1.1.
    pub struct HeldView<'a> {
        request: &'a RequestView;
        /// When it came to the gateway.
        enqueued_us: i64, "us";
        /// When its target passes, the request's own or its class's; 0 = it has none.
        due_us: i64, "us";
        /// Its number in the order in which requests came to the gateway, from 1. Unique.
        sequence: u64, "";
        /// Its queue among those of its priority: the tenant by name; 0 for requests without one,
        /// and for those of a tenant that is named default.
        flow: u32, "";
        /// Always 0; keeps the size a multiple of 8.
        reserved: u32, "";
    }
}

/// The requests that the gateway holds, at the moment of a decision. Since 1.1.
#[repr(C)]
#[derive(Clone, Copy, Debug, abi_stable::StableAbi)]
pub struct GatewayView<'a> {
    /// Those that may go by the ceiling of their priority, never empty: by priority, the highest
    /// first; of one priority by the names of their tenants, and of a tenant the first to come
    /// first. Without [`Interests::HELD`] only the first of each tenant and priority.
    pub held: List<'a, HeldView<'a>>,
    /// What the saturation detector says of the cluster: 1 and more is saturated.
    pub saturation: f64,
    /// Requests that the gateway holds, those above included.
    pub depth: u32,
    /// Requests that have left it and are on their way to an instance.
    pub on_the_way: u32,
}

/// Says which of the held requests goes next. Asked while the cluster is not saturated, by the
/// detector of the run. Since 1.1.
pub trait Dispatch {
    /// What this policy reads and listens to.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// Index into `gateway.held` of the request that goes on to the router; `None` = all stay. An
    /// index out of range ends the run.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        cluster: &ClusterView<'_>,
    ) -> Result<Option<usize>, PolicyError>;
    /// Something happened (only if asked for).
    ///
    /// # Errors
    /// When the policy cannot go on; the run ends.
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        let _ = event;
        Ok(())
    }
}
