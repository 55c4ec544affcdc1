//! Step times and KV capacity as BLIS computes them, its mistakes included: for runs that ask for
//! `blis` rules, and for comparison. Everything else counts what is really there.

pub mod capacity;
pub mod roofline;
pub mod trained_physics;

pub use capacity::{kv_block_bytes, kv_blocks};
pub use roofline::Roofline;
pub use trained_physics::TrainedPhysics;
