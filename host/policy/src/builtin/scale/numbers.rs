//! What several scaling policies count by.

use windtunnel_plugin_api::ScaleView;

/// Microseconds of a second.
pub(super) const SECOND_US: f64 = 1e6;

/// Instances that there are or will be: those that go are none of them.
pub(super) fn instances(pool: &ScaleView) -> f64 {
    f64::from(pool.ready) + f64::from(pool.loading)
}

/// A number of instances, of which there are no fractions.
pub(super) fn whole(instances: f64) -> u32 {
    instances.ceil() as u32
}
