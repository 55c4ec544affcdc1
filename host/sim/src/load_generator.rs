//! Load generators by name, and the settings that go with each.

use crate::settings::Given;
use crate::spec::LoadGeneratorSpec;
use windtunnel_base::input::InputError;

impl LoadGeneratorSpec {
    fn name(self) -> &'static str {
        match self {
            Self::AllAtOnce => "all-at-once",
            Self::ConstantConcurrency => "constant-concurrency",
            Self::ConstantRate => "constant-rate",
        }
    }

    /// Refuses the settings of other generators, and asks for its own.
    pub(crate) fn check(self, given: &Given) -> Result<(), InputError> {
        let (own, others): (&str, &[&str]) = match self {
            Self::AllAtOnce => ("max_prompts", &["rate", "concurrency"]),
            Self::ConstantConcurrency => ("concurrency", &["rate"]),
            Self::ConstantRate => ("rate", &["concurrency"]),
        };
        let name = self.name();
        given.reject_unless(others, false, &format!("with `load_generator` {name}"))?;
        if given.has(own) {
            return Ok(());
        }
        Err(InputError::new(format!(
            "`load_generator` {name} needs `{own}`"
        )))
    }
}
