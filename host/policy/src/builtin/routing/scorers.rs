//! The scorers of weighted routing. Each gives every instance a number in 0..=1.

use crate::param::Param;
use windtunnel_plugin_api::{ClusterView, InstanceView, Interests, List};

/// A scorer of weighted routing.
pub struct Scorer {
    /// Its name in a list of scorers.
    pub name: &'static str,
    /// Its weight, a parameter of weighted routing: the name with underscores.
    pub param: &'static str,
    /// Its weight unless another is given.
    pub default_weight: f64,
    /// What it prefers.
    pub doc: &'static str,
    /// What it reads besides the snapshots of the instances.
    pub interests: Interests,
    /// Appends the scores of all instances to an empty column.
    pub column: fn(&ClusterView<'_>, &mut ColdRequests, &mut Vec<f64>),
}

impl Scorer {
    /// The parameter that is its weight.
    #[must_use]
    pub const fn weight(&self) -> Param {
        Param::number(self.param, self.default_weight, 0.0, f64::MAX, self.doc)
    }
}

/// What `no-hit-lru` remembers: which instances served requests that hit no cache.
#[derive(Default)]
pub struct ColdRequests {
    /// Indexes of those instances, least recently used first.
    order: Vec<u32>,
    /// The request at hand hits nowhere. Known once the scorer has run.
    current: bool,
}

impl ColdRequests {
    /// A decision begins.
    pub(super) fn begin(&mut self) {
        self.current = false;
    }

    /// The request at hand goes to this instance.
    pub(super) fn sent_to(&mut self, instance: u32) {
        if self.current {
            self.order.retain(|&other| other != instance);
            self.order.push(instance);
        }
    }
}

/// Cached leading blocks, by the instances' own cache events.
pub const PRECISE_PREFIX_CACHE: Scorer = Scorer {
    name: "precise-prefix-cache",
    param: "precise_prefix_cache",
    default_weight: 2.0,
    doc: "Cached leading blocks by the instances' cache events, min-max over the instances",
    interests: Interests::PRECISE_PREFIX,
    column: |cluster, _, column| {
        let instances = 0..cluster.instances.len();
        column.extend(instances.map(|i| f64::from(cluster.host.precise_prefix_blocks(i))));
        let max = column.iter().copied().fold(0.0, f64::max);
        let min = column.iter().copied().fold(f64::INFINITY, f64::min);
        column.iter_mut().for_each(|score| {
            *score = if max == min {
                1.0
            } else {
                (*score - min) / (max - min)
            }
        });
    },
};

/// The share of the prompt's blocks that the front end sent to an instance before.
pub const PREFIX_AFFINITY: Scorer = Scorer {
    name: "prefix-affinity",
    param: "prefix_affinity",
    default_weight: 0.0,
    doc: "Share of the prompt's blocks that the front end sent there before",
    interests: Interests::APPROXIMATE_PREFIX,
    column: |cluster, _, column| {
        let blocks = f64::from(cluster.host.prompt_blocks());
        let share = |i| {
            let hits = f64::from(cluster.host.approximate_prefix_blocks(i));
            if blocks == 0.0 { 0.0 } else { hits / blocks }
        };
        column.extend((0..cluster.instances.len()).map(share));
    },
};

/// Requests that hit no cache go around the cluster, to the instance that got none for longest.
pub const NO_HIT_LRU: Scorer = Scorer {
    name: "no-hit-lru",
    param: "no_hit_lru",
    default_weight: 0.0,
    doc: "Requests that hit nowhere go to the least recently used instance",
    interests: Interests::PRECISE_PREFIX,
    column: |cluster, cold, column| {
        let n = cluster.instances.len();
        cold.current = (0..n).all(|i| cluster.host.precise_prefix_blocks(i) == 0);
        if !cold.current {
            column.resize(n, 0.5);
            return;
        }
        if n == 1 {
            column.push(1.0);
            return;
        }
        cold.order
            .retain(|&index| cluster.instances.iter().any(|i| i.index == index));
        let never_used = n - cold.order.len();
        let mut fresh = 0;
        for instance in cluster.instances.iter() {
            let position = cold.order.iter().position(|&index| index == instance.index);
            let rank = match position {
                Some(age) => never_used + age,
                None => {
                    fresh += 1;
                    fresh - 1
                }
            };
            column.push(1.0 - rank as f64 / (n - 1) as f64);
        }
    },
};

/// A short wait queue.
pub const QUEUE_DEPTH: Scorer = Scorer {
    name: "queue-depth",
    param: "queue_depth",
    default_weight: 1.0,
    doc: "Short wait queue, min-max over the instances",
    interests: Interests::SNAPSHOTS,
    column: |cluster, _, column| spare(column, cluster.instances, |i| u64::from(i.queue_depth)),
};

/// Free KV blocks.
pub const KV_UTILIZATION: Scorer = Scorer {
    name: "kv-utilization",
    param: "kv_utilization",
    default_weight: 1.0,
    doc: "1 - KV utilisation",
    interests: Interests::SNAPSHOTS,
    column: |cluster, _, column| {
        column.extend(cluster.instances.iter().map(|i| 1.0 - i.kv_utilization));
    },
};

/// Little effective load.
pub const LOAD_BALANCE: Scorer = Scorer {
    name: "load-balance",
    param: "load_balance",
    default_weight: 0.0,
    doc: "1 / (1 + effective load)",
    interests: Interests::COUNTERS,
    column: |cluster, _, column| {
        let score = |i: &InstanceView| 1.0 / (1.0 + i.effective_load() as f64);
        column.extend(cluster.instances.iter().map(score));
    },
};

/// Few requests in flight.
pub const ACTIVE_REQUESTS: Scorer = Scorer {
    name: "active-requests",
    param: "active_requests",
    default_weight: 0.0,
    doc: "Few requests in flight, relative to the most",
    interests: Interests::COUNTERS,
    column: |cluster, _, column| {
        let instances = cluster.instances;
        let max = instances.iter().map(|i| i.in_flight).max().unwrap_or(0);
        column.extend(instances.iter().map(|i| {
            if i.in_flight == 0 {
                1.0
            } else {
                f64::from(max - i.in_flight) / f64::from(max)
            }
        }));
    },
};

/// A small running batch.
pub const RUNNING_REQUESTS: Scorer = Scorer {
    name: "running-requests",
    param: "running_requests",
    default_weight: 0.0,
    doc: "Small running batch, min-max over the instances",
    interests: Interests::SNAPSHOTS,
    column: |cluster, _, column| spare(column, cluster.instances, |i| u64::from(i.batch_size)),
};

/// An empty wait queue, without regard to the other instances.
pub const LOAD_AWARE: Scorer = Scorer {
    name: "load-aware",
    param: "load_aware",
    default_weight: 0.0,
    doc: "0.5 for an empty wait queue, falling to 0 at 128 waiting",
    interests: Interests::SNAPSHOTS,
    column: |cluster, _, column| {
        column.extend(cluster.instances.iter().map(|i| {
            if i.queue_depth == 0 {
                0.5
            } else {
                0.5 * (1.0 - f64::from(i.queue_depth.min(128)) / 128.0)
            }
        }));
    },
};

/// Waiting requests count four times, as vLLM's data-parallel balancer weighs them.
pub const VLLM_DP: Scorer = Scorer {
    name: "vllm-dp",
    param: "vllm_dp",
    default_weight: 0.0,
    doc: "4 x waiting + running, min-max over the instances",
    interests: Interests::SNAPSHOTS,
    column: |cluster, _, column| {
        spare(column, cluster.instances, |i| {
            4 * u64::from(i.queue_depth) + u64::from(i.batch_size)
        });
    },
};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn column(scorer: &Scorer, instances: &[InstanceView]) -> Vec<f64> {
        let mut column = Vec::new();
        let cluster = ClusterView::bare(0, instances);
        (scorer.column)(&cluster, &mut ColdRequests::default(), &mut column);
        column
    }

