//! `always-admit`: the cluster takes every request.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{Admission, Admit, ClusterView, Interests, PolicyError, RequestView};

/// `always-admit`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "always-admit",
    "Everybody comes in.",
    Make::Admission(|_, _| Box::new(AlwaysAdmit)),
);

/// Admits every request.
pub struct AlwaysAdmit;

impl Admission for AlwaysAdmit {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(
        &mut self,
        _request: &RequestView,
        _cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        Ok(Admit::Admit)
    }
}
