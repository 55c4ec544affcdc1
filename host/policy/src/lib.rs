//! Policies: what fills the hooks of the plugin contract.
//!
//! Every built-in goes through the same traits as a script or a compiled plugin and sees the same
//! views. [`PolicySpec`] says which policies a run uses, with their parameters; a [`Builder`] makes
//! them.

mod build;
pub mod builtin;
pub mod bundle;
pub mod external;
pub mod library;
pub mod lua;
pub mod native;
pub mod param;
mod spec;

pub use build::Builder;
pub use external::{External, Opener, Reference};
pub use param::{Hook, Param};
pub use spec::{
    ADMISSION_POLICIES, AdmissionSpec, Choice, PREEMPTION_POLICIES, PRIORITY_POLICIES, PolicySpec,
    ROUTING_POLICIES, RoutingSpec, SCHEDULERS, SCORERS, ScorerKind, built_in, describe,
    parse_scorers,
};
