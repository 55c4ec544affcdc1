//! The simulator as the Python module `windtunnel._native`; `python/lib/windtunnel` is the package
//! around it.
//!
//! Long work runs without the interpreter's lock, and checks for Ctrl-C now and then. What comes
//! back crosses as JSON text, which Python parses faster than it could be built object by object.

mod catalog;
mod compare;
mod error;
mod interrupt;
mod many;
mod memory;
mod policy;
mod score;
mod simulate;
mod table;
mod value;

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
    use super::catalog::{hardware, models, policies, workloads};
    #[pymodule_export]
    use super::compare::compare;
    #[pymodule_export]
    use super::error::InputError;
    #[pymodule_export]
    use super::main;
    #[pymodule_export]
    use super::many::{FinishedPlan, FinishedSweep, plan, runs_of_sweep, sweep, trial};
    #[pymodule_export]
    use super::memory::HeldText;
    #[pymodule_export]
    use super::policy::{Cluster, Instance, Request};
    #[pymodule_export]
    use super::score::{
        LoadedCandidate, ScoringOptions, hook_api, open_hooks, open_named, open_text, score, suite,
        suites, worker,
    };
    #[pymodule_export]
    use super::simulate::{Finished, simulate};
    #[pymodule_export]
    use super::table::{Columns, write_table};

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
