//! An entry of a leaderboard: a folder with the candidate, its reports on all splits, and where it
//! comes from.

use crate::candidate::{Body, Candidate};
use crate::report::{ProblemKind, Report};
use crate::suite::Split;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use windtunnel_base::input::{InputError, folder_of, inside, plain, read_text, sweep_leftovers};
use windtunnel_policy::{Hook, Reference};

/// Schema of `entry.json`.
const SCHEMA: &str = "windtunnel.leaderboard/1";
/// The folder of an entry's scripts.
const FILES: &str = "candidate";
/// Prefix of the folder of an entry while it is replaced.
const OLD_PREFIX: &str = ".old-";

/// The folder of the entry `name` of a board, if there is one. A replacement that was interrupted
/// leaves it in a folder with a prefix.
#[must_use]
pub fn entry_folder(board: &Path, name: &str) -> Option<PathBuf> {
    let folders = [board.join(name), board.join(format!("{OLD_PREFIX}{name}"))];
    folders.into_iter().find(|folder| folder.exists())
}

/// The name of the entry in a folder; none if it is not the folder of an entry.
#[must_use]
pub fn name_of(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_string_lossy();
    let name = name.strip_prefix(OLD_PREFIX).unwrap_or(&name);
    (!name.starts_with('.')).then(|| name.to_owned())
}

/// Where a candidate comes from, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it was made with: OpenEvolve, GEPA, by hand, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// Candidates that were tried on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    /// What it cost, dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The candidate of an entry, with names of files in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A reference policy of the suite.
    Reference(String),
    /// A policy with a name.
    Name(String),
    /// A script.
    Script(String),
    /// Scripts called after hooks.
    Hooks(BTreeMap<Hook, String>),
    /// A bundle.
    Bundle(String),
}

/// A scoring on the holdout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldoutRun {
    /// Fingerprint of the suite.
    pub suite: String,
    /// Version of the program and of its results.
    pub engine: String,
    /// Hash of the salt that it was drawn with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// `entry.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    schema: String,
    candidate: Form,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    params: BTreeMap<String, f64>,
    #[serde(default)]
    origin: Origin,
    holdout_runs: Vec<HoldoutRun>,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name: that of its folder.
    pub name: String,
    /// The candidate.
    pub candidate: Candidate,
    /// Where it comes from.
    pub origin: Origin,
    /// All scorings on the holdout.
    pub holdout_runs: Vec<HoldoutRun>,
    /// Reports by split; of those the suite has.
    pub reports: BTreeMap<Split, Report>,
}

/// Texts of scripts by their names in the entry.
type Texts<'a> = Vec<(PathBuf, &'a str)>;

impl Entry {
    /// An entry without reports.
    #[must_use]
    pub fn new(name: &str, candidate: Candidate, origin: Origin) -> Self {
        Self {
            name: name.to_owned(),
            candidate: Candidate {
                name: name.to_owned(),
                ..candidate
            },
            origin,
            holdout_runs: Vec::new(),
            reports: BTreeMap::new(),
        }
    }

    /// Reads an entry from its folder.
    ///
    /// # Errors
    /// When files are missing or wrong.
    pub fn read(folder: &Path) -> Result<Self, InputError> {
        let name = name_of(folder).unwrap_or_default();
        let file: EntryFile = parse(folder, "entry.json")?;
        if file.schema != SCHEMA {
            return Err(InputError::in_file(
                folder.join("entry.json").display(),
                format!("schema is \"{}\"; expected \"{SCHEMA}\"", file.schema),
            ));
        }
        let files = folder.join(FILES);
        let open = |file: &str| {
            // A path out of the folder would be a candidate that the entry does not contain.
            let mut parts = Path::new(file).components();
            let plain = matches!(parts.next(), Some(Component::Normal(_)) | None);
            if !plain || parts.next().is_some() {
                return Err(InputError::in_file(
                    folder.join("entry.json").display(),
                    format!("candidate is \"{file}\"; expected the name of a file in {FILES}/"),
                ));
            }
            Candidate::open_in(folder, &files.join(file))
        };
        let mut candidate = match &file.candidate {
            Form::Reference(name) => Candidate::reference(name),
            Form::Name(name) => Candidate::open(name)?,
            Form::Script(file) | Form::Bundle(file) => open(file)?,
            Form::Hooks(_) => open("")?,
        };
        candidate.params = file.params;
        let mut entry = Self::new(&name, candidate, file.origin);
        entry.holdout_runs = file.holdout_runs;
        for split in Split::ALL {
            let file = format!("{split}.json");
            if folder.join(&file).exists() {
                entry.reports.insert(split, parse(folder, &file)?);
            }
        }
        Ok(entry)
    }

