//! Files of runs: our own in YAML, and those of XpuSim.

use crate::spec::RunSpec;
use crate::xpusim_file;
use std::path::Path;
use windtunnel_base::input::{InputError, LARGEST_SPEC, parse_yaml, read_text_up_to};

impl RunSpec {
    /// Reads a run's file, or a configuration file of XpuSim.
    ///
    /// # Errors
    /// When it cannot be read, or a key or value is wrong; with line and column.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let text = read_text_up_to(path, LARGEST_SPEC)?;
        if xpusim_file::is_one(&text) {
            return xpusim_file::parse(&name, &text);
        }
        parse_yaml(name, &text)
    }
}