    fn instances(set: impl Fn(&mut InstanceView, u32)) -> Vec<InstanceView> {
        let instance = |index| {
            let mut view = InstanceView {
                index,
                ..InstanceView::default()
            };
            set(&mut view, index);
            view
        };
        (0..3).map(instance).collect()
    }

    #[test]
    fn scorers_give_their_formulas() {
        let queues = instances(|v, i| v.queue_depth = 2 * i);
        assert_eq!(column(&QUEUE_DEPTH, &queues), [1.0, 0.5, 0.0]);
        assert_eq!(
            column(&LOAD_AWARE, &queues),
            [0.5, 0.5 * (1.0 - 2.0 / 128.0), 0.5 * (1.0 - 4.0 / 128.0)]
        );
        assert_eq!(column(&LOAD_BALANCE, &queues), [1.0, 1.0 / 3.0, 1.0 / 5.0]);
        let in_flight = instances(|v, i| v.in_flight = i + 1);
        assert_eq!(
            column(&ACTIVE_REQUESTS, &in_flight),
            [2.0 / 3.0, 1.0 / 3.0, 0.0]
        );
        let idle = instances(|_, _| ());
        assert_eq!(column(&ACTIVE_REQUESTS, &idle), [1.0; 3]);
        assert_eq!(column(&PRECISE_PREFIX_CACHE, &idle), [1.0; 3]);
        assert_eq!(column(&PREFIX_AFFINITY, &idle), [0.0; 3]);
    }
}
