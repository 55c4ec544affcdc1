//! Policies that come from files: which file a name means, and what it takes to run it.

use super::lua::{self, Program};
use super::native::Library;
use super::param::{Hook, Param, settle};
use super::{Choice, built_in, library};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windtunnel_base::input::{InputError, read_text, unknown};

/// A policy from outside the engine, ready to be made.
#[derive(Clone)]
pub enum External {
    /// A script.
    Script(Arc<Program>),
    /// A policy of a compiled plugin.
    Plugin(Arc<Compiled>),
}

/// A policy of a compiled plugin.
#[derive(Debug)]
pub struct Compiled {
    /// As it was asked for: path and, if given, name.
    pub name: String,
    /// The library.
    pub library: Arc<Library>,
    /// The policy's name in it.
    pub policy: String,
    /// The parameters it declares.
    pub declared: Vec<Param>,
    /// Their values, in order of declaration.
    pub params: Vec<(String, f64)>,
}

impl External {
    /// How it is called in reports: the path as given.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Script(program) => &program.name,
            Self::Plugin(plugin) => &plugin.name,
        }
    }

    /// The values of its parameters, in order of declaration.
    #[must_use]
    pub fn params(&self) -> &[(String, f64)] {
        match self {
            Self::Script(program) => &program.params,
            Self::Plugin(plugin) => &plugin.params,
        }
    }
}

impl External {
    /// The parameters it declares.
    #[must_use]
    pub fn declared(&self) -> &[Param] {
        match self {
            Self::Script(program) => &program.declared,
            Self::Plugin(plugin) => &plugin.declared,
        }
    }
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name(), self.params())
    }
}

impl PartialEq for External {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Script(a), Self::Script(b)) => Arc::ptr_eq(a, b),
            (Self::Plugin(a), Self::Plugin(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// What the name of a policy refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name of the project's own.
    Name(String),
    /// A script.
    Script(PathBuf),
    /// A compiled plugin, and which of its policies.
    Plugin(PathBuf, Option<String>),
}

impl Reference {
    /// Reads `name | FILE.lua | FILE.so[:name]`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let ends = |path: &str, endings: &[&str]| {
            let ending = Path::new(path).extension().and_then(|e| e.to_str());
            ending.is_some_and(|e| endings.contains(&e))
        };
        if ends(text, &["lua", "luau"]) {
            return Self::Script(text.into());
        }
        let libraries = ["so", "dylib", "dll"];
        if ends(text, &libraries) {
            return Self::Plugin(text.into(), None);
        }
        if let Some((path, name)) = text.rsplit_once(':')
            && ends(path, &libraries)
        {
            return Self::Plugin(path.into(), Some(name.to_owned()));
        }
        Self::Name(text.to_owned())
    }

    /// The same, with a relative path taken from `folder`.
    #[must_use]
    pub fn from_folder(self, folder: &Path) -> Self {
        match self {
            Self::Name(name) => Self::Name(name),
            Self::Script(path) => Self::Script(folder.join(path)),
            Self::Plugin(path, name) => Self::Plugin(folder.join(path), name),
        }
    }
}

/// Is asked, with the parameters that a policy declares, for the values of some of them.
pub type Given<'a> = &'a mut dyn FnMut(&[Param]) -> Vec<(String, f64)>;

/// Opens the files of a run's policies, each with the same values only once, so that hooks of one
/// file share its state.
pub struct Opener {
    trusted: bool,
    scripts: Vec<Arc<Program>>,
    /// Texts of scripts by path; with it, none is read from the disk.
    texts: Option<BTreeMap<PathBuf, String>>,
    /// Units a script may spend in one run.
    run_units: i64,
}

impl Opener {
    /// Nothing open yet. With `trusted`, the limits of scripts are lifted.
    #[must_use]
    pub fn new(trusted: bool) -> Self {
        Self {
            trusted,
            scripts: Vec::new(),
            texts: None,
            run_units: lua::RUN_UNITS,
        }
    }

    /// Limits stay, scripts are taken from `texts`: none is read from the disk, and may spend so
    /// many units in one run.
    #[must_use]
    pub fn of_texts(texts: BTreeMap<PathBuf, String>, run_units: i64) -> Self {
        Self {
            texts: Some(texts),
            run_units,
            ..Self::new(false)
        }
    }

