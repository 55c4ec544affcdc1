//! `fixed`: always the same number of instances.

use super::numbers::{instances, whole};
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::Param;
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, Scale, ScaleView};

/// `fixed`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[Param::number(
        "instances",
        0.0,
        0.0,
        100_000.0,
        "how many; 0: as many as there are",
    )
    .whole()],
    ..BuiltIn::new(
        "fixed",
        "Always the same number of instances: what others are compared with.",
        Make::Scale(|_, values| {
            Box::new(Fixed {
                instances: values.get("instances"),
            })
        }),
    )
};

/// Always the same number.
pub struct Fixed {
    instances: f64,
}

impl Scale for Fixed {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        _cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        Ok(whole(match self.instances > 0.0 {
            true => self.instances,
            false => instances(pool),
        }))
    }
}
