//! Are several simulations ordered as what was observed is?

use super::Calibration;
use super::intervals::{Interval, joint};
use super::pair::{Pair, Side};
use crate::metrics::stats::{percentiles, spearman};
use serde::Serialize;

/// Takes a figure of the latencies of one side.
type Figure = fn(&mut dyn Iterator<Item = &Side>) -> f64;

fn mean(values: &mut dyn Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0_u32), |(sum, n), v| (sum + v, n + 1));
    sum / f64::from(n)
}

fn p99(values: &mut dyn Iterator<Item = f64>) -> f64 {
    percentiles(values.collect(), [99.0]).map_or(f64::NAN, |[p]| p)
}

/// The figures that runs are ordered by.
const FIGURES: [(&str, Figure); 5] = [
    ("ttft_mean", |s| mean(&mut s.map(|s| s.ttft_us))),
    ("ttft_p99", |s| p99(&mut s.map(|s| s.ttft_us))),
    ("tpot_mean", |s| mean(&mut s.filter_map(|s| s.tpot_us))),
    ("e2e_mean", |s| mean(&mut s.map(|s| s.e2e_us))),
    ("e2e_p99", |s| p99(&mut s.map(|s| s.e2e_us))),
];

/// How the runs are ordered by one figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rank {
    /// Which one.
    pub figure: &'static str,
    /// As observed, run by run: microseconds, or requests per second.
    pub real: Vec<f64>,
    /// As simulated.
    pub simulated: Vec<f64>,
    /// Spearman's rank correlation; `None` where a side does not differ.
    pub spearman: Option<f64>,
    /// Where it is, at 95 %.
    pub spearman_interval: Option<Interval>,
    /// Kendall's tau-b; `None` where a side does not differ.
    pub kendall: Option<f64>,
    /// Where it is, at 95 %.
    pub kendall_interval: Option<Interval>,
    /// Pairs of runs that the simulation puts in the order that was observed.
    pub in_order: usize,
    /// Pairs of runs.
    pub pairs: usize,
}

/// How the simulation orders runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranks {
    /// The runs.
    pub runs: Vec<String>,
    /// By figure.
    pub by_figure: Vec<Rank>,
}

/// Pairs in the same order, in the opposite order, and those that differ on each side.
fn orders(a: &[f64], b: &[f64]) -> [usize; 4] {
    let mut counts = [0; 4];
    for i in 0..a.len() {
        for j in 0..i {
            let (x, y) = (a[i].total_cmp(&a[j]) as i32, b[i].total_cmp(&b[j]) as i32);
            let found = [x * y > 0, x * y < 0, x != 0, y != 0];
            for (count, found) in counts.iter_mut().zip(found) {
                *count += usize::from(found);
            }
        }
    }
    counts
}

/// Kendall's tau-b: ties of one side are no agreement.
fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    let [same, opposite, a_differs, b_differs] = orders(a, b);
    let of = (a_differs as f64 * b_differs as f64).sqrt();
    (of > 0.0).then(|| (same as f64 - opposite as f64) / of)
}

/// How the simulation orders these runs; `None` of fewer than two.
#[must_use]
pub fn rank(runs: &[(String, Calibration)]) -> Option<Ranks> {
    if runs.len() < 2 {
        return None;
    }
    let pairs: Vec<&[Pair]> = runs.iter().map(|(_, c)| c.pairs.as_slice()).collect();
    let sizes: Vec<usize> = pairs.iter().map(|p| p.len()).collect();
    let mut by_figure = Vec::new();
    for (name, figure) in FIGURES {
        let at = |places: Option<&[Vec<usize>]>, side: fn(&Pair) -> &Side| -> Vec<f64> {
            let runs = pairs.iter().enumerate();
            let figures = runs.map(|(k, run)| match places {
                Some(places) => figure(&mut places[k].iter().map(|at| side(&run[*at]))),
                None => figure(&mut run.iter().map(side)),
            });
            figures.collect()
        };
        let sides: [fn(&Pair) -> &Side; 2] = [|p| &p.real, |p| &p.simulated];
        let [real, simulated] = sides.map(|side| at(None, side));
        if real.iter().chain(&simulated).any(|x| !x.is_finite()) {
            continue;
        }
        let [spearman_interval, kendall_interval] = joint(&sizes, |places| {
            let [real, simulated] = sides.map(|side| at(Some(places), side));
            [
                spearman(&real, &simulated).unwrap_or(f64::NAN),
                kendall(&real, &simulated).unwrap_or(f64::NAN),
            ]
        });
        by_figure.push(Rank {
            spearman_interval,
            kendall_interval,
            ..ordered(name, real, simulated)
        });
    }
    let rates = runs
        .iter()
        .map(|(_, c)| c.requests_per_s.map(|t| (t.real, t.simulated)));
    if let Some(rates) = rates.collect::<Option<Vec<(f64, f64)>>>() {
        let (real, simulated) = rates.into_iter().unzip();
        by_figure.push(ordered("requests_per_s", real, simulated));
    }
    let runs = runs.iter().map(|(name, _)| name.clone()).collect();
    Some(Ranks { runs, by_figure })
}

fn ordered(figure: &'static str, real: Vec<f64>, simulated: Vec<f64>) -> Rank {
    Rank {
        figure,
        spearman: spearman(&real, &simulated),
        spearman_interval: None,
        kendall: kendall(&real, &simulated),
        kendall_interval: None,
        in_order: orders(&real, &simulated)[0],
        pairs: real.len() * (real.len() - 1) / 2,
        real,
        simulated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlations_are_those_worked_out_by_hand() {
        // Of the six pairs (2, 3) alone is turned round: tau 4/6; two ranks differ by 1: rho 0.8.
        let found = ordered("x", vec![1.0, 2.0, 3.0, 4.0], vec![10.0, 30.0, 20.0, 40.0]);
        assert_eq!((found.in_order, found.pairs), (5, 6));
        assert!((found.kendall.expect("tau") - 4.0 / 6.0).abs() < 1e-12);
        assert!((found.spearman.expect("rho") - 0.8).abs() < 1e-12);
        // A tie of one side: 2 of 3 pairs agree, and the third has no order there.
        let tied = kendall(&[1.0, 2.0, 3.0], &[1.0, 1.0, 2.0]).expect("tau");
        assert!((tied - 2.0 / 6.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(kendall(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(kendall(&[1.0, 2.0], &[2.0, 1.0]), Some(-1.0));
    }
}
