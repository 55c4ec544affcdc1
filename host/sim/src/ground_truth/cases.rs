//! Reading the cases of a folder of ground truth.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, read_text};

/// What was measured on one load of one server. Other keys of the file are for people.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// SET/EXPERIMENT/STAGE.
    pub case_id: String,
    /// The collection that it is from.
    pub set: String,
    /// The run.
    pub experiment: String,
    /// Its load stage from 0; -1 = the whole run.
    pub stage: i64,
    /// Another name of the same run in another set.
    pub same_run_as: Option<String>,
    /// Model.
    pub model: String,
    /// GPU.
    pub gpu: String,
    /// Tensor parallelism.
    pub tp: u32,
    /// Data parallelism.
    #[serde(default = "one")]
    pub dp: u32,
    /// Limits of the serving engine.
    pub engine: Engine,
    /// What was sent.
    pub workload: Workload,
    /// What was measured.
    pub measured: Measured,
    /// Requests as they were recorded, beneath the folder.
    pub per_request_file: Option<PathBuf>,
    /// What other simulators said of it, by their names.
    #[serde(default)]
    pub predictions: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

fn one() -> u32 {
    1
}

/// The serving engine of a case.
#[derive(Clone, Debug, Deserialize)]
pub struct Engine {
    #[serde(default)]
    pub(super) version: String,
    pub(super) max_num_seqs: u32,
    pub(super) max_num_batched_tokens: u32,
    pub(super) block_size: Option<u32>,
    pub(super) gpu_memory_utilization: Option<f64>,
    pub(super) kv_blocks_gpu: Option<u64>,
    pub(super) max_model_len: Option<u64>,
}

/// The workload of a case.
#[derive(Clone, Debug, Deserialize)]
pub struct Workload {
    pub(super) arrival: Arrival,
    pub(super) num_requests: Option<u64>,
    pub(super) input: Input,
    pub(super) output: Output,
    #[serde(default)]
    pub(super) prefix: Prefix,
}

/// How requests came.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Arrival {
    pub(super) rate_rps: Option<f64>,
    pub(super) duration_s: Option<f64>,
    pub(super) stages: Option<Vec<Load>>,
}

