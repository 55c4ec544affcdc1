//! Step-time models behind one trait.
//!
//! A model is called once per step with the step's aggregates; they are order-free integers, so the
//! engine can keep them up to date in O(1).
//!
//! Which model a run uses, with which figures, is decided once, in [`resolve()`].

pub mod blackbox;
pub mod blis;
pub mod capacity;
mod coefficients;
pub mod collectives;
mod communication;
pub mod deployment;
mod estimate;
mod estimate_error;
mod extrapolation;
mod kernels;
mod kind;
mod kv_dtype;
mod model;
mod model_len;
mod outside;
mod profile;
pub mod resolve;
pub mod roofline;
mod slowed;
mod spread;
mod step_fit;
mod step_table;
mod ticks;
pub mod trained_physics;
mod wide;
mod work;
pub mod xpu_roofline;

#[cfg(test)]
mod capacity_tests;
#[cfg(test)]
mod floor_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod ranks_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod vector_tests;
#[cfg(test)]
mod xpu_tests;

pub use blackbox::Blackbox;
pub use capacity::{DeviceMemory, GIB, KvCapacity, KvMemory};
pub use deployment::{KvBlocksSource, MaxModelLenSource, Resolved, Setup};
pub use estimate::{Ahead, Estimator, StepLimits};
pub use estimate_error::EstimateErrors;
pub use extrapolation::Extrapolation;
pub use kernels::{Kernels, Measurement, Origin, Parallel, StepPart};
pub use kind::LatencyModelKind;
pub use kv_dtype::KV_CACHE_DTYPES;
pub(crate) use model::rounded_us;
pub use model::{
    LENGTH_BOUNDS, LatencyModel, StageTimes, StepAggregates, StepItem, length_class, truncate_us,
};
pub use model_len::max_model_len;
pub use profile::Profile;
pub use resolve::resolve;
pub use roofline::Roofline;
pub use slowed::Slowed;
pub use spread::{
    DEFAULT_GPUS_PER_NODE, DEFAULT_INTER_NODE_GB_S, DEFAULT_INTER_NODE_US, Nodes, Spread,
};
pub use step_fit::{FittedSteps, MeasuredStep, StepKind, fit_steps};
pub use ticks::{TICK_US, Ticks};
pub use trained_physics::TrainedPhysics;
pub use work::StepWork;
pub use xpu_roofline::{PICOSECONDS_PER_US, XpuRoofline};
