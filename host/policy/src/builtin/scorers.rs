//! Weighted routing: a list of scorers, each giving every instance a number in 0..=1; the highest
//! weighted sum wins.

use crate::ScorerKind;
use windtunnel_plugin_api::{
    ClusterView, InstanceView, Interests, List, PolicyError, RequestView, Route, Router,
};

/// Position of the first highest score.
pub(super) fn first_highest(scores: &[f64]) -> usize {
    let mut best = (0, -1.0);
    for (i, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (i, score);
        }
    }
    best.0
}

/// Weighted routing.
pub struct Weighted {
    scorers: Vec<(ScorerKind, f64)>,
    /// Instances that served requests without any cache hit, least recently used first.
    cold_order: Vec<u32>,
    /// The request at hand hits nowhere (known once the no-hit scorer has run).
    cold: bool,
    column: Vec<f64>,
    totals: Vec<f64>,
    best: f64,
}

impl Weighted {
    /// Weights are relative; they are divided by their sum in list order.
    #[must_use]
    pub fn new(scorers: &[(ScorerKind, f64)]) -> Self {
        let sum: f64 = scorers.iter().map(|(_, w)| w).sum();
        Self {
            scorers: scorers.iter().map(|&(kind, w)| (kind, w / sum)).collect(),
            cold_order: Vec::new(),
            cold: false,
            column: Vec::new(),
            totals: Vec::new(),
            best: 0.0,
        }
    }

    fn fill_column(&mut self, kind: ScorerKind, cluster: &ClusterView<'_>) {
        let instances = cluster.instances;
        let column = &mut self.column;
        column.clear();
        match kind {
            ScorerKind::PrecisePrefixCache => {
                column.extend(
                    (0..instances.len()).map(|i| f64::from(cluster.host.precise_prefix_blocks(i))),
                );
                let max = column.iter().copied().fold(0.0, f64::max);
                let min = column.iter().copied().fold(f64::INFINITY, f64::min);
                column.iter_mut().for_each(|c| {
                    *c = if max == min {
                        1.0
                    } else {
                        (*c - min) / (max - min)
                    }
                });
            }
            ScorerKind::PrefixAffinity => {
                let blocks = f64::from(cluster.host.prompt_blocks());
                let share = |i| {
                    let hits = f64::from(cluster.host.approximate_prefix_blocks(i));
                    if blocks == 0.0 { 0.0 } else { hits / blocks }
                };
                column.extend((0..instances.len()).map(share));
            }
            ScorerKind::NoHitLru => self.no_hit_lru(cluster),
            ScorerKind::QueueDepth => spare(column, instances, |i| u64::from(i.queue_depth)),
            ScorerKind::RunningRequests => spare(column, instances, |i| u64::from(i.batch_size)),
            ScorerKind::VllmDp => spare(column, instances, |i| {
                4 * u64::from(i.queue_depth) + u64::from(i.batch_size)
            }),
            ScorerKind::KvUtilization => {
                column.extend(instances.iter().map(|i| 1.0 - i.kv_utilization))
            }
            ScorerKind::LoadBalance => {
                column.extend(
                    instances
                        .iter()
                        .map(|i| 1.0 / (1.0 + i.effective_load() as f64)),
                );
            }
            ScorerKind::ActiveRequests => {
                let max = instances.iter().map(|i| i.in_flight).max().unwrap_or(0);
                column.extend(instances.iter().map(|i| {
                    if i.in_flight == 0 {
                        1.0
                    } else {
                        f64::from(max - i.in_flight) / f64::from(max)
                    }
                }));
            }
            ScorerKind::LoadAware => column.extend(instances.iter().map(|i| {
                if i.queue_depth == 0 {
                    0.5
                } else {
                    0.5 * (1.0 - f64::from(i.queue_depth.min(128)) / 128.0)
                }
            })),
        }
    }

    fn no_hit_lru(&mut self, cluster: &ClusterView<'_>) {
        let n = cluster.instances.len();
        self.cold = (0..n).all(|i| cluster.host.precise_prefix_blocks(i) == 0);
        if !self.cold {
            self.column.resize(n, 0.5);
            return;
        }
        if n == 1 {
            self.column.push(1.0);
            return;
        }
        self.cold_order
            .retain(|&index| cluster.instances.iter().any(|i| i.index == index));
        let never_used = n - self.cold_order.len();
        let mut fresh = 0;
        for instance in cluster.instances.iter() {
            let rank = match self
                .cold_order
                .iter()
                .position(|&index| index == instance.index)
            {
                Some(age) => never_used + age,
                None => {
                    fresh += 1;
                    fresh - 1
                }
            };
            self.column.push(1.0 - rank as f64 / (n - 1) as f64);
        }
    }
}

