//! Gaps between arrivals, in units of their mean or of microseconds.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, Gamma, Weibull};

/// A renewal process: independent gaps of one distribution, microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gaps {
    /// Equal gaps of whole microseconds.
    Constant(i64),
    /// Exponential gaps with this mean.
    Poisson(f64),
    /// Gamma gaps.
    Gamma {
        /// Their distribution.
        of: Gamma<f64>,
        /// Mean, microseconds.
        mean: f64,
    },
    /// Weibull gaps.
    Weibull {
        /// Their distribution.
        of: Weibull<f64>,
        /// Mean, microseconds.
        mean: f64,
    },
}

impl Gaps {
    /// Equal gaps for a rate, requests per second. Both divisions as the reference does them, and
    /// towards zero: at 20 requests/s it sends one every 49,999 us.
    #[must_use]
    pub fn constant(rate: f64) -> Self {
        Self::Constant(((1.0 / (rate / 1e6)) as i64).max(1))
    }

    /// Exponential gaps for a rate, requests per second.
    #[must_use]
    pub fn poisson(rate: f64) -> Self {
        Self::Poisson(1e6 / rate)
    }

    /// Gamma gaps for a rate, with standard deviation over mean `cv`: shape 1/cv^2, scale
    /// cv^2/rate. `None` for numbers that make no distribution.
    #[must_use]
    pub fn gamma(rate: f64, cv: f64) -> Option<Self> {
        Self::gamma_of(1.0 / (cv * cv), cv * cv * 1e6 / rate)
    }

    /// Gamma gaps by shape and scale (microseconds).
    #[must_use]
    pub fn gamma_of(shape: f64, scale: f64) -> Option<Self> {
        let mean = shape * scale;
        Gamma::new(shape, scale)
            .ok()
            .map(|of| Self::Gamma { of, mean })
    }

    /// Weibull gaps for a rate, with standard deviation over mean `cv`. `None` when no shape from
    /// 0.1 to 100 has that cv.
    #[must_use]
    pub fn weibull(rate: f64, cv: f64) -> Option<Self> {
        let shape = weibull_shape(cv)?;
        Self::weibull_of(shape, 1e6 / rate / libm::tgamma(1.0 + 1.0 / shape))
    }

    /// Weibull gaps by shape and scale (microseconds).
    #[must_use]
    pub fn weibull_of(shape: f64, scale: f64) -> Option<Self> {
        let mean = scale * libm::tgamma(1.0 + 1.0 / shape);
        Weibull::new(scale, shape)
            .ok()
            .map(|of| Self::Weibull { of, mean })
    }

    /// Mean gap, microseconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Constant(us) => us as f64,
            Self::Poisson(mean) => mean,
            Self::Gamma { mean, .. } | Self::Weibull { mean, .. } => mean,
        }
    }

    /// Draws a gap, microseconds, 0 or more.
    pub fn sample(&self, rng: &mut impl Rng) -> f64 {
        let gap = match self {
            Self::Constant(us) => *us as f64,
            Self::Poisson(mean) => mean * rng.sample::<f64, _>(Exp1),
            Self::Gamma { of, .. } => of.sample(rng),
            Self::Weibull { of, .. } => of.sample(rng),
        };
        if gap.is_finite() { gap } else { f64::MAX }
    }
}

/// Standard deviation over mean of a Weibull distribution: sqrt(G(1 + 2/k) / G(1 + 1/k)^2 - 1) with
/// the Gamma function G.
fn weibull_cv(shape: f64) -> f64 {
    // By logarithms: G itself overflows for small shapes.
    let ratio = (libm::lgamma(1.0 + 2.0 / shape) - 2.0 * libm::lgamma(1.0 + 1.0 / shape)).exp();
    (ratio - 1.0).max(0.0).sqrt()
}

