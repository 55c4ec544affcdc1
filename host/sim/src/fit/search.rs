//! The search for figures: least squares with a prior, by steps that are trusted only so far.
//!
//! A point is the logarithm of each parameter over its shipped value, in standard deviations of its
//! prior. What is made small is the squares of all cells over their standard errors, and of the
//! point itself. A point at which the simulation is behind a load that the server carried is no
//! point: its times say nothing about steps.

use super::cells::{Compared, Load};
use super::matrix::{Matrix, inverse, solve};
use super::simulate::simulate;
use crate::spec::RunSpec;
use windtunnel_base::input::InputError;
use windtunnel_base::parallel;
use windtunnel_config::{KernelFit, PARAMETERS};
use windtunnel_workload::measured::Replay;

/// Parameters.
const N: usize = PARAMETERS.len();
/// How far a parameter is changed to see what it does, and how far it may go.
const LOOK: f64 = 0.25;
const FARTHEST: f64 = 4.0;
/// Steps of the search at most, and smaller ones in place of one that was worse.
const MOST_STEPS: usize = 8;
const MOST_RETRIES: usize = 4;
/// A step as long as this is none.
const SMALLEST: f64 = 0.03;
/// Narrower than this share of its prior, a parameter is known by the measurements.
const IDENTIFIED: f64 = 0.7;
/// Effects of a parameter on no cell beyond this many standard errors are none.
const FLAT: f64 = 0.1;
/// Parameters whose errors go together by more than this.
const ENTANGLED: f64 = 0.9;
/// 95 % of a normal distribution lie within so many standard deviations.
const WITHIN_95: f64 = 1.96;

/// A point of the search.
pub(super) type Point = [f64; N];

/// Figures with these parameters.
fn figures(point: &Point, shipped: &KernelFit) -> KernelFit {
    let mut fit = *shipped;
    for (k, parameter) in PARAMETERS.iter().enumerate() {
        let value = value(k, point[k], shipped);
        parameter.put(&mut fit, value);
    }
    fit
}

fn value(k: usize, x: f64, shipped: &KernelFit) -> f64 {
    let parameter = &PARAMETERS[k];
    let [least, most] = parameter.range;
    (parameter.of(shipped) * (parameter.prior * x).exp()).clamp(least, most)
}

/// Runs, and how they are simulated.
pub(super) struct Problem<'a> {
    spec: &'a RunSpec,
    runs: &'a [(&'a Load, &'a Replay)],
    jobs: usize,
    shipped: KernelFit,
    progress: &'a mut (dyn FnMut(usize, usize) + Send),
    simulations: usize,
}

