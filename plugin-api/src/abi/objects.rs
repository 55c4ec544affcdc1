//! The hooks as objects that cross the boundary, each a mirror of its trait.
//!
//! All methods are those of the version in which their hook came: 1.1 of batching, disaggregation,
//! dispatch and scale, 1.0 of the others. A method added later goes behind the last one, with a
//! default body.

#![allow(
    unsafe_code,
    non_local_definitions,
    reason = "sabi_trait writes the calls through the table of functions"
)]

use super::{AdmitAnswer, BatchAnswer, RouteAnswer};
use crate::{
    ClusterView, Event, GatewayView, Interests, QueueView, QueuedView, RequestView, ScaleView,
    StepView,
};
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RResult, RSlice, RSliceMut, RString};

/// [`crate::Admission`] as an object.
#[sabi_trait]
pub trait AdmissionObject: Send {
    /// As [`crate::Admission::interests`].
    fn interests(&self) -> Interests;
    /// As [`crate::Admission::tick_us`].
    fn tick_us(&self) -> i64;
    /// As [`crate::Admission::admit`].
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> RResult<AdmitAnswer, RString>;
    /// As [`crate::Admission::on_event`].
    fn on_event(&mut self, event: &Event) -> RResult<(), RString>;
    /// As [`crate::Admission::on_tick`].
    #[sabi(last_prefix_field)]
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> RResult<(), RString>;
}

/// An admission policy of a plugin.
pub type AdmissionBox = AdmissionObject_TO<'static, RBox<()>>;

/// [`crate::Router`] as an object.
#[sabi_trait]
pub trait RouterObject: Send {
    /// As [`crate::Router::interests`].
    fn interests(&self) -> Interests;
    /// As [`crate::Router::tick_us`].
    fn tick_us(&self) -> i64;
    /// As [`crate::Router::route`].
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> RResult<RouteAnswer, RString>;
    /// As [`crate::Router::scores`].
    fn scores(&self) -> ROption<RSlice<'_, f64>>;
    /// As [`crate::Router::reason`].
    fn reason(&self) -> RString;
    /// As [`crate::Router::on_event`].
    fn on_event(&mut self, event: &Event) -> RResult<(), RString>;
    /// As [`crate::Router::on_tick`].
    #[sabi(last_prefix_field)]
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> RResult<(), RString>;
}

/// A router of a plugin.
pub type RouterBox = RouterObject_TO<'static, RBox<()>>;

/// [`crate::Priority`] as an object.
#[sabi_trait]
pub trait PriorityObject: Send {
    /// As [`crate::Priority::refresh`], as a number.
    fn refresh(&self) -> i64;
    /// As [`crate::Priority::priority`].
    #[sabi(last_prefix_field)]
    fn priority(&mut self, request: &RequestView, queue: &QueueView<'_>) -> RResult<f64, RString>;
}

/// A priority policy of a plugin.
pub type PriorityBox = PriorityObject_TO<'static, RBox<()>>;

/// [`crate::Scheduler`] as an object.
#[sabi_trait]
pub trait SchedulerObject: Send {
    /// As [`crate::Scheduler::order`], as a number.
    fn order(&self) -> i64;
    /// As [`crate::Scheduler::interests`].
    fn interests(&self) -> Interests;
    /// As [`crate::Scheduler::key`].
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> RResult<f64, RString>;
    /// As [`crate::Scheduler::order_queue`].
    fn order_queue(
        &mut self,
        queue: &QueueView<'_>,
        keys: RSliceMut<'_, f64>,
    ) -> RResult<(), RString>;
    /// As [`crate::Scheduler::on_event`].
    #[sabi(last_prefix_field)]
    fn on_event(&mut self, event: &Event) -> RResult<(), RString>;
}

/// A scheduler of a plugin.
pub type SchedulerBox = SchedulerObject_TO<'static, RBox<()>>;

/// [`crate::Victim`] as an object.
#[sabi_trait]
pub trait VictimObject: Send {
    /// As [`crate::Victim::victim`].
    #[sabi(last_prefix_field)]
    fn victim(&mut self, queue: &QueueView<'_>) -> RResult<u64, RString>;
}

/// A preemption policy of a plugin.
pub type VictimBox = VictimObject_TO<'static, RBox<()>>;

/// [`crate::Disaggregation`] as an object. Since 1.1.
#[sabi_trait]
pub trait DisaggregationObject: Send {
    /// As [`crate::Disaggregation::interests`].
    fn interests(&self) -> Interests;
    /// As [`crate::Disaggregation::prefills_remotely`].
    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: u32,
        cluster: &ClusterView<'_>,
    ) -> RResult<bool, RString>;
    /// As [`crate::Disaggregation::on_event`].
    #[sabi(last_prefix_field)]
    fn on_event(&mut self, event: &Event) -> RResult<(), RString>;
}

/// A disaggregation policy of a plugin.
pub type DisaggregationBox = DisaggregationObject_TO<'static, RBox<()>>;

/// [`crate::Batching`] as an object. Since 1.1.
#[sabi_trait]
pub trait BatchingObject: Send {
    /// As [`crate::Batching::interests`].
    fn interests(&self) -> Interests;
    /// As [`crate::Batching::limits`].
    #[sabi(last_prefix_field)]
    fn limits(&mut self, step: &StepView, queue: &QueueView<'_>) -> RResult<BatchAnswer, RString>;
}

/// A batching policy of a plugin.
pub type BatchingBox = BatchingObject_TO<'static, RBox<()>>;

/// [`crate::Dispatch`] as an object. Since 1.1.
#[sabi_trait]
pub trait DispatchObject: Send {
    /// As [`crate::Dispatch::interests`].
    fn interests(&self) -> Interests;
    /// As [`crate::Dispatch::dispatch`].
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        cluster: &ClusterView<'_>,
    ) -> RResult<ROption<u64>, RString>;
    /// As [`crate::Dispatch::on_event`].
    #[sabi(last_prefix_field)]
    fn on_event(&mut self, event: &Event) -> RResult<(), RString>;
}

/// A dispatch policy of a plugin.
pub type DispatchBox = DispatchObject_TO<'static, RBox<()>>;

/// [`crate::Scale`] as an object. Since 1.1.
#[sabi_trait]
pub trait ScaleObject: Send {
    /// As [`crate::Scale::interests`].
    fn interests(&self) -> Interests;
    /// As [`crate::Scale::replicas`].
    #[sabi(last_prefix_field)]
    fn replicas(&mut self, pool: &ScaleView, cluster: &ClusterView<'_>) -> RResult<u32, RString>;
}

/// A policy of a plugin that scales pools.
pub type ScaleBox = ScaleObject_TO<'static, RBox<()>>;
