//! `run` and `replay`.

use crate::error::{InputError, raised};
use crate::interrupt::interruptible;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use serde_json::{Map, Value};
use windtunnel_base::input::InputError as Wrong;
use windtunnel_cli::calls::{self, Files, Simulated};
use windtunnel_results::report::rows::Column;
use windtunnel_sim::RunSpec;

/// The rows of a run, one per request.
#[pyclass(frozen)]
pub struct Rows {
    simulated: Simulated,
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.simulated.record.requests.len()
    }

    /// Column name -> values; absent ones are None.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, column) in py.detach(|| self.simulated.columns()) {
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

/// A message with its settings by their bare names.
fn by_name(message: &str) -> String {
    calls::spelled(message, str::to_owned)
}

/// Simulates a run that is given by its settings. Returns its report in JSON, its notes, and the
/// requests' rows.
#[pyfunction]
pub fn simulate(
    py: Python<'_>,
    given: &Bound<'_, PyDict>,
) -> PyResult<(String, Vec<String>, Rows)> {
    let mut known = Map::new();
    let mut files = Files::default();
    for (name, value) in given {
        if value.is_none() {
            continue;
        }
        let name: String = name.extract()?;
        match files.named(&name) {
            Some(file) => *file = Some(value.extract()?),
            None => {
                known.insert(name, json(&value)?);
            }
        }
    }
    let run = RunSpec::from_settings(known);
    let run = run.map_err(|e| InputError::new_err(by_name(&e.to_string())))?;
    let simulated = interruptible(py, |signals| {
        calls::simulate(&run, &files, &mut |_| signals.check())
    })?;
    let simulated = simulated.map_err(|e| match e.downcast_ref::<Wrong>() {
        Some(wrong) => InputError::new_err(by_name(&wrong.to_string())),
        None => raised(&e),
    })?;
    let notes = simulated.notes.iter().map(|note| by_name(note)).collect();
    let report = simulated.report.to_string();
    Ok((report, notes, Rows { simulated }))
}

/// A value as the spec has it: of a dict every entry is `name=value`, texts in a list are joined
/// with commas, a path is its text.
fn json(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(switch) = value.cast::<PyBool>() {
        return Ok(switch.is_true().into());
    }
    if value.is_instance_of::<PyInt>() {
        return value.extract::<i64>().map_or_else(
            |_| value.extract::<u64>().map(Value::from),
            |n| Ok(n.into()),
        );
    }
    if value.is_instance_of::<PyFloat>() {
        let number: f64 = value.extract()?;
        let Some(number) = serde_json::Number::from_f64(number) else {
            return Err(InputError::new_err(format!(
                "{number} is not a finite number"
            )));
        };
        return Ok(Value::Number(number));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        let entry = |(k, v): (Bound<'_, PyAny>, Bound<'_, PyAny>)| -> PyResult<Value> {
            Ok(format!("{}={}", k.str()?, v.str()?).into())
        };
        return dict
            .iter()
            .map(entry)
            .collect::<PyResult<Vec<_>>>()
            .map(Value::Array);
    }
    let text = value.is_instance_of::<PyString>();
    if !text && value.hasattr("__iter__")? && value.hasattr("__len__")? {
        let all: PyResult<Vec<Value>> = value.try_iter()?.map(|one| json(&one?)).collect();
        return Ok(Value::Array(all?));
    }
    Ok(value.str()?.to_string().into())
}
