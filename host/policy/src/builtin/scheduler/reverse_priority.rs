//! `reverse-priority`: `priority-fcfs` upside down, for comparison.

use super::priority_fcfs::PriorityFcfs;
use crate::builtin::policy::{BuiltIn, Make};

/// `reverse-priority`.
pub const POLICY: BuiltIn = BuiltIn {
    reads_priorities: true,
    ..BuiltIn::new(
        "reverse-priority",
        "The least urgent first.",
        Make::Scheduler(|_, _| Box::new(PriorityFcfs { direction: -1.0 })),
    )
};
