//! Scaling policies: how many instances a pool should have.

pub mod fixed;
pub mod hpa;
pub mod keda;
pub mod saturation;
pub mod sla_planner;

use super::policy::{BuiltIn, table};
use crate::param::Hook;
use windtunnel_plugin_api::ScaleView;

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

/// Microseconds of a second.
const SECOND_US: f64 = 1e6;

/// Instances that there are or will be: those that go are none of them.
fn instances(pool: &ScaleView) -> f64 {
    f64::from(pool.ready) + f64::from(pool.loading)
}

/// A number of instances, of which there are no fractions.
fn whole(instances: f64) -> u32 {
    instances.ceil() as u32
}
