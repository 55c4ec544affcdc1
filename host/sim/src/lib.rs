//! The one way to build a run and to carry it out, and windtunnel's Rust API.
//!
//! A [`RunSpec`] says everything that a run's results depend on. [`RunSpec::resolve`] finds every
//! mistake in it and decides what it leaves open; the [`Simulation`] that it gives is carried out
//! by [`Simulation::run`], and the [`RunResult`] holds every request's record and what the reports
//! say. A [`Deployment`] is the part of a run that knows neither policies nor requests: scoring
//! plays many policies and seeds on one.
//!
//! Errors and notes name settings in backticks by the flat names of [`settings`], so that the
//! command line, a run's file and Python can each [spell](settings::spelled) them their own way.

mod analysis;
mod choose;
mod deployment;
mod policies;
pub mod settings;
mod simulation;
mod spec;
pub mod workload;

pub use deployment::{Deployment, Play, defaults};
pub use policies::make_policies;
pub use simulation::{Resolver, RunResult, Simulation};
pub use spec::{
    EngineSpec, FrontSpec, LatencySpec, LengthSpec, OutputSpec, ParallelSpec, PoliciesSpec,
    PoolSpec, ReplaySpec, RoleSpec, RulesSpec, RunSpec, SessionModeSpec, TraceSpec, WorkloadSpec,
};