    /// Writes the entry below `board`, whole or not at all; one of the same name is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, board: &Path) -> Result<(), InputError> {
        let refused = |e: io::Error| {
            InputError::in_file(
                board.join(&self.name).display(),
                format!("cannot write: {}", plain(&e)),
            )
        };
        let (form, texts) = self.files()?;
        let file = EntryFile {
            schema: SCHEMA.into(),
            candidate: form,
            params: self.candidate.params.clone(),
            origin: self.origin.clone(),
            holdout_runs: self.holdout_runs.clone(),
        };
        fs::create_dir_all(board).map_err(refused)?;
        sweep_leftovers(board);
        let fresh = tempfile::Builder::new()
            .prefix(".windtunnel-")
            .tempdir_in(board)
            .map_err(refused)?;
        let put = |name: &Path, text: &str| -> io::Result<()> {
            let path = fresh.path().join(name);
            fs::create_dir_all(folder_of(&path))?;
            fs::write(path, text)
        };
        put(Path::new("entry.json"), &pretty(&file)).map_err(refused)?;
        for (path, text) in texts {
            put(&Path::new(FILES).join(path), text).map_err(refused)?;
        }
        for (split, report) in &self.reports {
            put(Path::new(&format!("{split}.json")), &pretty(report)).map_err(refused)?;
        }
        let place = board.join(&self.name);
        let old = board.join(format!("{OLD_PREFIX}{}", self.name));
        if place.exists() {
            // A replacement that was interrupted at its end has left this.
            if old.exists() {
                fs::remove_dir_all(&old).map_err(refused)?;
            }
            fs::rename(&place, &old).map_err(refused)?;
        }
        fs::rename(fresh.keep(), &place).map_err(refused)?;
        readable(&place).map_err(refused)?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(refused)?;
        }
        Ok(())
    }

    /// How the candidate is written, and its files.
    fn files(&self) -> Result<(Form, Texts<'_>), InputError> {
        let candidate = &self.candidate;
        let own_name = |path: &Path| PathBuf::from(path.file_name().unwrap_or_default());
        let text = |path: &Path| candidate.texts.get(path).map_or("", String::as_str);
        Ok(match &candidate.body {
            Body::Reference(name) => (Form::Reference(name.clone()), Vec::new()),
            Body::Policy(what) => match Reference::parse(what) {
                Reference::Name(name) => (Form::Name(name), Vec::new()),
                Reference::Script(path) => (
                    Form::Script(own_name(&path).display().to_string()),
                    vec![(own_name(&path), text(&path))],
                ),
                Reference::Plugin(..) => return Err(self.native()),
            },
            Body::Hooks(hooks) => {
                let file = |hook: &Hook| format!("{hook}.lua");
                let form = hooks.keys().map(|hook| (*hook, file(hook))).collect();
                let texts = hooks
                    .iter()
                    .map(|(hook, path)| (file(hook).into(), text(Path::new(path))));
                (Form::Hooks(form), texts.collect())
            }
            Body::Bundle(text, folder) => {
                let mut files = vec![("policies.yaml".into(), text.as_str())];
                for (path, text) in &candidate.texts {
                    let inside = path
                        .strip_prefix(folder)
                        .ok()
                        .filter(|p| !p.components().any(|c| c == std::path::Component::ParentDir));
                    let inside = inside.ok_or_else(|| {
                        InputError::in_file(
                            path.display(),
                            "lies outside the folder of the bundle; an entry holds all its files",
                        )
                    })?;
                    files.push((inside.to_owned(), text));
                }
                (Form::Bundle("policies.yaml".into()), files)
            }
        })
    }

    /// Checks that the candidate can be in a leaderboard.
    ///
    /// # Errors
    /// When it is a compiled plugin, or a bundle with files outside its folder.
    pub fn check(&self) -> Result<(), InputError> {
        if self.candidate.is_native() {
            return Err(self.native());
        }
        // What cannot be read cannot be kept.
        let flaw = self.candidate.flaw.as_ref();
        if let Some(flaw) = flaw.filter(|flaw| flaw.kind == ProblemKind::Policy) {
            return Err(InputError::new(flaw.message.clone()));
        }
        self.files().map(|_| ())
    }

    fn native(&self) -> InputError {
        InputError::in_file(
            &self.name,
            "is a compiled plugin; a leaderboard holds what everybody can run again: scripts, bundles and names",
        )
    }
}

/// Makes a folder readable for all: temporary folders are readable only for their owner.
fn readable(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// A file of an entry; it lies in the folder of the entry, which may be from somebody else.
fn parse<T: serde::de::DeserializeOwned>(folder: &Path, name: &str) -> Result<T, InputError> {
    let path = folder.join(name);
    inside(folder, &path)?;
    let text = read_text(&path)?;
    serde_json::from_str(&text).map_err(|e| {
        InputError::at(
            path.display(),
            e.line() as u64,
            e.column() as u64,
            e.to_string(),
        )
    })
}
