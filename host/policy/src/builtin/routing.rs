//! Routing policies without scorers. Ties always go to the lowest position.

use rustc_hash::FxHashMap;
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, RequestView, Route, Router};

/// In turn.
#[derive(Default)]
pub struct RoundRobin {
    next: u64,
}

impl Router for RoundRobin {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let chosen = self.next % cluster.instances.len() as u64;
        self.next += 1;
        Ok(Route::To(chosen as usize))
    }
    fn reason(&self) -> String {
        format!("round-robin[{}]", self.next - 1)
    }
}

/// Position of the first instance with the least effective load, and that load.
fn least_loaded(cluster: &ClusterView<'_>) -> (usize, u64) {
    let loads = cluster
        .instances
        .iter()
        .map(windtunnel_plugin_api::InstanceView::effective_load);
    loads
        .enumerate()
        .min_by_key(|&(_, load)| load)
        .unwrap_or_default()
}

/// Least effective load.
#[derive(Default)]
pub struct LeastLoaded {
    load: u64,
}

impl Router for LeastLoaded {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let (chosen, load) = least_loaded(cluster);
        self.load = load;
        Ok(Route::To(chosen))
    }
    fn reason(&self) -> String {
        format!("least-loaded (load={})", self.load)
    }
}

/// Most effective load: what a broken balancer would do, for comparison.
#[derive(Default)]
pub struct AlwaysBusiest {
    load: u64,
}

impl Router for AlwaysBusiest {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let mut chosen = 0;
        self.load = 0;
        for (i, instance) in cluster.instances.iter().enumerate() {
            if instance.effective_load() > self.load {
                (chosen, self.load) = (i, instance.effective_load());
            }
        }
        Ok(Route::To(chosen))
    }
    fn reason(&self) -> String {
        format!("always-busiest (load={})", self.load)
    }
}

/// An exact repeat of a prompt goes where the prompt went before; a new prompt goes to the least
/// loaded instance.
#[derive(Default)]
pub struct PrefixAffinity {
    homes: FxHashMap<u64, u32>,
    hit: bool,
}

impl Router for PrefixAffinity {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let home = self.homes.get(&request.prompt_key);
        let home = home.and_then(|&index| cluster.instances.iter().position(|i| i.index == index));
        self.hit = home.is_some();
        let chosen = home.unwrap_or_else(|| {
            let (chosen, _) = least_loaded(cluster);
            self.homes
                .insert(request.prompt_key, cluster.instances[chosen].index);
            chosen
        });
        Ok(Route::To(chosen))
    }
    fn reason(&self) -> String {
        let how = if self.hit {
            "cache-hit"
        } else {
            "cache-miss, fallback to least-loaded"
        };
        format!("prefix-affinity ({how})")
    }
}

/// The two-weight form of weighted routing: `cache x free blocks / most free blocks + load / (1 +
/// queue depth)`, the weights divided by their sum.
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
        let chosen = super::scorers::first_highest(&self.scores);
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
