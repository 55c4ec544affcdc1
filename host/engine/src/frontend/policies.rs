//! The policies that the front end asks.

use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_plugin_api::{Admission, Interests, Router};

/// The policies of the front end.
pub struct FrontEndPolicies {
    /// At the door.
    pub admission: Box<dyn Admission>,
    /// Which instance.
    pub router: Box<dyn Router>,
    /// Priorities of the SLO classes.
    pub slo_priorities: SloPriorities,
}

impl FrontEndPolicies {
    /// What either policy reads and listens to.
    #[must_use]
    pub fn interests(&self) -> Interests {
        self.admission.interests() | self.router.interests()
    }
}