/// The shape from 0.1 to 100 that gives a Weibull distribution this cv; `None` when there is none.
#[must_use]
pub fn weibull_shape(cv: f64) -> Option<f64> {
    let (mut low, mut high) = (0.1, 100.0);
    if !(weibull_cv(high)..=weibull_cv(low)).contains(&cv) {
        return None;
    }
    // The cv falls with the shape.
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if weibull_cv(middle) > cv {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(0.5 * (low + high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::rng::stream;

    const N: u64 = 200_000;

    /// Mean and standard deviation over mean of many gaps.
    fn measured(gaps: &Gaps) -> (f64, f64) {
        let xs: Vec<f64> = (0..N)
            .map(|k| gaps.sample(&mut stream(11, "gaps", 0, k)))
            .collect();
        let mean = xs.iter().sum::<f64>() / N as f64;
        let variance = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / N as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn every_process_has_the_mean_and_cv_that_were_asked_for() {
        for (gaps, cv) in [
            (Gaps::poisson(5.0), 1.0),
            (Gaps::gamma(5.0, 0.5).unwrap(), 0.5),
            (Gaps::gamma(5.0, 3.5).unwrap(), 3.5),
            (Gaps::weibull(5.0, 0.5).unwrap(), 0.5),
            (Gaps::weibull(5.0, 2.0).unwrap(), 2.0),
        ] {
            let (mean, found) = measured(&gaps);
            let error = 5.0 * cv / (N as f64).sqrt();
            assert!(
                (mean / 200_000.0 - 1.0).abs() < error,
                "{gaps:?}: mean {mean}"
            );
            assert!((found / cv - 1.0).abs() < 0.03, "{gaps:?}: cv {found}");
        }
        assert_eq!(measured(&Gaps::constant(20.0)), (49_999.0, 0.0));
    }

    #[test]
    fn tails_are_those_of_theory() {
        let share = |gaps: Gaps, above: f64| {
            let beyond = |k: &u64| gaps.sample(&mut stream(3, "tail", 0, *k)) > above;
            (0..N).filter(beyond).count() as f64 / N as f64
        };
        for (found, theory) in [
            (share(Gaps::poisson(1.0), 3e6), (-3.0_f64).exp()),
            (
                share(Gaps::weibull_of(0.5, 1e6).unwrap(), 9e6),
                (-3.0_f64).exp(),
            ),
            // Gamma with shape 2 is the sum of two exponentials: P(X > x) = (1 + x) e^-x.
            (
                share(Gaps::gamma_of(2.0, 1e6).unwrap(), 4e6),
                5.0 * (-4.0_f64).exp(),
            ),
        ] {
            let error = (theory * (1.0 - theory) / N as f64).sqrt();
            assert!((found - theory).abs() < 5.0 * error, "{found} for {theory}");
        }
    }

    #[test]
    fn the_weibull_shape_gives_its_cv_and_impossible_ones_have_none() {
        for cv in [0.02, 0.5, 1.0, 2.0, 10.0] {
            let shape = weibull_shape(cv).unwrap();
            assert!((weibull_cv(shape) / cv - 1.0).abs() < 1e-9, "{cv}: {shape}");
        }
        assert!((weibull_shape(1.0).unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(
            (
                weibull_shape(0.0),
                weibull_shape(1e3),
                weibull_shape(f64::NAN)
            ),
            (None, None, None)
        );
    }

    #[test]
    fn gaps_stay_what_they_are() {
        // Golden: a changed library or stream would change every published figure.
        let gaps = [
            Gaps::poisson(1.0),
            Gaps::gamma(1.0, 2.0).unwrap(),
            Gaps::gamma(1.0, 0.5).unwrap(),
            Gaps::weibull(1.0, 2.0).unwrap(),
        ];
        let found = gaps.map(|g| g.sample(&mut stream(1, "golden", 2, 3)) as i64);
        assert_eq!(found, GOLDEN);
    }

    const GOLDEN: [i64; 4] = [182_797, 319_776, 851_266, 489_430];
}
