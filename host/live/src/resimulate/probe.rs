//! Policies of which it is seen what they were shown and answered last.

use crate::decisions::Answer;
use crate::decisions::record::Overheard;
use serde_json::Value;
use std::cell::RefCell;
use std::rc::Rc;
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, Host, InstanceView, Interests, PolicyError, RequestView,
    Route, Router, Services,
};

/// What a policy was shown, and answered.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) now_us: i64,
    pub(super) views: Vec<InstanceView>,
    /// Pairs of question and answer.
    pub(super) host: Vec<Value>,
    pub(super) answer: Answer,
    pub(super) scores: Option<Vec<f64>>,
}

/// Where it is found.
pub(super) type Last = Rc<RefCell<Option<Seen>>>;

/// A policy that is watched.
pub(super) struct Probed<P: ?Sized> {
    policy: Box<P>,
    last: Last,
}

impl<P: ?Sized> Probed<P> {
    pub(super) fn new(policy: Box<P>, last: &Last) -> Self {
        Self {
            policy,
            last: Rc::clone(last),
        }
    }

    fn watch<T>(
        &mut self,
        cluster: &ClusterView<'_>,
        ask: impl FnOnce(&mut P, &ClusterView<'_>) -> Result<T, PolicyError>,
        answered: impl FnOnce(&Result<T, PolicyError>) -> Answer,
        scores: impl FnOnce(&P) -> Option<Vec<f64>>,
    ) -> Result<T, PolicyError> {
        let overheard = Overheard::new(cluster.host);
        let services: &dyn Services = &overheard;
        let watched = ClusterView {
            host: Host::new(&services),
            ..*cluster
        };
        let answer = ask(&mut self.policy, &watched);
        self.last.replace(Some(Seen {
            now_us: cluster.now_us,
            views: cluster.instances.iter().copied().collect(),
            answer: answered(&answer),
            scores: scores(&self.policy),
            host: overheard.said(),
        }));
        answer
    }
}

impl Admission for Probed<dyn Admission> {
    fn interests(&self) -> Interests {
        self.policy.interests()
    }

    fn tick_us(&self) -> i64 {
        self.policy.tick_us()
    }

    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let ask = |policy: &mut (dyn Admission + 'static), cluster: &ClusterView<'_>| {
            policy.admit(request, cluster)
        };
        self.watch(cluster, ask, Answer::of_admission, |_| None)
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.policy.on_event(event)
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.policy.on_tick(cluster)
    }
}

impl Router for Probed<dyn Router> {
    fn interests(&self) -> Interests {
        self.policy.interests()
    }

    fn tick_us(&self) -> i64 {
        self.policy.tick_us()
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let ask = |policy: &mut (dyn Router + 'static), cluster: &ClusterView<'_>| {
            policy.route(request, cluster)
        };
        self.watch(cluster, ask, Answer::of_router, |policy| {
            policy.scores().map(<[f64]>::to_vec)
        })
    }

    fn scores(&self) -> Option<&[f64]> {
        self.policy.scores()
    }

    fn reason(&self) -> String {
        self.policy.reason()
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.policy.on_event(event)
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.policy.on_tick(cluster)
    }
}
