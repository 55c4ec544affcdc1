//! Suites: which traffic a candidate is flown through, what counts, and what it is measured against.
//!
//! A suite is a YAML file; those of the project are part of the program. Its scenarios come in three splits: `train`, about which
//! everything is told; `val`, of which only scores are; and `holdout`, of which only the total is.

use super::library;
use super::objective::Objective;
use crate::config::Defaults;
use crate::input::{InputError, parse_yaml, read_text, unknown};
use crate::metrics::slo::{Dimension, SloTargets};
use crate::policy::bundle::Bundle;
use crate::policy::{Hook, Reference};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// A part of a suite's scenarios.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Everything is told.
    Train,
    /// Only scores are told, for choosing among candidates.
    Val,
    /// Only the total is told, for the last word.
    Holdout,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Holdout];

    /// `train`, `val` or `holdout`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Holdout => "holdout",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The file of a suite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// Its name.
    pub name: String,
    /// Goes up whenever scores of the old content cannot be compared with those of the new.
    pub version: u32,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Hooks that a candidate may fill, by name.
    pub hooks: Vec<String>,
    /// Requests offered in each scenario.
    #[serde(default = "five_thousand")]
    pub requests: u64,
    /// Random seeds per scenario.
    #[serde(default = "two")]
    pub seeds: u32,
    /// Random seeds per scenario of val and holdout, which have fewer scenarios and are scored seldom; as `seeds`, if not given.
    #[serde(default)]
    pub unseen_seeds: Option<u32>,
    /// Most seeds per scenario when seeds are added until a score is certain.
    #[serde(default = "eight")]
    pub max_seeds: u32,
    /// The cluster, unless a scenario says otherwise.
    #[serde(default)]
    pub cluster: ClusterKeys,
    /// What fills the hooks that a candidate leaves open.
    #[serde(default)]
    pub policies: Bundle,
    /// Latency targets, unless a scenario says otherwise.
    #[serde(default)]
    pub slo: SloKeys,
    /// What counts.
    pub objectives: Vec<Objective>,
    /// How much more a loss counts than a gain: a scenario's loss beyond 1 point is counted this much again.
    #[serde(default = "half")]
    pub regression_weight: f64,
    /// The tuned policies that candidates are measured against.
    pub references: BTreeMap<String, Bundle>,
    /// The scenarios.
    pub scenarios: Splits,
}

impl SuiteFile {
    /// Seeds per scenario of a split.
    #[must_use]
    pub fn seeds_of(&self, split: Split) -> u32 {
        match split {
            Split::Train => self.seeds,
            Split::Val | Split::Holdout => self.unseen_seeds.unwrap_or(self.seeds),
        }
    }
}

fn five_thousand() -> u64 {
    5000
}
fn two() -> u32 {
    2
}
fn eight() -> u32 {
    8
}
fn half() -> f64 {
    0.5
}
fn one() -> f64 {
    1.0
}
fn half_a_minute() -> f64 {
    30.0
}

/// Scenarios by split.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Splits {
    /// Everything is told.
    pub train: Vec<ScenarioKeys>,
    /// Only scores are told.
    pub val: Vec<ScenarioKeys>,
    /// Only the total is told.
    pub holdout: Vec<ScenarioKeys>,
}

/// A scenario as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioKeys {
    /// Its name, unique in the suite.
    pub id: String,
    /// What kind of traffic it is.
    pub family: String,
    /// Workload spec, relative to the suite.
    #[serde(default)]
    pub workload: Option<PathBuf>,
    /// Aggregate rate in place of the spec's, requests per second.
    #[serde(default)]
    pub rate: Option<f64>,
    /// A trace file in place of a spec; the scenario is there when its folder is given.
    #[serde(default)]
    pub trace: Option<TraceKeys>,
    /// First of its seeds.
    pub seed: u64,
    /// Its weight in the score.
    #[serde(default = "one")]
    pub weight: f64,
    /// How long the cluster may go on after the last arrival, seconds.
    #[serde(default = "half_a_minute")]
    pub drain_s: f64,
    /// Changes of the cluster.
    #[serde(default)]
    pub cluster: ClusterKeys,
    /// Changes of the targets.
    #[serde(default)]
    pub slo: SloKeys,
}

/// A trace file of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceKeys {
    /// Its name in the folder of traces.
    pub file: PathBuf,
    /// Factor on the arrival rate.
    #[serde(default = "one")]
    pub rate_scale: f64,
    /// Start of the part that is replayed, seconds of the trace.
    #[serde(default)]
    pub from_s: f64,
}

