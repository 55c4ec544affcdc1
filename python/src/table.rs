//! Tables: columns with types, to Python and to files.

use crate::error::raised;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::path::PathBuf;
use windtunnel_base::input::write_whole;
use windtunnel_results::report::columns::{self, Column, Format};

/// Names of columns, and what they hold: `text`, `whole` or `number`.
pub type Schema = Vec<(String, &'static str)>;

/// A table that stays here until somebody wants its values.
#[pyclass(frozen)]
pub struct Columns(Vec<(String, Column)>);

impl Columns {
    /// Of these columns.
    pub fn of(columns: Vec<(String, Column)>) -> Self {
        Self(columns)
    }
}

#[pymethods]
impl Columns {
    fn __len__(&self) -> usize {
        self.0.first().map_or(0, |(_, column)| column.rows())
    }

    /// Names of the columns, and what they hold.
    fn schema(&self) -> Schema {
        let kind = |column: &Column| match column {
            Column::Text(_) => "text",
            Column::Whole(_) => "whole",
            Column::Number(_) => "number",
        };
        let all = self.0.iter();
        all.map(|(name, column)| (name.clone(), kind(column)))
            .collect()
    }

    /// Column name -> values; absent ones are None.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, column) in &self.0 {
            let list = match column {
                Column::Text(all) => PyList::new(py, all),
                Column::Whole(all) => PyList::new(py, all),
                Column::Number(all) => PyList::new(py, all),
            }?;
            dict.set_item(name, list)?;
        }
        Ok(dict)
    }
}

/// Writes a table in the format that the file's ending names. Each column is its name, what it
/// holds, and its values.
#[pyfunction]
pub fn write_table(
    py: Python<'_>,
    path: PathBuf,
    table: Vec<(String, String, Bound<'_, PyList>)>,
) -> PyResult<()> {
    let column = |(name, kind, values): (String, String, Bound<'_, PyList>)| {
        let column = match kind.as_str() {
            "whole" => Column::Whole(values.extract()?),
            "number" => Column::Number(values.extract()?),
            _ => Column::Text(values.extract()?),
        };
        Ok((name, column))
    };
    let table: Vec<(String, Column)> = table.into_iter().map(column).collect::<PyResult<_>>()?;
    let written = py.detach(|| {
        let format = Format::of(&path)?;
        write_whole(&path, |out| columns::write(&table, format, out))
    });
    written.map_err(|e| raised(&e.into()))
}
