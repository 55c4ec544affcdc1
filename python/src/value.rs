//! Values of Python as JSON: what settings are given as.

use crate::error::InputError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};
use serde_json::{Map, Value};

/// Settings by name, without those that are None.
pub fn settings(given: &Bound<'_, PyDict>) -> PyResult<Map<String, Value>> {
    let mut known = Map::new();
    for (name, value) in given {
        if !value.is_none() {
            known.insert(name.extract()?, json(&value)?);
        }
    }
    Ok(known)
}

/// A value as a setting: of a dict every entry is `name=value`, a path is its text.
pub fn json(value: &Bound<'_, PyAny>) -> PyResult<Value> {
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
