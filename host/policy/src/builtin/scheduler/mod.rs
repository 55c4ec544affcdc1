//! Schedulers: the order of an instance's wait queue.

pub mod fcfs;
pub mod priority_fcfs;
pub mod reverse_priority;
pub mod sjf;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Scheduler,
    [
        fcfs::POLICY,
        priority_fcfs::POLICY,
        sjf::POLICY,
        reverse_priority::POLICY,
    ],
);
