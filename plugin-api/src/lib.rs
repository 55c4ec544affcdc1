//! The contract between windtunnel's engine and the policies that decide for it, version 1.1.
//!
//! A policy fills one or more *hooks*. It sees plain-data *views* of requests and instances,
//! answers with a *decision*, and may listen to *events*. Everything here is what a policy may
//! know; what it may not know is absent: the true output length of a request and every future
//! arrival (the *oracle boundary*).
//!
//! ```text
//! arrival -> Admission -> Router -> instance: wait queue (Priority, Scheduler) -> batch (Batching; Victim on KV shortage)
//!               ^    ^       ^                      ^                              |
//!               |  Dispatch, where a gateway holds requests                        |
//!               +-- Event ---+----------------------+--- first token, completion, preemption
//! ```
//!
//! All times are microseconds of simulated time (`i64`), all lengths are tokens unless a name says
//! otherwise.
//!
//! The contract only grows: fields are appended to views, methods with defaults to traits. A golden
//! test of sizes and offsets guards it.
//!
//! ```
//! use windtunnel_plugin_api::{ClusterView, PolicyError, RequestView, Route, Router};
//!
//! /// Sends every request to the instance with the fewest requests in flight.
//! struct LeastInFlight;
//!
//! impl Router for LeastInFlight {
//!     fn route(&mut self, _request: &RequestView, cluster: &ClusterView<'_>) -> Result<Route, PolicyError> {
//!         let best = cluster.instances.iter().enumerate().min_by_key(|(_, instance)| instance.in_flight);
//!         Ok(best.map_or(Route::Hold { retry_after_us: 1_000 }, |(i, _)| Route::To(i)))
//!     }
//! }
//! ```

pub mod abi;
mod batching;
pub mod c;
mod dispatch;
mod error;
mod header;
mod hooks;
mod host;
mod list;
mod scale;
mod table;
mod views;

/// What [`export_plugin!`] needs of it.
pub use abi_stable;
pub use batching::{BatchLimits, Batching, Decodes};
pub use dispatch::{Dispatch, GatewayView, HeldView};
pub use error::PolicyError;
pub use header::header;
pub use hooks::{
    Admission, Admit, Disaggregation, EventKind, Interests, KeyRefresh, Outcome, Priority,
    QueueOrder, Route, Router, Scheduler, Victim,
};
pub use host::{AdapterSignal, ClusterView, Host, HostFns, NoServices, QueueView, Services, Setup};
pub use list::List;
pub use scale::{Scale, ScaleView};
pub use table::{Field, Kind, Table};
pub use views::{Event, InstanceView, QueuedView, RequestView, RunningView, StepView};

/// Version of the contract: (major, minor).
pub const VERSION: (u32, u32) = (1, 1);