/// What was simulated at a point.
#[derive(Clone, Debug)]
struct Seen {
    residuals: Vec<f64>,
    errors: Vec<f64>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        spec: &'a RunSpec,
        runs: &'a [(&'a Load, &'a Replay)],
        jobs: usize,
        shipped: KernelFit,
        progress: &'a mut (dyn FnMut(usize, usize) + Send),
    ) -> Self {
        Self {
            spec,
            runs,
            jobs,
            shipped,
            progress,
            simulations: 0,
        }
    }

    pub(super) fn simulations(&self) -> usize {
        self.simulations
    }

    /// Simulations that the search takes at most, or nearly so.
    fn most(&self) -> usize {
        (1 + (MOST_STEPS + 1) * (N + 1)) * self.runs.len()
    }

    /// Simulates all runs at these points; `None` where one is behind its load.
    fn look(&mut self, points: &[Point]) -> Result<Vec<Option<Seen>>, InputError> {
        let tasks: Vec<(usize, usize)> = (0..points.len())
            .flat_map(|p| (0..self.runs.len()).map(move |r| (p, r)))
            .collect();
        let (spec, runs, shipped, most) = (self.spec, self.runs, self.shipped, self.most());
        let (progress, done) = (&mut *self.progress, &mut self.simulations);
        let compared: Vec<Result<Compared, InputError>> = parallel::map(
            &tasks,
            self.jobs,
            |(p, r)| {
                let (load, replay) = runs[*r];
                let fit = figures(&points[*p], &shipped);
                let simulated = simulate(spec, replay, load.simulated(), &fit)?;
                Ok(load.compare(&simulated))
            },
            |_, _| {
                *done += 1;
                progress(*done, most.max(*done));
            },
        );
        let mut compared = compared.into_iter();
        let mut all = Vec::new();
        for _ in points {
            let mut seen = Seen {
                residuals: Vec::new(),
                errors: Vec::new(),
            };
            let mut behind = false;
            for one in compared.by_ref().take(runs.len()) {
                let one = one?;
                behind |= one.is_behind;
                seen.residuals.extend(one.residuals);
                seen.errors.extend(one.errors);
            }
            all.push((!behind).then_some(seen));
        }
        Ok(all)
    }

    fn look_at(&mut self, point: Point) -> Result<Option<Seen>, InputError> {
        Ok(self.look(&[point])?.pop().flatten())
    }

    /// How the residuals change by each parameter, a column each. A direction in which the
    /// simulation falls behind is looked at from the other side.
    fn slopes(&mut self, at: &Point, seen: &Seen) -> Result<Vec<Vec<f64>>, InputError> {
        let moved = |k: usize, by: f64| {
            let mut point = *at;
            point[k] += by;
            point
        };
        let ahead: Vec<Point> = (0..N).map(|k| moved(k, LOOK)).collect();
        let mut slopes = Vec::new();
        for (k, found) in self.look(&ahead)?.into_iter().enumerate() {
            let (found, by) = match found {
                Some(found) => (Some(found), LOOK),
                None => (self.look_at(moved(k, -LOOK))?, -LOOK),
            };
            slopes.push(match found {
                Some(found) => found
                    .residuals
                    .iter()
                    .zip(&seen.residuals)
                    .map(|(there, here)| (there - here) / by)
                    .collect(),
                None => vec![0.0; seen.residuals.len()],
            });
        }
        Ok(slopes)
    }
}

/// Squares of the cells and of the point, with the standard errors of `by`.
fn cost(residuals: &[f64], by: &Seen, point: &Point) -> f64 {
    let cells = residuals
        .iter()
        .zip(&by.errors)
        .map(|(r, e)| (r / e).powi(2));
    cells.sum::<f64>() + point.iter().map(|x| x * x).sum::<f64>()
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    point: Point,
    covariance: Matrix,
    /// The largest effect of each parameter on a cell, in standard errors.
    effects: Vec<f64>,
}

impl Found {
    /// The figures.
    pub(super) fn fit(&self, shipped: &KernelFit) -> KernelFit {
        figures(&self.point, shipped)
    }

    /// Standard deviation of a parameter, in those of its prior.
    fn deviation(&self, k: usize) -> f64 {
        self.covariance[k][k].sqrt().min(1.0)
    }

    /// Lower end, value and upper end.
    pub(super) fn interval(&self, k: usize, shipped: &KernelFit) -> [f64; 3] {
        let half = WITHIN_95 * self.deviation(k);
        [-half, 0.0, half].map(|by| value(k, self.point[k] + by, shipped))
    }

    /// Do the measurements say more about it than was known before?
    pub(super) fn is_identified(&self, k: usize) -> bool {
        self.deviation(k) < IDENTIFIED
    }

    /// Does it change nothing?
    pub(super) fn is_flat(&self, k: usize) -> bool {
        self.effects[k] < FLAT
    }

    /// Pairs of which one can be more where the other is less.
    pub(super) fn entangled(&self) -> Vec<(usize, usize)> {
        let c = &self.covariance;
        let together = |a: usize, b: usize| (c[a][b] / (c[a][a] * c[b][b]).sqrt()).abs();
        let pairs = (0..N).flat_map(|a| (a + 1..N).map(move |b| (a, b)));
        pairs
            .filter(|(a, b)| together(*a, *b) > ENTANGLED)
            .collect()
    }
}

