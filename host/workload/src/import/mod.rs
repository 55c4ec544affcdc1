//! Recorded traces, one file per format, and what all of them support: a time window, sampling,
//! loops, a changed rate, a cap.

pub(crate) mod aiperf;
mod aiperf_inputs;
pub mod azure;
mod bailian;
pub mod blocks;
pub mod burstgpt;
pub mod cut;
mod elements;
mod fields;
pub mod five_column;
pub mod guidellm;
pub mod held;
pub(crate) mod inference_perf_report;
mod lines;
mod llmservingsim;
pub(crate) mod mapped;
pub mod mooncake;
mod payload;
pub mod row;
mod row_errors;
pub mod rows;
mod sessions;
mod sglang;
mod shared_tokens;
pub(crate) mod sniff;
mod turn_sessions;
mod units;
mod vidur;
pub mod vllm_bench;
pub(crate) mod weka;

pub use cut::{Cut, Rewind, Selection};
pub use mapped::ColumnMap;
pub use row_errors::RowErrors;
pub use rows::Rows;
pub use units::TimeUnit;

use super::format::Format;
use held::Turns;
use std::path::Path;
use windtunnel_base::input::InputError;

/// What is chosen for formats that are held in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// Which run of a file with several, from 1.
    pub(crate) run: Option<usize>,
    /// Seed of what is drawn.
    pub(crate) seed: u64,
    /// Length of the answers that the file does not tell.
    pub(crate) output_tokens: Option<u32>,
}

/// Reads a file of a format that is held in memory.
///
/// # Errors
/// When the file cannot be read, or a row is in error and `errors` is strict.
pub(crate) fn turns_of(
    path: &Path,
    format: Format,
    options: Choice,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    match format {
        Format::AiPerf => aiperf::read(path, errors, notes),
        Format::AiPerfInputs => {
            aiperf_inputs::read_bodies(path, options.output_tokens, errors, notes)
        }
        Format::AiPerfLines => {
            aiperf_inputs::read_lines(path, options.output_tokens, errors, notes)
        }
        Format::Bailian => bailian::read(path, errors, notes),
        Format::InferencePerf => inference_perf_report::read(path, errors, notes),
        Format::LlmServingSim => llmservingsim::read(path, errors, notes),
        Format::LlmServingSimTable => llmservingsim::read_table(path, errors),
        Format::RequestBodies => {
            aiperf_inputs::read_lines_of_bodies(path, options.output_tokens, errors, notes)
        }
        Format::SgLang => sglang::read(path, options.run, options.seed, errors, notes),
        Format::Vidur => vidur::read(path, errors, notes),
        Format::Weka => weka::read(path, errors, notes),
        _ => unreachable!("a format of another reader"),
    }
}

#[cfg(test)]
mod formats_tests;