/// Rules of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RulesKey {
    /// As the reference simulator.
    Blis,
    /// As vLLM V1.
    Vllm,
}

/// The cluster of a scenario; what is left out is taken from the suite, then from the defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterKeys {
    /// Model, as `windtunnel run --model`.
    pub model: Option<String>,
    /// GPU.
    pub hardware: Option<String>,
    /// GPUs that split each layer.
    pub tensor_parallelism: Option<u32>,
    /// Instances.
    pub instances: Option<u32>,
    /// Rules of the engine.
    pub rules: Option<RulesKey>,
    /// Step-time model: auto, blackbox, roofline or trained-physics.
    pub latency_model: Option<String>,
    /// KV blocks per instance.
    pub total_kv_blocks: Option<u64>,
    /// Tokens per KV block.
    pub block_size: Option<u32>,
    /// Most requests in a batch.
    pub max_num_running_reqs: Option<u32>,
    /// Most tokens in a step.
    pub max_num_scheduled_tokens: Option<u32>,
    /// Longest part of a prompt in one step, tokens; 0 = no limit.
    pub long_prefill_token_threshold: Option<u32>,
    /// Share of the GPU memory that may be used.
    pub gpu_memory_utilization: Option<f64>,
    /// Age at which scraped signals are scraped again, microseconds.
    pub snapshot_refresh_interval_us: Option<u32>,
    /// Age at which the precise prefix signal is refreshed, microseconds.
    pub cache_signal_delay_us: Option<u32>,
    /// Arrival to admission decision, microseconds.
    pub admission_latency_us: Option<u32>,
    /// Admission to routing decision, microseconds.
    pub routing_latency_us: Option<u32>,
    /// Predictor of output lengths: exact, or lognormal:SIGMA.
    pub output_predictor: Option<String>,
}

macro_rules! first_given {
    ($over:ident, $under:ident: $($field:ident)*) => {
        ClusterKeys { $($field: $over.$field.clone().or_else(|| $under.$field.clone()),)* }
    };
}

impl ClusterKeys {
    /// These keys where they are given, `under`'s elsewhere.
    #[must_use]
    pub fn over(&self, under: &Self) -> Self {
        let over = self;
        first_given!(over, under: model hardware tensor_parallelism instances rules latency_model total_kv_blocks block_size
            max_num_running_reqs max_num_scheduled_tokens long_prefill_token_threshold gpu_memory_utilization
            snapshot_refresh_interval_us cache_signal_delay_us admission_latency_us routing_latency_us output_predictor)
    }
}

/// Latency targets, each as `windtunnel run --slo-...` takes them: `critical=200ms,2s`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SloKeys {
    /// Time to first token.
    pub ttft: Option<String>,
    /// Mean inter-token latency.
    pub itl: Option<String>,
    /// End-to-end latency.
    pub e2e: Option<String>,
}

impl SloKeys {
    /// The targets; these where they are given, `under`'s elsewhere.
    ///
    /// # Errors
    /// A malformed target.
    pub fn targets(&self, under: &Self) -> Result<SloTargets, InputError> {
        let mut targets = SloTargets::default();
        let given = [
            (Dimension::Ttft, "slo.ttft", &self.ttft, &under.ttft),
            (Dimension::Itl, "slo.itl", &self.itl, &under.itl),
            (Dimension::E2e, "slo.e2e", &self.e2e, &under.e2e),
        ];
        for (dimension, key, over, under) in given {
            if let Some(text) = over.as_ref().or(under.as_ref()) {
                targets.parse(dimension, key, text)?;
            }
        }
        Ok(targets)
    }
}

/// A suite, checked.
#[derive(Clone, Debug)]
pub struct Suite {
    /// As written.
    pub file: SuiteFile,
    /// The hooks that a candidate may fill.
    pub hooks: Vec<Hook>,
    /// Where its text comes from.
    pub origin: Origin,
    /// Its text, for the processes that fly it.
    pub text: String,
    /// The folder with the traces of scenarios that replay one.
    pub traces: Option<PathBuf>,
    digest: OnceLock<String>,
}

/// Where a suite comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// It is part of the program.
    Shipped(String),
    /// A file.
    File(PathBuf),
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Self::Shipped(name) => format!("suites/{name}.yaml"),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The text of a workload spec that the suite names, and its name in messages.
    ///
    /// # Errors
    /// When it is not there.
    pub fn workload(&self, path: &Path) -> Result<(PathBuf, String), InputError> {
        match self {
            Self::Shipped(suite) => {
                let name = path.display().to_string();
                let text = library::workload(&name).ok_or_else(|| {
                    InputError::in_file(
                        format!("suites/{suite}.yaml"),
                        unknown("workload", &name, &library::workload_names()),
                    )
                })?;
                Ok((Path::new("suites").join(path), text.to_owned()))
            }
            Self::File(file) => {
                let path = crate::input::folder_of(file).join(path);
                let text = read_text(&path)?;
                Ok((path, text))
            }
        }
    }
}

