//! Policies that come from files, ready to be made.

use super::lua::Program;
use super::native::Plugin;
use super::param::Param;
use std::fmt;
use std::sync::Arc;

/// A policy that comes from a file.
#[derive(Clone)]
pub enum External {
    /// A script.
    Script(Arc<Program>),
    /// A policy of a compiled plugin.
    Plugin(Arc<PluginPolicy>),
}

/// A policy of a compiled plugin, with values for its parameters.
#[derive(Debug)]
pub struct PluginPolicy {
    /// The text that named it: the path and, if given, the policy's name.
    pub name: String,
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// The policy's name in it.
    pub policy: String,
    /// The parameters it declares.
    pub declared: Vec<Param>,
    /// Their values, in order of declaration.
    pub params: Vec<(String, f64)>,
}

impl External {
    /// Its name in reports: the path as given.
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
