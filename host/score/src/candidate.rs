//! Candidates: what is scored, one policy or several that belong together.

mod open;

use super::report::{Problem, ProblemKind, Scripts};
use super::suite::Suite;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, parse_yaml, unknown};
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::lua::{self, Program};
use windtunnel_policy::native::Plugin;
use windtunnel_policy::registry::names;
use windtunnel_policy::{Hook, Param, PolicyLoader, PolicySpec, Reference};

/// Largest script of a candidate, bytes.
pub const LARGEST_SCRIPT: usize = 32 * 1024;
/// Largest bundle of a candidate, bytes.
const LARGEST_BUNDLE: usize = 64 * 1024;

/// A policy, or several that belong together, with the texts of their scripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name in reports.
    pub name: String,
    /// What it consists of.
    pub body: Body,
    /// Scripts by the path that names them.
    pub texts: Scripts,
    /// Values of parameters in place of their defaults, by name or `hook.name`; those of a bundle
    /// by `hook.name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, f64>,
    /// Why it cannot work: one of its files is not text, or not a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<Box<Problem>>,
}

/// What a candidate consists of. References are written as on the command line: a name, FILE.lua,
/// or `FILE.so[:name]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// One policy, for whatever it fills.
    Policy(String),
    /// A policy for each of some hooks.
    Hooks(BTreeMap<Hook, String>),
    /// A bundle: its text, and the folder that its paths start from.
    Bundle(String, PathBuf),
    /// A reference policy of the suite.
    Reference(String),
}

/// A candidate whose policies are loaded.
pub struct ResolvedCandidate {
    /// The policies of all hooks.
    pub spec: PolicySpec,
    /// The hooks that the candidate fills.
    pub hooks: Vec<Hook>,
    /// Warnings about its scripts.
    pub warnings: Vec<Problem>,
}

impl Candidate {
    /// A candidate without texts, parameters and flaws.
    fn blank(name: &str, body: Body) -> Self {
        Self {
            name: name.to_owned(),
            body,
            texts: BTreeMap::new(),
            params: BTreeMap::new(),
            flaw: None,
        }
    }

    /// A Lua policy from its text.
    #[must_use]
    pub fn of_text(name: &str, text: String) -> Self {
        Self {
            texts: BTreeMap::from([(name.into(), text)]),
            ..Self::blank(name, Body::Policy(name.to_owned()))
        }
    }

    /// Lua policies from their texts, by hook.
    #[must_use]
    pub fn of_hooks(name: &str, texts: BTreeMap<Hook, String>) -> Self {
        let file = |hook: &Hook| format!("{hook}.lua");
        let files = texts.keys().map(|hook| (*hook, file(hook))).collect();
        let texts = texts.iter();
        Self {
            texts: texts
                .map(|(hook, text)| (file(hook).into(), text.clone()))
                .collect(),
            ..Self::blank(name, Body::Hooks(files))
        }
    }

    /// A reference policy of a suite.
    #[must_use]
    pub fn reference(name: &str) -> Self {
        Self::blank(name, Body::Reference(name.to_owned()))
    }

    /// Its compiled plugins, each once.
    #[must_use]
    pub fn readable(&self) -> Vec<PathBuf> {
        let mut all = self.plugins();
        all.sort();
        all.dedup();
        all
    }

    fn plugins(&self) -> Vec<PathBuf> {
        let plugin = |text: &str, folder: &Path| match Reference::parse(text).from_folder(folder) {
            Reference::Plugin(path, _) => Some(path),
            Reference::Name(_) | Reference::Script(_) => None,
        };
        let here = Path::new("");
        match &self.body {
            Body::Policy(text) => plugin(text, here).into_iter().collect(),
            Body::Hooks(hooks) => hooks.values().filter_map(|t| plugin(t, here)).collect(),
            Body::Bundle(text, folder) => {
                let bundle = parse_yaml::<Bundle>("", text).unwrap_or_default();
                bundle
                    .named()
                    .filter_map(|(_, t)| plugin(t, folder))
                    .collect()
            }
            Body::Reference(_) => Vec::new(),
        }
    }

    /// Does it need a compiled plugin?
    #[must_use]
    pub fn is_native(&self) -> bool {
        !self.readable().is_empty()
    }

