//! Makes the policies that fill the hooks of a cluster.

mod policies;

pub use policies::{metered_policies, policies};
