//! The two-weight form of `weighted`: free KV blocks against a short wait queue.

use super::scorers::first_highest;
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, RequestView, Route, Router};

/// The score is `cache x free blocks / most free blocks + load / (1 + queue depth)`, the weights
/// divided by their sum.
pub struct TwoWeights {
    cache: f64,
    load: f64,
    scores: Vec<f64>,
    best: f64,
}

impl TwoWeights {
    /// Weights are relative.
    #[must_use]
    pub fn new(cache: f64, load: f64) -> Self {
        let sum = cache + load;
        Self {
            cache: cache / sum,
            load: load / sum,
            scores: Vec::new(),
            best: 0.0,
        }
    }
}

impl Router for TwoWeights {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS
    }
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let most_free = cluster
            .instances
            .iter()
            .map(|i| i.kv_free_blocks)
            .max()
            .unwrap_or(0);
        self.scores.clear();
        self.scores.extend(cluster.instances.iter().map(|i| {
            let cache = if most_free == 0 {
                0.0
            } else {
                f64::from(i.kv_free_blocks) / f64::from(most_free)
            };
            let load = 1.0 / (1.0 + f64::from(i.queue_depth));
            cache * self.cache + load * self.load
        }));
        let chosen = first_highest(&self.scores);
        self.best = self.scores[chosen];
        Ok(Route::To(chosen))
    }
    fn scores(&self) -> Option<&[f64]> {
        Some(&self.scores)
    }
    fn reason(&self) -> String {
        format!("weighted-scoring (score={:.3})", self.best)
    }
}
