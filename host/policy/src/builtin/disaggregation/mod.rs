//! Disaggregation policies.

pub mod constant;
pub mod edpp;
pub mod least_ttft;
pub mod prefix_threshold;
mod ttft;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Disaggregation,
    [
        constant::ALWAYS,
        constant::NEVER,
        prefix_threshold::POLICY,
        least_ttft::POLICY,
        edpp::POLICY,
    ],
);
