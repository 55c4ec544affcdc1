//! `sweep` and `plan`: commands of many runs.

use crate::error::{InputError, raised};
use crate::interrupt::stoppable;
use crate::table::Columns;
use crate::value::settings;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use windtunnel_base::input::InputError as Wrong;
use windtunnel_cli::calls::{Caller, Elsewhere, Parsed, Share, Swept};
use windtunnel_sim::plan::Trial;

/// A sweep that is over.
#[pyclass(frozen)]
pub struct FinishedSweep {
    parsed: Parsed,
    swept: Swept,
    call: String,
    notes: Vec<String>,
}

#[pymethods]
impl FinishedSweep {
    /// A row per run, and a row per point of the grid.
    fn tables(&self, py: Python<'_>) -> (Columns, Columns) {
        let [runs, cells] = py.detach(|| self.parsed.tables(&self.swept));
        (Columns::of(runs), Columns::of(cells))
    }

    /// The rows as they are written to files, for another call that takes them as made.
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.swept.rows.iter();
        rows.map(|row| row.fields().to_vec()).collect()
    }

    fn __len__(&self) -> usize {
        self.swept.rows.len()
    }

    /// What the command says on stderr.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// The page that `--html` writes.
    fn page(&self, py: Python<'_>) -> String {
        py.detach(|| self.swept.page(&self.call))
    }
}

/// A plan that is over: what the command prints with `--json` and without, its page, and the
/// manifest of the first answer.
#[pyclass(frozen, get_all)]
pub struct FinishedPlan {
    report: String,
    text: String,
    page: String,
    manifest: Option<String>,
    /// What the number of an answer is.
    unit: &'static str,
    /// What was varied.
    dimensions: Vec<String>,
    /// The figures that targets are about.
    figures: Vec<String>,
    notes: Vec<String>,
}

/// Reads a call.
fn parsed(command: &str, given: &Bound<'_, PyDict>) -> PyResult<Parsed> {
    let parsed = Parsed::of(command, &settings(given)?);
    parsed.map_err(|e| InputError::new_err(e.to_string()))
}

/// Works for a caller that can be interrupted; gives what people are told, too.
fn work<R: Send>(
    py: Python<'_>,
    parsed: &Parsed,
    call: &str,
    elsewhere: Option<&Elsewhere<'_>>,
    work: impl FnOnce(&Caller<'_>) -> anyhow::Result<R> + Send,
) -> PyResult<(R, Vec<String>)> {
    let notes = Mutex::new(Vec::new());
    let done = stoppable(py, |stop: &AtomicBool| {
        let say = |line: &str| {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(line.strip_prefix("note: ").unwrap_or(line).to_owned());
        };
        work(&Caller {
            say: &say,
            // This process is not the command's own.
            confine: &|_| (),
            stops: &|| stop.load(Ordering::Relaxed),
            elsewhere,
            call: call.to_owned(),
        })
    })?;
    let done = done.map_err(|e| match e.downcast_ref::<Wrong>() {
        Some(wrong) => InputError::new_err(parsed.spelled(&wrong.to_string())),
        None => raised(&e),
    })?;
    let notes = notes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let notes = notes.iter().map(|note| parsed.spelled(note)).collect();
    Ok((done, notes))
}

/// Carries out a sweep, or only the runs of these positions; `made` are rows of others.
#[pyfunction]
#[pyo3(signature = (given, call, only, made))]
pub fn sweep(
    py: Python<'_>,
    given: &Bound<'_, PyDict>,
    call: String,
    only: Option<(usize, usize)>,
    made: Vec<Vec<String>>,
) -> PyResult<FinishedSweep> {
    let parsed = parsed("sweep", given)?;
    let share = Share {
        only: only.map(|(from, to)| from..to),
        made,
    };
    let (swept, notes) = work(py, &parsed, &call, None, |caller| {
        parsed.sweep(caller, share)
    })?;
    Ok(FinishedSweep {
        parsed,
        swept,
        call,
        notes,
    })
}

/// How many runs a sweep has; it is checked, and nothing is run.
#[pyfunction]
pub fn runs_of_sweep(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<usize> {
    let parsed = parsed("sweep", given)?;
    let share = Share {
        only: Some(0..0),
        made: Vec::new(),
    };
    let (swept, _) = work(py, &parsed, "", None, |caller| parsed.sweep(caller, share))?;
    Ok(swept.of)
}

/// Carries out a plan. `elsewhere` carries out its runs, if it is given: a function of a choice's
/// position, its size and the seed that returns what [`trial`] does.
#[pyfunction]
#[pyo3(signature = (given, call, elsewhere))]
pub fn plan(
    py: Python<'_>,
    given: &Bound<'_, PyDict>,
    call: String,
    elsewhere: Option<Py<PyAny>>,
) -> PyResult<FinishedPlan> {
    let parsed = parsed("plan", given)?;
    let ask = |function: &Py<PyAny>, choice: usize, number: u32, seed: u64| {
        let answer: Result<String, String> = Python::attach(|py| {
            let answer = function.call1(py, (choice, number, seed));
            let text = answer.and_then(|answer| answer.extract(py));
            text.map_err(|e: PyErr| e.value(py).to_string())
        });
        let trial =
            answer.and_then(|text| serde_json::from_str::<Trial>(&text).map_err(|e| e.to_string()));
        trial.map_err(Wrong::new)
    };
    let asked = |choice, number, seed| match &elsewhere {
        Some(function) => ask(function, choice, number, seed),
        None => Err(Wrong::new("nobody is asked")),
    };
    let other: Option<&Elsewhere<'_>> = elsewhere.is_some().then_some(&asked);
    let (planned, notes) = work(py, &parsed, &call, other, |caller| parsed.plan(caller))?;
    Ok(FinishedPlan {
        report: planned.json.to_string(),
        text: planned.text,
        page: planned.page,
        manifest: planned.manifest,
        unit: planned.unit,
        dimensions: planned.dimensions,
        figures: planned.figures,
        notes,
    })
}

/// Carries out one run of a plan, and returns what it says as JSON.
#[pyfunction]
pub fn trial(
    py: Python<'_>,
    given: &Bound<'_, PyDict>,
    choice: usize,
    number: u32,
    seed: u64,
) -> PyResult<String> {
    let parsed = parsed("plan", given)?;
    let (trial, _) = work(py, &parsed, "", None, |caller| {
        parsed.trial(caller, choice, number, seed)
    })?;
    serde_json::to_string(&trial).map_err(|e| raised(&e.into()))
}
