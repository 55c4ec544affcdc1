//! What every crate of windtunnel stands on, and nothing of the simulation itself.

pub mod adapter_streams;
pub mod event_queue;
pub mod fault;
pub mod hook;
pub mod input;
pub mod measured;
pub mod parallel;
pub mod record;
pub mod request;
pub mod rng;
pub mod slo_priority;
