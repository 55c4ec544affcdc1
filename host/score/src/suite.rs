//! Suites: the scenarios that candidates are scored on, the objectives, and the reference policies.
//!
//! A suite is a YAML file; those of the project are part of the program. Its scenarios are in three
//! splits: of `train` everything is shown, of `val` only scores, and of `holdout` only the total.

mod file;
mod scaling;
mod split;

pub use file::{ClusterKeys, RulesKey, ScenarioKeys, SloKeys, Splits, SuiteFile, TraceKeys};
pub use split::Split;

use super::salt::{self, Salt, SaltSource};
use super::shipped;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use windtunnel_base::input::{
    InputError, LARGEST_SPEC, check_name, folder_of, open_regular, parse_yaml, read_text_up_to,
    unknown,
};
use windtunnel_policy::lua::{CALL_UNITS, RUN_UNITS};
use windtunnel_policy::{Hook, Reference};
use windtunnel_workload::spec;

/// A suite, checked.
#[derive(Clone, Debug)]
pub struct Suite {
    /// As written.
    pub file: SuiteFile,
    /// The hooks that a candidate may fill.
    pub hooks: Vec<Hook>,
    /// Where its text comes from.
    pub source: SuiteSource,
    /// Its text, for worker processes.
    pub text: String,
    /// The folder with the traces of scenarios that replay one.
    pub traces: Option<PathBuf>,
    /// Where the salt of the holdout comes from.
    pub holdout_salt_source: SaltSource,
    /// What a search draws the seeds of train and val from; `None` = those of the suite.
    pub train_salt: Option<String>,
    holdout_salt: OnceLock<Salt>,
    digest: OnceLock<String>,
}

/// Where the text of a suite comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuiteSource {
    /// It is part of the program.
    Shipped(String),
    /// A file.
    File(PathBuf),
}

impl SuiteSource {
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
                let text = shipped::workload(&name).ok_or_else(|| {
                    InputError::in_file(
                        format!("suites/{suite}.yaml"),
                        unknown("workload", &name, &shipped::workload_names()),
                    )
                })?;
                Ok((Path::new("suites").join(path), text.to_owned()))
            }
            Self::File(file) => {
                let path = folder_of(file).join(path);
                let text = read_text_up_to(&path, LARGEST_SPEC)?;
                Ok((path, text))
            }
        }
    }
}

impl Suite {
    /// Is it one of those that are built in?
    #[must_use]
    pub fn is_shipped(&self) -> bool {
        matches!(self.source, SuiteSource::Shipped(_))
    }

    /// The shipped suite `name`, or that of the file `name`. `traces` is the folder with the trace
    /// files of scenarios that replay one.
    ///
    /// # Errors
    /// When there is none, or it is wrong.
    pub fn open(name: &str, traces: Option<&Path>) -> Result<Self, InputError> {
        let path = Path::new(name);
        let is_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        let (source, text) = if is_file {
            let text = read_text_up_to(path, LARGEST_SPEC)?;
            (SuiteSource::File(path.to_owned()), text)
        } else {
            let text = shipped::suite(name).ok_or_else(|| {
                let known = unknown("suite", name, &shipped::suite_names());
                InputError::new(format!("{known}; a file is named with its .yaml"))
            })?;
            (SuiteSource::Shipped(name.to_owned()), text.to_owned())
        };
        let suite = Self::of_text(source, text, traces)?;
        suite.check_traces()?;
        Ok(suite)
    }

    /// Refuses a folder of traces with none of the suite's.
    fn check_traces(&self) -> Result<(), InputError> {
        let Some(folder) = &self.traces else {
            return Ok(());
        };
        let traces: Vec<&TraceKeys> = self.replayed().collect();
        if traces.iter().any(|trace| trace.place(folder).is_some()) {
            return Ok(());
        }
        let names: BTreeSet<String> = traces
            .iter()
            .map(|t| t.file.display().to_string())
            .collect();
        let wanted = match names.len() {
            0 => format!("{} replays none", self.label()),
            _ => format!(
                "{} replays {}",
                self.label(),
                names.into_iter().collect::<Vec<_>>().join(", ")
            ),
        };
        let message = format!("`traces`: no trace of the suite is in this folder; {wanted}");
        Err(InputError::in_file(folder.display(), message))
    }

