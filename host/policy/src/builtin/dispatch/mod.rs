//! Dispatch policies: which of the requests held at the gateway goes next.

pub mod fifo;
pub mod priority;
pub mod slo_deadline;
mod turns;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Dispatch,
    [fifo::POLICY, priority::POLICY, slo_deadline::POLICY],
);
