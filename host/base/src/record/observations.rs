//! What every routing decision was made on: what the router could see, and the instances as they
//! were.

use super::{Role, RoutingStage};
use windtunnel_plugin_api::{InstanceView, RequestView};

/// One routing decision.
#[derive(Clone, Debug)]
pub struct RoutingObservation {
    /// When, microseconds.
    pub clock_us: i64,
    /// Of which stage of the request.
    pub stage: RoutingStage,
    /// The request, as the router saw it.
    pub request: RequestView,
    /// Where it was sent.
    pub chosen: u32,
    /// Whole KV blocks of its prompt.
    pub prompt_blocks: u32,
    /// The router's scores by instance, if it scores.
    pub scores: Option<Vec<f64>>,
}

impl RoutingObservation {
    /// Could this instance have been chosen?
    #[must_use]
    pub fn is_among(&self, instance: &InstanceSnapshot) -> bool {
        let role = instance.actual.role;
        let does = |role: Role| match self.stage {
            RoutingStage::Whole => true,
            RoutingStage::Prefill => role.prefills(),
            RoutingStage::Decode => role.decodes(),
            RoutingStage::Encode => role == Role::Encode,
        };
        Role::ALL.into_iter().any(|r| r.number() == role && does(r))
    }

    /// The instances that could have been chosen.
    pub fn among<'s>(
        &self,
        snapshots: &'s [InstanceSnapshot],
    ) -> impl Iterator<Item = &'s InstanceSnapshot> {
        snapshots.iter().filter(|instance| self.is_among(instance))
    }
}

/// An instance at a routing decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InstanceSnapshot {
    /// As the router saw it: fields that it does not read are 0.
    pub seen: InstanceView,
    /// As it was at this moment.
    pub actual: InstanceView,
    /// Leading blocks of the request's prompt in its prefix cache at this moment.
    pub cached_blocks: u32,
    /// The same by the delayed signal; 0 for a router that does not read it.
    pub signalled_blocks: u32,
}

/// All routing decisions of a run, in their order.
#[derive(Clone, Debug, Default)]
pub struct RoutingObservations {
    decisions: Vec<RoutingObservation>,
    /// Of all decisions, one after the other.
    snapshots: Vec<InstanceSnapshot>,
    /// Where the snapshots of each decision end: clusters may grow and shrink between decisions.
    ends: Vec<usize>,
}

impl RoutingObservations {
    /// Adds a decision with a snapshot of every instance.
    pub fn push(
        &mut self,
        decision: RoutingObservation,
        snapshots: impl IntoIterator<Item = InstanceSnapshot>,
    ) {
        self.decisions.push(decision);
        self.snapshots.extend(snapshots);
        self.ends.push(self.snapshots.len());
    }

    /// The decisions, each with the snapshots of all instances.
    pub fn iter(&self) -> impl Iterator<Item = (&RoutingObservation, &[InstanceSnapshot])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends);
        let snapshots = ranges.map(|(start, &end)| &self.snapshots[start..end]);
        self.decisions.iter().zip(snapshots)
    }
}