/// Searches from the shipped figures on.
pub(super) fn search(problem: &mut Problem<'_>) -> Result<Found, InputError> {
    let (mut point, mut seen) = begin(problem)?;
    let mut trusted: f64 = 2.0;
    let mut slopes = problem.slopes(&point, &seen)?;
    for _ in 0..MOST_STEPS {
        let before = cost(&seen.residuals, &seen, &point);
        let mut better = None;
        for _ in 0..MOST_RETRIES {
            let step = step(&point, &seen, &slopes, trusted);
            let length = step.iter().map(|s| s * s).sum::<f64>().sqrt();
            if length < SMALLEST {
                break;
            }
            let mut next = point;
            for (x, s) in next.iter_mut().zip(&step) {
                *x = (*x + s).clamp(-FARTHEST, FARTHEST);
            }
            let found = problem.look_at(next)?;
            let after = found.map(|found| (cost(&found.residuals, &seen, &next), found));
            match after {
                Some((after, found)) if after < before => {
                    better = Some((next, found, before - after));
                    trusted = (2.0 * length).max(trusted);
                    break;
                }
                _ => trusted = 0.35 * length,
            }
        }
        let Some((next, found, gain)) = better else {
            break;
        };
        (point, seen) = (next, found);
        slopes = problem.slopes(&point, &seen)?;
        if gain < 1e-3 * before {
            break;
        }
    }
    let (normal, _) = normal_equations(&point, &seen, &slopes);
    let covariance = inverse(&normal)
        .ok_or_else(|| InputError::new("the fit has no interval: its equations are singular"))?;
    // Cells that differ by more than their errors say that the model has other ones.
    let squares = seen.residuals.iter().zip(&seen.errors);
    let squares: f64 = squares.map(|(r, e)| (r / e).powi(2)).sum();
    let excess = (squares / seen.residuals.len().max(1) as f64).max(1.0);
    let widened = covariance
        .iter()
        .map(|row| row.iter().map(|c| c * excess).collect());
    let effect = |slope: &Vec<f64>| {
        let effects = slope.iter().zip(&seen.errors).map(|(s, e)| (s / e).abs());
        effects.fold(0.0, f64::max)
    };
    Ok(Found {
        point,
        covariance: widened.collect(),
        effects: slopes.iter().map(effect).collect(),
    })
}

/// The shipped figures, or faster ones where the simulation is behind with those.
fn begin(problem: &mut Problem<'_>) -> Result<(Point, Seen), InputError> {
    for faster in 0..=3 {
        let mut point = [0.0; N];
        for x in &mut point[2..] {
            *x = -f64::from(faster);
        }
        if let Some(seen) = problem.look_at(point)? {
            return Ok((point, seen));
        }
    }
    let names: Vec<&str> = problem.runs.iter().map(|(load, _)| &*load.name).collect();
    Err(InputError::new(format!(
        "the simulation is behind the load of {} whatever the figures: are `model`, `hardware`, `tp` and the limits \
         of the engine (`max_num_seqs`, `max_num_batched_tokens`) those of the server?",
        names.join(", ")
    )))
}

/// Second derivatives of the cost and its gradient, halved.
fn normal_equations(point: &Point, seen: &Seen, slopes: &[Vec<f64>]) -> (Matrix, Vec<f64>) {
    let weighted = |a: &[f64], b: &[f64]| -> f64 {
        let products = a.iter().zip(b).zip(&seen.errors);
        products.map(|((a, b), e)| a * b / (e * e)).sum()
    };
    let row = |i: usize| -> Vec<f64> {
        let prior = |j: usize| f64::from(u8::from(i == j));
        (0..N)
            .map(|j| weighted(&slopes[i], &slopes[j]) + prior(j))
            .collect()
    };
    let gradient = (0..N).map(|i| weighted(&slopes[i], &seen.residuals) + point[i]);
    ((0..N).map(row).collect(), gradient.collect())
}

/// The step to the least cost as far as slopes tell, not longer than `trusted`.
fn step(point: &Point, seen: &Seen, slopes: &[Vec<f64>], trusted: f64) -> Vec<f64> {
    let (normal, gradient) = normal_equations(point, seen, slopes);
    let downhill: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut damping = 0.0;
    loop {
        let mut damped = normal.clone();
        for (i, row) in damped.iter_mut().enumerate() {
            row[i] += damping;
        }
        if let Some(step) = solve(&damped, &downhill)
            && step.iter().map(|s| s * s).sum::<f64>().sqrt() <= trusted
        {
            return step;
        }
        damping = f64::max(4.0 * damping, 0.1);
    }
}