/// `(max - x) / (max - min)`, 1 everywhere when all are equal.
fn spare(
    column: &mut Vec<f64>,
    instances: List<'_, InstanceView>,
    of: impl Fn(&InstanceView) -> u64,
) {
    let max = instances.iter().map(&of).max().unwrap_or(0);
    let min = instances.iter().map(&of).min().unwrap_or(0);
    column.extend(instances.iter().map(|i| {
        if max == min {
            1.0
        } else {
            (max - of(i)) as f64 / (max - min) as f64
        }
    }));
}

impl Router for Weighted {
    fn interests(&self) -> Interests {
        use ScorerKind::{
            ActiveRequests, LoadBalance, NoHitLru, PrecisePrefixCache, PrefixAffinity,
        };
        let uses = |kinds: &[ScorerKind]| self.scorers.iter().any(|(k, _)| kinds.contains(k));
        let wants = [
            (&[LoadBalance, ActiveRequests][..], Interests::COUNTERS),
            (&[PrecisePrefixCache, NoHitLru], Interests::PRECISE_PREFIX),
            (&[PrefixAffinity], Interests::APPROXIMATE_PREFIX),
        ];
        let wanted = wants.into_iter().filter(|(kinds, _)| uses(kinds));
        wanted.fold(Interests::SNAPSHOTS, |all, (_, more)| all | more)
    }

    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        self.cold = false;
        self.totals.clear();
        self.totals.resize(cluster.instances.len(), 0.0);
        for k in 0..self.scorers.len() {
            let (kind, weight) = self.scorers[k];
            self.fill_column(kind, cluster);
            for (total, score) in self.totals.iter_mut().zip(&self.column) {
                *total += score.clamp(0.0, 1.0) * weight;
            }
        }
        let chosen = first_highest(&self.totals);
        self.best = self.totals[chosen];
        if self.cold {
            let index = cluster.instances[chosen].index;
            self.cold_order.retain(|&other| other != index);
            self.cold_order.push(index);
        }
        Ok(Route::To(chosen))
    }

    fn scores(&self) -> Option<&[f64]> {
        Some(&self.totals)
    }

    fn reason(&self) -> String {
        format!("weighted-scoring (score={:.3})", self.best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(kind: ScorerKind, instances: &[InstanceView]) -> Vec<f64> {
        let mut router = Weighted::new(&[(kind, 3.0)]);
        let cluster = ClusterView::bare(0, instances);
        router
            .route(&RequestView::default(), &cluster)
            .expect("built-ins answer");
        router.totals
    }

    fn instances(of: impl Fn(&mut InstanceView, u32)) -> Vec<InstanceView> {
        (0..3)
            .map(|index| {
                let mut view = InstanceView {
                    index,
                    ..InstanceView::default()
                };
                of(&mut view, index);
                view
            })
            .collect()
    }

    #[test]
    fn scorers_give_their_formulas() {
        let queues = instances(|v, i| v.queue_depth = 2 * i);
        assert_eq!(pick(ScorerKind::QueueDepth, &queues), [1.0, 0.5, 0.0]);
        assert_eq!(
            pick(ScorerKind::LoadAware, &queues),
            [0.5, 0.5 * (1.0 - 2.0 / 128.0), 0.5 * (1.0 - 4.0 / 128.0)]
        );
        assert_eq!(
            pick(ScorerKind::LoadBalance, &queues),
            [1.0, 1.0 / 3.0, 1.0 / 5.0]
        );
        let flights = instances(|v, i| v.in_flight = i + 1);
        assert_eq!(
            pick(ScorerKind::ActiveRequests, &flights),
            [2.0 / 3.0, 1.0 / 3.0, 0.0]
        );
        let idle = instances(|_, _| ());
        assert_eq!(pick(ScorerKind::ActiveRequests, &idle), [1.0; 3]);
        assert_eq!(pick(ScorerKind::PrecisePrefixCache, &idle), [1.0; 3]);
        assert_eq!(pick(ScorerKind::PrefixAffinity, &idle), [0.0; 3]);
    }

    #[test]
    fn cold_requests_walk_around_the_cluster() {
        let idle = instances(|_, _| ());
        let mut router = Weighted::new(&[(ScorerKind::NoHitLru, 1.0)]);
        let view = ClusterView::bare(0, &idle);
        let order: Vec<Result<Route, PolicyError>> = (0..4)
            .map(|_| router.route(&RequestView::default(), &view))
            .collect();
        assert_eq!(order, [0, 1, 2, 0].map(|i| Ok(Route::To(i))));
    }
}
