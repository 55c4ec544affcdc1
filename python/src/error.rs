//! Errors as Python exceptions.

use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use windtunnel_base::input::InputError as Wrong;

create_exception!(
    windtunnel,
    InputError,
    PyValueError,
    "Wrong input: the message says what was found, what is expected, and the nearest valid name."
);

/// The Python exception of an error: `InputError` for wrong input of the user.
pub fn raised(error: &anyhow::Error) -> PyErr {
    let message = format!("{error:#}");
    if error.is::<Wrong>() {
        InputError::new_err(message)
    } else {
        PyRuntimeError::new_err(message)
    }
}
