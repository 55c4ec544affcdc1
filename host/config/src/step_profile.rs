//! Measured step times of one deployment, read from a file: interval tables of ProfileSim
//! (plantbud/VllmSimulator), or a table of whole steps.

mod intervals;
mod table;
mod times;

pub use times::{
    FitQuality, Interval, PassTimes, ProfileLimits, Provenance, StepProfile, StepRow, StepTable,
    StepTimes,
};

use std::path::Path;
use windtunnel_base::input::{InputError, read_text_up_to};

/// Largest file of a profile, bytes.
const LARGEST: u64 = 64 << 20;

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
}
