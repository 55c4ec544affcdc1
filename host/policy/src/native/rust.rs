//! Policies of a Rust plugin behind the ordinary traits.
//!
//! What cannot change (interests, ticks, the kind of order) is read once.

use windtunnel_plugin_api::abi::{
    AdmissionBox, BatchingBox, DisaggregationBox, DispatchBox, PluginRootRef, PriorityBox,
    RouterBox, ScaleBox, SchedulerBox, SetupView, VictimBox, order_of, refresh_of,
};
use windtunnel_plugin_api::abi_stable::std_types::{RResult, RSliceMut, RString};
use windtunnel_plugin_api::{
    Admission, Admit, BatchLimits, Batching, ClusterView, Disaggregation, Dispatch, Event,
    GatewayView, Interests, KeyRefresh, PolicyError, Priority, QueueOrder, QueueView, QueuedView,
    RequestView, Route, Router, Scale, ScaleView, Scheduler, StepView, Victim,
};

fn into_result<T>(answer: RResult<T, RString>) -> Result<T, PolicyError> {
    answer
        .into_result()
        .map_err(|e| PolicyError::new(e.into_string()))
}

/// Makes policy `index` with a constructor.
fn make<T>(
    new: extern "C" fn(u32, SetupView<'_>) -> RResult<T, RString>,
    index: u32,
    setup: SetupView<'_>,
) -> Result<T, String> {
    new(index, setup)
        .into_result()
        .map_err(RString::into_string)
}

pub(super) fn admission(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Admission>, String> {
    let object = make(root.new_admission(), index, setup)?;
    Ok(Box::new(RustAdmission {
        interests: object.interests(),
        tick_us: object.tick_us(),
        object,
    }))
}

struct RustAdmission {
    object: AdmissionBox,
    interests: Interests,
    tick_us: i64,
}

impl Admission for RustAdmission {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn tick_us(&self) -> i64 {
        self.tick_us
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        into_result(self.object.admit(request, cluster))?
            .plain()
            .map_err(PolicyError::new)
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        into_result(self.object.on_event(event))
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        into_result(self.object.on_tick(cluster))
    }
}

pub(super) fn router(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Router>, String> {
    let object = make(root.new_router(), index, setup)?;
    Ok(Box::new(RustRouter {
        interests: object.interests(),
        tick_us: object.tick_us(),
        object,
        shown: 0,
    }))
}

struct RustRouter {
    object: RouterBox,
    interests: Interests,
    tick_us: i64,
    /// Instances it was shown last.
    shown: usize,
}

impl Router for RustRouter {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn tick_us(&self) -> i64 {
        self.tick_us
    }
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        self.shown = cluster.instances.len();
        into_result(self.object.route(request, cluster))?
            .plain()
            .map_err(PolicyError::new)
    }
    fn scores(&self) -> Option<&[f64]> {
        let scores = self.object.scores().into_option()?.as_slice();
        one_each(scores, self.shown)
    }
    fn reason(&self) -> String {
        self.object.reason().into_string()
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        into_result(self.object.on_event(event))
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        into_result(self.object.on_tick(cluster))
    }
}

/// The scores if there is one per instance; others belong to no decision.
pub(super) fn one_each(scores: &[f64], instances: usize) -> Option<&[f64]> {
    (scores.len() == instances).then_some(scores)
}

pub(super) fn priority(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Priority>, String> {
    let object = make(root.new_priority(), index, setup)?;
    Ok(Box::new(RustPriority {
        refresh: refresh_of(object.refresh())?,
        object,
    }))
}

struct RustPriority {
    object: PriorityBox,
    refresh: KeyRefresh,
}

impl Priority for RustPriority {
    fn refresh(&self) -> KeyRefresh {
        self.refresh
    }
    fn priority(
        &mut self,
        request: &RequestView,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        into_result(self.object.priority(request, queue))
    }
}

pub(super) fn scheduler(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Scheduler>, String> {
    let object = make(root.new_scheduler(), index, setup)?;
    Ok(Box::new(RustScheduler {
        order: order_of(object.order())?,
        interests: object.interests(),
        object,
    }))
}

struct RustScheduler {
    object: SchedulerBox,
    order: QueueOrder,
    interests: Interests,
}

impl Scheduler for RustScheduler {
    fn order(&self) -> QueueOrder {
        self.order
    }
    fn interests(&self) -> Interests {
        self.interests
    }
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        into_result(self.object.key(queued, queue))
    }
    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        into_result(
            self.object
                .order_queue(queue, RSliceMut::from_mut_slice(keys)),
        )
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        into_result(self.object.on_event(event))
    }
}

pub(super) fn victim(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Victim>, String> {
    Ok(Box::new(RustVictim(make(root.new_victim(), index, setup)?)))
}

struct RustVictim(VictimBox);

impl Victim for RustVictim {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        // The host refuses what is out of range, whatever it is.
        into_result(self.0.victim(queue))
            .map(|chosen| usize::try_from(chosen).unwrap_or(usize::MAX))
    }
}

/// What a plugin says that offers a policy for a hook which its version does not know.
const NOT_KNOWN: &str = "its version of plugin-api has no such hook: rebuild it against 1.1";

pub(super) fn disaggregation(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Disaggregation>, String> {
    let object = make(root.new_disaggregation().ok_or(NOT_KNOWN)?, index, setup)?;
    Ok(Box::new(RustDisaggregation {
        interests: object.interests(),
        object,
    }))
}

struct RustDisaggregation {
    object: DisaggregationBox,
    interests: Interests,
}

impl Disaggregation for RustDisaggregation {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        into_result(
            self.object
                .prefills_remotely(request, decode as u32, cluster),
        )
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        into_result(self.object.on_event(event))
    }
}

pub(super) fn dispatch(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Dispatch>, String> {
    let object = make(root.new_dispatch().ok_or(NOT_KNOWN)?, index, setup)?;
    Ok(Box::new(RustDispatch {
        interests: object.interests(),
        object,
    }))
}

struct RustDispatch {
    object: DispatchBox,
    interests: Interests,
}

impl Dispatch for RustDispatch {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        cluster: &ClusterView<'_>,
    ) -> Result<Option<usize>, PolicyError> {
        // The host refuses what is out of range, whatever it is.
        let chosen = into_result(self.object.dispatch(gateway, cluster))?;
        let chosen = chosen.into_option();
        Ok(chosen.map(|chosen| usize::try_from(chosen).unwrap_or(usize::MAX)))
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        into_result(self.object.on_event(event))
    }
}

pub(super) fn scale(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Scale>, String> {
    let object = make(root.new_scale().ok_or(NOT_KNOWN)?, index, setup)?;
    Ok(Box::new(RustScale {
        interests: object.interests(),
        object,
    }))
}

struct RustScale {
    object: ScaleBox,
    interests: Interests,
}

impl Scale for RustScale {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        into_result(self.object.replicas(pool, cluster))
    }
}

pub(super) fn batching(
    root: PluginRootRef,
    index: u32,
    setup: SetupView<'_>,
) -> Result<Box<dyn Batching>, String> {
    let object = make(root.new_batching().ok_or(NOT_KNOWN)?, index, setup)?;
    Ok(Box::new(RustBatching {
        interests: object.interests(),
        object,
    }))
}

struct RustBatching {
    object: BatchingBox,
    interests: Interests,
}

impl Batching for RustBatching {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        into_result(self.object.limits(step, queue))?
            .plain()
            .map_err(PolicyError::new)
    }
}