    /// A fingerprint of what its scores depend on: scripts without comments and spacing, the rest
    /// as it is. `None` for compiled plugins and candidates that do not work.
    #[must_use]
    pub fn digest(&self) -> Option<String> {
        if self.is_native() || self.unfit().is_some() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        // A path stands for the text of its file.
        let text_of = |reference: &str| self.texts.get(Path::new(reference));
        let canonical =
            |text: &str| lua::canonical(&Program::new("", text.to_owned(), &[], false).ok()?);
        match &self.body {
            Body::Policy(reference) => match text_of(reference) {
                Some(text) => add(&canonical(text)?),
                None => add(reference),
            },
            Body::Hooks(hooks) => {
                for (hook, reference) in hooks {
                    add(hook.name());
                    match text_of(reference) {
                        Some(text) => add(&canonical(text)?),
                        None => add(reference),
                    }
                }
            }
            Body::Bundle(text, _) => {
                add(text);
                for (path, text) in &self.texts {
                    add(&path.file_name().unwrap_or_default().to_string_lossy());
                    add(&canonical(text)?);
                }
            }
            // A reference may have the name of a shipped policy.
            Body::Reference(name) => {
                add("reference");
                add(name);
            }
        }
        for (name, value) in &self.params {
            add(name);
            add(&value.to_string());
        }
        Some(hasher.finalize().to_hex()[..32].to_owned())
    }

    /// Loads its policies for a suite. Only the top level of its scripts runs, within its limits.
    /// `before_machine_code` is called with the number of its compiled plugins, once, before the
    /// first line of them runs: from then on no other file has to be opened.
    ///
    /// # Errors
    /// The problems that prevent it.
    pub fn resolve(
        &self,
        suite: &Suite,
        before_machine_code: fn(usize) -> std::io::Result<()>,
    ) -> Result<ResolvedCandidate, Vec<Problem>> {
        if let Some(problem) = self.unfit() {
            return Err(vec![problem]);
        }
        let mut warnings = Vec::new();
        match self.load(suite, before_machine_code, &mut warnings) {
            Ok((spec, hooks)) => Ok(ResolvedCandidate {
                spec,
                hooks,
                warnings,
            }),
            Err(mut problems) => {
                let unparsed = |file: &Option<String>| {
                    let syntax = |w: &&Problem| w.kind == ProblemKind::Syntax;
                    warnings.iter().filter(syntax).any(|w| w.file == *file)
                };
                for problem in &mut problems {
                    if problem.kind == ProblemKind::Policy && unparsed(&problem.file) {
                        problem.kind = ProblemKind::Syntax;
                    }
                }
                Err(problems)
            }
        }
    }

