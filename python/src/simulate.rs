//! `run` and `replay`.

use crate::error::{InputError, raised};
use crate::interrupt::interruptible;
use crate::policy::{Function, Raised};
use crate::table::Columns;
use crate::value::settings;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use windtunnel_base::input::InputError as Wrong;
use windtunnel_cli::calls::{self, Files, Simulated};
use windtunnel_sim::{Custom, Resolver, RunSpec};

/// A run that is over.
#[pyclass(frozen)]
pub struct Finished {
    simulated: Simulated,
    call: String,
}

#[pymethods]
impl Finished {
    /// What the command prints with `--json`.
    #[getter]
    fn report(&self) -> String {
        self.simulated.report.to_string()
    }

    /// What the command says on stderr.
    #[getter]
    fn notes(&self) -> Vec<String> {
        let notes = self.simulated.notes.iter();
        notes.map(|note| by_name(note)).collect()
    }

    /// A row per request.
    fn requests(&self, py: Python<'_>) -> Columns {
        let columns = py.detach(|| self.simulated.columns());
        let named = columns.into_iter().map(|(name, c)| (name.to_owned(), c));
        Columns::of(named.collect())
    }

    /// How many rows that has.
    fn __len__(&self) -> usize {
        self.simulated.result.record.requests.len()
    }

    /// The page that `--html` writes.
    fn page(&self, py: Python<'_>) -> String {
        py.detach(|| self.simulated.page(&self.call))
    }
}

/// A message with its settings by their bare names.
fn by_name(message: &str) -> String {
    calls::spelled(message, str::to_owned)
}

/// Simulates a run that is given by its settings. `functions` are policies: hook, name, and what is
/// called. Pages say that `call` makes them again.
#[pyfunction]
pub fn simulate(
    py: Python<'_>,
    given: &Bound<'_, PyDict>,
    functions: Vec<(String, String, Py<PyAny>)>,
    call: String,
) -> PyResult<Finished> {
    let mut files = Files::default();
    let known = PyDict::new(py);
    for (name, value) in given {
        match files.named(&name.extract::<String>()?) {
            Some(file) => *file = value.extract()?,
            None => known.set_item(name, value)?,
        }
    }
    let wrong = |e: &Wrong| InputError::new_err(by_name(&e.to_string()));
    let run = RunSpec::from_settings(settings(&known)?).map_err(|e| wrong(&e))?;
    let broken = Raised::default();
    let mut policies: Vec<Custom> = Vec::new();
    for (hook, name, function) in functions {
        let hook = calls::hook(&hook).map_err(|e| wrong(&e))?;
        let function = Function {
            hook,
            name,
            function,
        };
        policies.push(function.policy(&broken));
    }
    let simulated = interruptible(py, |signals| {
        let resolver = Resolver {
            policies: &policies,
            ..Resolver::default()
        };
        calls::simulate(&run, &files, &resolver, &call, &mut |_| signals.check())
    })?;
    let simulated = simulated.map_err(|e| match (e.downcast_ref::<Wrong>(), broken.take()) {
        (_, Some(cause)) if !cause.is_instance_of::<PyException>(py) => cause,
        (Some(e), cause) => {
            let error = wrong(e);
            error.set_cause(py, cause);
            error
        }
        (None, _) => raised(&e),
    })?;
    Ok(Finished { simulated, call })
}
