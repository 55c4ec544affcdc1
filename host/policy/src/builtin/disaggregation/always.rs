//! `always`: an instance that prefills computes every prompt.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Disaggregation, Interests, PolicyError, RequestView};

/// `always`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "always",
    "An instance that prefills computes every prompt.",
    Make::Disaggregation(|_, _| Box::new(Always)),
);

/// An instance that prefills computes every prompt.
pub struct Always;

impl Disaggregation for Always {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn prefills_remotely(
        &mut self,
        _request: &RequestView,
        _decode: usize,
        _cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        Ok(true)
    }
}
