//! Scaling policies: how many instances a pool should have.

pub mod fixed;
pub mod hpa;
pub mod keda;
mod numbers;
pub mod saturation;
pub mod sla_planner;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Scale,
    [
        fixed::POLICY,
        hpa::CONCURRENCY,
        hpa::QUEUE,
        hpa::KV,
        keda::POLICY,
        sla_planner::POLICY,
        saturation::POLICY,
    ],
);
