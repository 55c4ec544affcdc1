//! Flags that were given but would change nothing are errors that say why.

use clap::ArgMatches;
use clap::parser::ValueSource;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use windtunnel_base::input::InputError;

/// The flags that the user typed.
#[derive(Debug, Default)]
pub struct Explicit {
    ids: BTreeSet<String>,
    /// Flags that may be without effect, as the runs of a sweep share them and some other run needs
    /// them.
    excused: BTreeSet<String>,
    /// The excused flags that turned out to be without effect, and why.
    idle: Mutex<BTreeMap<String, InputError>>,
}

impl Explicit {
    /// Reads them off the parsed command line.
    pub fn of(matches: &ArgMatches) -> Self {
        let mut ids = BTreeSet::new();
        if let Some((_, sub)) = matches.subcommand() {
            for id in sub.ids() {
                if sub.try_contains_id(id.as_str()).is_ok()
                    && sub.value_source(id.as_str()) == Some(ValueSource::CommandLine)
                {
                    ids.insert(id.as_str().to_owned());
                }
            }
        }
        Self {
            ids,
            ..Self::default()
        }
    }

    /// Lets these flags be without effect; [`idle`](Self::idle) tells.
    pub fn excusing(self, ids: impl IntoIterator<Item = String>) -> Self {
        Self {
            excused: ids.into_iter().collect(),
            ..self
        }
    }

    /// The message that would have refused this excused flag; `None` = it has an effect.
    pub fn idle(&self, id: &str) -> Option<InputError> {
        self.found_idle().get(id).cloned()
    }

    fn found_idle(&self) -> MutexGuard<'_, BTreeMap<String, InputError>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Was this flag typed? `id` is its name with underscores.
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Refuses every typed flag of `ids` unless `effective`; `because` completes "has no effect
    /// ...".
    pub fn reject_unless(
        &self,
        ids: &[&str],
        effective: bool,
        because: &str,
    ) -> Result<(), InputError> {
        for id in ids.iter().filter(|id| !effective && self.has(id)) {
            let flag = id.replace('_', "-");
            let error = InputError::new(format!("--{flag} has no effect {because}"));
            if !self.excused.contains(*id) {
                return Err(error);
            }
            self.found_idle().insert((*id).to_owned(), error);
        }
        Ok(())
    }
}
