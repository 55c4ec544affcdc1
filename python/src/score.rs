//! Scoring. Candidates never work in this process: workers are interpreters that load this module's
//! file and nothing else.

use crate::interrupt::in_background;
use crate::{InputError, raised};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use windtunnel_base::input::InputError as Wrong;
use windtunnel_cli::calls;
use windtunnel_policy::Hook;
use windtunnel_policy::lua::api;
use windtunnel_score::pool::WorkerCommand;
use windtunnel_score::{Ask, Candidate, Report, Scorer, Seeds, Settings, Split, Suite, Until};

/// Scorers that wait for work keep their processes; more than so many are not kept.
const MOST_IDLE: usize = 4;

/// Scorers that nobody uses now, the last used at the end.
static IDLE: Mutex<Vec<Idle>> = Mutex::new(Vec::new());

struct Idle {
    /// What it can be used for.
    what: What,
    scorer: Arc<Scorer>,
}

#[derive(Clone, Debug, PartialEq)]
struct What {
    /// A process that was forked off has the scorers of its parent, but must not touch their
    /// processes.
    process: u32,
    jobs: usize,
    allow_native: bool,
    cache: Option<PathBuf>,
    reuse_reports: bool,
    wall: Duration,
    /// Files that its processes may read.
    readable: Vec<PathBuf>,
}

/// The worker of this process and of command lines that run in it.
#[pyfunction]
pub fn worker(program: PathBuf, args: Vec<String>, env: Vec<(String, String)>) {
    WorkerCommand { program, args, env }.be_own();
}

/// A candidate with the texts of its scripts: it can be scored where its files are not.
#[pyclass(frozen, from_py_object, module = "windtunnel._native")]
#[derive(Clone)]
pub struct Opened {
    candidate: Candidate,
}

#[pymethods]
impl Opened {
    /// It can cross to another process.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let text = serde_json::to_string(&self.candidate).map_err(|e| raised(&e.into()))?;
        Ok((py.get_type::<Self>().getattr("from_json")?, (text,)))
    }

    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        let candidate = serde_json::from_str(text).map_err(|e| raised(&e.into()))?;
        Ok(Self { candidate })
    }

    fn __repr__(&self) -> String {
        format!("<candidate {}>", self.candidate.name)
    }
}

/// A candidate by what names it: a policy, a file, a folder.
#[pyfunction]
#[pyo3(signature = (name, params))]
pub fn open_named(name: &str, params: BTreeMap<String, f64>) -> PyResult<Opened> {
    let mut candidate = Candidate::open(name).map_err(wrong)?;
    candidate.params = params;
    Ok(Opened { candidate })
}

/// A candidate by the text of a script.
#[pyfunction]
pub fn open_text(text: String, params: BTreeMap<String, f64>) -> Opened {
    let mut candidate = Candidate::of_text("policy.lua", text);
    candidate.params = params;
    Opened { candidate }
}

/// A candidate by the texts of scripts, one per hook.
#[pyfunction]
pub fn open_hooks(
    texts: BTreeMap<String, String>,
    params: BTreeMap<String, f64>,
) -> PyResult<Opened> {
    let texts: Result<BTreeMap<Hook, String>, Wrong> = texts
        .into_iter()
        .map(|(hook, text)| Ok((calls::hook(&hook)?, text)))
        .collect();
    let mut candidate = Candidate::of_hooks("policy", texts.map_err(wrong)?);
    candidate.params = params;
    Ok(Opened { candidate })
}

/// How all candidates of a call are scored.
#[pyclass(frozen)]
pub struct How {
    suite: String,
    traces: Option<PathBuf>,
    split: String,
    stage: String,
    seeds: Option<String>,
    incumbent: Option<f64>,
    jobs: Option<usize>,
    allow_native: bool,
    reuse_reports: bool,
    time_limit: u64,
}

#[pymethods]
impl How {
    #[new]
    #[pyo3(signature = (*, suite, traces, split, stage, seeds, incumbent, jobs, allow_native, reuse_reports, time_limit))]
    #[allow(
        clippy::too_many_arguments,
        reason = "they have names where it is called"
    )]
    fn new(
        suite: String,
        traces: Option<PathBuf>,
        split: String,
        stage: String,
        seeds: Option<String>,
        incumbent: Option<f64>,
        jobs: Option<usize>,
        allow_native: bool,
        reuse_reports: bool,
        time_limit: u64,
    ) -> Self {
        Self {
            suite,
            traces,
            split,
            stage,
            seeds,
            incumbent,
            jobs,
            allow_native,
            reuse_reports,
            time_limit,
        }
    }
}

