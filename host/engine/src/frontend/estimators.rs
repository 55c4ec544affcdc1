//! Estimates of durations, by pool.

use crate::latency::Estimator;
use windtunnel_base::request::Sym;

/// An estimator for the instances of each pool. Pools that have none are estimated as the first;
/// without any, everything takes no time.
#[derive(Clone, Default)]
pub struct Estimators(Vec<(Sym, Estimator)>);

impl Estimators {
    /// Estimators with the names of their pools.
    pub fn new(by_pool: impl IntoIterator<Item = (Sym, Estimator)>) -> Self {
        Self(by_pool.into_iter().collect())
    }

    /// For instances whose view names this pool.
    pub(super) fn of_pool(&self, pool: u32) -> Option<&Estimator> {
        let mut all = self.0.iter();
        let found = all.find(|(name, _)| name.0 == pool);
        found.or(self.0.first()).map(|(_, estimator)| estimator)
    }

    /// For instances of the first pool.
    pub(super) fn first(&self) -> Option<&Estimator> {
        self.0.first().map(|(_, estimator)| estimator)
    }
}
