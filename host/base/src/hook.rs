//! The places in the engine that policies fill, by name.

use std::fmt;

/// A place in the engine that a policy fills.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// At the door of the cluster.
    Admission,
    /// Which instance.
    Routing,
    /// Priorities inside an instance.
    Priority,
    /// Order of the wait queue.
    Scheduler,
    /// Who loses its KV blocks.
    Preemption,
    /// Where a prompt is computed: by the instance that decodes, or by another.
    Disaggregation,
    /// How an instance forms its batches.
    Batching,
    /// Which of the requests held at the gateway goes next.
    Dispatch,
    /// How many instances a pool should have.
    Scale,
}

impl Hook {
    /// All hooks, by their numbers in the contract of plugins.
    pub const ALL: [Self; 9] = [
        Self::Admission,
        Self::Routing,
        Self::Priority,
        Self::Scheduler,
        Self::Preemption,
        Self::Disaggregation,
        Self::Batching,
        Self::Dispatch,
        Self::Scale,
    ];

    /// Its name in bundles, scripts and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Routing => "routing",
            Self::Priority => "priority",
            Self::Scheduler => "scheduler",
            Self::Preemption => "preemption",
            Self::Disaggregation => "disaggregation",
            Self::Batching => "batching",
            Self::Dispatch => "dispatch",
            Self::Scale => "scale",
        }
    }

    /// What fills it, in words.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Admission => "admission policy",
            Self::Routing => "routing policy",
            Self::Priority => "priority policy",
            Self::Scheduler => "scheduler",
            Self::Preemption => "preemption policy",
            Self::Disaggregation => "disaggregation policy",
            Self::Batching => "batching strategy",
            Self::Dispatch => "dispatch policy",
            Self::Scale => "scaling policy",
        }
    }

    /// The hook called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
