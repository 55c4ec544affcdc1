//! What every crate of windtunnel stands on, and nothing of the simulation itself.

pub mod earliest;
pub mod input;
pub mod pool;
pub mod record;
pub mod request;
pub mod rng;
pub mod slo_priority;
