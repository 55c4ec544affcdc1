//! The contract between windtunnel's engine and the policies that steer it.
//!
//! A policy fills one or more *hooks*. It sees plain-data *views* of requests and instances, answers with a
//! *decision*, and may listen to *events*. Everything here is what a policy may know; what it may not know is
//! absent: the true output length of a request and every future arrival (the *oracle boundary*).
//!
//! ```text
//! arrival -> Admission -> Router -> instance: wait queue (Priority, Scheduler) -> batch (Victim on KV shortage)
//!               ^            ^                                                     |
//!               +-- Event ---+------------- first token, completion, preemption <--+
//! ```
//!
//! All times are microseconds of simulated time (`i64`), all lengths are tokens unless a name says otherwise.
//!
//! ```
//! use windtunnel_plugin_api::{ClusterView, RequestView, Route, Router};
//!
//! /// Sends every request to the instance with the fewest requests in flight.
//! struct LeastInFlight;
//!
//! impl Router for LeastInFlight {
//!     fn route(&mut self, _request: &RequestView, cluster: &ClusterView<'_>) -> Route {
//!         let best = (0..cluster.instances.len()).min_by_key(|&i| cluster.instances[i].in_flight);
//!         best.map_or(Route::Hold { retry_after_us: 1_000 }, Route::To)
//!     }
//! }
//! ```

mod events;
mod hooks;
mod views;

pub use events::{Event, EventKind, Interests};
pub use hooks::{
    Admission, Admit, KeyRefresh, Priority, QueueOrder, Route, Router, Scheduler, Victim,
};
pub use views::{
    ClusterView, InstanceView, NoSignals, QueuedView, RequestView, RunningView, Signals,
};
