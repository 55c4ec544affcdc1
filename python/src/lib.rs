//! The simulator as the Python module `windtunnel._native`; `python/lib/windtunnel` is the package
//! around it.
//!
//! Long work runs without the interpreter's lock, and checks for Ctrl-C now and then. What comes
//! back crosses as JSON text, which Python parses faster than it could be built object by object.

mod interrupt;
mod score;
mod simulate;

use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::ffi::OsString;
use windtunnel_base::input::InputError as Wrong;

create_exception!(
    windtunnel,
    InputError,
    PyValueError,
    "Wrong input: the message says what was found, what is expected, and the nearest valid name."
);

/// The Python exception of an error: `InputError` for wrong input of the user.
fn raised(error: &anyhow::Error) -> PyErr {
    let message = format!("{error:#}");
    if error.is::<Wrong>() {
        InputError::new_err(message)
    } else {
        PyRuntimeError::new_err(message)
    }
}

/// Runs a command line, the program's name first, and returns its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| windtunnel_cli::run(arguments))
}

/// The simulator.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::InputError;
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
