//! Suites: which traffic a candidate is flown through, what counts, and what it is measured
//! against.
//!
//! A suite is a YAML file; those of the project are part of the program. Its scenarios come in
//! three splits: `train`, about which everything is told; `val`, of which only scores are; and
//! `holdout`, of which only the total is.

mod file;

pub use file::{ClusterKeys, RulesKey, ScenarioKeys, SloKeys, Splits, SuiteFile, TraceKeys};

use super::library;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use windtunnel_base::input::{InputError, check_name, folder_of, parse_yaml, read_text, unknown};
use windtunnel_policy::{Hook, Reference};
use windtunnel_workload::spec;

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
                let path = folder_of(file).join(path);
                let text = read_text(&path)?;
                Ok((path, text))
            }
        }
    }
}

impl Suite {
    /// The suite called `name`, or of the file `name`. `traces` is where the files of scenarios
    /// with a trace lie.
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
        let suite = Self::of_text(origin, text, traces)?;
        suite.check_traces()?;
        Ok(suite)
    }

    /// A folder of traces in which the suite finds nothing is a mistake.
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
        let message = format!("--traces: no trace of the suite is in this folder; {wanted}");
        Err(InputError::in_file(folder.display(), message))
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
            let folder = folder_of(path);
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
        check_name(&file.name)
            .map_err(|expected| format!("name is \"{}\"; expected {expected}", file.name))?;
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

    /// The scenarios of all splits, also those whose trace is not there.
    fn every(&self) -> impl Iterator<Item = &ScenarioKeys> {
        Split::ALL.into_iter().flat_map(|split| self.keys(split))
    }

    /// The traces that scenarios replay.
    fn replayed(&self) -> impl Iterator<Item = &TraceKeys> {
        self.every().filter_map(|s| s.trace.as_ref())
    }

    /// The scenarios of a split that can be flown: those that replay a trace only where its file
    /// is.
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

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.file.name, self.file.version)
    }

    /// A fingerprint of everything that its scores depend on: its text, those of the workloads,
    /// traces and scripts it names, and the files that workloads name. Found out once; files that
    /// change later are not noticed.
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
                    && let Some(Ok(file)) = trace.place(folder).map(std::fs::File::open)
                {
                    // One that cannot be read is told when it is flown.
                    let _ = hasher.update_reader(file);
                }
            }
        }
        for path in self.named().into_iter().chain(self.of_workloads()) {
            for file in files_of(path) {
                if let Ok(file) = std::fs::File::open(file) {
                    let _ = hasher.update_reader(file);
                }
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Policies in files of their own.
    fn named(&self) -> Vec<PathBuf> {
        let Origin::File(file) = &self.origin else {
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
        let Origin::File(file) = &self.origin else {
            return Vec::new();
        };
        let workloads = self
            .every()
            .filter_map(|s| Some(folder_of(file).join(s.workload.as_ref()?)));
        let mut all: Vec<PathBuf> = workloads.collect();
        all.sort();
        all.dedup();
        all
    }

    /// Files and folders that its workload specs name.
    fn of_workloads(&self) -> Vec<PathBuf> {
        let all = self.workloads().into_iter();
        // A spec that cannot be read is told when it is flown.
        all.flat_map(|path| spec::named(&path).unwrap_or_default())
            .collect()
    }

    /// Files and folders that whoever flies it has to read, where they really are: a link in a
    /// folder may lead out of it.
    #[must_use]
    pub fn readable(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = self.traces.iter().cloned().collect();
        let mut all = self.workloads();
        all.extend(self.of_workloads());
        all.extend(self.named());
        if let Some(traces) = &self.traces {
            all.extend(self.replayed().filter_map(|trace| trace.place(traces)));
        }
        if let Origin::File(file) = &self.origin {
            folders.push(folder_of(file).to_owned());
        }
        let truly = |path: &mut PathBuf| {
            if let Ok(there) = path.canonicalize() {
                *path = there;
            }
        };
        folders.iter_mut().chain(&mut all).for_each(truly);
        all.retain(|path| path.exists() && !folders.iter().any(|f| path.starts_with(f)));
        all.extend(folders);
        all.sort();
        all.dedup();
        all
    }
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
