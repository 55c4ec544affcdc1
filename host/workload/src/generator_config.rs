//! The request-generator configuration of the oldest releases of BLIS, in the style of GuideLLM.

use super::synthetic::{Distribution, Length, Parameters};
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::{self, InputError};

/// The file of the setting `reqgen_config_path`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// `GuideLLM`.
    #[serde(default)]
    pub format: String,
    /// Seed of the lengths.
    #[serde(default)]
    pub seed: i64,
    /// Arrivals.
    pub rate: Rate,
    /// Lengths.
    pub data: Data,
}

/// Arrivals, evenly spaced from time 0 on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// `Constant`.
    #[serde(default, alias = "arrival-type")]
    pub arrival_type: String,
    /// Requests per second.
    pub rate: f64,
    /// Requests.
    #[serde(rename = "max-requests", alias = "max_requests")]
    pub max_requests: u64,
}

/// Clamped Gaussian lengths behind a shared prefix.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Mean prompt length.
    pub prompt_tokens: u32,
    /// Its standard deviation.
    #[serde(default)]
    pub prompt_tokens_stdev: f64,
    /// Least; absent = the mean.
    pub prompt_tokens_min: Option<u32>,
    /// Most; absent = the mean.
    pub prompt_tokens_max: Option<u32>,
    /// Mean output length.
    pub output_tokens: u32,
    /// Its standard deviation.
    #[serde(default)]
    pub output_tokens_stdev: f64,
    /// Least; absent = the mean.
    pub output_tokens_min: Option<u32>,
    /// Most; absent = the mean.
    pub output_tokens_max: Option<u32>,
    /// Tokens in front of every prompt, the same for all.
    #[serde(default)]
    pub prefix_tokens: u32,
}

impl GeneratorConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, has unknown keys, or another format or arrival type than there was.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let config: Self = input::parse_yaml(path.display(), &input::read_text(path)?)?;
        for (key, value, valid) in [
            ("format", &config.format, "GuideLLM"),
            ("arrival_type", &config.rate.arrival_type, "Constant"),
        ] {
            if !value.is_empty() && !value.eq_ignore_ascii_case(valid) {
                return Err(InputError::in_file(
                    path.display(),
                    input::unknown(key, value, &[valid]),
                ));
            }
        }
        Ok(config)
    }

    /// Its requests.
    ///
    /// # Errors
    /// When a number makes no sense.
    pub fn source(&self, horizon_us: i64, seed: Option<u64>) -> Result<Distribution, InputError> {
        let d = &self.data;
        let length = |mean: u32, stdev, min: Option<u32>, max: Option<u32>| Length {
            mean: f64::from(mean),
            stdev,
            // A prompt has a token.
            min: min.unwrap_or(mean).max(1),
            max: max.unwrap_or(mean).max(1),
        };
        Distribution::new(Parameters {
            rate: self.rate.rate,
            num_requests: self.rate.max_requests,
            prefix_tokens: d.prefix_tokens,
            prompt: length(
                d.prompt_tokens,
                d.prompt_tokens_stdev,
                d.prompt_tokens_min,
                d.prompt_tokens_max,
            ),
            output: length(
                d.output_tokens,
                d.output_tokens_stdev,
                d.output_tokens_min,
                d.output_tokens_max,
            ),
            horizon_us,
            seed: seed.unwrap_or(self.seed.cast_unsigned()),
            timeout_us: None,
            from_zero: true,
            at_once: false,
            burstiness: None,
        })
    }
}
