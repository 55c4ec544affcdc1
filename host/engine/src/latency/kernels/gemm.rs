//! Times of matrix products: measured shapes, and shapes between them.

use super::curve::between;
use super::part::Measurement;
use std::sync::Arc;
use windtunnel_config::KernelTable;

/// Measured matrix products of one data type.
#[derive(Clone, Debug)]
pub(super) struct Gemms {
    table: Arc<KernelTable>,
    roof: Roof,
    /// What was measured.
    pub(super) measurement: Measurement,
    /// Sizes that were measured, of weights in both directions.
    sizes: [Vec<u32>; 2],
}

/// What a product takes at least, in the data type that was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roof {
    /// FLOP per microsecond.
    pub(super) flops: f64,
    /// Bytes per microsecond.
    pub(super) bandwidth: f64,
    /// Bytes of a weight.
    pub(super) weight_bytes: f64,
}

/// Launching a kernel, microseconds.
const LAUNCH_US: f64 = 2.0;
/// Smaller sizes of weights say nothing of larger ones.
const SMALLEST_SIZE: u32 = 128;

impl Roof {
    /// Microseconds of m x k activations times k x n weights.
    pub(super) fn us(self, m: f64, n: f64, k: f64) -> f64 {
        let bytes = self.weight_bytes * n * k + 2.0 * m * (n + k);
        (2.0 * m * n * k / self.flops).max(bytes / self.bandwidth) + LAUNCH_US
    }
}

/// A product of one shape of weights, by the number of activations.
#[derive(Clone, Debug)]
pub(super) struct Gemm {
    m: Vec<f64>,
    us: Vec<f64>,
    /// Is it a shape that was measured?
    pub(super) is_measured: bool,
}

impl Gemm {
    /// The most activations that were measured.
    pub(super) fn reach(&self) -> f64 {
        self.m.last().copied().unwrap_or(0.0)
    }

    pub(super) fn us(&self, m: f64) -> f64 {
        between(&self.m, &self.us, m)
    }
}

impl Gemms {
    pub(super) fn new(table: Arc<KernelTable>, roof: Roof, measurement: Measurement) -> Self {
        let sizes = [0, 1].map(|key| {
            let mut sizes: Vec<u32> = table.rows.iter().map(|row| row[key]).collect();
            sizes.sort_unstable();
            sizes.dedup();
            sizes
        });
        Self {
            table,
            roof,
            measurement,
            sizes,
        }
    }

    /// The product with k x n weights whose weights have `weight_bytes` each. Between measured
    /// shapes the efficiency, measured time over [`Roof`], is interpolated in the logarithms of n
    /// and k. `None` where nothing near was measured.
    pub(super) fn gemm(&self, n: f64, k: f64, weight_bytes: f64) -> Option<Gemm> {
        let own = Roof {
            weight_bytes,
            ..self.roof
        };
        let columns = &self.table.columns;
        let mut is_measured = weight_bytes == self.roof.weight_bytes;
        let mut sums = vec![(0.0, 0.0); columns.len()];
        for (near_n, weight_n) in neighbours(&self.sizes[0], n) {
            for (near_k, weight_k) in neighbours(&self.sizes[1], k) {
                let weight = weight_n * weight_k;
                let row = self.table.rows.binary_search(&vec![near_n, near_k]);
                let Some(row) = row.ok().filter(|_| weight > 0.0) else {
                    continue;
                };
                is_measured &= (f64::from(near_n), f64::from(near_k)) == (n, k);
                for ((sum, m), us) in sums.iter_mut().zip(columns).zip(&self.table.us[row]) {
                    if us.is_finite() {
                        let roof = self.roof.us(f64::from(*m), near_n.into(), near_k.into());
                        sum.0 += weight * (us / roof).ln();
                        sum.1 += weight;
                    }
                }
            }
        }
        let points = sums.iter().zip(columns).filter(|(sum, _)| sum.1 > 0.0);
        let (m, us): (Vec<f64>, Vec<f64>) = points
            .map(|((efficiency, weight), m)| {
                let m = f64::from(*m);
                (m, (efficiency / weight).exp() * own.us(m, n, k))
            })
            .unzip();
        (!m.is_empty()).then_some(Gemm { m, us, is_measured })
    }
}

/// The measured sizes below and above, with their weights.
fn neighbours(sizes: &[u32], size: f64) -> [(u32, f64); 2] {
    let from = sizes.partition_point(|s| *s < SMALLEST_SIZE && f64::from(*s) < size);
    let sizes = &sizes[from.min(sizes.len() - 1)..];
    let above = sizes.partition_point(|s| f64::from(*s) < size);
    let high = sizes[above.min(sizes.len() - 1)];
    let low = match above {
        _ if f64::from(high) == size => high,
        0 => high,
        above => sizes[above - 1],
    };
    if low == high {
        return [(low, 1.0), (high, 0.0)];
    }
    let (low_ln, high_ln) = (f64::from(low).ln(), f64::from(high).ln());
    let share = ((size.ln() - low_ln) / (high_ln - low_ln)).clamp(0.0, 1.0);
    [(low, 1.0 - share), (high, share)]
}
