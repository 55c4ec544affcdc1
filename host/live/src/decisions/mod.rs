//! A log of everything that policies were told and answered, and its evaluation once more.
//!
//! Policies are asked through wrappers ([`record`]) that write down what they are given: the
//! request, the instances as far as they changed, what the policy asked the host and what that
//! said, and the answer. [`replay`] asks the same policies the same again, in the same order.

mod entry;
mod fields;
pub mod record;
pub mod replay;
pub mod traffic;

pub use entry::{Answer, Call, Deployment, Entry};
