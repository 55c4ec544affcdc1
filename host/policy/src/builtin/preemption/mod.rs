//! Preemption policies: which running request gives up its KV blocks when they run out.

pub mod fcfs;
pub mod priority;
pub mod priority_first;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Preemption,
    [fcfs::POLICY, priority::POLICY, priority_first::POLICY],
);
