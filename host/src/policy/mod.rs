//! Policies: what fills the hooks of the plugin contract.
//!
//! Every built-in goes through the same traits as a plugin and sees the same views. [`PolicySpec`] says which policies a run
//! uses, with their parameters; the `build_*` functions make them.

pub mod builtin;
pub mod bundle;
pub mod native;
pub mod param;
mod spec;

pub use param::{Hook, Param};
pub use spec::{
    ADMISSION_POLICIES, AdmissionSpec, PREEMPTION_POLICIES, PRIORITY_POLICIES, PolicySpec,
    ROUTING_POLICIES, RoutingSpec, SCHEDULERS, SCORERS, ScorerKind, SloPriorities, parse_scorers,
};