    fn text(&self, path: &Path) -> Result<String, InputError> {
        let Some(texts) = &self.texts else {
            return read_text(path);
        };
        let missing = || InputError::in_file(path.display(), "is no part of this candidate");
        texts.get(path).cloned().ok_or_else(missing)
    }

    /// Opens what `reference` means for `hook`.
    ///
    /// # Errors
    /// When there is no such policy, a file cannot be read, or a value does not fit.
    pub fn open(
        &mut self,
        hook: Hook,
        reference: &Reference,
        given: Given<'_>,
    ) -> Result<Choice, InputError> {
        let (name, text) = match reference {
            Reference::Name(name) => {
                if built_in(hook).contains(&name.as_str()) {
                    return Ok(Choice::Named(name.clone()));
                }
                let Some(script) = library::find(hook, name) else {
                    return Err(InputError::new(unknown_policy(hook, name)));
                };
                (script.path(), script.text.to_owned())
            }
            Reference::Script(path) => (path.display().to_string(), self.text(path)?),
            Reference::Plugin(path, name) => {
                return compiled(hook, path, name.as_deref(), given);
            }
        };
        let declared = lua::declarations(&name, &text)?;
        let given = given(&declared);
        let mut program = Program::new(&name, text, &given, self.trusted)?;
        program.run_units = self.run_units;
        Ok(Choice::External(self.keep(program)))
    }

    fn keep(&mut self, program: Program) -> External {
        let same =
            |known: &&Arc<Program>| known.name == program.name && known.params == program.params;
        if let Some(known) = self.scripts.iter().find(same) {
            return External::Script(Arc::clone(known));
        }
        let program = Arc::new(program);
        self.scripts.push(Arc::clone(&program));
        External::Script(program)
    }
}

/// A policy of the library at `path`.
fn compiled(
    hook: Hook,
    path: &Path,
    name: Option<&str>,
    given: Given<'_>,
) -> Result<Choice, InputError> {
    let library = Library::open(path)?;
    let offer = library.policy(hook, name)?;
    let given = given(&offer.params);
    let shown = name.map_or(String::new(), |name| format!(":{name}"));
    let shown = format!("{}{shown}", path.display());
    let compiled = Compiled {
        params: settle(&shown, &offer.params, &given)?,
        declared: offer.params.clone(),
        policy: offer.name.clone(),
        name: shown,
        library: Arc::clone(&library),
    };
    Ok(Choice::External(External::Plugin(Arc::new(compiled))))
}

/// Every policy that `hook` can be filled with by name.
#[must_use]
pub fn names(hook: Hook) -> Vec<&'static str> {
    let mut names = built_in(hook).to_vec();
    for script in library::scripts(hook) {
        if !names.contains(&script.name) {
            names.push(script.name);
        }
    }
    names
}

/// What to say of a name that `hook` has no policy of: the hooks that have one, or the nearest
/// name.
#[must_use]
pub fn unknown_policy(hook: Hook, name: &str) -> String {
    let having: Vec<&str> = Hook::ALL
        .into_iter()
        .filter(|other| names(*other).contains(&name))
        .map(Hook::name)
        .collect();
    let (kind, valid) = (hook.kind(), names(hook));
    if having.is_empty() {
        return unknown(kind, name, &valid);
    }
    format!(
        "unknown {kind} \"{name}\": it fills {}; valid: {}",
        having.join(" and "),
        valid.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_policy_a_script_or_a_plugin() {
        let parse = Reference::parse;
        assert_eq!(parse("weighted"), Reference::Name("weighted".into()));
        assert_eq!(parse("./my.lua"), Reference::Script("./my.lua".into()));
        assert_eq!(parse("a/b.luau"), Reference::Script("a/b.luau".into()));
        assert_eq!(parse("libx.so"), Reference::Plugin("libx.so".into(), None));
        let plugin = Reference::Plugin("d/libx.so".into(), Some("vtc".into()));
        assert_eq!(parse("d/libx.so:vtc"), plugin);
        let moved = parse("x.lua").from_folder(Path::new("policies"));
        assert_eq!(moved, Reference::Script("policies/x.lua".into()));
        assert_eq!(
            parse("/a/x.lua").from_folder(Path::new("policies")),
            Reference::Script("/a/x.lua".into())
        );
    }
}