    fn load(
        &self,
        suite: &Suite,
        before_machine_code: fn(usize) -> std::io::Result<()>,
        warnings: &mut Vec<Problem>,
    ) -> Result<(PolicySpec, Vec<Hook>), Vec<Problem>> {
        let wrong = |e: InputError| vec![self.problem(ProblemKind::Policy, &e)];
        let mut spec = suite
            .file
            .policies
            .policies(&mut PolicyLoader::new(false).with_run_units(suite.file.fuel))
            .map_err(wrong)?;
        let fuel = suite.file.fuel;
        let plugins = self.readable();
        if !plugins.is_empty() {
            Plugin::load_all(&plugins, before_machine_code).map_err(wrong)?;
        }
        let mut loader = PolicyLoader::from_texts(self.texts.clone()).with_run_units(fuel);
        let hooks = match &self.body {
            Body::Policy(text) => {
                let reference = Reference::parse(text);
                self.fill(&mut spec, &reference, suite, &mut loader, warnings)?
            }
            Body::Hooks(hooks) => {
                for (hook, text) in hooks {
                    let reference = Reference::parse(text);
                    if let Reference::Script(path) = &reference {
                        warnings.extend(self.lint(path)?);
                    }
                    let choice = loader.load(*hook, &reference, &mut |declared| {
                        self.values_for(&[*hook], declared)
                    });
                    spec.set(*hook, choice.map_err(wrong)?);
                }
                hooks.keys().copied().collect()
            }
            Body::Bundle(text, folder) => {
                let mut bundle = Bundle::parse(&self.name, text).map_err(wrong)?;
                bundle.folder.clone_from(folder);
                if !bundle.pools.is_empty() {
                    let why = "pools: the suite says what the cluster is; remove them";
                    return Err(wrong(InputError::in_file(&self.name, why)));
                }
                if bundle.autoscale != AutoscaleSpec::default() {
                    let why = "autoscale: the suite says how pools are scaled; a policy stands in the section scale";
                    return Err(wrong(InputError::in_file(&self.name, why)));
                }
                for path in self.texts.keys() {
                    warnings.extend(self.lint(path)?);
                }
                self.set_params_of(&mut bundle);
                let policies = bundle.policies(&mut loader).map_err(wrong)?;
                bundle.fill(&mut spec, &policies)
            }
            Body::Reference(name) => {
                let unknown = || wrong(InputError::new(format!("no reference \"{name}\"")));
                let bundle = suite.file.references.get(name).ok_or_else(unknown)?;
                let policies = bundle
                    .policies(&mut PolicyLoader::new(false).with_run_units(suite.file.fuel))
                    .map_err(wrong)?;
                bundle.fill(&mut spec, &policies)
            }
        };
        if let Some(closed) = hooks.iter().find(|h| !suite.hooks.contains(h)) {
            let open: Vec<&str> = suite.hooks.iter().map(|h| h.name()).collect();
            return Err(wrong(InputError::new(format!(
                "{}: fills {closed}, which suite {} does not open; it opens {}",
                self.name,
                suite.file.name,
                open.join(", ")
            ))));
        }
        self.check_params(&spec, &hooks).map_err(wrong)?;
        Ok((spec, hooks))
    }

    /// What rules it out before its files are parsed: a flaw, or its size.
    #[must_use]
    pub fn unfit(&self) -> Option<Problem> {
        if let Some(flaw) = &self.flaw {
            return Some((**flaw).clone());
        }
        let too_large = |name: &str, what: &str, found: usize, most: usize| {
            let message = format!("the {what} has {found} bytes; a candidate's may have {most}");
            (found > most).then(|| Problem::new(ProblemKind::Lint, name, message))
        };
        let scripts = self.texts.iter().find_map(|(path, text)| {
            let name = path.display().to_string();
            too_large(&name, "script", text.len(), LARGEST_SCRIPT)
        });
        scripts.or_else(|| match &self.body {
            Body::Bundle(text, _) => too_large(&self.name, "bundle", text.len(), LARGEST_BUNDLE),
            _ => None,
        })
    }

    /// Fills the hooks that one policy offers.
    fn fill(
        &self,
        spec: &mut PolicySpec,
        reference: &Reference,
        suite: &Suite,
        loader: &mut PolicyLoader,
        warnings: &mut Vec<Problem>,
    ) -> Result<Vec<Hook>, Vec<Problem>> {
        let wrong = |e: InputError| vec![self.problem(ProblemKind::Policy, &e)];
        let hooks: Vec<Hook> = match reference {
            Reference::Name(name) => {
                let fills = |hook: &&Hook| names(**hook).contains(&name.as_str());
                let first = suite.hooks.iter().find(fills).copied();
                let any = Hook::ALL.iter().find(fills).copied();
                first.or(any).into_iter().collect()
            }
            Reference::Script(path) => {
                warnings.extend(self.lint(path)?);
                let text = self.texts.get(path).cloned().unwrap_or_default();
                let name = path.display().to_string();
                let program = Program::new(&name, text, &[], false).map_err(wrong)?;
                lua::hooks_filled(&std::sync::Arc::new(program)).map_err(wrong)?
            }
            Reference::Plugin(path, name) => {
                let plugin = Plugin::open(path).map_err(wrong)?;
                let fills = |hook: &&Hook| plugin.policy(**hook, name.as_deref()).is_ok();
                let hooks: Vec<Hook> = suite.hooks.iter().filter(fills).copied().collect();
                if hooks.is_empty() {
                    plugin
                        .policy(suite.hooks[0], name.as_deref())
                        .map_err(wrong)?;
                }
                hooks
            }
        };
        if hooks.is_empty() {
            return Err(wrong(InputError::in_file(
                &self.name,
                "fills no hook: its table has none of admit, route, score, route_columns, priority, key, order, victim",
            )));
        }
        for hook in &hooks {
            let choice = loader.load(*hook, reference, &mut |declared| {
                self.values_for(&hooks, declared)
            });
            spec.set(*hook, choice.map_err(wrong)?);
        }
        Ok(hooks)
    }

