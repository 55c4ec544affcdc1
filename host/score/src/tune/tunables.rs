//! The parameters of a candidate that can be tuned.

use crate::candidate::{Body, Candidate};
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::lua::declarations;
use windtunnel_policy::{Hook, Param, Reference, registry, shipped};

/// A parameter that can be searched.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunable {
    /// Its name in [`Candidate::params`].
    pub key: String,
    /// Its declaration.
    pub param: Param,
    /// Its present value.
    pub start: f64,
}

impl Tunable {
    fn new(key: String, param: Param) -> Self {
        Self {
            key,
            start: param.default,
            param,
        }
    }
}

/// Replaces a named policy by its shipped script, which can be tuned and written to a file:
/// `weighted` becomes `weighted.lua`, which decides as the built-in does.
#[must_use]
pub fn as_script(candidate: Candidate, hooks: &[Hook]) -> Candidate {
    let Body::Policy(name) = &candidate.body else {
        return candidate;
    };
    match hooks.iter().find_map(|hook| shipped::find(*hook, name)) {
        Some(script) => Candidate {
            name: candidate.name,
            params: candidate.params,
            ..Candidate::of_text(&script.path(), script.text.to_owned())
        },
        None => candidate,
    }
}

/// The parameters that its scripts declare, by their names in [`Candidate::params`], with their
/// present values. No script runs for it.
///
/// # Errors
/// When a declaration is malformed.
pub fn tunables(candidate: &Candidate) -> Result<Vec<Tunable>, InputError> {
    let of_script = |path: &Path| -> Result<Vec<Param>, InputError> {
        let text = candidate.texts.get(path).map_or("", String::as_str);
        declarations(&path.display().to_string(), text)
    };
    let mut all = Vec::new();
    match &candidate.body {
        Body::Policy(file) => {
            for param in of_script(Path::new(file))? {
                all.push(Tunable::new(param.name.to_string(), param));
            }
        }
        Body::Hooks(hooks) => {
            for (hook, file) in hooks {
                for param in of_script(Path::new(file))? {
                    all.push(Tunable::new(format!("{hook}.{}", param.name), param));
                }
            }
        }
        Body::Bundle(text, folder) => {
            let mut bundle = Bundle::parse(&candidate.name, text)?;
            let named: Vec<(Hook, Reference)> = bundle
                .named()
                .map(|(hook, name)| (hook, Reference::parse(name).from_folder(folder)))
                .collect();
            for (hook, reference) in named {
                let declared = match &reference {
                    Reference::Script(path) => of_script(path)?,
                    Reference::Name(name) if registry::built_in(hook, name).is_none() => {
                        match shipped::find(hook, name) {
                            Some(script) => declarations(&script.path(), script.text)?,
                            None => Vec::new(),
                        }
                    }
                    Reference::Name(_) | Reference::Plugin(..) => Vec::new(),
                };
                let set = bundle.params_mut(hook);
                for param in declared {
                    let mut tunable = Tunable::new(format!("{hook}.{}", param.name), param);
                    if let Some(value) = set.get(tunable.param.name.as_ref()) {
                        tunable.start = *value;
                    }
                    all.push(tunable);
                }
            }
        }
        Body::Reference(_) => {}
    }
    for tunable in &mut all {
        if let Some(value) = candidate.params.get(&tunable.key) {
            tunable.start = *value;
        }
    }
    Ok(all)
}

/// Its text, if it is a single script.
#[must_use]
pub fn script(candidate: &Candidate) -> Option<&str> {
    match &candidate.body {
        Body::Policy(file) => candidate.texts.get(Path::new(file)).map(String::as_str),
        _ => None,
    }
}
