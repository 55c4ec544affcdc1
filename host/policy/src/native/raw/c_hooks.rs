//! Policies of a plugin with the plain C interface behind the ordinary traits.

use super::super::rust::one_each;
use super::c_state::{State, TEXT_BYTES, read, writable};
use super::c_tables::{CPlugin, CPolicy, Fns};
use windtunnel_plugin_api::abi::{BatchAnswer, RouteAnswer, SetupView, order_of, refresh_of};
use windtunnel_plugin_api::c::{
    AdmissionFns, AdmitC, BatchingFns, DisaggregationFns, DispatchFns, PriorityFns, RouterFns,
    ScaleFns, SchedulerFns, VictimFns,
};
use windtunnel_plugin_api::{
    Admission, Admit, BatchLimits, Batching, ClusterView, Disaggregation, Dispatch, Event,
    GatewayView, Interests, KeyRefresh, PolicyError, Priority, QueueOrder, QueueView, QueuedView,
    RequestView, Route, Router, Scale, ScaleView, Scheduler, StepView, Victim,
};

/// The functions of a policy were read for its hook, and the library looks policies up by hook.
const OTHER_HOOK: &str = "the policy fills another hook";

macro_rules! makers {
    ($($name:ident: $variant:ident => $made:ident;)*) => {
        impl CPlugin {
            $(pub(crate) fn $name(&self, index: u32, setup: &SetupView<'_>) -> Result<$made, String> {
                match self.0.get(index as usize) {
                    Some(CPolicy { policy, fns: Fns::$variant(fns) }) => {
                        $made::new(*fns, State::create(policy, setup)?)
                    }
                    _ => Err(OTHER_HOOK.into()),
                }
            })*
        }
    };
}

makers! {
    admission: Admission => CAdmission;
    router: Routing => CRouter;
    priority: Priority => CPriority;
    scheduler: Scheduler => CScheduler;
    victim: Preemption => CVictim;
    disaggregation: Disaggregation => CDisaggregation;
    batching: Batching => CBatching;
    dispatch: Dispatch => CDispatch;
    scale: Scale => CScale;
}

// SAFETY of the calls below: functions get their own state, views that live as long as the call,
// and a place for the answer.

pub(crate) struct CAdmission {
    fns: AdmissionFns,
    state: State,
    interests: Interests,
    tick_us: i64,
}

impl CAdmission {
    fn new(fns: AdmissionFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            tick_us: state.number(fns.tick_us),
            fns,
            state,
        })
    }
}

impl Admission for CAdmission {
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
        let mut answer = AdmitC {
            kind: 0,
            reserved: 0,
            delay_us: 0,
        };
        let admit = self.fns.admit.expect("it is required");
        self.state
            .call(|state, text| unsafe { admit(state, request, cluster, &raw mut answer, text) })?;
        match answer.kind {
            0 => Ok(Admit::Admit),
            1 => Ok(Admit::Reject(read(&mut self.state.text))),
            2 => Ok(Admit::Delay(answer.delay_us)),
            kind => Err(PolicyError::new(format!(
                "admit answered kind {kind}; expected WT_ADMIT, WT_REJECT or WT_DELAY"
            ))),
        }
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.state.on_tick(self.fns.on_tick, cluster)
    }
}

pub(crate) struct CRouter {
    fns: RouterFns,
    state: State,
    interests: Interests,
    tick_us: i64,
    /// Instances it was shown last.
    shown: usize,
}

impl CRouter {
    fn new(fns: RouterFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            tick_us: state.number(fns.tick_us),
            fns,
            state,
            shown: 0,
        })
    }
}

impl Router for CRouter {
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
        let mut answer = RouteAnswer::default();
        let route = self.fns.route.expect("it is required");
        self.shown = cluster.instances.len();
        self.state
            .call(|state, text| unsafe { route(state, request, cluster, &raw mut answer, text) })?;
        answer.plain().map_err(PolicyError::new)
    }
    fn scores(&self) -> Option<&[f64]> {
        let scores = self.fns.scores?;
        let mut count = 0;
        let base = unsafe { scores(self.state.state, &raw mut count) };
        if base.is_null() {
            return None;
        }
        // SAFETY: the plugin says that so many numbers are there, until it is called to decide
        // again.
        one_each(
            unsafe { std::slice::from_raw_parts(base, count as usize) },
            self.shown,
        )
    }
    fn reason(&self) -> String {
        let Some(reason) = self.fns.reason else {
            return String::new();
        };
        let mut buffer = [0; TEXT_BYTES];
        let mut text = writable(&mut buffer);
        unsafe { reason(self.state.state, &raw mut text) };
        read(&mut buffer)
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.state.on_tick(self.fns.on_tick, cluster)
    }
}

pub(crate) struct CPriority {
    fns: PriorityFns,
    state: State,
    refresh: KeyRefresh,
}

