//! A log of everything that policies were told and answered, and its evaluation once more.
//!
//! Policies are asked through wrappers ([`record`]) that write down what they are given: the
//! request, the instances as far as they changed, what the policy asked the host and what that
//! said, and the answer. [`replay`] asks the same policies the same again, in the same order;
//! [`resimulate`](crate::resimulate) asks them what they would do before simulated servers.

mod entry;
pub(crate) mod fields;
pub(crate) mod memory;
pub mod record;
pub mod replay;

pub use entry::{Answer, Call, Deployment, Entry};