/// One load of several.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Load {
    pub(super) rate_rps: f64,
    pub(super) duration_s: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Input {
    pub(super) system_prompt_tokens: Option<u32>,
    pub(super) nominal_tokens: Option<f64>,
    pub(super) mean: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Output {
    pub(super) tokens: Option<u32>,
    #[serde(default)]
    pub(super) fixed: bool,
    pub(super) mean: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Prefix {
    /// Prompts that repeat, where they do.
    pub(super) distinct_prompts: Option<serde_json::Value>,
    pub(super) num_groups: Option<u32>,
}

/// What was measured, milliseconds.
#[derive(Clone, Debug, Deserialize)]
pub struct Measured {
    pub(super) ttft_ms: Option<Spread>,
    pub(super) e2e_ms: Option<Spread>,
    pub(super) tpot_true_ms: Option<Spread>,
    pub(super) throughput: Option<Throughput>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Spread {
    pub(super) mean: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Throughput {
    pub(super) requests_per_s: Option<f64>,
}

impl Case {
    /// Requests of this stage of a run belong to the case.
    pub(super) fn is_stage(&self, stage: usize) -> bool {
        self.stage < 0 || self.stage as usize == stage
    }

    /// The output length of all requests, where the server was told one.
    pub(super) fn fixed_output(&self) -> Option<u32> {
        self.workload
            .output
            .tokens
            .filter(|_| self.workload.output.fixed)
    }

    /// How many prompts are sent again and again.
    pub(super) fn repeated_prompts(&self) -> Option<u64> {
        self.workload.prefix.distinct_prompts.as_ref()?.as_u64()
    }
}

/// One run of a server, with its stages.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub(super) root: PathBuf,
    name: String,
    cases: BTreeMap<i64, Case>,
    /// Was the server told to be saturated, by stage?
    saturated: BTreeSet<String>,
}

impl Experiment {
    /// SET/EXPERIMENT.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The case of the whole run, or the first there is.
    #[must_use]
    pub fn whole(&self) -> &Case {
        self.cases.values().next().expect("an experiment has cases")
    }

    /// The cases to compare: the stages, or the whole run where there are none.
    pub fn stages(&self) -> impl Iterator<Item = &Case> {
        let several = self.cases.contains_key(&0);
        self.cases
            .values()
            .filter(move |case| case.stage >= 0 || !several)
    }

    /// Does the folder say that the server was saturated?
    #[must_use]
    pub fn is_saturated(&self, case: &Case) -> bool {
        self.saturated.contains(&case.case_id)
    }

    /// Requests, rate and seconds of the loads of the run, one after the other.
    pub(super) fn loads(&self) -> Result<Vec<(u64, f64)>, InputError> {
        let load = |rate: f64, seconds: f64| ((rate * seconds).round() as u64, seconds);
        let case = self.whole();
        let arrival = &case.workload.arrival;
        let missing = || {
            InputError::new(format!(
                "{}: workload.arrival has neither stages nor rate_rps with duration_s or num_requests",
                case.case_id
            ))
        };
        if let Some(stages) = &arrival.stages {
            let loads = stages.iter().map(|s| load(s.rate_rps, s.duration_s));
            return Ok(loads.collect());
        }
        if case.stage < 0 {
            let rate = arrival.rate_rps.ok_or_else(missing)?;
            let requests = case.workload.num_requests.ok_or_else(missing)?;
            return Ok(vec![(requests, requests as f64 / rate)]);
        }
        let of = |case: &Case| {
            let arrival = &case.workload.arrival;
            Some(load(arrival.rate_rps?, arrival.duration_s?))
        };
        let loads = self.cases.values().map(|case| of(case).ok_or_else(missing));
        loads.collect()
    }
}

/// The experiments of a folder.
#[derive(Clone, Debug, Default)]
pub struct GroundTruth {
    /// By set and name; one run in two sets is one experiment.
    pub experiments: Vec<Experiment>,
}

#[derive(Deserialize)]
struct Split {
    #[serde(default)]
    saturation_only: BTreeSet<String>,
}

impl GroundTruth {
    /// Reads a folder.
    ///
    /// # Errors
    /// When there is no case in it, or a file is no case.
    pub fn load(root: &Path) -> Result<Self, InputError> {
        let of_file =
            |path: &Path, message: String| InputError::in_file(path.display().to_string(), message);
        let split = root.join("split.json");
        let saturated = if split.is_file() {
            let split_text = read_text(&split)?;
            let read: Split = serde_json::from_str(&split_text)
                .map_err(|error| of_file(&split, error.to_string()))?;
            read.saturation_only
        } else {
            BTreeSet::new()
        };
        let mut experiments: BTreeMap<String, Experiment> = BTreeMap::new();
        for set in folders(&root.join("cases"))? {
            for folder in folders(&set)? {
                for path in files(&folder)? {
                    let is_case = path.file_name().and_then(|name| name.to_str());
                    if !is_case.is_some_and(|n| n.starts_with("stage") && n.ends_with(".json")) {
                        continue;
                    }
                    let case: Case = serde_json::from_str(&read_text(&path)?)
                        .map_err(|error| of_file(&path, error.to_string()))?;
                    let name = format!("{}/{}", case.set, case.experiment);
                    let entry = experiments.entry(name.clone());
                    let experiment = entry.or_insert_with(|| Experiment {
                        root: root.to_path_buf(),
                        name,
                        cases: BTreeMap::new(),
                        saturated: saturated.clone(),
                    });
                    experiment.cases.insert(case.stage, case);
                }
            }
        }
        if experiments.is_empty() {
            let message = "no ground truth: expected cases/SET/EXPERIMENT/stage*.json".to_owned();
            return Err(of_file(root, message));
        }
        Ok(Self {
            experiments: once(experiments.into_values().collect()),
        })
    }
}

/// Every run once: of two sets that have it, the first one's, with the predictions of both.
fn once(experiments: Vec<Experiment>) -> Vec<Experiment> {
    let mut kept: Vec<Experiment> = Vec::new();
    for experiment in experiments {
        let run = |e: &Experiment| {
            let case = e.whole();
            case.same_run_as.clone().unwrap_or(case.experiment.clone())
        };
        match kept.iter_mut().find(|e| run(e) == run(&experiment)) {
            None => kept.push(experiment),
            Some(there) => {
                for (stage, case) in experiment.cases {
                    if let Some(known) = there.cases.get_mut(&stage) {
                        for (simulator, figures) in case.predictions {
                            known.predictions.entry(simulator).or_insert(figures);
                        }
                    }
                }
            }
        }
    }
    kept
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    let all = entries(path)?;
    Ok(all.into_iter().filter(|path| path.is_dir()).collect())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    let all = entries(path)?;
    Ok(all.into_iter().filter(|path| path.is_file()).collect())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    let read = fs::read_dir(path)
        .map_err(|error| InputError::in_file(path.display().to_string(), error.to_string()))?;
    let mut paths: Vec<PathBuf> = read.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}
