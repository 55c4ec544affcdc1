//! A predictor of output lengths, as a serving system could have one.

use rand_distr::{Distribution, StandardNormal};
use std::str::FromStr;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Request;
use windtunnel_base::rng::{fnv1a64, stream};

/// Predicts the true output length, wrong by a log-normal factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predictor {
    /// Standard deviation of the logarithm of prediction / truth; 0 = always right.
    pub sigma: f64,
}

impl FromStr for Predictor {
    type Err = InputError;

    /// Reads `exact` or `lognormal:SIGMA`.
    fn from_str(text: &str) -> Result<Self, InputError> {
        let sigma = match text.split_once(':') {
            None if text == "exact" => Some(0.0),
            Some(("lognormal", sigma)) => sigma.parse().ok(),
            _ => None,
        };
        match sigma {
            Some(sigma) if (0.0..=10.0).contains(&sigma) => Ok(Self { sigma }),
            _ => Err(InputError::new(format!(
                "the output predictor is \"{text}\"; expected exact, or \
                 lognormal:SIGMA with the standard deviation of ln(prediction / truth), 0 to 10"
            ))),
        }
    }
}

impl Predictor {
    /// The prediction for `request`, at least 1 token. Its error depends on the seed and the
    /// request's name alone.
    #[must_use]
    pub fn predict(self, seed: u64, request: &Request) -> u32 {
        let truth = f64::from(request.output_tokens());
        if self.sigma == 0.0 {
            return (truth as u32).max(1);
        }
        let name = fnv1a64(&request.id.to_string());
        let z: f64 = StandardNormal.sample(&mut stream(seed, "output predictor", name, 0));
        ((truth * (self.sigma * z).exp()).round() as u32).max(1)
    }
}
