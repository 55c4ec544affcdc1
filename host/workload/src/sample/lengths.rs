//! Lengths in tokens.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, Poisson, StandardNormal};
use std::sync::Arc;

/// Longest length that is ever drawn; a heavy tail ends here.
pub const MOST_LENGTH: u32 = 1 << 24;

/// A distribution of lengths. Draws are whole numbers of at least 1, except that [`Empirical`] ones
/// come as they were counted.
#[derive(Clone, Debug, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Constant(u32),
    /// Normal, clamped to bounds and rounded.
    Gaussian {
        /// Mean before clamping.
        mean: f64,
        /// Standard deviation before clamping.
        std_dev: f64,
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Exponential, rounded; a bound of 0 is none.
    Exponential {
        /// Mean.
        mean: f64,
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Log-normal, rounded; a bound of 0 is none.
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Whole numbers within bounds, all equally often.
    Uniform {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Skew normal, clamped to bounds and rounded.
    SkewNormal {
        /// Where it would have its mean without skew.
        location: f64,
        /// What would be its standard deviation without skew.
        scale: f64,
        /// Shape; above 0 the longer tail is above.
        shape: f64,
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Poisson, clamped to bounds.
    Poisson {
        /// Its distribution.
        of: Poisson<f64>,
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// A mixture of Pareto and log-normal, rounded.
    ParetoLogNormal {
        /// Tail index of the Pareto part.
        alpha: f64,
        /// Its least value.
        xm: f64,
        /// Mean of the logarithm of the other part.
        mu: f64,
        /// Standard deviation of it.
        sigma: f64,
        /// Probability of the Pareto part.
        mix_weight: f64,
    },
    /// As counted.
    Empirical(Empirical),
}

/// Lengths with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Empirical {
    /// Ascending lengths and the share of all that are not longer.
    bins: Arc<[(u32, f64)]>,
}

impl Empirical {
    /// Lengths with weights, in any order; weights of 0 or less do not count. `None` when nothing
    /// is left.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = (u32, f64)>) -> Option<Self> {
        let mut bins: Vec<(u32, f64)> = weights.into_iter().filter(|(_, w)| *w > 0.0).collect();
        bins.sort_by_key(|(length, _)| *length);
        let total: f64 = bins.iter().map(|(_, w)| w).sum();
        if bins.is_empty() || !total.is_finite() {
            return None;
        }
        let mut before = 0.0;
        for (_, share) in &mut bins {
            before += *share;
            *share = before / total;
        }
        // Rounding must not leave a gap at the end.
        bins.last_mut()?.1 = 1.0;
        Some(Self { bins: bins.into() })
    }

    fn at(&self, u: f64) -> u32 {
        let k = self.bins.partition_point(|(_, share)| *share < u);
        self.bins[k.min(self.bins.len() - 1)].0
    }

    /// Mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let mut before = 0.0;
        let mut mean = 0.0;
        for (length, share) in self.bins.iter() {
            mean += f64::from(*length) * (share - before);
            before = *share;
        }
        mean
    }
}

/// Rounded to a length, within bounds where they are above 0.
fn length(x: f64, min: f64, max: f64) -> u32 {
    let x = if x.is_finite() { x } else { min.max(1.0) };
    let x = if max > 0.0 {
        x.round().min(max)
    } else {
        x.round()
    };
    x.max(min).clamp(1.0, f64::from(MOST_LENGTH)) as u32
}

impl Lengths {
    /// Draws a number that may be 0, as percentages are; what is drawn is otherwise the same.
    pub fn sample_from_zero(&self, rng: &mut impl Rng) -> u32 {
        match *self {
            Self::Constant(n) => n,
            Self::Gaussian { max, .. } if max < 0.5 => 0,
            _ => self.sample(rng),
        }
    }

    /// Draws a length. Where only one is possible, nothing is drawn.
    pub fn sample(&self, rng: &mut impl Rng) -> u32 {
        match *self {
            Self::Constant(n) => n,
            Self::Gaussian { min, max, .. } if min == max => length(min, 0.0, 0.0),
            Self::Gaussian {
                mean,
                std_dev,
                min,
                max,
            } => {
                let x: f64 = mean + std_dev * rng.sample::<f64, _>(StandardNormal);
                length(x.min(max).max(min), 0.0, 0.0)
            }
            Self::Exponential { mean, min, max } => {
                let x: f64 = rng.sample(Exp1);
                length(mean * x, min, max)
            }
            Self::LogNormal {
                mu,
                sigma,
                min,
                max,
            } => {
                let x = mu + sigma * rng.sample::<f64, _>(StandardNormal);
                length(x.exp(), min, max)
            }
            Self::Uniform { min, max } => rng.random_range(min..=max).max(1),
            Self::SkewNormal {
                location,
                scale,
                shape,
                min,
                max,
            } => {
                // Azzalini's way: of two correlated normal numbers, the sign of one turns the
                // other.
                let delta = shape / (1.0 + shape * shape).sqrt();
                let u: f64 = rng.sample(StandardNormal);
                let v: f64 = rng.sample(StandardNormal);
                let w = delta * u + (1.0 - delta * delta).sqrt() * v;
                let x = location + scale * if u >= 0.0 { w } else { -w };
                length(x.min(max).max(min), 0.0, 0.0)
            }
            Self::Poisson { ref of, min, max } => {
                let x: f64 = of.sample(rng);
                length(x.min(max).max(min), 0.0, 0.0)
            }
            Self::ParetoLogNormal {
                alpha,
                xm,
                mu,
                sigma,
                mix_weight,
            } => {
                let x = if rng.random::<f64>() < mix_weight {
                    let u: f64 = 1.0 - rng.random::<f64>();
                    xm / u.powf(1.0 / alpha)
                } else {
                    (mu + sigma * rng.sample::<f64, _>(StandardNormal)).exp()
                };
                length(x, 0.0, 0.0)
            }
            Self::Empirical(ref empirical) => match &empirical.bins[..] {
                [(only, _)] => *only,
                _ => empirical.at(rng.random()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::rng::stream;

    const N: u64 = 200_000;

    fn draws(lengths: &Lengths) -> Vec<f64> {
        (0..N)
            .map(|k| f64::from(lengths.sample(&mut stream(7, "test", 0, k))))
            .collect()
    }

    fn moments(xs: &[f64]) -> (f64, f64) {
        let n = xs.len() as f64;
        let mean = xs.iter().sum::<f64>() / n;
        let variance = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (mean, variance)
    }

    /// Asserts that a share of `N` draws is what theory says, within five standard errors.
    fn share(xs: &[f64], theory: f64, what: impl Fn(f64) -> bool) {
        let found = xs.iter().filter(|x| what(**x)).count() as f64 / N as f64;
        let error = (theory * (1.0 - theory) / N as f64).sqrt();
        assert!((found - theory).abs() < 5.0 * error, "{found} for {theory}");
    }

    /// Asserts that the mean is what theory says, within five standard errors and what rounding may
    /// shift.
    fn mean(xs: &[f64], theory: f64, deviation: f64) {
        let (found, _) = moments(xs);
        let error = 5.0 * deviation / (N as f64).sqrt() + 0.01;
        assert!((found - theory).abs() < error, "{found} for {theory}");
    }

    #[test]
    fn a_clamped_gaussian_gathers_its_tails_at_the_bounds() {
        let xs = draws(&Lengths::Gaussian {
            mean: 100.0,
            std_dev: 50.0,
            min: 50.0,
            max: 200.0,
        });
        // Tails of the normal distribution beyond -1 (with half a token of rounding) and 2 standard
        // deviations.
        share(&xs, 0.16109, |x| x == 50.0);
        share(&xs, 0.02330, |x| x == 200.0);
        share(&xs, 0.5 + 0.004, |x| x <= 100.0);
        assert_eq!(
            draws(&Lengths::Gaussian {
                mean: 3.0,
                std_dev: 9.0,
                min: 7.0,
                max: 7.0
            })[..2],
            [7.0, 7.0]
        );
    }

    #[test]
    fn an_exponential_has_its_mean_deviation_and_tail() {
        let xs = draws(&Lengths::Exponential {
            mean: 256.0,
            min: 0.0,
            max: 0.0,
        });
        mean(&xs, 256.0, 256.0);
        let (_, variance) = moments(&xs);
        // The variance of the sample variance of an exponential is 8 mean^4 / n.
        assert!((variance.sqrt() / 256.0 - 1.0).abs() < 5.0 * (8.0 / N as f64).sqrt() / 2.0);
        share(&xs, (-768.5_f64 / 256.0).exp(), |x| x > 768.0);
        let bounded = draws(&Lengths::Exponential {
            mean: 256.0,
            min: 10.0,
            max: 300.0,
        });
        share(&bounded, (-299.5_f64 / 256.0).exp(), |x| x == 300.0);
        share(&bounded, 1.0 - (-10.5_f64 / 256.0).exp(), |x| x == 10.0);
    }

    #[test]
    fn a_log_normal_has_its_median_and_spread() {
        let xs = draws(&Lengths::LogNormal {
            mu: 6.0,
            sigma: 0.5,
            min: 0.0,
            max: 0.0,
        });
        let logs: Vec<f64> = xs.iter().map(|x| x.ln()).collect();
        let (middle, variance) = moments(&logs);
        assert!(
            (middle - 6.0).abs() < 5.0 * 0.5 / (N as f64).sqrt() + 1e-4,
            "{middle}"
        );
        assert!((variance.sqrt() - 0.5).abs() < 5.0 * 0.5 / (2.0 * N as f64).sqrt() + 1e-4);
        let wild = draws(&Lengths::LogNormal {
            mu: 900.0,
            sigma: 1.0,
            min: 5.0,
            max: 0.0,
        });
        assert!(
            wild.iter()
                .all(|x| *x == 5.0 || *x == f64::from(MOST_LENGTH))
        );
    }

    #[test]
    fn a_pareto_mixture_has_both_parts_and_the_tail() {
        let pareto = |mix_weight| Lengths::ParetoLogNormal {
            alpha: 1.5,
            xm: 50.0,
            mu: 5.5,
            sigma: 1.2,
            mix_weight,
        };
        let xs = draws(&pareto(1.0));
        share(&xs, (50.0_f64 / 999.5).powf(1.5), |x| x >= 1000.0);
        assert!(xs.iter().all(|x| *x >= 50.0));
        // P(lognormal <= 49.5) for mu 5.5, sigma 1.2 is the normal distribution function at
        // -1.3316.
        share(&draws(&pareto(0.3)), 0.7 * 0.09149, |x| x < 50.0);
    }

    #[test]
    fn counted_lengths_come_as_often_as_they_were_counted() {
        let lengths = Lengths::Empirical(
            Empirical::new([(256, 1.0), (64, 2.0), (9, 0.0), (0, 1.0)]).unwrap(),
        );
        let xs = draws(&lengths);
        share(&xs, 0.25, |x| x == 0.0);
        share(&xs, 0.5, |x| x == 64.0);
        share(&xs, 0.25, |x| x == 256.0);
        assert_eq!(Empirical::new([(64, 1.0), (32, 3.0)]).unwrap().mean(), 40.0);
        assert_eq!(Empirical::new([(64, 0.0)]), None);
        assert_eq!(Empirical::new([(64, f64::INFINITY)]), None);
    }
}
