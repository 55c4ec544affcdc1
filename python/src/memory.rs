//! Texts of Python that are read as if they were files.

use pyo3::prelude::*;
use std::path::PathBuf;
use windtunnel_base::input::InMemory;

/// A text with a name, under which it can be read as long as this object is there.
#[pyclass(frozen)]
pub struct HeldText(InMemory);

#[pymethods]
impl HeldText {
    #[new]
    fn new(stem: &str, ending: &str, text: Vec<u8>) -> Self {
        Self(InMemory::new(stem, ending, text))
    }

    /// Its name.
    #[getter]
    fn name(&self) -> PathBuf {
        self.0.name().to_owned()
    }
}
