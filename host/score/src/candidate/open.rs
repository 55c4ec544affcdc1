//! Opening candidates: from the files that the one who asks names, and from those that these name,
//! which lie beside them.

use super::{Body, Candidate};
use crate::report::ProblemKind;
use crate::shipped;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{
    InputError, LARGEST_SCRIPT, LARGEST_SPEC, folder_of, hint, inside, open_regular, plain,
    read_text_up_to,
};
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::registry::names;
use windtunnel_policy::{Hook, Reference};

impl Candidate {
    /// What `text` names: a policy, `FILE.lua`, `FILE.so[:name]`, a bundle `FILE.yaml`, or a folder
    /// with a `policies.yaml` or with files called after hooks.
    ///
    /// # Errors
    /// When a file cannot be read or a folder has nothing to score.
    pub fn open(text: &str) -> Result<Self, InputError> {
        let path = Path::new(text);
        if path.is_dir() {
            return Self::of_folder(path);
        }
        if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            return Self::of_bundle(text, path);
        }
        let mut candidate = Self::blank(text, Body::Policy(text.to_owned()));
        match Reference::parse(text) {
            Reference::Name(name) => {
                if !Hook::ALL.iter().any(|h| names(*h).contains(&name.as_str())) {
                    // A reference policy that fills several hooks.
                    if let Some((_, bundle)) = shipped::reference(&name) {
                        candidate.body = Body::Bundle(bundle, PathBuf::new());
                        return Ok(candidate);
                    }
                    let all = Hook::ALL.into_iter().flat_map(names);
                    let hint = hint(" ", &name, all);
                    return Err(InputError::new(format!(
                        "\"{name}\" is no policy, file or folder;{hint} \"windtunnel policy list\" shows the policies with a name"
                    )));
                }
            }
            reference => candidate.read(&reference)?,
        }
        Ok(candidate)
    }

    /// As [`open`](Self::open), of a file that was found in `folder`: one that lies elsewhere, by a
    /// link, is refused.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(folder: &Path, file: &Path) -> Result<Self, InputError> {
        inside(folder, file)?;
        Self::open(&file.display().to_string())
    }

    /// As [`open`](Self::open), but a folder that is no candidate by itself stands for all scripts
    /// in it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_all(text: &str) -> Result<Vec<Self>, InputError> {
        let one = match Self::open(text) {
            Err(e) if Path::new(text).is_dir() => e,
            one => return Ok(vec![one?]),
        };
        let unreadable = |e: std::io::Error| InputError::in_file(text, e.to_string());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(text).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|e| e == "lua" || e == "luau") {
                files.push(path);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(one);
        }
        let folder = Path::new(text);
        files
            .iter()
            .map(|file| Self::open_in(folder, file))
            .collect()
    }

    /// Reads the text of a script.
    fn read(&mut self, reference: &Reference) -> Result<(), InputError> {
        match reference {
            Reference::Script(path) => match read_text_up_to(path, LARGEST_SCRIPT) {
                Ok(text) => {
                    self.texts.insert(path.clone(), text);
                }
                Err(e) => self.record_flaw(path, e)?,
            },
            Reference::Plugin(path, _) if !path.is_file() => {
                return Err(InputError::in_file(
                    path.display(),
                    "cannot read: no such file",
                ));
            }
            Reference::Plugin(..) | Reference::Name(_) => {}
        }
        Ok(())
    }

    /// Reads the text of a script that a file of the candidate names, or that lies in its folder.
    /// What leads out of the folder, or is no file, is a flaw of the candidate.
    fn read_named(&mut self, folder: &Path, reference: &Reference) -> Result<(), InputError> {
        if let Reference::Script(path) | Reference::Plugin(path, _) = reference
            && path.exists()
            && let Err(e) = inside(folder, path).and_then(|()| {
                let cannot = |e| format!("cannot read: {}", plain(&e));
                let opened = open_regular(path).map(drop);
                opened.map_err(|e| InputError::in_file(path.display(), cannot(e)))
            })
        {
            self.flaw = Some(Box::new(self.problem(ProblemKind::Policy, &e)));
            return Ok(());
        }
        self.read(reference)
    }

    /// A file that cannot be parsed is a flaw of the candidate; one that cannot be opened is an
    /// error of the caller.
    fn record_flaw(&mut self, path: &Path, error: InputError) -> Result<(), InputError> {
        if open_regular(path).is_err() {
            return Err(error);
        }
        let mut problem = self.problem(ProblemKind::Syntax, &error);
        problem.file = Some(path.display().to_string());
        self.flaw = Some(Box::new(problem));
        Ok(())
    }

    fn of_bundle(name: &str, path: &Path) -> Result<Self, InputError> {
        let folder = folder_of(path).to_owned();
        let mut candidate = Self::blank(name, Body::Bundle(String::new(), folder.clone()));
        let read = read_text_up_to(path, LARGEST_SPEC)
            .and_then(|text| Ok((Bundle::parse(&path.display().to_string(), &text)?, text)));
        match read {
            Ok((bundle, text)) => {
                candidate.body = Body::Bundle(text, folder.clone());
                for (_, named) in bundle.named() {
                    let reference = Reference::parse(named).from_folder(&folder);
                    candidate.read_named(&folder, &reference)?;
                }
            }
            Err(e) => candidate.record_flaw(path, e)?,
        }
        Ok(candidate)
    }

    fn of_folder(folder: &Path) -> Result<Self, InputError> {
        let name = folder.display().to_string();
        let bundle = folder.join("policies.yaml");
        if bundle.is_file() {
            inside(folder, &bundle)?;
            return Self::of_bundle(&name, &bundle);
        }
        let mut candidate = Self::blank(&name, Body::Hooks(BTreeMap::new()));
        let mut hooks = BTreeMap::new();
        for hook in Hook::ALL {
            let file = folder.join(format!("{hook}.lua"));
            if file.is_file() {
                candidate.read_named(folder, &Reference::Script(file.clone()))?;
                hooks.insert(hook, file.display().to_string());
            }
        }
        if hooks.is_empty() {
            let files: Vec<String> = Hook::ALL.iter().map(|h| format!("{h}.lua")).collect();
            return Err(InputError::in_file(
                name,
                format!(
                    "has nothing to score; expected policies.yaml, some of {}, or scripts that are candidates each",
                    files.join(", ")
                ),
            ));
        }
        candidate.body = Body::Hooks(hooks);
        Ok(candidate)
    }
}
