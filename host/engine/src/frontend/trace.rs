//! The trace of decisions, and what routing decisions were made on.

use super::backends::{Backends, Freshness};
use super::config::TraceConfig;
use super::signals::Signals;
use crate::adapters::AdapterState;
use std::cmp::Ordering;
use windtunnel_base::record::{
    Candidate, Decision, InstanceSnapshot, RoutingObservation, RoutingObservations, RoutingStage,
};
use windtunnel_base::request::{Request, RequestId, Sym};
use windtunnel_plugin_api::{InstanceView, RequestView, Router};

/// Decisions that are to be remembered.
pub(super) struct Trace {
    config: TraceConfig,
    /// Scratch: positions and scores.
    ranking: Vec<(usize, f64)>,
    pub(super) decisions: Vec<Decision>,
    pub(super) observations: RoutingObservations,
}

/// A request that was routed, as it came and as the router saw it.
#[derive(Clone, Copy)]
pub(super) struct RoutedRequest<'a> {
    pub(super) request: &'a Request,
    pub(super) view: &'a RequestView,
    pub(super) stage: RoutingStage,
    /// The instances that the router saw.
    pub(super) shown: &'a [InstanceView],
    /// Position of the chosen one among them.
    pub(super) chosen: usize,
}

impl Trace {
    pub(super) fn new(config: TraceConfig) -> Self {
        Self {
            config,
            ranking: Vec::new(),
            decisions: Vec::new(),
            observations: RoutingObservations::default(),
        }
    }

    /// Are the instances looked at for every routing decision?
    pub(super) fn observes(&self) -> bool {
        self.config.observations
    }

    /// A request was admitted; `reason` says what became of it at the gateway, if there is one.
    pub(super) fn admitted(&mut self, now: i64, id: &RequestId, reason: &str) {
        self.admission(now, id, true, || reason.to_owned());
    }

    /// The admission policy refused a request.
    pub(super) fn rejected(&mut self, now: i64, id: &RequestId, reason: String) {
        self.admission(now, id, false, || reason);
    }

    fn admission(
        &mut self,
        clock_us: i64,
        id: &RequestId,
        admitted: bool,
        reason: impl FnOnce() -> String,
    ) {
        if self.config.decisions {
            self.decisions.push(Decision::Admission {
                clock_us,
                id: id.clone(),
                admitted,
                reason: reason(),
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
            self.decide(now, routed, router);
        }
    }

    /// The instance that was chosen to decode prefills as well: it was chosen for the whole
    /// request.
    pub(super) fn decoder_prefills(&mut self) {
        if let Some(Decision::Routing { stage, .. }) = self.decisions.last_mut() {
            *stage = RoutingStage::Whole;
        }
    }

    fn decide(&mut self, now: i64, routed: RoutedRequest<'_>, router: &dyn Router) {
        let views = routed.shown;
        let scores = router.scores();
        let score =
            |i: usize| scores.map_or_else(|| 0.0 - views[i].effective_load() as f64, |s| s[i]);
        let k = self.config.counterfactual_k.min(views.len());
        let mut ranked: Vec<Candidate> = Vec::with_capacity(k);
        let mut regret = 0.0;
        if k > 0 {
            let order = |&(i, a): &(usize, f64), &(j, b): &(usize, f64)| {
                let names = || cmp_as_text(views[i].index, views[j].index);
                b.total_cmp(&a).then_with(names)
            };
            self.ranking.clear();
            self.ranking.extend((0..views.len()).map(|i| (i, score(i))));
            if k < self.ranking.len() {
                self.ranking.select_nth_unstable_by(k, order);
                self.ranking.truncate(k);
            }
            self.ranking.sort_unstable_by(order);
            let best = self.ranking.iter();
            ranked.extend(best.map(|&(i, score)| candidate(&views[i], score)));
            regret = (ranked[0].score - score(routed.chosen)).max(0.0);
        }
        let chosen = &views[routed.chosen];
        self.decisions.push(Decision::Routing {
            clock_us: now,
            id: routed.request.id.clone(),
            stage: routed.stage,
            chosen: chosen.index,
            pool: Sym(chosen.pool),
            reason: router.reason(),
            among: match routed.stage {
                RoutingStage::Whole => Vec::new(),
                _ => views.iter().map(|view| view.index).collect(),
            },
            scores: scores.map(<[f64]>::to_vec),
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
            let mut adapters = Vec::new();
            backends.adapters(i, &mut adapters);
            AdapterState::count(&adapters, &mut actual);
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
            stage: routed.stage,
            request: *routed.view,
            chosen: routed.shown[routed.chosen].index,
            prompt_blocks: prompt.len().checked_div(size).unwrap_or(0),
            scores: match routed.stage {
                RoutingStage::Whole => router.scores().map(<[f64]>::to_vec),
                // Their positions are not those of the snapshots.
                _ => None,
            },
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
fn cmp_as_text(a: u32, b: u32) -> Ordering {
    let digits = |x: u32| x.checked_ilog10().unwrap_or(0);
    let (da, db) = (digits(a), digits(b));
    let most = da.max(db);
    let padded = |x: u32, digits: u32| u64::from(x) * 10u64.pow(most - digits);
    padded(a, da).cmp(&padded(b, db)).then(da.cmp(&db))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_their_digits() {
        let numbers = [0, 1, 2, 9, 10, 11, 19, 20, 100, 101, 110, 1000, u32::MAX];
        for a in numbers {
            for b in numbers {
                let texts = a.to_string().cmp(&b.to_string());
                assert_eq!(cmp_as_text(a, b), texts, "{a} {b}");
            }
        }
    }
}
