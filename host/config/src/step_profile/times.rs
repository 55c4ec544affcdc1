//! What a profile says, from whatever file it was read.

use serde::Deserialize;

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
    /// The times.
    pub times: StepTimes,
    /// What a person should know about it.
    pub notes: Vec<String>,
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
            times,
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
