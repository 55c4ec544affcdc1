//! CMA-ES: a normal distribution that moves and stretches towards good points.
//!
//! It is written here because the libraries do not fit: `cmaes` calls a function for each point,
//! while a generation is evaluated by all processes together; `optimizer` starts in the middle of
//! the ranges instead of the policy's own values; and both multiply matrices by routines that
//! depend on the processor, so their results do, too.
//!
//! Formulas: N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772, with positive
//! weights only. Points outside the unit cube are moved to its surface.

use super::search::Search;
use rand_distr::{Distribution, StandardNormal};
use windtunnel_base::rng::stream;

/// Standard deviation of the first generation, of a range of 1.
const FIRST_STEP: f64 = 0.25;
/// A distribution narrower than this has converged: the search restarts elsewhere.
const NARROW: f64 = 2e-3;

/// The state of a search.
pub struct CmaEs {
    seed: u64,
    /// Number of generations, over all restarts.
    generation: u64,
    /// Mean of the first distribution.
    start: Vec<f64>,
    /// The present distribution.
    now: SearchDistribution,
}

/// A normal distribution and its evolution paths.
struct SearchDistribution {
    mean: Vec<f64>,
    step: f64,
    covariance: Vec<Vec<f64>>,
    /// Columns: the principal axes of the covariance.
    axes: Vec<Vec<f64>>,
    /// Standard deviations along them.
    lengths: Vec<f64>,
    step_path: Vec<f64>,
    path: Vec<f64>,
    updates: i32,
}

impl SearchDistribution {
    fn new(mean: Vec<f64>) -> Self {
        let n = mean.len();
        Self {
            mean,
            step: FIRST_STEP,
            covariance: identity(n),
            axes: identity(n),
            lengths: vec![1.0; n],
            step_path: vec![0.0; n],
            path: vec![0.0; n],
            updates: 0,
        }
    }
}

impl CmaEs {
    /// A search that starts at `start`.
    #[must_use]
    pub fn new(seed: u64, start: Vec<f64>) -> Self {
        Self {
            seed,
            generation: 0,
            now: SearchDistribution::new(start.clone()),
            start,
        }
    }

    fn population(&self) -> usize {
        4 + (3.0 * (self.start.len() as f64).ln()).floor() as usize
    }
}

impl Search for CmaEs {
    fn ask(&mut self) -> Vec<Vec<f64>> {
        let n = self.start.len();
        let now = &self.now;
        let point = |k: usize| {
            let mut random = stream(self.seed, "tune cma-es", self.generation, k as u64);
            let z: Vec<f64> = (0..n).map(|_| StandardNormal.sample(&mut random)).collect();
            let along: Vec<f64> = z.iter().zip(&now.lengths).map(|(z, d)| z * d).collect();
            let moved = times(&now.axes, &along);
            let x = now.mean.iter().zip(moved).map(|(m, y)| m + now.step * y);
            x.map(|x| x.clamp(0.0, 1.0)).collect()
        };
        let points = (0..self.population()).map(point).collect();
        self.generation += 1;
        points
    }

    fn tell(&mut self, points: &[Vec<f64>], values: &[f64]) {
        let n = self.start.len();
        let parents = self.population() / 2;
        if points.len() < 2 * parents {
            return;
        }
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        self.now.update(
            &order[..parents]
                .iter()
                .map(|k| &points[*k])
                .collect::<Vec<_>>(),
        );
        let widest = self.now.lengths.iter().fold(0.0, |a: f64, b| a.max(*b));
        if self.now.step * widest < NARROW {
            let mut random = stream(self.seed, "tune cma-es restart", self.generation, 0);
            let mut anywhere = || rand::RngExt::random_range(&mut random, 0.0..1.0);
            self.now = SearchDistribution::new((0..n).map(|_| anywhere()).collect());
        }
    }
}

impl SearchDistribution {
    /// Moves towards the best points, the best first.
    fn update(&mut self, best: &[&Vec<f64>]) {
        let (n, parents) = (self.mean.len(), best.len());
        let dimensions = n as f64;
        let raw: Vec<f64> = (1..=parents)
            .map(|k| (parents as f64 + 0.5).ln() - (k as f64).ln())
            .collect();
        let sum: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|w| w / sum).collect();
        let mass = 1.0 / weights.iter().map(|w| w * w).sum::<f64>();
        let c_step = (mass + 2.0) / (dimensions + mass + 5.0);
        let damping =
            1.0 + 2.0 * (((mass - 1.0) / (dimensions + 1.0)).sqrt() - 1.0).max(0.0) + c_step;
        let c_path = (4.0 + mass / dimensions) / (dimensions + 4.0 + 2.0 * mass / dimensions);
        let c_one = 2.0 / ((dimensions + 1.3).powi(2) + mass);
        let c_many = (2.0 * (mass - 2.0 + 1.0 / mass) / ((dimensions + 2.0).powi(2) + mass))
            .min(1.0 - c_one);
        let usual =
            dimensions.sqrt() * (1.0 - 0.25 / dimensions + 1.0 / (21.0 * dimensions.powi(2)));

