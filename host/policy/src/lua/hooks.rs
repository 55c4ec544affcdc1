//! The functions with which scripts fill hooks.

use super::api;
use crate::param::Hook;

/// What a script gives to fill a hook.
pub(super) trait HookFunctions: Copy {
    /// The functions that fill it.
    fn functions(self) -> Vec<&'static str>;

    /// What else may stand beside them.
    fn companions(self) -> Vec<&'static str>;

    /// All of these.
    fn keys(self) -> Vec<&'static str> {
        [self.functions(), self.companions()].concat()
    }
}

impl HookFunctions for Hook {
    fn functions(self) -> Vec<&'static str> {
        let functions = api::hook_functions(self).iter();
        functions.map(|function| function.name).collect()
    }

    fn companions(self) -> Vec<&'static str> {
        let hears = |handler: &&api::Handler| match self {
            Self::Admission | Self::Routing => handler.front,
            Self::Scheduler => handler.engine,
            Self::Priority | Self::Preemption => false,
        };
        let handlers = api::HANDLERS.iter().filter(hears);
        let settings = api::SETTINGS.iter().filter(|s| s.hooks.contains(&self));
        handlers
            .map(|handler| handler.function.name)
            .chain(settings.map(|setting| setting.name))
            .collect()
    }
}
