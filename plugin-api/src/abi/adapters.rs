//! Policies of a plugin as objects: what the traits say, behind a guard against panics.

use super::guard::Guarded;
use super::objects::{
    AdmissionBox, AdmissionObject, AdmissionObject_TO, BatchingBox, BatchingObject,
    BatchingObject_TO, DisaggregationBox, DisaggregationObject, DisaggregationObject_TO,
    DispatchBox, DispatchObject, DispatchObject_TO, PriorityBox, PriorityObject, PriorityObject_TO,
    RouterBox, RouterObject, RouterObject_TO, ScaleBox, ScaleObject, ScaleObject_TO, SchedulerBox,
    SchedulerObject, SchedulerObject_TO, VictimBox, VictimObject, VictimObject_TO,
};
use super::{AT_ENQUEUE, AdmitAnswer, BatchAnswer, RouteAnswer, order_number, refresh_number};
use crate::{
    Admission, Batching, ClusterView, Disaggregation, Dispatch, Event, GatewayView, Interests,
    Priority, QueueView, QueuedView, RequestView, Router, Scale, ScaleView, Scheduler, StepView,
    Victim,
};
use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RSliceMut, RString};

impl<T: Admission + Send> AdmissionObject for Guarded<T> {
    fn interests(&self) -> Interests {
        self.ask(T::interests, Interests::ALL)
    }
    fn tick_us(&self) -> i64 {
        self.ask(T::tick_us, 0)
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> RResult<AdmitAnswer, RString> {
        self.call(|policy| policy.admit(request, cluster).map(AdmitAnswer::from))
    }
    fn on_event(&mut self, event: &Event) -> RResult<(), RString> {
        self.call(|policy| policy.on_event(event))
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> RResult<(), RString> {
        self.call(|policy| policy.on_tick(cluster))
    }
}

impl<T: Router + Send> RouterObject for Guarded<T> {
    fn interests(&self) -> Interests {
        self.ask(T::interests, Interests::ALL)
    }
    fn tick_us(&self) -> i64 {
        self.ask(T::tick_us, 0)
    }
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> RResult<RouteAnswer, RString> {
        self.call(|policy| policy.route(request, cluster).map(RouteAnswer::from))
    }
    fn scores(&self) -> ROption<RSlice<'_, f64>> {
        self.ask(T::scores, None).map(RSlice::from_slice).into()
    }
    fn reason(&self) -> RString {
        self.ask(T::reason, String::new()).into()
    }
    fn on_event(&mut self, event: &Event) -> RResult<(), RString> {
        self.call(|policy| policy.on_event(event))
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> RResult<(), RString> {
        self.call(|policy| policy.on_tick(cluster))
    }
}

impl<T: Priority + Send> PriorityObject for Guarded<T> {
    fn refresh(&self) -> i64 {
        self.ask(|policy| refresh_number(policy.refresh()), AT_ENQUEUE)
    }
    fn priority(&mut self, request: &RequestView, queue: &QueueView<'_>) -> RResult<f64, RString> {
        self.call(|policy| policy.priority(request, queue))
    }
}

impl<T: Scheduler + Send> SchedulerObject for Guarded<T> {
    fn order(&self) -> i64 {
        // A keyed order: the first key that is asked for says what went wrong.
        self.ask(|policy| order_number(policy.order()), AT_ENQUEUE)
    }
    fn interests(&self) -> Interests {
        self.ask(T::interests, Interests::NONE)
    }
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> RResult<f64, RString> {
        self.call(|policy| policy.key(queued, queue))
    }
    fn order_queue(
        &mut self,
        queue: &QueueView<'_>,
        keys: RSliceMut<'_, f64>,
    ) -> RResult<(), RString> {
        self.call(|policy| policy.order_queue(queue, keys.into_mut_slice()))
    }
    fn on_event(&mut self, event: &Event) -> RResult<(), RString> {
        self.call(|policy| policy.on_event(event))
    }
}

impl<T: Victim + Send> VictimObject for Guarded<T> {
    fn victim(&mut self, queue: &QueueView<'_>) -> RResult<u64, RString> {
        self.call(|policy| policy.victim(queue).map(|chosen| chosen as u64))
    }
}

impl<T: Dispatch + Send> DispatchObject for Guarded<T> {
    fn interests(&self) -> Interests {
        self.ask(T::interests, Interests::ALL)
    }
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        cluster: &ClusterView<'_>,
    ) -> RResult<ROption<u64>, RString> {
        self.call(|policy| {
            let chosen = policy.dispatch(gateway, cluster)?;
            Ok(chosen.map(|chosen| chosen as u64).into())
        })
    }
    fn on_event(&mut self, event: &Event) -> RResult<(), RString> {
        self.call(|policy| policy.on_event(event))
    }
}

impl<T: Scale + Send> ScaleObject for Guarded<T> {
    fn interests(&self) -> Interests {
        self.ask(T::interests, Interests::ALL)
    }
    fn replicas(&mut self, pool: &ScaleView, cluster: &ClusterView<'_>) -> RResult<u32, RString> {
        self.call(|policy| policy.replicas(pool, cluster))
    }
}

impl<T: Disaggregation + Send> DisaggregationObject for Guarded<T> {
    fn interests(&self) -> Interests {
        self.ask(T::interests, Interests::ALL)
    }
    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: u32,
        cluster: &ClusterView<'_>,
    ) -> RResult<bool, RString> {
        self.call(|policy| policy.prefills_remotely(request, decode as usize, cluster))
    }
    fn on_event(&mut self, event: &Event) -> RResult<(), RString> {
        self.call(|policy| policy.on_event(event))
    }
}

impl<T: Batching + Send> BatchingObject for Guarded<T> {
    fn interests(&self) -> Interests {
        self.ask(T::interests, Interests::ALL)
    }
    fn limits(&mut self, step: &StepView, queue: &QueueView<'_>) -> RResult<BatchAnswer, RString> {
        self.call(|policy| policy.limits(step, queue).map(BatchAnswer::from))
    }
}

// One function per hook, called as the hook is, so that a macro can name it.

/// Puts an admission policy into its object.
#[must_use]
pub fn admission<T: Admission + Send + 'static>(policy: T) -> AdmissionBox {
    AdmissionObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a router into its object.
#[must_use]
pub fn routing<T: Router + Send + 'static>(policy: T) -> RouterBox {
    RouterObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a priority policy into its object.
#[must_use]
pub fn priority<T: Priority + Send + 'static>(policy: T) -> PriorityBox {
    PriorityObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a scheduler into its object.
#[must_use]
pub fn scheduler<T: Scheduler + Send + 'static>(policy: T) -> SchedulerBox {
    SchedulerObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a preemption policy into its object.
#[must_use]
pub fn preemption<T: Victim + Send + 'static>(policy: T) -> VictimBox {
    VictimObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a disaggregation policy into its object.
#[must_use]
pub fn disaggregation<T: Disaggregation + Send + 'static>(policy: T) -> DisaggregationBox {
    DisaggregationObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a batching policy into its object.
#[must_use]
pub fn batching<T: Batching + Send + 'static>(policy: T) -> BatchingBox {
    BatchingObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a dispatch policy into its object.
#[must_use]
pub fn dispatch<T: Dispatch + Send + 'static>(policy: T) -> DispatchBox {
    DispatchObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}

/// Puts a policy that scales pools into its object.
#[must_use]
pub fn scale<T: Scale + Send + 'static>(policy: T) -> ScaleBox {
    ScaleObject_TO::from_value(Guarded::new(policy), TD_Opaque)
}
