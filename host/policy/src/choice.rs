//! What fills a hook.

use super::builtin::policy::{BuiltIn, Values};
use super::custom::Custom;
use super::external::External;
use super::param::{Hook, Param};
use super::registry;
use windtunnel_base::input::InputError;

/// What fills a hook: a policy with values for its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// A built-in policy.
    BuiltIn {
        /// The policy.
        policy: &'static BuiltIn,
        /// The values of its parameters.
        values: Values,
    },
    /// A policy from a file.
    External(External),
    /// A policy of the calling program.
    Custom(Custom),
}

impl Choice {
    /// The built-in policy for `hook` called `name`, with these values for some of its parameters.
    ///
    /// # Errors
    /// When there is none of that name, or a value does not fit.
    pub fn built_in(hook: Hook, name: &str, given: &[(String, f64)]) -> Result<Self, InputError> {
        let unknown = || registry::unknown_policy(hook, name);
        let policy = registry::built_in(hook, name).ok_or_else(unknown)?;
        let values = policy.values(given)?;
        Ok(Self::BuiltIn { policy, values })
    }

    /// Its name: that of a built-in policy or of the calling program's, or the path of a file as
    /// given.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn { policy, .. } => policy.name,
            Self::External(policy) => policy.name(),
            Self::Custom(policy) => policy.name(),
        }
    }

    /// Is it the built-in policy of this name?
    #[must_use]
    pub fn is_built_in(&self, name: &str) -> bool {
        matches!(self, Self::BuiltIn { policy, .. } if policy.name == name)
    }

    /// The policy, if it comes from a file.
    #[must_use]
    pub fn external(&self) -> Option<&External> {
        match self {
            Self::External(policy) => Some(policy),
            Self::BuiltIn { .. } | Self::Custom(_) => None,
        }
    }

    /// The parameters that the policy declares.
    #[must_use]
    pub fn declared(&self) -> &[Param] {
        match self {
            Self::BuiltIn { policy, .. } => policy.params,
            Self::External(policy) => policy.declared(),
            Self::Custom(_) => &[],
        }
    }

    /// Gives a parameter of a built-in policy a value, if it has such a parameter that was not
    /// given one.
    #[must_use]
    pub fn or_value(mut self, name: &str, value: f64) -> Self {
        if let Self::BuiltIn { policy, values } = &mut self
            && let Some(index) = policy.params.iter().position(|param| param.name == name)
        {
            values.or_value(index, value);
        }
        self
    }

    /// It may read the priorities of requests. What a file or the calling program
    /// reads is not known.
    #[must_use]
    pub fn may_read_priorities(&self) -> bool {
        match self {
            Self::BuiltIn { policy, .. } => policy.reads_priorities,
            Self::External(_) | Self::Custom(_) => true,
        }
    }
}

impl From<&'static BuiltIn> for Choice {
    /// The policy with its defaults.
    fn from(policy: &'static BuiltIn) -> Self {
        Self::BuiltIn {
            values: Values::defaults(policy.params),
            policy,
        }
    }
}

impl From<Custom> for Choice {
    fn from(policy: Custom) -> Self {
        Self::Custom(policy)
    }
}
