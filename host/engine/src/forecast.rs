//! How wrong a forecast is: what a real router or scheduler knows of lengths and durations.

use std::str::FromStr;
use windtunnel_base::input::InputError;

/// A forecast is the truth times `bias * exp(sigma * z)`, with z from the standard normal
/// distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastError {
    /// Standard deviation of the logarithm of forecast / truth.
    pub sigma: f64,
    /// Median of forecast / truth.
    pub bias: f64,
}

impl ForecastError {
    /// Always right.
    pub const NONE: Self = Self {
        sigma: 0.0,
        bias: 1.0,
    };
    /// How it is written.
    pub const SYNTAX: &'static str = "exact, or lognormal:SIGMA[:BIAS] with the standard deviation \
        of ln(forecast / truth), 0 to 10, and the median of forecast / truth, 0.01 to 100";

    /// Is every forecast right?
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// What the truth is multiplied by, for a number of the standard normal distribution.
    #[must_use]
    pub fn factor(self, z: f64) -> f64 {
        self.bias * (self.sigma * z).exp()
    }
}

impl FromStr for ForecastError {
    type Err = InputError;

    /// Reads `exact`, `lognormal:SIGMA` or `lognormal:SIGMA:BIAS`.
    fn from_str(text: &str) -> Result<Self, InputError> {
        let mut parts = text.split(':');
        let numbers = match parts.next() {
            Some("exact") => Some((0.0, 1.0)),
            Some("lognormal") => parts
                .next()
                .and_then(|sigma| sigma.parse().ok())
                .zip(parts.next().map_or(Some(1.0), |bias| bias.parse().ok())),
            _ => None,
        };
        match numbers {
            Some((sigma, bias))
                if parts.next().is_none()
                    && (0.0..=10.0).contains(&sigma)
                    && (0.01..=100.0).contains(&bias) =>
            {
                Ok(Self { sigma, bias })
            }
            _ => Err(InputError::new(format!(
                "found \"{text}\"; expected {}",
                Self::SYNTAX
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_and_bounded() {
        let read = |text: &str| text.parse::<ForecastError>();
        assert_eq!(read("exact").unwrap(), ForecastError::NONE);
        let given = read("lognormal:0.5:0.8").unwrap();
        assert_eq!((given.sigma, given.bias), (0.5, 0.8));
        assert_eq!(read("lognormal:0.5").unwrap().bias, 1.0);
        for wrong in [
            "",
            "exact:1",
            "lognormal",
            "lognormal:",
            "lognormal:-1",
            "lognormal:NaN",
            "lognormal:0.5:0",
            "lognormal:0.5:",
            "lognormal:0.5:1:1",
            "normal:1",
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{wrong}\"")), "{error}");
        }
        assert_eq!(given.factor(0.0), 0.8);
        assert!((given.factor(1.0) / given.factor(0.0) - 0.5f64.exp()).abs() < 1e-12);
    }
}
