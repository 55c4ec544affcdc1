//! The one way to build a run and to carry it out, and windtunnel's Rust API.
//!
//! A [`RunSpec`] says everything that a run's results depend on. [`RunSpec::resolve`] finds every
//! mistake in it and decides what it leaves open; the [`Simulation`] that it gives is carried out
//! by [`Simulation::run`], and the [`RunResult`] holds every request's record and what the reports
//! say. A [`Deployment`] is the part of a run that knows neither policies nor requests: scoring
//! plays many policies and seeds on one.
//!
//! ```
//! use windtunnel_sim::{PoolSpec, RunSpec};
//!
//! let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
//! spec.pools.push(PoolSpec { count: Some(4), ..PoolSpec::default() });
//! spec.policies.routing = Some("least-loaded".to_owned());
//! spec.workload.rate = Some(40.0); // requests per second
//! spec.workload.num_requests = Some(200);
//!
//! let result = spec.resolve()?.run(&mut |_| ())?;
//! let cluster = &result.summary.cluster;
//! assert_eq!(cluster.completed, 200);
//! assert!(cluster.latency_ms.ttft.p99 < 100.0);
//! # Ok::<(), windtunnel_sim::InputError>(())
//! ```
//!
//! Policies and requests may come from the program itself: a [`Custom`] policy fills a trait of
//! [`plugin_api`], and what implements [`request::Source`] goes to [`RunSpec::resolve_with`]. Runs
//! know nothing of each other, so [`parallel::map`] carries many of them out at once. There is a
//! program for each of these in `host/sim/examples/`.
//!
//! Same spec, same bytes: a result depends on neither the machine nor the number of threads. Times
//! are `i64` microseconds of simulated time where a name ends in `_us`, milliseconds in
//! [`Latencies`](metrics::summary::Latencies); lengths are tokens.
//!
//! Errors and notes name settings in backticks by the flat names of [`settings`], so that the
//! command line, a run's file and Python can each [spell](settings::spelled) them their own way.

/// What the guide shows is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/rust-api.md")]
struct Guide;

#[cfg(test)]
mod adapter_tests;
mod analysis;
mod autoscale;
mod batching;
#[cfg(test)]
mod batching_setting_tests;
#[cfg(test)]
mod batching_tests;
mod choose;
mod deployment;
mod describe;
mod disaggregation;
mod disaggregation_spec;
mod event_spec;
mod events;
pub mod fit;
mod flow_control;
mod gateway;
pub mod ground_truth;
mod growth;
mod load_generator;
mod names;
mod nodes;
mod opened;
pub mod plan;
mod policies;
mod pool_setup;
mod profile;
#[cfg(test)]
mod program_tests;
mod ranks;
#[cfg(test)]
mod refusal_tests;
mod released;
#[cfg(test)]
mod request_name_tests;
mod scale;
mod scale_spec;
mod scheduling;
mod scorers;
pub mod settings;
mod simulation;
mod spec;
mod spec_file;
mod standalone;
mod targets;
mod ticks;
mod tiers;
mod wide;
pub mod workload;
mod xpusim;
mod xpusim_file;
mod xpusim_traffic;

pub use deployment::{Deployment, Play, defaults};
pub use disaggregation_spec::DisaggregationSpec;
pub use event_spec::{EventKind, EventSpec, RetrySpec};
pub use gateway::policies_of_a_gateway;
pub use names::unused_name;
pub use policies::make_policies;
pub use scale_spec::ScaleSpec;
pub use simulation::{Resolver, RunResult, Simulation};
pub use spec::{
    ArrivalsSpec, FrontSpec, LengthSpec, LoadGeneratorSpec, OutputSpec, PoliciesSpec, ReplaySpec,
    RulesSpec, RunSpec, SchedulingPolicySpec, SessionModeSpec, TraceSpec, WorkloadSpec,
};
pub use targets::{TargetTeller, Untargeted, told_of_all, told_us};
pub use windtunnel_base::input::InputError;
pub use windtunnel_base::{parallel, record, request};
pub use windtunnel_config::autoscale::{AutoscaleSpec, NodePoolSpec, StartupSpec};
pub use windtunnel_config::flow_control::FlowControlSpec;
pub use windtunnel_config::pool::{EngineSpec, LatencySpec, ParallelSpec, PoolSpec, RoleSpec};
pub use windtunnel_engine::cluster::Progress;
pub use windtunnel_plugin_api as plugin_api;
pub use windtunnel_policy::{Custom, Facts, Hook, PolicySpec};
pub use windtunnel_results::metrics;
pub use windtunnel_results::report::{ReportInputs, Results};
pub use windtunnel_workload::TimeUnit;
pub use xpusim::XPUSIM_TP;
pub use xpusim_file::BesideXpuSim;
