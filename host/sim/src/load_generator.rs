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
            Self::OnePerStep => "one-per-step",
        }
    }

    /// Refuses the settings of other generators, and asks for its own.
    pub(crate) fn check(self, given: &Given) -> Result<(), InputError> {
        let (own, others): (Option<&str>, &[&str]) = match self {
            Self::AllAtOnce => (Some("max_prompts"), &["rate", "concurrency"]),
            Self::ConstantConcurrency => (Some("concurrency"), &["rate"]),
            Self::ConstantRate => (Some("rate"), &["concurrency"]),
            Self::OnePerStep => (None, &["rate", "concurrency"]),
        };
        let name = self.name();
        given.reject_unless(others, false, &format!("with `load_generator` {name}"))?;
        match own.filter(|own| !given.has(own)) {
            None => Ok(()),
            Some(own) => Err(InputError::new(format!(
                "`load_generator` {name} needs `{own}`"
            ))),
        }
    }
}
