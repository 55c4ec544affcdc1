//! Estimates of durations, by pool.

use crate::latency::Estimator;
use windtunnel_base::request::Sym;

/// An estimator for the instances of each pool. Pools that have none are estimated as the first;
/// without any, everything takes no time.
#[derive(Clone, Default)]
pub struct Estimators {
    by_pool: Vec<(Sym, Estimator)>,
    /// Where KV caches move: of each pool the time of a token's, in their order.
    us_per_token: Vec<f64>,
    /// Time of a transfer besides.
    base_us: f64,
}

impl Estimators {
    /// Estimators with the names of their pools.
    pub fn new(by_pool: impl IntoIterator<Item = (Sym, Estimator)>) -> Self {
        Self {
            by_pool: by_pool.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The same where KV caches move: the time that a token's takes from an instance of each pool,
    /// and that of a transfer besides, microseconds.
    #[must_use]
    pub fn with_transfers(self, us_per_token: Vec<f64>, base_us: f64) -> Self {
        Self {
            us_per_token,
            base_us,
            ..self
        }
    }

    /// Time to move the KV cache of `tokens` tokens from an instance whose view names this pool,
    /// microseconds.
    pub(super) fn transfer_us(&self, pool: u32, tokens: u32) -> f64 {
        let place = self.by_pool.iter().position(|(name, _)| name.0 == pool);
        let per_token = self.us_per_token.get(place.unwrap_or(0));
        per_token.map_or(0.0, |us| self.base_us + us * f64::from(tokens))
    }

    /// For instances whose view names this pool.
    pub(super) fn of_pool(&self, pool: u32) -> Option<&Estimator> {
        let mut all = self.by_pool.iter();
        let found = all.find(|(name, _)| name.0 == pool);
        found
            .or(self.by_pool.first())
            .map(|(_, estimator)| estimator)
    }

    /// For instances of the first pool.
    pub(super) fn first(&self) -> Option<&Estimator> {
        self.by_pool.first().map(|(_, estimator)| estimator)
    }
}
