//! The simulator as the Python module `windtunnel._native`; `python/lib/windtunnel` is the package
//! around it.
//!
//! Long work runs without the interpreter's lock, and checks for Ctrl-C now and then. What comes
//! back crosses as JSON text, which Python parses faster than it could be built object by object.

mod error;
mod interrupt;
mod score;
mod simulate;

use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs a command line, the program's name first, and returns its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| windtunnel_cli::run(arguments))
}

/// The simulator.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::error::InputError;
    #[pymodule_export]
    use super::main;
    #[pymodule_export]
    use super::score::{
        LoadedCandidate, ScoringOptions, hook_api, open_hooks, open_named, open_text, score, suite,
        suites, worker,
    };
    #[pymodule_export]
    use super::simulate::{Rows, simulate};

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
