//! `reject-all`: the cluster takes no request.

use crate::builtin::policy::{BuiltIn, Make};
use windtunnel_plugin_api::{Admission, Admit, ClusterView, Interests, PolicyError, RequestView};

/// `reject-all`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "reject-all",
    "Nobody comes in.",
    Make::Admission(|_, _| Box::new(RejectAll)),
);

/// Rejects every request.
pub struct RejectAll;

impl Admission for RejectAll {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(
        &mut self,
        _request: &RequestView,
        _cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        Ok(Admit::Reject("reject-all".into()))
    }
}
