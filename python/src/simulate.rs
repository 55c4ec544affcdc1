//! `run` and `replay`.

use crate::error::{InputError, raised};
use crate::interrupt::interruptible;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyString};
use windtunnel_base::record::RunRecord;
use windtunnel_cli::calls::{self, Simulation, Value};
use windtunnel_results::report::rows::{self, Column};

/// The rows of a run, one per request.
#[pyclass(frozen)]
pub struct Rows {
    record: RunRecord,
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.record.requests.len()
    }

    /// Column name -> values; absent ones are None.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, column) in py.detach(|| rows::columns(&self.record)) {
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

/// Simulates as the command would. Returns its report in JSON, its notes, and the requests' rows.
#[pyfunction]
pub fn simulate(
    py: Python<'_>,
    command: &str,
    flags: &Bound<'_, PyDict>,
) -> PyResult<(String, Vec<String>, Rows)> {
    let simulation = match command {
        "run" => Simulation::Run,
        "replay" => Simulation::Replay,
        other => {
            return Err(InputError::new_err(format!(
                "unknown command \"{other}\"; valid: run, replay"
            )));
        }
    };
    let mut given = Vec::new();
    for (name, value) in flags {
        if !value.is_none() {
            given.push((name.extract()?, flag_value(&value)?));
        }
    }
    let result = interruptible(py, |signals| {
        calls::simulate(simulation, &given, &mut |_| signals.check())
    })?
    .map_err(|e| raised(&e))?;
    let rows = Rows {
        record: result.record,
    };
    Ok((result.report.to_string(), result.notes, rows))
}

/// True and False switch; lists and tuples are lists; of a dict every entry is NAME=VALUE; anything
/// else is its text.
fn flag_value(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(switch) = value.cast::<PyBool>() {
        return Ok(Value::Switch(switch.is_true()));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        let entry = |(k, v): (Bound<'_, PyAny>, Bound<'_, PyAny>)| -> PyResult<String> {
            Ok(format!("{}={}", k.str()?, v.str()?))
        };
        return Ok(Value::Many(
            dict.iter().map(entry).collect::<PyResult<_>>()?,
        ));
    }
    if !value.is_instance_of::<PyString>()
        && value.hasattr("__iter__")?
        && value.hasattr("__len__")?
    {
        let all: PyResult<Vec<String>> = value
            .try_iter()?
            .map(|one| Ok(one?.str()?.to_string()))
            .collect();
        return Ok(Value::Many(all?));
    }
    Ok(Value::One(value.str()?.to_string()))
}
