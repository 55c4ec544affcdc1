//! The coefficients of the trained-physics models.

use super::model::{check_coefficients, truncate_us};
use windtunnel_base::input::InputError;

/// Alpha and beta; what each means is told at
/// [`blis::TrainedPhysics`](super::blis::TrainedPhysics).
#[derive(Clone, Debug)]
pub(super) struct PhysicsCoefficients {
    alpha: [f64; 3],
    pub(super) beta: [f64; 11],
    /// How many of beta were given.
    pub(super) supplied: usize,
}

impl PhysicsCoefficients {
    /// # Errors
    /// When there are not 3 alpha and 7 to 11 beta, or one makes no sense.
    pub(super) fn new(alpha: &[f64], beta: &[f64]) -> Result<Self, InputError> {
        let refuse = |message: String| Err(InputError::new(format!("trained-physics: {message}")));
        check_coefficients("alpha", alpha)?;
        check_coefficients("beta", beta)?;
        let Ok(alpha) = <[f64; 3]>::try_from(alpha) else {
            return refuse(format!("{} alpha coefficients; it takes 3", alpha.len()));
        };
        if !(7..=11).contains(&beta.len()) {
            return refuse(format!(
                "{} beta coefficients; it takes 7 to 11",
                beta.len()
            ));
        }
        let mut padded = [0.0; 11];
        padded[..beta.len()].copy_from_slice(beta);
        if beta.len() < 11 {
            padded[10] = padded[3];
        }
        Ok(Self {
            alpha,
            beta: padded,
            supplied: beta.len(),
        })
    }

    /// A prefill's compute and KV traffic: added if both have a coefficient, else the larger one.
    pub(super) fn prefill(&self, compute: f64, kv: f64) -> f64 {
        self.combine(0, 8, compute, kv)
    }

    /// The same of a decode.
    pub(super) fn decode(&self, compute: f64, kv: f64) -> f64 {
        self.combine(1, 9, compute, kv)
    }

    fn combine(&self, compute_at: usize, kv_at: usize, compute: f64, kv: f64) -> f64 {
        if self.supplied > kv_at {
            self.beta[compute_at] * compute + self.beta[kv_at] * kv
        } else {
            self.beta[compute_at] * compute.max(kv)
        }
    }

    /// Delay between a request's arrival at the instance and its wait queue, microseconds.
    pub(super) fn queueing_us(&self) -> i64 {
        truncate_us(self.alpha[0])
    }

    /// Fixed overhead after the last token, microseconds.
    pub(super) fn post_decode_us(&self) -> i64 {
        truncate_us(self.alpha[1])
    }

    /// Processing time per output token, microseconds.
    pub(super) fn output_token_us(&self) -> i64 {
        truncate_us(self.alpha[2])
    }
}
