//! How wrong estimates of durations are, question by question.

use crate::forecast::ForecastError;
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;
use windtunnel_base::rng::stream;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Prefill,
    Step,
    Ttft,
}

/// Sizes that are told apart: two for every power of two, from 1 to 2^32.
const SIZES: usize = 66;

/// Factors of wrong estimates. Half of an error's variance is that of the kind of question for the
/// whole run, as of a model fitted on another machine; the other half changes with the size of what
/// is asked about, as of a model with the wrong shape. The same question always gets the same
/// answer, so asking again teaches nothing.
#[derive(Clone, Debug)]
pub struct EstimateErrors(Arc<[[f64; SIZES]; 3]>);

impl EstimateErrors {
    /// The errors for the instances of one pool under a seed.
    #[must_use]
    pub fn new(error: ForecastError, seed: u64, pool: u64) -> Self {
        let factors = |question: Question| {
            let mut rng = stream(seed, "estimate error", pool, question as u64);
            let mut draw = || -> f64 { StandardNormal.sample(&mut rng) };
            let of_run = draw();
            std::array::from_fn(|_| error.factor((of_run + draw()) / 2f64.sqrt()))
        };
        Self(Arc::new(
            [Question::Prefill, Question::Step, Question::Ttft].map(factors),
        ))
    }

    /// What the true duration is multiplied by for a question about so many tokens.
    pub(super) fn factor(&self, question: Question, tokens: u64) -> f64 {
        let halves = (2.0 * ((tokens + 1) as f64).log2()) as usize;
        self.0[question as usize][halves.min(SIZES - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_as_large_as_they_say() {
        let error: ForecastError = "lognormal:0.3:0.9".parse().unwrap();
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0);
        for seed in 0..2000 {
            let errors = EstimateErrors::new(error, seed, 0);
            let log = (errors.factor(Question::Prefill, 700) / 0.9).ln();
            (sum, squares, n) = (sum + log, squares + log * log, n + 1.0);
        }
        let mean: f64 = sum / n;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!(((squares / n - mean * mean).sqrt() - 0.3f64).abs() < 0.02);
        let errors = EstimateErrors::new(error, 1, 0);
        let other = EstimateErrors::new(error, 1, 1);
        let of = |errors: &EstimateErrors, tokens| errors.factor(Question::Ttft, tokens);
        assert_eq!(of(&errors, 1000), of(&errors, 1000));
        assert_ne!(of(&errors, 1000), of(&other, 1000));
        assert_ne!(of(&errors, 10), of(&errors, 1000));
        for tokens in [0, u64::from(u32::MAX), u64::MAX - 1] {
            assert!(of(&errors, tokens) > 0.0);
        }
    }
}
