//! Disaggregation policies.

pub mod always;
pub mod never;
pub mod prefix_threshold;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Disaggregation,
    [always::POLICY, never::POLICY, prefix_threshold::POLICY],
);