    /// The suite in `text`.
    ///
    /// # Errors
    /// When it is wrong; the message names the place or the key.
    pub fn of_text(
        source: SuiteSource,
        text: String,
        traces: Option<&Path>,
    ) -> Result<Self, InputError> {
        let name = source.name();
        let mut file: SuiteFile = parse_yaml(&name, &text)?;
        if let SuiteSource::File(path) = &source {
            let folder = folder_of(path);
            file.policies.folder = folder.to_owned();
            for bundle in file.references.values_mut() {
                bundle.folder = folder.to_owned();
            }
        }
        let suite = Self {
            hooks: hooks(&file.hooks).map_err(|e| InputError::in_file(&name, e))?,
            file,
            source,
            text,
            traces: traces.map(Path::to_owned),
            holdout_salt_source: SaltSource::Nowhere,
            train_salt: None,
            holdout_salt: OnceLock::new(),
            digest: OnceLock::new(),
        };
        suite.check().map_err(|e| InputError::in_file(&name, e))?;
        Ok(suite)
    }

    fn check(&self) -> Result<(), String> {
        let file = &self.file;
        check_name(&file.name)
            .map_err(|expected| format!("name is \"{}\"; expected {expected}", file.name))?;
        let positive = |key: &str, value: u64| match value {
            0 => Err(format!("{key} is 0; expected 1 or more")),
            _ => Ok(()),
        };
        positive("requests", file.requests)?;
        positive("seeds", file.seeds.into())?;
        if let Some(hash) = &file.holdout_salt_hash
            && !(hash.len() == 32 && hash.bytes().all(|b| b"0123456789abcdef".contains(&b)))
        {
            return Err(format!(
                "holdout_salt_hash is \"{hash}\"; expected 32 hexadecimal digits, as reports on the holdout have them"
            ));
        }
        if !(CALL_UNITS..=RUN_UNITS).contains(&file.fuel) {
            return Err(format!(
                "fuel is {}; expected {CALL_UNITS}, as much as one call may take, to {RUN_UNITS}",
                file.fuel
            ));
        }
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
            scaling::check_bundle(bundle).map_err(|e| format!("{key}.autoscale: {e}"))?;
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
                    .and_then(|()| scaling::check(file, &self.hooks, scenario))
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

    /// The scenarios of all splits, including those whose trace is missing.
    fn all_scenarios(&self) -> impl Iterator<Item = &ScenarioKeys> {
        Split::ALL.into_iter().flat_map(|split| self.keys(split))
    }

    /// The traces that scenarios replay.
    fn replayed(&self) -> impl Iterator<Item = &TraceKeys> {
        self.all_scenarios().filter_map(|s| s.trace.as_ref())
    }

    /// The scenarios of a split that can be run: those that replay a trace only if its file is
    /// there.
    pub fn scenarios(&self, split: Split) -> impl Iterator<Item = &ScenarioKeys> {
        self.keys(split).iter().filter(|s| {
            s.trace.as_ref().is_none_or(|trace| {
                let folder = self.traces.as_ref();
                folder.is_some_and(|folder| trace.place(folder).is_some())
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

    /// The salt that the holdout is drawn with.
    ///
    /// # Errors
    /// When there is none, or not the one that the suite asks for.
    pub fn holdout_salt(&self) -> Result<&Salt, InputError> {
        if let Some(known) = self.holdout_salt.get() {
            return Ok(known);
        }
        let expected = self.file.holdout_salt_hash.as_deref();
        let salt = self.holdout_salt_source.open(expected)?;
        Ok(self.holdout_salt.get_or_init(|| salt))
    }

    /// Seed `k` of a scenario of `split`. That of the holdout cannot be known without its salt.
    ///
    /// # Errors
    /// As [`holdout_salt`](Self::holdout_salt).
    pub fn seed(&self, split: Split, scenario: &ScenarioKeys, k: u32) -> Result<u64, InputError> {
        let (id, first) = (scenario.id.as_str(), scenario.seed);
        Ok(match (split, &self.train_salt) {
            (Split::Holdout, _) => self.holdout_salt()?.seed(id, first, k),
            (Split::Train | Split::Val, Some(salt)) => salt::searched(salt, id, first, k),
            // The step is large, so that scenarios with adjacent first seeds share none.
            (Split::Train | Split::Val, None) => first + 1_000_003 * u64::from(k),
        })
    }

    /// Fresh seed `k` of a scenario: one that no candidate can know.
    ///
    /// # Errors
    /// As [`holdout_salt`](Self::holdout_salt).
    pub fn fresh_seed(&self, scenario: &ScenarioKeys, k: u32) -> Result<u64, InputError> {
        let id = format!("fresh {}", scenario.id);
        Ok(self.holdout_salt()?.seed(&id, scenario.seed, k))
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.file.name, self.file.version)
    }

    /// A fingerprint of everything that its scores depend on: its text, the workloads, traces and
    /// scripts that it names, and the files that workloads name. It is computed once; later changes
    /// of files are not noticed.
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
                    && let Ok((_, text)) = self.source.workload(path)
                {
                    hasher.update(text.as_bytes());
                }
                if let (Some(trace), Some(folder)) = (&scenario.trace, &self.traces)
                    && let Some(Ok(file)) = trace.place(folder).map(|file| open_regular(&file))
                {
                    // One that cannot be read is an error when it is replayed.
                    let _ = hasher.update_reader(file);
                }
            }
        }
        for path in self
            .policy_files()
            .into_iter()
            .chain(self.files_of_workloads())
        {
            for file in files_of(path) {
                if let Ok(file) = open_regular(&file) {
                    let _ = hasher.update_reader(file);
                }
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// The files of policies that it names.
    fn policy_files(&self) -> Vec<PathBuf> {
        let SuiteSource::File(file) = &self.source else {
            return Vec::new();
        };
        let folder = folder_of(file);
        let bundles = self.file.references.values().chain([&self.file.policies]);
        let named = bundles.flat_map(|bundle| bundle.named().map(|(_, name)| name));
        let files = named.filter_map(|name| match Reference::parse(name).from_folder(folder) {
            Reference::Script(path) | Reference::Plugin(path, _) => Some(path),
            Reference::Name(_) => None,
        });
        files.collect()
    }

    /// Its workload specs that are files.
    fn workloads(&self) -> Vec<PathBuf> {
        let SuiteSource::File(file) = &self.source else {
            return Vec::new();
        };
        let workloads = self
            .all_scenarios()
            .filter_map(|s| Some(folder_of(file).join(s.workload.as_ref()?)));
        let mut all: Vec<PathBuf> = workloads.collect();
        all.sort();
        all.dedup();
        all
    }

    /// Files and folders that its workload specs name.
    fn files_of_workloads(&self) -> Vec<PathBuf> {
        let all = self.workloads().into_iter();
        // A spec that cannot be read is an error when it is used.
        all.flat_map(|path| spec::named(&path).unwrap_or_default())
            .collect()
    }

    /// The files that a worker has to read, as canonical paths: those that the suite and its
    /// workloads name, one by one. Of what lies beside them it sees nothing. Only workloads name
    /// folders (ServeGen data): such a folder, which is listed, and its data files.
    #[must_use]
    pub fn readable(&self) -> Vec<PathBuf> {
        let mut all = self.workloads();
        all.extend(self.files_of_workloads());
        all.extend(self.policy_files());
        if let Some(traces) = &self.traces {
            all.extend(self.replayed().filter_map(|trace| trace.place(traces)));
        }
        let folders = all.iter().filter(|path| path.is_dir()).cloned();
        let data: Vec<PathBuf> = folders.flat_map(files_of).filter(|f| is_data(f)).collect();
        all.extend(data);
        let there = all.iter().filter_map(|path| path.canonicalize().ok());
        let mut all: Vec<PathBuf> = there.collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Whether a file of a folder of ServeGen data is part of them.
fn is_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with("chunk-")
}

/// A file, or the files that lie in a folder, in order.
fn files_of(path: PathBuf) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::read_dir(&path) else {
        return vec![path];
    };
    let mut all: Vec<PathBuf> = folder.filter_map(|f| Some(f.ok()?.path())).collect();
    all.sort();
    all
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
