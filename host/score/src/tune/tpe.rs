//! TPE: for each parameter, values like those of the good points and unlike those of the others.

use super::search::Search;
use rand::RngExt;
use tpe::density_estimation::DefaultEstimatorBuilder;
use tpe::{TpeOptimizer, TpeOptimizerBuilder, parzen_estimator, range};
use windtunnel_base::rng::stream;

/// Points at a time.
const BATCH: usize = 10;
/// Batches that are drawn at random before the estimators are used.
const RANDOM_BATCHES: u64 = 2;
/// Share of the points that count as good.
const GOOD: f64 = 0.2;

/// The state of a search.
pub struct Tpe {
    seed: u64,
    batch: u64,
    by_parameter: Vec<TpeOptimizer<DefaultEstimatorBuilder>>,
}

impl Tpe {
    /// A search that starts with the value 0 of the point `start`.
    ///
    /// # Panics
    /// Never: settings and range are fixed.
    #[must_use]
    pub fn new(seed: u64, start: &[f64]) -> Self {
        // The range excludes its end.
        let unit = range(0.0, 1.0 + f64::EPSILON).expect("not empty");
        let optimizer = |x: &f64| {
            let mut builder = TpeOptimizerBuilder::new();
            builder.gamma(GOOD);
            let mut optimizer = builder.build(parzen_estimator(), unit).expect("in range");
            optimizer.tell(*x, 0.0).expect("in range");
            optimizer
        };
        Self {
            seed,
            batch: 0,
            by_parameter: start.iter().map(optimizer).collect(),
        }
    }
}

impl Search for Tpe {
    fn ask(&mut self) -> Vec<Vec<f64>> {
        let mut points = vec![Vec::new(); BATCH];
        for (p, optimizer) in self.by_parameter.iter_mut().enumerate() {
            let mut random = stream(self.seed, "tune tpe", self.batch, p as u64);
            for point in &mut points {
                point.push(if self.batch < RANDOM_BATCHES {
                    random.random_range(0.0..1.0)
                } else {
                    let x: f64 = optimizer.ask(&mut random).unwrap_or(0.5);
                    x.clamp(0.0, 1.0)
                });
            }
        }
        self.batch += 1;
        points
    }

    fn tell(&mut self, points: &[Vec<f64>], values: &[f64]) {
        for (point, value) in points.iter().zip(values) {
            for (optimizer, x) in self.by_parameter.iter_mut().zip(point) {
                // It minimises. It cannot fail: values are finite and points in range.
                let _ = optimizer.tell(*x, -value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_near_the_best() {
        let mut search = Tpe::new(1, &[0.1, 0.5]);
        let mut best = f64::NEG_INFINITY;
        for _ in 0..20 {
            let points = search.ask();
            let value = |x: &Vec<f64>| -(x[0] - 0.7).abs() - (x[1] - 0.2).abs();
            let values: Vec<f64> = points.iter().map(value).collect();
            best = values.iter().fold(best, |a, b| a.max(*b));
            search.tell(&points, &values);
        }
        assert!(best > -0.05, "{best}");
    }
}
