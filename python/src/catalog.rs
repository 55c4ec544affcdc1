//! What there is by name, as JSON.

use crate::score::wrong;
use pyo3::prelude::*;
use windtunnel_cli::calls::catalog;

/// The models that are built in.
#[pyfunction]
pub fn models() -> String {
    catalog::models().to_string()
}

/// The GPUs that are known.
#[pyfunction]
pub fn hardware() -> String {
    catalog::hardware().to_string()
}

/// The presets of workloads.
#[pyfunction]
pub fn workloads() -> String {
    catalog::workloads().to_string()
}

/// The policies of a hook, or all.
#[pyfunction]
#[pyo3(signature = (hook))]
pub fn policies(hook: Option<&str>) -> PyResult<String> {
    Ok(catalog::policies(hook).map_err(wrong)?.to_string())
}
