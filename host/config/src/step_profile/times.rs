//! What a profile says, from whatever file it was read.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Measured step times, and what they were measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct StepProfile {
    /// The file, for messages.
    pub file: String,
    /// The model by its name there.
    pub model: Option<String>,
    /// GPU, or other device.
    pub device: Option<String>,
    /// Data type of the weights.
    pub dtype: Option<String>,
    /// Devices that split each layer.
    pub tensor: Option<u32>,
    /// The serving engine, with its version.
    pub engine: Option<String>,
    /// What the engine was told.
    pub limits: ProfileLimits,
    /// Between the arrival of a request and its wait queue, milliseconds: what the front end takes.
    pub request_overhead_ms: f64,
    /// The times.
    pub times: StepTimes,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What a person should know about it.
    pub notes: Vec<String>,
}

/// Where a profile comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// The program that made it, with its version.
    pub made_by: Option<String>,
    /// What it was made of: files with their hashes, or servers with what was asked of them.
    pub sources: BTreeMap<String, String>,
    /// How well it gives back the steps that it was made of.
    pub fit: Option<FitQuality>,
}

/// How far the times of a fitted table are from those of the steps, as |table - step| / step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FitQuality {
    /// Steps that it was fitted to.
    pub steps: u64,
    /// Half of them are no further off.
    pub error_median: f64,
    /// Nine of ten are no further off.
    pub error_p90: f64,
    /// Steps that were held back from another fit, which had all others.
    #[serde(default)]
    pub held_back_steps: Option<u64>,
    /// Half of these are no further off in that fit.
    #[serde(default)]
    pub held_back_error_median: Option<f64>,
    /// Nine of ten of them are no further off.
    #[serde(default)]
    pub held_back_error_p90: Option<f64>,
}

/// What the measured engine was told; `None` = the file does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProfileLimits {
    /// Tokens per KV block.
    pub block_size: Option<u32>,
    /// KV blocks.
    pub num_gpu_blocks: Option<u64>,
    /// KV blocks that an admission leaves free.
    pub num_watermark_blocks: Option<u64>,
    /// Most new tokens per step.
    pub max_num_batched_tokens: Option<u32>,
    /// Most tokens of prompt and output.
    pub max_model_len: Option<u64>,
    /// Most requests in the batch.
    pub max_num_seqs: Option<u32>,
}

/// The times of a profile.
#[derive(Clone, Debug, PartialEq)]
pub enum StepTimes {
    /// By the tokens of a pass.
    Passes(PassTimes),
    /// By what a step computes and reads.
    Table(StepTable),
}

impl StepProfile {
    /// A profile of which nothing but limits and times is known.
    #[must_use]
    pub fn of(file: &str, limits: ProfileLimits, times: StepTimes) -> Self {
        Self {
            file: file.to_owned(),
            model: None,
            device: None,
            dtype: None,
            tensor: None,
            engine: None,
            limits,
            request_overhead_ms: 0.0,
            times,
            provenance: Provenance::default(),
            notes: Vec::new(),
        }
    }
}

/// Durations of passes by the number of their tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct PassTimes {
    /// Passes that only decode, ascending.
    pub cuda: Vec<Interval>,
    /// Passes with a prefill token, ascending.
    pub no_cuda: Vec<Interval>,
}

/// A line over numbers of tokens: `intercept + slope x tokens`, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// First number of tokens.
    pub start: u64,
    /// Last number of tokens.
    pub end: u64,
    /// Seconds per token.
    pub slope: f64,
    /// Seconds.
    pub intercept: f64,
}

impl Interval {
    /// Duration of a pass of `tokens`, seconds.
    #[must_use]
    pub fn seconds(&self, tokens: u64) -> f64 {
        self.intercept + self.slope * tokens as f64
    }
}

/// Durations of whole steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepTable {
    /// The steps; no two have the same work.
    pub rows: Vec<StepRow>,
    /// Share of the shorter part, the prefills or the decodes alone, that a step with both takes
    /// beyond the longer one; `None` = the rows with both say it, else 1.
    pub overlap: Option<f64>,
}

/// A step that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRow {
    /// New prompt tokens.
    pub prefill_tokens: u64,
    /// Requests that decode.
    pub decode_seqs: u64,
    /// Tokens whose KV is read: what was computed before, of prefills and decodes.
    pub kv_tokens: u64,
    /// Duration, milliseconds: the median.
    pub ms: f64,
    /// From the first to the third quartile, milliseconds.
    pub spread_ms: Option<f64>,
    /// Steps that it is the median of.
    pub samples: Option<u64>,
}
