//! What a gateway asks the front end: how saturated the instances are, and which of the requests
//! that it holds goes next.

use super::{FrontEnd, members, shown};
use crate::frontend::backends::Backends;
use crate::frontend::gateway::{Detector, GatewayQueue, HeldAt};
use crate::frontend::services::FrontEndServices;
use windtunnel_base::fault::{PolicyCall, RunFault};
use windtunnel_base::hook::Hook;
use windtunnel_base::record::RoutingStage;
use windtunnel_base::request::{RequestId, Sym, TokenSeq};
use windtunnel_base::rng::Stream;
use windtunnel_plugin_api::{ClusterView, GatewayView, Host, Interests, List, Services};

/// What the gateway says of itself when it asks.
#[derive(Clone, Copy, Debug)]
pub struct AtGateway<'q> {
    /// The requests that it holds.
    pub queue: &'q GatewayQueue,
    /// How saturated the instances are.
    pub saturation: f64,
    /// Saturation up to which requests of the lowest priority may go.
    pub usage_limit: f64,
    /// Requests that left it and are on their way to an instance.
    pub on_the_way: u32,
}

impl FrontEnd {
    /// Does what the gateway decides at `now` depend on what the instances did until now?
    #[must_use]
    pub fn gateway_looks(&self, now: i64) -> bool {
        self.gateway_reads_counters || self.signals.looks(now)
    }

    /// How saturated the instances are at `now`, those that take requests.
    pub fn saturation(
        &mut self,
        now: i64,
        detector: Detector,
        on_the_way: u32,
        backends: &mut impl Backends,
    ) -> f64 {
        self.signals.refresh(now, backends);
        let views = self.signals.views();
        match members(self.stages.as_ref(), RoutingStage::Whole) {
            Some(members) => {
                let views = members.iter().map(|&i| views[i as usize]);
                detector.saturation(views, on_the_way)
            }
            None => detector.saturation(views.iter().copied(), on_the_way),
        }
    }

    /// Asks the dispatch policy which of the held requests goes; `None` = none may, or none should.
    pub fn next_held(
        &mut self,
        now: i64,
        gateway: AtGateway<'_>,
        backends: &impl Backends,
    ) -> Option<HeldAt> {
        let mut policy = self.policies.dispatch.take()?;
        let all = policy.interests().has(Interests::HELD);
        let (mut held, mut places) = (Vec::new(), Vec::new());
        let AtGateway {
            queue,
            saturation,
            usage_limit,
            on_the_way,
        } = gateway;
        queue.for_each_open(saturation, usage_limit, all, |view, place| {
            held.push(view);
            places.push(place);
        });
        let mut chosen = None;
        if !held.is_empty() {
            let members = members(self.stages.as_ref(), RoutingStage::Whole);
            let services = FrontEndServices {
                signals: &self.signals,
                backends,
                members,
                prompt: &TokenSeq::default(),
                adapter: Sym::NONE,
                estimators: &self.estimators,
                random: Stream::new(self.seed, "dispatch policy", self.dispatches_asked, 0),
            };
            self.dispatches_asked += 1;
            let services: &dyn Services = &services;
            let cluster = ClusterView {
                now_us: now,
                instances: List::new(shown(self.signals.views(), members, &mut self.shown)),
                host: Host::new(&services),
            };
            let view = GatewayView {
                held: List::new(&held),
                saturation,
                depth: u32::try_from(queue.len()).unwrap_or(u32::MAX),
                on_the_way,
            };
            chosen = match policy.dispatch(&view, &cluster) {
                Ok(chosen) => chosen,
                Err(e) => {
                    let call = PolicyCall::Decision;
                    self.fault(RunFault::failed(Hook::Dispatch, call, None, &e));
                    None
                }
            };
        }
        self.policies.dispatch = Some(policy);
        let chosen = chosen?;
        let Some(((priority, tenant), view)) = places.get(chosen).zip(held.get(chosen)) else {
            let last = held.len() - 1;
            let what = format!("chose held request {chosen}; expected 0 to {last}");
            self.fault(RunFault::answered(Hook::Dispatch, None, what));
            return None;
        };
        Some(HeldAt {
            priority: *priority,
            tenant: (*tenant).into(),
            sequence: view.sequence,
        })
    }

    /// Notes in the trace that a request was admitted, and what became of it at the gateway.
    pub fn trace_admitted(&mut self, now: i64, id: &RequestId, reason: &str) {
        self.trace.admitted(now, id, reason);
    }
}
