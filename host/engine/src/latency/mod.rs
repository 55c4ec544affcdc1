//! Step-time models behind one trait.
//!
//! A model is called once per step with the step's aggregates; they are order-free integers, so the
//! engine can keep them up to date in O(1).
//!
//! Which model a run uses, with which figures, is decided once, in [`resolve()`].

pub mod blackbox;
pub mod capacity;
pub mod deployment;
mod estimate;
mod kind;
mod model;
pub mod resolve;
pub mod roofline;
pub mod trained_physics;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod vector_tests;

pub use blackbox::Blackbox;
pub use capacity::{KvCapacity, max_model_len};
pub use deployment::{KvBlocksSource, MaxModelLenSource, Resolved, Setup};
pub use estimate::{Ahead, Estimator, StepLimits};
pub use kind::LatencyModelKind;
pub use model::{LatencyModel, StepAggregates, StepItem, truncate_us};
pub use resolve::resolve;
pub use roofline::Roofline;
pub use trained_physics::TrainedPhysics;
