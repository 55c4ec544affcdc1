//! The engines of an instance: one, or a group of data-parallel ranks.

use crate::instance::{Instance, InstanceEvent, InstanceHooks, Part, Slot, Work};
use crate::latency::LatencyModel;
use crate::ranks::{RankGroup, Ranks};
use std::sync::Arc;
use windtunnel_base::record::{InstanceTotals, RequestRecord};
use windtunnel_base::request::Request;
use windtunnel_plugin_api::RequestView;

/// The engines of an instance.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all instances are one engine, which is looked at with every event"
)]
pub(super) enum Engines {
    One(Instance),
    Ranks(Box<RankGroup>),
}

impl Engines {
    /// These, which are idle: as many as there are ranks.
    pub(super) fn new(
        mut engines: Vec<Instance>,
        ranks: Ranks,
        latency: &Arc<dyn LatencyModel>,
    ) -> Self {
        match engines.pop() {
            Some(only) if engines.is_empty() => Self::One(only),
            last => {
                engines.extend(last);
                Self::Ranks(Box::new(RankGroup::new(engines, ranks, latency)))
            }
        }
    }

    pub(super) fn all(&self) -> &[Instance] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Ranks(group) => group.ranks(),
        }
    }

    /// All, to set something about them.
    pub(super) fn all_mut(&mut self) -> &mut [Instance] {
        match self {
            Self::One(only) => std::slice::from_mut(only),
            Self::Ranks(group) => group.ranks_mut(),
        }
    }

    /// The only one: what asks for it is refused with ranks
    /// (`rank_limits`).
    pub(super) fn only(&mut self) -> &mut Instance {
        &mut self.all_mut()[0]
    }

    fn sum(&self, of: impl Fn(&Instance) -> u64) -> u64 {
        self.all().iter().map(of).sum()
    }

    pub(super) fn add(
        &mut self,
        request: Request,
        view: RequestView,
        part: Part,
        now: i64,
    ) -> Slot {
        match self {
            Self::One(only) => only.add_part(request, view, part, now),
            Self::Ranks(group) => group.add(request, view, part, now),
        }
    }

    pub(super) fn next_event_us(&mut self) -> i64 {
        match self {
            Self::One(only) => only.next_event_us(),
            Self::Ranks(group) => group.next_event_us(),
        }
    }

    pub(super) fn run_next(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        match self {
            Self::One(only) => only.run_next(until, events),
            Self::Ranks(group) => group.run_next(until, events),
        }
    }

    pub(super) fn advance_to(&mut self, until: i64, events: &mut Vec<InstanceEvent>) {
        match self {
            Self::One(only) => only.advance_to(until, events),
            Self::Ranks(group) => group.advance_to(until, events),
        }
    }

    pub(super) fn evict(&mut self, serial: u64, now: i64, events: &mut Vec<InstanceEvent>) -> bool {
        match self {
            Self::One(only) => only.evict(serial, now, events),
            Self::Ranks(group) => group.evict(serial, now, events),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.all().iter().all(Instance::is_idle)
    }

    pub(super) fn runs_a_step(&self) -> bool {
        self.all().iter().any(Instance::runs_a_step)
    }

    pub(super) fn processed_steps(&self) -> u64 {
        self.sum(Instance::processed_steps)
    }

    pub(super) fn may_fetch_kv(&self) -> bool {
        self.all().iter().any(Instance::may_fetch_kv)
    }

    pub(super) fn queue_depth(&self) -> u32 {
        self.sum(|engine| engine.queue_depth() as u64) as u32
    }

    pub(super) fn batch_size(&self) -> u32 {
        self.sum(|engine| engine.batch_size() as u64) as u32
    }

    pub(super) fn preemptions(&self) -> u32 {
        self.sum(Instance::preemptions) as u32
    }

    pub(super) fn incoming_kv_caches(&self) -> u32 {
        self.sum(|engine| engine.incoming_kv_caches() as u64) as u32
    }

    pub(super) fn kept_kv(&self) -> (u32, u32) {
        let all = self.all().iter().map(Instance::kept_kv);
        all.fold((0, 0), |sum, kept| (sum.0 + kept.0, sum.1 + kept.1))
    }

    /// KV blocks in use, free ones, and all.
    pub(super) fn kv_blocks(&self) -> [u64; 3] {
        let all = self.all().iter().map(Instance::kv);
        all.fold([0; 3], |[used, free, total], kv| {
            [used + kv.used(), free + kv.free(), total + kv.total()]
        })
    }

    pub(super) fn prefix_hit_rate(&self) -> Option<f64> {
        match self {
            Self::One(only) => only.prefix_hit_rate(),
            Self::Ranks(group) => group.prefix_hit_rate(),
        }
    }

    pub(super) fn work(&self) -> Work {
        match self {
            Self::One(only) => only.work(),
            Self::Ranks(group) => group.work(),
        }
    }

    /// Requests here, and their prompt tokens.
    pub(super) fn live(&self) -> (u64, u64) {
        let all = self.all().iter().map(Instance::live);
        all.fold((0, 0), |sum, live| (sum.0 + live.0, sum.1 + live.1))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::One(only) => only.check(),
            Self::Ranks(group) => group.check(),
        }
    }

    pub(super) fn finish(&mut self, unfinished: &mut Vec<RequestRecord>) -> InstanceTotals {
        match self {
            Self::One(only) => only.finish(unfinished),
            Self::Ranks(group) => group.finish(unfinished),
        }
    }

    /// The policies inside the only one.
    pub(super) fn into_hooks(self) -> Option<InstanceHooks> {
        match self {
            Self::One(only) => Some(only.into_hooks()),
            Self::Ranks(_) => None,
        }
    }
}
