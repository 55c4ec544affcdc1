//! The blackbox model: a line fitted to measured step times.

use super::model::{LatencyModel, StepAggregates, StepItem, check_coefficients, truncate_us};
use crate::rules::Preset;
use windtunnel_base::input::InputError;

/// `step = beta0 + beta1 x prefilled tokens + beta2 x decoded tokens`, as fitted by BLIS to
/// measured servers; drafts that are verified count as decoded tokens.
///
/// It knows nothing of context lengths; the coefficients hold for one model, GPU, tensor
/// parallelism and vLLM version.
#[derive(Clone, Debug)]
pub struct Blackbox {
    alpha: [f64; 3],
    beta: [f64; 3],
}

impl Blackbox {
    /// A model of three alpha (queueing per request, queueing per prompt token, time per output
    /// token) and three beta (per step, per prefilled token, per decode) coefficients; all
    /// microseconds.
    ///
    /// # Errors
    /// When there are not three of each, or one is negative or not finite.
    pub fn new(alpha: &[f64], beta: &[f64]) -> Result<Self, InputError> {
        let three = |what: &str, values: &[f64]| {
            check_coefficients(what, values)?;
            <[f64; 3]>::try_from(values).map_err(|_| {
                InputError::new(format!(
                    "{} {what} coefficients; the blackbox model takes 3",
                    values.len()
                ))
            })
        };
        Ok(Self {
            alpha: three("alpha", alpha)?,
            beta: three("beta", beta)?,
        })
    }
}

impl LatencyModel for Blackbox {
    fn fitted_under(&self) -> Preset {
        Preset::Blis
    }

    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        if step.requests == 0 {
            return 1;
        }
        // Added in this order: the sum is truncated, so its last bit counts.
        let us = self.beta[0]
            + self.beta[1] * step.prefill_tokens as f64
            + self.beta[2] * step.decode_tokens() as f64;
        truncate_us(us).max(1)
    }

    fn ignores_decode_context(&self) -> bool {
        true
    }

    fn queueing_us(&self, prompt_tokens: u32) -> i64 {
        truncate_us(self.alpha[0] + self.alpha[1] * f64::from(prompt_tokens))
    }

    fn output_token_us(&self) -> i64 {
        truncate_us(self.alpha[2])
    }

    fn post_decode_us(&self) -> i64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter::empty;

    #[test]
    fn a_step_is_a_truncated_line() {
        // Published figures of one request of 512 prompt tokens.
        let model = Blackbox::new(
            &[2247.7893, 4.3667, 2026.846],
            &[8721.0447, 4.48315, 0.55779],
        )
        .unwrap();
        let mut step = StepAggregates {
            requests: 1,
            prefill_tokens: 512,
            ..StepAggregates::default()
        };
        assert_eq!(model.step_us(&step, &mut empty()), 11016);
        assert_eq!(model.queueing_us(512), 4483);
        assert_eq!(4483 + 11016 + model.output_token_us(), 17525);
        step.prefill_tokens = 0;
        step.decodes = 1;
        assert_eq!(model.step_us(&step, &mut empty()), 8721);
        assert_eq!(model.post_decode_us(), 0);
    }

    #[test]
    fn a_step_is_never_shorter_than_a_microsecond() {
        let model = Blackbox::new(&[0.0; 3], &[0.0; 3]).unwrap();
        let step = StepAggregates {
            requests: 1,
            decodes: 1,
            ..StepAggregates::default()
        };
        assert_eq!(model.step_us(&step, &mut empty()), 1);
        let model = Blackbox::new(&[0.0; 3], &[50.0, 0.0, 0.0]).unwrap();
        assert_eq!(model.step_us(&StepAggregates::default(), &mut empty()), 1);
    }

    #[test]
    fn bad_coefficients_are_refused() {
        let error = |a: &[f64], b: &[f64]| Blackbox::new(a, b).unwrap_err().to_string();
        assert_eq!(
            error(&[0.0; 2], &[0.0; 3]),
            "2 alpha coefficients; the blackbox model takes 3"
        );
        assert_eq!(
            error(&[0.0; 3], &[0.0, -1.0, 0.0]),
            "beta coefficient 1 is -1; expected a finite number, 0 or above"
        );
        assert!(error(&[0.0, 0.0, f64::NAN], &[0.0; 3]).contains("alpha coefficient 2"));
        assert_eq!(
            error(&[0.0, 0.0, 1e300], &[0.0; 3]),
            "alpha coefficient 2 is 1e300; expected at most 1e12"
        );
    }
}
