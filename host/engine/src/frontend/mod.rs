//! The front end of a cluster: admission and routing, and what they know of the instances.

mod config;
mod policies;
mod predictor;

pub use config::{FrontEndConfig, TraceConfig};
pub use policies::FrontEndPolicies;
pub use predictor::Predictor;
