//! One way to build and carry out a run.

mod policies;

pub use policies::{metered_policies, policies};
