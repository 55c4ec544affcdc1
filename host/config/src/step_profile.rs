//! Measured step times of one deployment, read from a file: interval tables of ProfileSim
//! (plantbud/VllmSimulator), or a table of whole steps.

mod intervals;
mod table;

pub use intervals::{Interval, PassTimes};
pub use table::{StepRow, StepTable};

use std::path::Path;
use windtunnel_base::input::{InputError, read_text_up_to};

/// Largest file of a profile, bytes.
const LARGEST: u64 = 64 << 20;

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
    /// Reads a profile of any kind.
    ///
    /// # Errors
    /// When the file cannot be read or is wrong, with the place.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let file = path.display().to_string();
        let text = read_text_up_to(path, LARGEST)?;
        let first = text.trim_start_matches('\u{feff}').trim_start();
        if first.starts_with('{') {
            intervals::parse_json(&file, &text)
        } else if first.starts_with("---") {
            table::parse(&file, &text)
        } else {
            intervals::parse_csv(&file, &text)
        }
    }

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
