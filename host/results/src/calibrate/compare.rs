//! One latency on both sides: over all requests, and request by request.

use super::intervals::{Interval, intervals};
use super::pair::Pair;
use crate::metrics::stats::percentiles;
use serde::Serialize;
use std::collections::BTreeMap;

/// Takes a latency of a pair: observed, simulated.
type Take = fn(&Pair) -> Option<(f64, f64)>;

/// The latencies: their names, and where they are.
const METRICS: [(&str, Take); 4] = [
    ("ttft", |p| Some((p.real.ttft_us, p.simulated.ttft_us))),
    ("e2e", |p| Some((p.real.e2e_us, p.simulated.e2e_us))),
    ("itl", |p| p.real.itl_us.zip(p.simulated.itl_us)),
    ("tpot", |p| p.real.tpot_us.zip(p.simulated.tpot_us)),
];

/// Mean and percentiles of one side, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Figures {
    fn of(values: Vec<f64>) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let found = percentiles(values, [50.0, 90.0, 95.0, 99.0]);
        let [p50, p90, p95, p99] = found.unwrap_or_default();
        Self {
            mean,
            p50,
            p90,
            p95,
            p99,
        }
    }

    /// In the order of report.
    #[must_use]
    pub fn list(&self) -> [(&'static str, f64); 5] {
        [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p95", self.p95),
            ("p99", self.p99),
        ]
    }
}

/// Does the simulation say more or less than was observed?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// More, in sum.
    OverPredict,
    /// Less, in sum.
    UnderPredict,
    /// The same.
    Neutral,
}

/// How good a simulation is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// A MAPE below 0.1, and r above 0.95.
    Excellent,
    /// Below 0.2, and above 0.85.
    Good,
    /// Below 0.35, and above 0.7.
    Fair,
    /// Worse, or too few requests to say.
    Poor,
}

impl Quality {
    fn of(mape: f64, r: f64) -> Self {
        match (mape, r) {
            (m, r) if m < 0.10 && r > 0.95 => Self::Excellent,
            (m, r) if m < 0.20 && r > 0.85 => Self::Good,
            (m, r) if m < 0.35 && r > 0.70 => Self::Fair,
            _ => Self::Poor,
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Excellent => "excellent",
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
        }
    }
}

/// A latency on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// Requests that have it on both sides.
    pub count: usize,
    /// What was observed, microseconds.
    pub real_us: Figures,
    /// What was simulated, microseconds.
    pub simulated_us: Figures,
    /// (simulated - observed) / observed of each of these; `None` where that is 0.
    pub relative_error: BTreeMap<&'static str, Option<f64>>,
    /// Where those are, at 95 %.
    pub relative_error_interval: BTreeMap<&'static str, Option<Interval>>,
    /// Mean over the requests of |simulated - observed| / observed; `None` where all are 0.
    pub mape: Option<f64>,
    /// Where that is, at 95 %.
    pub mape_interval: Option<Interval>,
    /// Pearson's correlation of the requests; 0 of fewer than 3, or where a side never changes.
    pub pearson_r: f64,
    /// Where that is, at 95 %.
    pub pearson_r_interval: Option<Interval>,
    /// Does the simulation say more or less?
    pub bias: Bias,
    /// How good it is, in one word.
    pub quality: Quality,
}

/// Mean of |simulated - real| / real over those whose real value is not 0.
fn mape(real: &[f64], simulated: &[f64]) -> Option<f64> {
    let pairs = real.iter().zip(simulated).filter(|(r, _)| **r != 0.0);
    let errors: Vec<f64> = pairs.map(|(r, s)| (s - r).abs() / r.abs()).collect();
    (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
}

/// Pearson's correlation; 0 of fewer than 3, or where a side never changes.
fn pearson(a: &[f64], b: &[f64]) -> f64 {
    if a.len() < 3 {
        return 0.0;
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma).powi(2);
        bb += (y - mb).powi(2);
    }
    match aa > 0.0 && bb > 0.0 {
        true => (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0),
        false => 0.0,
    }
}

fn relative(real: f64, simulated: f64) -> Option<f64> {
    (real > 0.0).then(|| (simulated - real) / real)
}

impl Metric {
    /// Of values of the same requests, in the order of time.
    pub(super) fn of(real: Vec<f64>, simulated: Vec<f64>) -> Self {
        let (real_us, simulated_us) = (Figures::of(real.clone()), Figures::of(simulated.clone()));
        let sums = simulated.iter().zip(&real).map(|(s, r)| s - r).sum::<f64>();
        let found = intervals(real.len(), |places| {
            let take = |values: &[f64]| places.iter().map(|k| values[*k]).collect::<Vec<f64>>();
            let (r, s) = (take(&real), take(&simulated));
            let (m, p) = (mape(&r, &s), pearson(&r, &s));
            let (r, s) = (Figures::of(r).list(), Figures::of(s).list());
            let error = |k: usize| relative(r[k].1, s[k].1).unwrap_or(f64::NAN);
            let m = m.unwrap_or(f64::NAN);
            [m, p, error(0), error(1), error(2), error(3), error(4)]
        });
        let (m, r) = (mape(&real, &simulated), pearson(&real, &simulated));
        let both = real_us.list().into_iter().zip(simulated_us.list());
        let errors = both.map(|((name, real), (_, simulated))| (name, relative(real, simulated)));
        let names = real_us.list().map(|(name, _)| name);
        Self {
            count: real.len(),
            relative_error: errors.collect(),
            relative_error_interval: names.into_iter().zip(found[2..].iter().copied()).collect(),
            mape: m,
            mape_interval: found[0],
            pearson_r: r,
            pearson_r_interval: found[1],
            bias: match sums {
                sum if sum > 0.0 => Bias::OverPredict,
                sum if sum < 0.0 => Bias::UnderPredict,
                _ => Bias::Neutral,
            },
            quality: m.map_or(Quality::Poor, |m| Quality::of(m, r)),
            real_us,
            simulated_us,
        }
    }
}

/// The latencies of these requests; those that none has are absent.
pub(super) fn metrics(pairs: &[&Pair]) -> BTreeMap<&'static str, Metric> {
    let of = METRICS.into_iter().filter_map(|(name, take)| {
        let both: Vec<(f64, f64)> = pairs.iter().filter_map(|p| take(p)).collect();
        let (real, simulated): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
        (!real.is_empty()).then(|| (name, Metric::of(real, simulated)))
    });
    of.collect()
}
