//! Scoring. Candidates never run in this process: workers are interpreters that load the file of
//! this module and nothing else.

use crate::error::{InputError, raised};
use crate::interrupt::in_background;
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use windtunnel_base::input::InputError as Wrong;
use windtunnel_cli::calls;
use windtunnel_policy::Hook;
use windtunnel_policy::lua::api;
use windtunnel_score::workers::WorkerCommand;
use windtunnel_score::{
    Candidate, LastStage, Report, ScoreRequest, Scorer, Seeds, Settings, Split, Suite,
};

/// Most scorers that are kept with their processes after a call.
const MAX_IDLE: usize = 4;

/// Scorers that no call uses now, the last used at the end.
static IDLE: Mutex<Vec<Idle>> = Mutex::new(Vec::new());

struct Idle {
    /// The calls that it can be used for.
    key: ScorerKey,
    scorer: Arc<Scorer>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScorerKey {
    /// Process id: a fork inherits the scorers of its parent, but must not use their workers.
    process: u32,
    jobs: usize,
    allow_native: bool,
    cache: Option<PathBuf>,
    reuse_reports: bool,
    time_limit: Duration,
    /// Files that its processes may read.
    readable: Vec<PathBuf>,
}

/// The worker of this process and of command lines that run in it.
#[pyfunction]
pub fn worker(program: PathBuf, args: Vec<String>, env: Vec<(String, String)>) {
    WorkerCommand { program, args, env }.use_for_this_program();
}

/// A candidate with the texts of its scripts: it can be scored on a machine without its files.
#[pyclass(frozen, from_py_object, module = "windtunnel._native")]
#[derive(Clone)]
pub struct LoadedCandidate {
    pub(crate) candidate: Candidate,
}

#[pymethods]
impl LoadedCandidate {
    /// Pickles it.
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

/// A candidate by its name: that of a policy, a file or a folder.
#[pyfunction]
#[pyo3(signature = (name, params))]
pub fn open_named(name: &str, params: BTreeMap<String, f64>) -> PyResult<LoadedCandidate> {
    let mut candidate = Candidate::open(name).map_err(wrong)?;
    candidate.params = params;
    Ok(LoadedCandidate { candidate })
}

/// A candidate by the text of a script, and how reports call it.
#[pyfunction]
pub fn open_text(name: &str, text: String, params: BTreeMap<String, f64>) -> LoadedCandidate {
    let mut candidate = Candidate::of_text(&format!("{name}.lua"), text);
    candidate.params = params;
    LoadedCandidate { candidate }
}

/// A candidate by the texts of scripts, one per hook.
#[pyfunction]
pub fn open_hooks(
    texts: BTreeMap<String, String>,
    params: BTreeMap<String, f64>,
) -> PyResult<LoadedCandidate> {
    let texts: Result<BTreeMap<Hook, String>, Wrong> = texts
        .into_iter()
        .map(|(hook, text)| Ok((calls::hook(&hook)?, text)))
        .collect();
    let mut candidate = Candidate::of_hooks("policy", texts.map_err(wrong)?);
    candidate.params = params;
    Ok(LoadedCandidate { candidate })
}

/// Options of all candidates of a call.
#[pyclass(frozen)]
pub struct ScoringOptions {
    suite: String,
    traces: Option<PathBuf>,
    pub(crate) split: String,
    stage: String,
    pub(crate) seeds: Option<String>,
    incumbent: Option<f64>,
    jobs: Option<usize>,
    allow_native: bool,
    reuse_reports: bool,
    time_limit: u64,
    holdout_salt_file: Option<PathBuf>,
    train_salt: Option<String>,
}

#[pymethods]
impl ScoringOptions {
    #[new]
    #[pyo3(signature = (*, suite, traces, split, stage, seeds, incumbent, jobs, allow_native, reuse_reports, time_limit, holdout_salt_file, train_salt))]
    #[allow(clippy::too_many_arguments, reason = "they are keyword arguments")]
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
        holdout_salt_file: Option<PathBuf>,
        train_salt: Option<String>,
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
            holdout_salt_file,
            train_salt,
        }
    }
}

