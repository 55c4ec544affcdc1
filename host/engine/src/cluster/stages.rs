//! The stages of a request at the front end: arrival, admission, routing.

use super::{Cluster, LEAST_WAIT_US, Stage};
use crate::frontend::{Pending, Routed, Verdict};
use crate::instance::Part;
use windtunnel_base::record::{Outcome, RequestRecord, RoutingStage, State};
use windtunnel_base::request::Request;
use windtunnel_plugin_api::EventKind;

impl Cluster<'_> {
    pub(super) fn push(&mut self, at_us: i64, stage: Stage, pending: Box<Pending>) {
        self.due.push((at_us, stage), pending);
    }

    pub(super) fn arrive_from_source(&mut self) {
        let Some(request) = self.upcoming.take() else {
            return;
        };
        self.upcoming = self.source.next_request();
        self.arrive(request);
    }

    pub(super) fn arrive(&mut self, mut request: Request) {
        if let Some(streams) = &mut self.adapter_streams {
            streams.separate(&mut request);
        }
        let serial = self.arrived;
        self.arrived += 1;
        if self.lifecycle.is_some() {
            self.counts_arrival(request.prompt_tokens());
        }
        let view = self.front.view(serial, &request, self.source.symbols());
        let at = self
            .clock
            .saturating_add(self.config.front.admission_latency_us);
        self.push(at, Stage::Admission, Box::new(Pending { request, view }));
    }

    pub(super) fn run_due(&mut self) {
        let Some(((_, stage), pending)) = self.due.pop() else {
            return;
        };
        match stage {
            Stage::Arrival => self.arrive(pending.request),
            Stage::Admission => self.admit(pending),
            Stage::Routing => self.route(pending),
        }
    }

    fn admit(&mut self, mut pending: Box<Pending>) {
        if self.front.admission_looks(self.clock) {
            self.advance_all(self.clock);
        }
        let verdict = self.front.admit(
            self.clock,
            &pending,
            &mut self.backends,
            self.source.symbols(),
        );
        match verdict {
            Verdict::Admitted => {
                pending.view.attempts = 0;
                let Some(pending) = self.hold(pending) else {
                    return;
                };
                let at = self
                    .clock
                    .saturating_add(self.config.front.routing_latency_us);
                self.push(at, Stage::Routing, pending);
            }
            Verdict::Delayed(us) => self.again(us, Stage::Admission, pending),
            Verdict::Rejected => self.refuse(&pending, u32::MAX, Outcome::Rejected),
        }
    }

    fn route(&mut self, pending: Box<Pending>) {
        let Some(pending) = self.wait_for_instance(pending) else {
            return;
        };
        if self.front.router_looks(self.clock) {
            self.advance_all(self.clock);
        }
        if self.disaggregation.is_some() {
            return self.route_split(pending);
        }
        match self.front.route(
            self.clock,
            &pending,
            RoutingStage::Whole,
            &mut self.backends,
            self.source.symbols(),
        ) {
            Routed::To(i) => self.send_whole(i, pending),
            Routed::Held(us) => self.again(us, Stage::Routing, pending),
            Routed::Nowhere => self.refuse(&pending, u32::MAX, Outcome::Unroutable),
        }
    }

    /// Sends a request to instance `i`, which serves all of it.
    pub(super) fn send_whole(&mut self, i: usize, pending: Box<Pending>) {
        let Some(pending) = self.finds_nobody(i, pending) else {
            return;
        };
        self.advance_one(i, self.clock);
        let unfinished = self.front.outstanding(i).0;
        if let Some(outcome) = self.servers.refuses(i, unfinished) {
            self.refuse(&pending, i as u32, outcome);
            return;
        }
        let Pending { request, mut view } = *pending;
        view.attempts = 0;
        self.front.dispatched(i, &request);
        self.gateway_sends(i, view.serial, view.class_priority);
        self.tell(EventKind::Dispatch, &view, i as u32, [0, 0, 0]);
        self.servers.takes(i, view.serial, view.prompt_tokens);
        self.backends.add(i, request, view, Part::Whole, self.clock);
        self.reschedule(i);
    }

    /// A policy put a request off. The next look takes as long as the first one did.
    pub(super) fn again(&mut self, us: i64, stage: Stage, mut pending: Box<Pending>) {
        pending.view.attempts += 1;
        let front = &self.config.front;
        let decision_us = match stage {
            Stage::Arrival => 0,
            Stage::Admission => front.admission_latency_us,
            Stage::Routing => front.routing_latency_us,
        };
        let at = self.clock.saturating_add(us.max(LEAST_WAIT_US));
        self.push(at.saturating_add(decision_us), stage, pending);
    }

    /// A request is refused: by the server of `instance`, or by none.
    pub(super) fn refuse(&mut self, pending: &Pending, instance: u32, outcome: Outcome) {
        if let Some(gateway) = &mut self.gateway {
            gateway.arrived(pending.view.serial);
        }
        self.tell(EventKind::Reject, &pending.view, instance, [0, 0, 0]);
        self.records.push(RequestRecord::unserved(
            pending.view.serial,
            &pending.request,
            State::Queued,
            outcome,
        ));
    }
}
