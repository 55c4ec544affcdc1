//! From the text that names a policy to the policy, ready to be made.

use super::choice::Choice;
use super::external::{External, PluginPolicy};
use super::lua::{self, Program, ScriptLog};
use super::native::Plugin;
use super::param::{Hook, Param, settle};
use super::reference::Reference;
use super::{registry, shipped, tuned};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windtunnel_base::input::{InputError, LARGEST_SCRIPT, read_text_up_to};

/// Gives values for some of the parameters that a policy declares.
pub type ChooseValues<'a> = &'a mut dyn FnMut(&[Param]) -> Vec<(String, f64)>;

/// Finds and reads the policies of a run. A file is read once for each set of values, so that hooks
/// which it fills with the same values share its state.
pub struct PolicyLoader {
    trusted: bool,
    scripts: Vec<Arc<Program>>,
    /// Texts of scripts by path; with it, none is read from the disk.
    texts: Option<BTreeMap<PathBuf, String>>,
    /// Units a script may spend in one run.
    run_units: i64,
    /// Where scripts print.
    log: ScriptLog,
}

impl PolicyLoader {
    /// A loader that reads files. With `trusted`, the limits of scripts are lifted.
    #[must_use]
    pub fn new(trusted: bool) -> Self {
        Self {
            trusted,
            scripts: Vec::new(),
            texts: None,
            run_units: lua::RUN_UNITS,
            log: ScriptLog::default(),
        }
    }

    /// A loader that takes scripts from `texts` and reads none from the disk. Limits apply.
    #[must_use]
    pub fn from_texts(texts: BTreeMap<PathBuf, String>) -> Self {
        Self {
            texts: Some(texts),
            ..Self::new(false)
        }
    }

    /// The loader, with scripts that may spend `units` in one run.
    #[must_use]
    pub fn with_run_units(mut self, units: i64) -> Self {
        self.run_units = units;
        self
    }

    /// The loader, with scripts that print there.
    #[must_use]
    pub fn with_log(mut self, log: ScriptLog) -> Self {
        self.log = log;
        self
    }

    fn text(&self, path: &Path) -> Result<String, InputError> {
        let Some(texts) = &self.texts else {
            return read_text_up_to(path, LARGEST_SCRIPT);
        };
        let missing = || InputError::in_file(path.display(), "is no part of this candidate");
        texts.get(path).cloned().ok_or_else(missing)
    }

    /// The policy for `hook` that `reference` names, with the values that `choose` gives.
    ///
    /// # Errors
    /// When there is no such policy, a file cannot be read, or a value does not fit.
    pub fn load(
        &mut self,
        hook: Hook,
        reference: &Reference,
        choose: ChooseValues<'_>,
    ) -> Result<Choice, InputError> {
        let (name, text) = match reference {
            Reference::Name(name) => {
                if let Some(policy) = registry::built_in(hook, name) {
                    let values = policy.values(&choose(policy.params))?;
                    return Ok(Choice::BuiltIn { policy, values });
                }
                if let Some(tuned) = tuned::find(hook, name) {
                    let own = tuned.values()?;
                    let policy = Reference::Name(tuned.policy.to_owned());
                    return self.load(hook, &policy, &mut |declared| {
                        let mut values = own.clone();
                        values.extend(choose(declared));
                        values
                    });
                }
                let Some(script) = shipped::find(hook, name) else {
                    return Err(registry::unknown_policy(hook, name));
                };
                (script.path(), script.text.to_owned())
            }
            Reference::Script(path) => (path.display().to_string(), self.text(path)?),
            Reference::Plugin(path, name) => {
                return from_plugin(hook, path, name.as_deref(), choose);
            }
        };
        let declared = lua::declarations(&name, &text)?;
        let given = choose(&declared);
        let mut program = Program::new(&name, text, &given, self.trusted)?;
        program.run_units = self.run_units;
        program.log = self.log.clone();
        // Of a candidate that is scored, the one who asks has read all files before.
        if self.texts.is_none() && matches!(reference, Reference::Script(_)) {
            lua::refuse_misreads(&program)?;
        }
        Ok(Choice::External(self.shared(program)))
    }

    /// The program, or an equal one that was loaded before.
    fn shared(&mut self, program: Program) -> External {
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

/// A policy of the plugin at `path`.
fn from_plugin(
    hook: Hook,
    path: &Path,
    name: Option<&str>,
    choose: ChooseValues<'_>,
) -> Result<Choice, InputError> {
    let plugin = Plugin::open(path)?;
    let declared = plugin.policy(hook, name)?;
    let given = choose(&declared.params);
    let shown = name.map_or(String::new(), |name| format!(":{name}"));
    let shown = format!("{}{shown}", path.display());
    let policy = PluginPolicy {
        params: settle(&shown, &declared.params, &given)?,
        declared: declared.params.clone(),
        policy: declared.name.clone(),
        name: shown,
        plugin: Arc::clone(&plugin),
    };
    Ok(Choice::External(External::Plugin(Arc::new(policy))))
}