impl How {
    fn what(&self, suite: &Suite) -> Result<What, Wrong> {
        Ok(What {
            process: std::process::id(),
            jobs: calls::jobs(self.jobs)?,
            allow_native: self.allow_native,
            cache: calls::cache_folder(),
            reuse_reports: self.reuse_reports,
            wall: calls::time_limit(self.time_limit)?,
            readable: suite.readable(),
        })
    }
}

/// Scores candidates, each on the scenarios that stand with it or on all of the split. Reports come
/// as JSON, in order.
#[pyfunction]
pub fn score(
    py: Python<'_>,
    candidates: Vec<(Opened, Option<Vec<String>>)>,
    how: &How,
) -> PyResult<Vec<String>> {
    let suite = Suite::open(&how.suite, how.traces.as_deref()).map_err(wrong)?;
    let what = how.what(&suite).map_err(wrong)?;
    let suite = Arc::new(suite);
    let split = calls::named::<Split>("split", &how.split).map_err(wrong)?;
    let until = calls::named::<Until>("stage", &how.stage).map_err(wrong)?;
    let seeds: Seeds = calls::seeds(how.seeds.as_deref()).map_err(wrong)?;
    let asks: Vec<Ask> = candidates
        .into_iter()
        .map(|(opened, scenarios)| Ask {
            split,
            until,
            seeds,
            scenarios,
            incumbent: how.incumbent,
            ..Ask::new(opened.candidate, Arc::clone(&suite))
        })
        .collect();
    let scorer = take(&what).map_err(|e| raised(&e.into()))?;
    let cancelling = Arc::clone(&scorer);
    let (scorer, reports) = in_background(
        py,
        move || {
            let reports = match &asks[..] {
                [one] => scorer.score(one, &|_| ()).map(|report| vec![report]),
                all => scorer.score_batch(all, &mut |_, _| ()),
            };
            (scorer, reports)
        },
        || cancelling.fleet().pool.cancel(),
    )?;
    drop(cancelling);
    let reports = reports.map_err(|trouble| raised(&calls::ours(trouble)))?;
    give_back(what, scorer);
    reports.iter().map(json).collect()
}

fn json(report: &Report) -> PyResult<String> {
    serde_json::to_string(report).map_err(|e| raised(&e.into()))
}

/// A scorer that is used by the caller alone: two at a time would wait for each other's processes.
fn take(what: &What) -> std::io::Result<Arc<Scorer>> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    forget_those_of_others(&mut idle);
    if let Some(at) = idle.iter().rposition(|one| one.what == *what) {
        return Ok(idle.remove(at).scorer);
    }
    Ok(Arc::new(Scorer::new(Settings {
        jobs: what.jobs,
        allow_native: what.allow_native,
        cache: what.cache.clone(),
        reuse_reports: what.reuse_reports,
        wall: what.wall,
        ..Settings::usual()?
    })))
}

fn give_back(what: What, scorer: Arc<Scorer>) {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    forget_those_of_others(&mut idle);
    idle.push(Idle { what, scorer });
    if idle.len() > MOST_IDLE {
        drop(idle.remove(0));
    }
}

/// Those of the process that this one was forked off are its, and its workers must not be ended
/// from here.
fn forget_those_of_others(idle: &mut Vec<Idle>) {
    let here = std::process::id();
    let (own, others): (Vec<Idle>, Vec<Idle>) = std::mem::take(idle)
        .into_iter()
        .partition(|one| one.what.process == here);
    *idle = own;
    std::mem::forget(others);
}

/// All suites, as `windtunnel suite list --json` shows them.
#[pyfunction]
pub fn suites() -> PyResult<String> {
    Ok(calls::suites().map_err(wrong)?.to_string())
}

/// A suite, as `windtunnel suite show --json` shows it.
#[pyfunction]
pub fn suite(name: &str, traces: Option<PathBuf>) -> PyResult<String> {
    let suite = Suite::open(name, traces.as_deref()).map_err(wrong)?;
    Ok(calls::suite(&suite).to_string())
}

/// The script API for these hooks.
#[pyfunction]
pub fn hook_api(hooks: Vec<String>) -> PyResult<String> {
    let hooks: Result<Vec<Hook>, Wrong> = hooks.iter().map(|name| calls::hook(name)).collect();
    Ok(api::brief(&hooks.map_err(wrong)?))
}

fn wrong(error: Wrong) -> PyErr {
    InputError::new_err(error.to_string())
}
