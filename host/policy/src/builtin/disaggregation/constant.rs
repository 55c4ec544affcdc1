//! `always` and `never`: the same answer for every prompt.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Disaggregation, Interests, PolicyError, RequestView};

/// `always`.
pub const ALWAYS: BuiltIn = BuiltIn::new(
    "always",
    "An instance that prefills computes every prompt.",
    Make::Disaggregation(|_, _| Box::new(Constant(true))),
);

/// `never`.
pub const NEVER: BuiltIn = BuiltIn::new(
    "never",
    "The instance that decodes computes every prompt.",
    Make::Disaggregation(|_, _| Box::new(Constant(false))),
);

/// Does an instance that prefills compute every prompt?
struct Constant(bool);

impl Disaggregation for Constant {
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    fn prefills_remotely(
        &mut self,
        _request: &RequestView,
        _decode: usize,
        _cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        Ok(self.0)
    }
}