impl Suite {
    /// The suite called `name`, or of the file `name`. `traces` is where the files of scenarios with a trace lie.
    ///
    /// # Errors
    /// When there is none, or it is wrong.
    pub fn open(name: &str, traces: Option<&Path>) -> Result<Self, InputError> {
        let path = Path::new(name);
        let is_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        let (origin, text) = if is_file {
            (Origin::File(path.to_owned()), read_text(path)?)
        } else {
            let text = library::suite(name).ok_or_else(|| {
                let known = unknown("suite", name, &library::suite_names());
                InputError::new(format!("{known}; a file is named with its .yaml"))
            })?;
            (Origin::Shipped(name.to_owned()), text.to_owned())
        };
        Self::of_text(origin, text, traces)
    }

    /// The suite in `text`.
    ///
    /// # Errors
    /// When it is wrong; the message names the place or the key.
    pub fn of_text(
        origin: Origin,
        text: String,
        traces: Option<&Path>,
    ) -> Result<Self, InputError> {
        let name = origin.name();
        let mut file: SuiteFile = parse_yaml(&name, &text)?;
        if let Origin::File(path) = &origin {
            let folder = crate::input::folder_of(path);
            file.policies.folder = folder.to_owned();
            for bundle in file.references.values_mut() {
                bundle.folder = folder.to_owned();
            }
        }
        let suite = Self {
            hooks: hooks(&file.hooks).map_err(|e| InputError::in_file(&name, e))?,
            file,
            origin,
            text,
            traces: traces.map(Path::to_owned),
            digest: OnceLock::new(),
        };
        suite.check().map_err(|e| InputError::in_file(&name, e))?;
        Ok(suite)
    }

    fn check(&self) -> Result<(), String> {
        let file = &self.file;
        let positive = |key: &str, value: u64| match value {
            0 => Err(format!("{key} is 0; expected 1 or more")),
            _ => Ok(()),
        };
        positive("requests", file.requests)?;
        positive("seeds", file.seeds.into())?;
        if let Some(seeds) = file.unseen_seeds {
            positive("unseen_seeds", seeds.into())?;
        }
        let least = Split::ALL.map(|split| file.seeds_of(split));
        let least = least.into_iter().max().unwrap_or(1);
        if file.max_seeds < least {
            return Err(format!(
                "max_seeds is {}; expected at least {least}, as seeds and unseen_seeds",
                file.max_seeds
            ));
        }
        if !(0.0..=10.0).contains(&file.regression_weight) {
            return Err(format!(
                "regression_weight is {}; expected 0 to 10",
                file.regression_weight
            ));
        }
        if file.objectives.is_empty() {
            return Err("objectives: at least one is needed".into());
        }
        for (i, objective) in file.objectives.iter().enumerate() {
            objective
                .check()
                .map_err(|e| format!("objectives[{i}]: {e}"))?;
        }
        if file.references.is_empty() {
            return Err("references: at least one policy to measure against is needed".into());
        }
        let bundles = file
            .references
            .iter()
            .map(|(n, b)| (format!("references.{n}"), b));
        for (key, bundle) in bundles.chain([("policies".to_owned(), &file.policies)]) {
            bundle.check().map_err(|(k, e)| format!("{key}.{k}: {e}"))?;
        }
        if file.scenarios.train.is_empty() {
            return Err("scenarios.train: at least one scenario is needed".into());
        }
        let mut seen: Vec<&str> = Vec::new();
        for split in Split::ALL {
            for scenario in self.keys(split) {
                let id = scenario.id.as_str();
                if seen.contains(&id) {
                    return Err(format!("scenarios.{split}: \"{id}\" is there twice"));
                }
                seen.push(id);
                scenario
                    .check()
                    .map_err(|e| format!("scenario {id}: {e}"))?;
                scenario
                    .slo
                    .targets(&file.slo)
                    .map_err(|e| format!("scenario {id}: {e}"))?;
            }
        }
        Ok(())
    }

    fn keys(&self, split: Split) -> &[ScenarioKeys] {
        match split {
            Split::Train => &self.file.scenarios.train,
            Split::Val => &self.file.scenarios.val,
            Split::Holdout => &self.file.scenarios.holdout,
        }
    }