impl CPriority {
    fn new(fns: PriorityFns, state: State) -> Result<Self, String> {
        Ok(Self {
            refresh: refresh_of(state.number(fns.refresh))?,
            fns,
            state,
        })
    }
}

impl Priority for CPriority {
    fn refresh(&self) -> KeyRefresh {
        self.refresh
    }
    fn priority(
        &mut self,
        request: &RequestView,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        let mut answer = f64::NAN;
        let priority = self.fns.priority.expect("it is required");
        self.state.call(|state, text| unsafe {
            priority(state, request, queue, &raw mut answer, text)
        })?;
        Ok(answer)
    }
}

pub(crate) struct CScheduler {
    fns: SchedulerFns,
    state: State,
    order: QueueOrder,
    interests: Interests,
}

impl CScheduler {
    fn new(fns: SchedulerFns, state: State) -> Result<Self, String> {
        let order = order_of(state.number(fns.order))?;
        if order != QueueOrder::Fifo && fns.key.is_none() {
            return Err("it has no function key, and its order is not WT_FIFO".into());
        }
        Ok(Self {
            order,
            interests: state.interests(fns.interests, Interests::NONE),
            fns,
            state,
        })
    }
}

impl Scheduler for CScheduler {
    fn order(&self) -> QueueOrder {
        self.order
    }
    fn interests(&self) -> Interests {
        self.interests
    }
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        let Some(key) = self.fns.key else {
            return Ok(0.0);
        };
        let mut answer = f64::NAN;
        self.state
            .call(|state, text| unsafe { key(state, queued, queue, &raw mut answer, text) })?;
        Ok(answer)
    }
    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        if let Some(order) = self.fns.order_queue {
            return self
                .state
                .call(|state, text| unsafe { order(state, queue, keys.as_mut_ptr(), text) });
        }
        for (key, queued) in keys.iter_mut().zip(queue.waiting.iter()) {
            *key = self.key(queued, queue)?;
        }
        Ok(())
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
}

pub(crate) struct CVictim {
    fns: VictimFns,
    state: State,
}

impl CVictim {
    fn new(fns: VictimFns, state: State) -> Result<Self, String> {
        Ok(Self { fns, state })
    }
}

impl Victim for CVictim {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        let mut answer = u32::MAX;
        let victim = self.fns.victim.expect("it is required");
        self.state
            .call(|state, text| unsafe { victim(state, queue, &raw mut answer, text) })?;
        Ok(answer as usize)
    }
}

pub(crate) struct CDisaggregation {
    fns: DisaggregationFns,
    state: State,
    interests: Interests,
}

impl CDisaggregation {
    fn new(fns: DisaggregationFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            fns,
            state,
        })
    }
}

impl Disaggregation for CDisaggregation {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        let mut answer = u32::MAX;
        let decide = self.fns.prefills_remotely.expect("it is required");
        let at = decode as u32;
        self.state.call(|state, text| unsafe {
            decide(state, request, at, cluster, &raw mut answer, text)
        })?;
        match answer {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(PolicyError::new(format!(
                "prefills_remotely answered {other}; expected 0 or 1"
            ))),
        }
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
}

pub(crate) struct CDispatch {
    fns: DispatchFns,
    state: State,
    interests: Interests,
}

impl CDispatch {
    fn new(fns: DispatchFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            fns,
            state,
        })
    }
}

impl Dispatch for CDispatch {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        cluster: &ClusterView<'_>,
    ) -> Result<Option<usize>, PolicyError> {
        let mut answer = u32::MAX;
        let decide = self.fns.dispatch.expect("it is required");
        self.state.call(|state, text| unsafe {
            decide(state, gateway, cluster, &raw mut answer, text)
        })?;
        Ok((answer != u32::MAX).then_some(answer as usize))
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
}

pub(crate) struct CScale {
    fns: ScaleFns,
    state: State,
    interests: Interests,
}

impl CScale {
    fn new(fns: ScaleFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            fns,
            state,
        })
    }
}

impl Scale for CScale {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        let mut answer = pool.ready + pool.loading;
        let decide = self.fns.replicas.expect("it is required");
        self.state
            .call(|state, text| unsafe { decide(state, pool, cluster, &raw mut answer, text) })?;
        Ok(answer)
    }
}

pub(crate) struct CBatching {
    fns: BatchingFns,
    state: State,
    interests: Interests,
}

impl CBatching {
    fn new(fns: BatchingFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            fns,
            state,
        })
    }
}

impl Batching for CBatching {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        let mut answer = BatchAnswer::from(BatchLimits::of_engine(step, queue));
        let limits = self.fns.limits.expect("it is required");
        self.state
            .call(|state, text| unsafe { limits(state, step, queue, &raw mut answer, text) })?;
        answer.plain().map_err(PolicyError::new)
    }
}