impl ScoringOptions {
    /// The suite, to score one of its splits.
    pub(crate) fn suite(&self, split: Split) -> Result<Suite, Wrong> {
        let salt_file = self.holdout_salt_file.as_deref();
        let train_salt = self.train_salt.as_deref();
        calls::check_salts(salt_file.is_some(), train_salt, &[split])?;
        let mut suite = Suite::open(&self.suite, self.traces.as_deref())?;
        suite.holdout_salt_source = calls::holdout_salt_source(salt_file);
        suite.train_salt.clone_from(&self.train_salt);
        Ok(suite)
    }

    pub(crate) fn key(&self, suite: &Suite) -> Result<ScorerKey, Wrong> {
        Ok(ScorerKey {
            process: std::process::id(),
            jobs: calls::jobs(self.jobs)?,
            allow_native: self.allow_native,
            cache: calls::cache_folder(),
            reuse_reports: self.reuse_reports,
            time_limit: calls::time_limit(self.time_limit)?,
            readable: suite.readable(),
        })
    }
}

/// Scores candidates, each on its scenarios or on the whole split. Returns reports as JSON, in
/// order.
#[pyfunction]
pub fn score(
    py: Python<'_>,
    candidates: Vec<(LoadedCandidate, Option<Vec<String>>)>,
    options: &ScoringOptions,
) -> PyResult<Vec<String>> {
    let split = calls::named::<Split>("split", &options.split).map_err(wrong)?;
    let suite = options.suite(split).map_err(wrong)?;
    let key = options.key(&suite).map_err(wrong)?;
    let suite = Arc::new(suite);
    let last_stage = calls::named::<LastStage>("stage", &options.stage).map_err(wrong)?;
    let seeds: Seeds = calls::seeds(options.seeds.as_deref()).map_err(wrong)?;
    let requests: Vec<ScoreRequest> = candidates
        .into_iter()
        .map(|(loaded, scenarios)| ScoreRequest {
            split,
            last_stage,
            seeds,
            scenarios,
            incumbent: options.incumbent,
            ..ScoreRequest::new(loaded.candidate, Arc::clone(&suite))
        })
        .collect();
    let scorer = take(&key).map_err(|e| raised(&e.into()))?;
    let cancelling = Arc::clone(&scorer);
    let (scorer, reports) = in_background(
        py,
        move || {
            let reports = match &requests[..] {
                [one] => scorer.score(one, &|_| ()).map(|report| vec![report]),
                all => scorer.score_batch(all, &mut |_, _| ()),
            };
            (scorer, reports)
        },
        || cancelling.runner().workers.cancel(),
    )?;
    drop(cancelling);
    let reports = reports.map_err(|error| raised(&calls::to_anyhow(error)))?;
    give_back(key, scorer);
    reports.iter().map(json).collect()
}

fn json(report: &Report) -> PyResult<String> {
    serde_json::to_string(report).map_err(|e| raised(&e.into()))
}

/// Takes a scorer for the caller alone: two callers would wait for each other's workers.
pub(crate) fn take(key: &ScorerKey) -> std::io::Result<Arc<Scorer>> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    forget_inherited(&mut idle);
    if let Some(at) = idle.iter().rposition(|one| one.key == *key) {
        return Ok(idle.remove(at).scorer);
    }
    Ok(Arc::new(Scorer::new(Settings {
        jobs: key.jobs,
        allow_native: key.allow_native,
        cache: key.cache.clone(),
        reuse_reports: key.reuse_reports,
        time_limit: key.time_limit,
        ..Settings::for_this_host()?
    })))
}

pub(crate) fn give_back(key: ScorerKey, scorer: Arc<Scorer>) {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    forget_inherited(&mut idle);
    idle.push(Idle { key, scorer });
    if idle.len() > MAX_IDLE {
        drop(idle.remove(0));
    }
}

/// Forgets the scorers that a fork has inherited: dropping them would end the parent's workers.
fn forget_inherited(idle: &mut Vec<Idle>) {
    let here = std::process::id();
    let (own, others): (Vec<Idle>, Vec<Idle>) = std::mem::take(idle)
        .into_iter()
        .partition(|one| one.key.process == here);
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

pub(crate) fn wrong(error: Wrong) -> PyErr {
    InputError::new_err(error.to_string())
}