    /// The scenarios of a split that can be flown: those that replay a trace only where its file is.
    pub fn scenarios(&self, split: Split) -> impl Iterator<Item = &ScenarioKeys> {
        self.keys(split).iter().filter(|s| {
            s.trace.as_ref().is_none_or(|trace| {
                let folder = self.traces.as_ref();
                folder.is_some_and(|folder| folder.join(&trace.file).is_file())
            })
        })
    }

    /// The scenario `id`, of whatever split.
    #[must_use]
    pub fn scenario(&self, id: &str) -> Option<(Split, &ScenarioKeys)> {
        Split::ALL.into_iter().find_map(|split| {
            let found = self.keys(split).iter().find(|s| s.id == id);
            found.map(|scenario| (split, scenario))
        })
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.file.name, self.file.version)
    }

    /// A fingerprint of everything that its scores depend on: its text, and those of the workloads, traces and scripts it names. Found out
    /// once; files that change later are not noticed.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.get_or_init(|| self.fingerprint()).clone()
    }

    fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.text.as_bytes());
        for split in Split::ALL {
            for scenario in self.scenarios(split) {
                hasher.update(scenario.id.as_bytes());
                if let Some(path) = &scenario.workload
                    && let Ok((_, text)) = self.origin.workload(path)
                {
                    hasher.update(text.as_bytes());
                }
                if let (Some(trace), Some(folder)) = (&scenario.trace, &self.traces)
                    && let Ok(file) = std::fs::File::open(folder.join(&trace.file))
                {
                    // One that cannot be read is told when it is flown.
                    let _ = hasher.update_reader(file);
                }
            }
        }
        for path in self.named() {
            if let Ok(bytes) = std::fs::read(path) {
                hasher.update(&bytes);
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Policies in files of their own.
    fn named(&self) -> Vec<PathBuf> {
        let Origin::File(file) = &self.origin else {
            return Vec::new();
        };
        let folder = crate::input::folder_of(file);
        let bundles = self.file.references.values().chain([&self.file.policies]);
        let named = bundles.flat_map(|bundle| bundle.named().map(|(_, name)| name));
        let files = named.filter_map(|name| match Reference::parse(name).from_folder(folder) {
            Reference::Script(path) | Reference::Plugin(path, _) => Some(path),
            Reference::Name(_) => None,
        });
        files.collect()
    }

    /// Files and folders that whoever flies it has to read.
    #[must_use]
    pub fn readable(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self.traces.iter().cloned().collect();
        if let Origin::File(file) = &self.origin {
            let folder = crate::input::folder_of(file);
            let scenarios = Split::ALL.into_iter().flat_map(|split| self.keys(split));
            let workloads = scenarios.filter_map(|s| s.workload.as_ref());
            all.extend(workloads.map(|path| folder.join(path)));
            all.extend(self.named());
            // What lies in its folder is there already.
            let above = |path: &PathBuf| path.components().any(|c| c == Component::ParentDir);
            all.retain(|path| above(path) || !path.starts_with(folder));
            all.push(folder.to_owned());
        }
        all.sort();
        all.dedup();
        all
    }

    /// The models and figures that its clusters are made of.
    #[must_use]
    pub fn defaults(&self) -> &'static Defaults {
        Defaults::builtin()
    }
}

impl ScenarioKeys {
    fn check(&self) -> Result<(), String> {
        let fine = |x: f64| x.is_finite() && x > 0.0;
        match (&self.workload, &self.trace) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err("expected either a workload or a trace".into()),
        }
        if self.trace.is_some() && self.rate.is_some() {
            return Err("a trace has no rate; trace.rate_scale makes it faster".into());
        }
        if let Some(rate) = self.rate.filter(|r| !fine(*r)) {
            return Err(format!(
                "the rate is {rate}; expected requests per second above 0"
            ));
        }
        if !fine(self.weight) {
            return Err(format!(
                "the weight is {}; expected a number above 0",
                self.weight
            ));
        }
        if !(0.0..=3600.0).contains(&self.drain_s) {
            return Err(format!(
                "drain_s is {}; expected 0 to 3600 seconds",
                self.drain_s
            ));
        }
        Ok(())
    }
}

fn hooks(names: &[String]) -> Result<Vec<Hook>, String> {
    let valid = Hook::ALL.map(Hook::name);
    let hooks = names
        .iter()
        .map(|name| Hook::parse(name).ok_or_else(|| unknown("hook", name, &valid)));
    let hooks: Vec<Hook> = hooks.collect::<Result<_, _>>()?;
    if hooks.is_empty() {
        return Err("hooks: at least one is needed".into());
    }
    Ok(hooks)
}
