//! `never`: the instance that decodes computes every prompt.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{ClusterView, Disaggregation, Interests, PolicyError, RequestView};

/// `never`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "never",
    "The instance that decodes computes every prompt.",
    Make::Disaggregation(|_, _| Box::new(Never)),
);

/// The instance that decodes computes every prompt.
pub struct Never;

impl Disaggregation for Never {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn prefills_remotely(
        &mut self,
        _request: &RequestView,
        _decode: usize,
        _cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        Ok(false)
    }
}
