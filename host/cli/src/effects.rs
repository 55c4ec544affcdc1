//! Flags that were given but would change nothing are errors that say why.

use clap::ArgMatches;
use clap::parser::ValueSource;
use std::collections::BTreeSet;
use windtunnel_base::input::InputError;

/// The flags that the user typed.
#[derive(Debug, Default)]
pub struct Explicit {
    ids: BTreeSet<String>,
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
        Self { ids }
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
        match ids.iter().find(|id| !effective && self.has(id)) {
            Some(id) => {
                let flag = id.replace('_', "-");
                let message = format!("--{flag} has no effect {because}");
                Err(InputError::new(message))
            }
            None => Ok(()),
        }
    }
}