        let steps: Vec<Vec<f64>> = best
            .iter()
            .map(|x| {
                let pairs = x.iter().zip(&self.mean);
                pairs.map(|(x, m)| (x - m) / self.step).collect()
            })
            .collect();
        let mean_step: Vec<f64> = (0..n)
            .map(|i| steps.iter().zip(&weights).map(|(y, w)| w * y[i]).sum())
            .collect();
        for (m, y) in self.mean.iter_mut().zip(&mean_step) {
            *m += self.step * y;
        }
        // C^(-1/2) y = B D^(-1) B' y.
        let across: Vec<f64> = (0..n)
            .map(|k| {
                let along: f64 = (0..n).map(|i| self.axes[i][k] * mean_step[i]).sum();
                along / self.lengths[k]
            })
            .collect();
        let whitened = times(&self.axes, &across);
        let gain = (c_step * (2.0 - c_step) * mass).sqrt();
        for (p, y) in self.step_path.iter_mut().zip(&whitened) {
            *p = (1.0 - c_step) * *p + gain * y;
        }
        self.updates += 1;
        let length = norm(&self.step_path);
        let grown = (1.0 - (1.0 - c_step).powi(2 * self.updates)).sqrt();
        let moving = length / grown < (1.4 + 2.0 / (dimensions + 1.0)) * usual;
        let gain = if moving {
            (c_path * (2.0 - c_path) * mass).sqrt()
        } else {
            0.0
        };
        for (p, y) in self.path.iter_mut().zip(&mean_step) {
            *p = (1.0 - c_path) * *p + gain * y;
        }
        let lost = if moving { 0.0 } else { c_path * (2.0 - c_path) };
        for i in 0..n {
            for j in 0..n {
                let many: f64 = steps
                    .iter()
                    .zip(&weights)
                    .map(|(y, w)| w * y[i] * y[j])
                    .sum();
                self.covariance[i][j] = (1.0 - c_one - c_many + c_one * lost)
                    * self.covariance[i][j]
                    + c_one * self.path[i] * self.path[j]
                    + c_many * many;
            }
        }
        self.step *= ((c_step / damping) * (length / usual - 1.0)).exp();
        let (lengths, axes) = eigen(&self.covariance);
        self.lengths = lengths.iter().map(|v| v.max(1e-14).sqrt()).collect();
        self.axes = axes;
    }
}

fn identity(n: usize) -> Vec<Vec<f64>> {
    (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect()
}

fn times(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    let row = |row: &Vec<f64>| row.iter().zip(vector).map(|(a, b)| a * b).sum();
    matrix.iter().map(row).collect()
}

fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Eigenvalues of a symmetric matrix, and its eigenvectors as columns (Jacobi's rotations).
fn eigen(matrix: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = matrix.len();
    let (mut a, mut v) = (matrix.to_vec(), identity(n));
    for _ in 0..50 {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i][j] * a[i][j])
            .sum();
        if off < 1e-30 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
                for row in &mut v {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
            }
        }
    }
    ((0..n).map(|i| a[i][i]).collect(), v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_rebuild_their_matrix() {
        let m = vec![
            vec![4.0, 1.0, -2.0],
            vec![1.0, 2.0, 0.5],
            vec![-2.0, 0.5, 3.0],
        ];
        let (values, v) = eigen(&m);
        for i in 0..3 {
            for j in 0..3 {
                let sum: f64 = (0..3).map(|k| v[i][k] * values[k] * v[j][k]).sum();
                assert!((sum - m[i][j]).abs() < 1e-12, "{i} {j}: {sum}");
            }
        }
    }

    #[test]
    fn it_finds_the_bottom_of_a_narrow_slanted_valley() {
        let cost = |x: &[f64]| {
            let d: Vec<f64> = x.iter().map(|x| x - 0.7).collect();
            let along: f64 = d.iter().sum();
            along * along + 100.0 * (d[0] - d[1]).powi(2) + 30.0 * (d[1] - d[2]).powi(2)
        };
        let mut search = CmaEs::new(1, vec![0.1, 0.5, 0.3]);
        let mut best = f64::INFINITY;
        for _ in 0..60 {
            let points = search.ask();
            let values: Vec<f64> = points.iter().map(|x| -cost(x)).collect();
            best = values.iter().fold(best, |best, v| best.min(-v));
            search.tell(&points, &values);
        }
        assert!(best < 1e-3, "{best}");
    }
}
