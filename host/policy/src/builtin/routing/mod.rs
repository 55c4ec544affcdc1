//! Routing policies. Ties go to the lowest position, unless a parameter says otherwise.

pub mod always_busiest;
pub mod columns;
pub mod filters;
pub mod least_loaded;
pub mod lora_affinity;
pub mod memory;
pub mod picker;
pub mod prefix_affinity;
pub mod round_robin;
pub mod scorers;
pub mod two_weights;
pub mod weighted;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Routing,
    [
        round_robin::POLICY,
        least_loaded::POLICY,
        weighted::POLICY,
        prefix_affinity::POLICY,
        always_busiest::POLICY,
        lora_affinity::POLICY,
    ],
);