    /// This candidate's values of the parameters that a policy of `hooks` declares.
    fn values_for(&self, hooks: &[Hook], declared: &[Param]) -> Vec<(String, f64)> {
        let meant = |key: &str| {
            let name = match key.split_once('.') {
                Some((of, name)) => hooks.iter().any(|h| h.name() == of).then_some(name)?,
                None => key,
            };
            let known = declared.iter().any(|p| p.name == name);
            known.then(|| name.to_owned())
        };
        self.params
            .iter()
            .filter_map(|(key, value)| Some((meant(key)?, *value)))
            .collect()
    }

    /// Refuses values of parameters that none of its policies declares.
    fn check_params(&self, spec: &PolicySpec, hooks: &[Hook]) -> Result<(), InputError> {
        let mut taken: Vec<String> = Vec::new();
        if !matches!(self.body, Body::Reference(_)) {
            for hook in hooks {
                let declared = spec.get(*hook).declared().iter();
                taken.extend(declared.map(|p| format!("{hook}.{}", p.name)));
            }
        }
        let whole = |key: &str| key.contains('.') || matches!(self.body, Body::Bundle(..));
        for key in self.params.keys() {
            let mut names: Vec<&str> = taken.iter().map(String::as_str).collect();
            if !whole(key) {
                names
                    .iter_mut()
                    .for_each(|n| *n = n.split_once('.').map_or(*n, |(_, name)| name));
            }
            names.sort_unstable();
            names.dedup();
            if names.is_empty() {
                let message =
                    format!("params: \"{key}\": no policy of this candidate declares parameters");
                return Err(InputError::in_file(&self.name, message));
            }
            if !names.contains(&key.as_str()) {
                let message = format!("params: {}", unknown("parameter", key, &names));
                return Err(InputError::in_file(&self.name, message));
            }
        }
        Ok(())
    }

    /// Sets the parameters of a bundle to this candidate's values.
    fn set_params_of(&self, bundle: &mut Bundle) {
        for (key, value) in &self.params {
            if let Some((hook, name)) = key.split_once('.')
                && let Some(hook) = Hook::parse(hook)
            {
                bundle.params_mut(hook).insert(name.to_owned(), *value);
            }
        }
    }

    /// Lints a script: its warnings, or the problems that prevent it from working.
    fn lint(&self, path: &Path) -> Result<Vec<Problem>, Vec<Problem>> {
        let name = path.display().to_string();
        let text = self.texts.get(path).cloned().unwrap_or_default();
        let here = |kind, line: usize, column: usize, message: String| Problem {
            line: Some(line as u64),
            column: Some(column as u64).filter(|&c| c > 0),
            ..Problem::new(kind, &name, message)
                .with_snippet(&self.texts, line as u64)
                .with_hint()
        };
        let wrong = |e: InputError| vec![self.problem(ProblemKind::Syntax, &e)];
        let program = Program::new(&name, text, &[], false).map_err(wrong)?;
        match lua::lint(&program) {
            Ok(findings) => {
                let all: Vec<(bool, Problem)> = findings
                    .into_iter()
                    .map(|f| {
                        (
                            f.error,
                            here(ProblemKind::Lint, f.line, f.column, f.message),
                        )
                    })
                    .collect();
                if all.iter().any(|(error, _)| *error) {
                    let errors = all.into_iter().filter(|(error, _)| *error);
                    return Err(errors.map(|(_, p)| p).collect());
                }
                Ok(all.into_iter().map(|(_, p)| p).collect())
            }
            Err(f) => {
                let message = format!("{name}:{}: {}", f.line, f.message);
                Err(vec![here(ProblemKind::Syntax, f.line, f.column, message)])
            }
        }
    }

    /// An error with its place and the lines around it.
    #[must_use]
    pub fn problem(&self, kind: ProblemKind, error: &InputError) -> Problem {
        Problem::of_error(kind, error, &self.texts)
    }
}
