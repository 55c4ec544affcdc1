//! The trace of decisions, and what routing decisions were made on.

use super::backends::{Backends, Freshness};
use super::config::TraceConfig;
use super::signals::Signals;
use windtunnel_base::record::{
    Candidate, Decision, InstanceSnapshot, RoutingObservation, RoutingObservations,
};
use windtunnel_base::request::{Request, RequestId, Sym};
use windtunnel_plugin_api::{InstanceView, RequestView, Router};

/// Decisions that are to be remembered.
pub(super) struct Trace {
    config: TraceConfig,
    pub(super) decisions: Vec<Decision>,
    pub(super) observations: RoutingObservations,
}

/// A request that was routed, as it came and as the router saw it.
#[derive(Clone, Copy)]
pub(super) struct RoutedRequest<'a> {
    pub(super) request: &'a Request,
    pub(super) view: &'a RequestView,
    pub(super) chosen: usize,
}

impl Trace {
    pub(super) fn new(config: TraceConfig) -> Self {
        Self {
            config,
            decisions: Vec::new(),
            observations: RoutingObservations::default(),
        }
    }

    /// Are the instances looked at for every routing decision?
    pub(super) fn observes(&self) -> bool {
        self.config.observations
    }

    /// The admission policy decided; `reason` is that of a rejection.
    pub(super) fn admission(&mut self, now: i64, id: &RequestId, reason: Option<String>) {
        if self.config.decisions {
            self.decisions.push(Decision::Admission {
                clock_us: now,
                id: id.clone(),
                admitted: reason.is_none(),
                reason: reason.unwrap_or_default(),
            });
        }
    }

    /// `router` decided; the front end has yet to enter the request in its ledgers.
    pub(super) fn routing(
        &mut self,
        now: i64,
        routed: RoutedRequest<'_>,
        router: &dyn Router,
        signals: &Signals,
        backends: &mut impl Backends,
    ) {
        if self.config.observations {
            self.observe(now, routed, router, signals, backends);
        }
        if self.config.decisions {
            self.decide(now, routed, router, signals.views());
        }
    }

    fn decide(
        &mut self,
        now: i64,
        routed: RoutedRequest<'_>,
        router: &dyn Router,
        views: &[InstanceView],
    ) {
        let scores = router.scores().map(<[f64]>::to_vec);
        let score = |i: usize| {
            scores
                .as_ref()
                .map_or_else(|| 0.0 - views[i].effective_load() as f64, |s| s[i])
        };
        let mut ranked: Vec<Candidate> = Vec::new();
        let mut regret = 0.0;
        if self.config.counterfactual_k > 0 {
            ranked = (0..views.len())
                .map(|i| candidate(&views[i], score(i)))
                .collect();
            ranked.sort_by(|a, b| {
                b.score
                    .total_cmp(&a.score)
                    .then_with(|| name(a).cmp(&name(b)))
            });
            regret = (ranked[0].score - score(routed.chosen)).max(0.0);
            ranked.truncate(self.config.counterfactual_k);
        }
        let chosen = &views[routed.chosen];
        self.decisions.push(Decision::Routing {
            clock_us: now,
            id: routed.request.id.clone(),
            chosen: chosen.index,
            pool: Sym(chosen.pool),
            reason: router.reason(),
            scores,
            candidates: ranked,
            regret,
        });
    }

    fn observe(
        &mut self,
        now: i64,
        routed: RoutedRequest<'_>,
        router: &dyn Router,
        signals: &Signals,
        backends: &mut impl Backends,
    ) {
        let prompt = &routed.request.prompt;
        let snapshots = signals.views().iter().enumerate().map(|(i, seen)| {
            let mut actual = *seen;
            backends.observe(i, now, true, &mut actual);
            InstanceSnapshot {
                seen: *seen,
                actual,
                cached_blocks: backends.cached_blocks(i, prompt, Freshness::Now),
                signalled_blocks: signals.precise_prefix_blocks(prompt, i, backends),
            }
        });
        let size = signals.block_size();
        let decision = RoutingObservation {
            clock_us: now,
            request: *routed.view,
            chosen: routed.chosen as u32,
            prompt_blocks: prompt.len().checked_div(size).unwrap_or(0),
            scores: router.scores().map(<[f64]>::to_vec),
        };
        self.observations.push(decision, snapshots);
    }
}

fn candidate(view: &InstanceView, score: f64) -> Candidate {
    Candidate {
        instance: view.index,
        score,
        queue_depth: view.queue_depth,
        batch_size: view.batch_size,
        in_flight: view.in_flight,
        kv_utilization: view.kv_utilization,
        kv_free_blocks: view.kv_free_blocks,
    }
}

/// Instances rank by name among equals, as text: `instance_10` before `instance_2`.
fn name(candidate: &Candidate) -> String {
    candidate.instance.to_string()
}
