//! Files of runs: our own in YAML, and those of XpuSim.

use crate::spec::RunSpec;
use crate::xpusim_file::{self, BesideXpuSim};
use std::path::Path;
use windtunnel_base::input::{InputError, LARGEST_SPEC, parse_yaml, read_text_up_to};

impl RunSpec {
    /// Reads a run's file, or a configuration file of XpuSim.
    ///
    /// # Errors
    /// When it cannot be read, or a key or value is wrong; with line and column.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        Self::load_with(path, BesideXpuSim::default())
    }

    /// The same; `beside` says what a file of XpuSim leaves open.
    ///
    /// # Errors
    /// As there, and when a file of ours is to be changed by it.
    pub fn load_with(path: &Path, beside: BesideXpuSim) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let text = read_text_up_to(path, LARGEST_SPEC)?;
        if xpusim_file::is_one(&text) {
            let mut run = xpusim_file::parse(&name, &text)?;
            beside.add(&mut run);
            return Ok(run);
        }
        let given = [
            ("engine", beside.engine.is_some()),
            ("load_generator", beside.load_generator.is_some()),
            ("warm_up", beside.warm_up.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((setting, _)) => Err(InputError::new(format!(
                "`{setting}` has no effect with {name}, which says it; only a configuration of XpuSim leaves it open"
            ))),
            None => parse_yaml(name, &text),
        }
    }
}
