//! `tier-shed`: under load, only SLO classes of some priority get in.

use crate::builtin::policy::{BuiltIn, Make};
use crate::param::Param;
use windtunnel_plugin_api::{Admission, Admit, ClusterView, Interests, PolicyError, RequestView};

/// `tier-shed`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "threshold",
            0.0,
            0.0,
            f64::MAX,
            "Largest effective load of an instance that still counts as no load",
        )
        .whole(),
        Param::number(
            "min_priority",
            0.0,
            i32::MIN as f64,
            i32::MAX as f64,
            "Least class priority that gets in under load",
        )
        .whole(),
    ],
    bundle_keys: &[
        ("tier_shed_threshold", "threshold"),
        ("tier_shed_min_priority", "min_priority"),
    ],
    bundle_defaults: &[("min_priority", 3.0)],
    ..BuiltIn::new(
        "tier-shed",
        "Under load, only classes of a least priority come in.",
        Make::Admission(|_, values| {
            Box::new(TierShed {
                threshold: values.get("threshold") as u64,
                min_priority: values.get("min_priority") as i32,
            })
        }),
    )
};

/// Under load, admits only requests whose class has at least `min_priority`.
pub struct TierShed {
    /// Largest effective load of any instance that still counts as no load.
    pub threshold: u64,
    /// Least class priority that is admitted under load.
    pub min_priority: i32,
}

impl Admission for TierShed {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS | Interests::COUNTERS
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let load = cluster
            .instances
            .iter()
            .map(|i| i.effective_load())
            .max()
            .unwrap_or(0);
        if load <= self.threshold || request.class_priority >= self.min_priority {
            return Ok(Admit::Admit);
        }
        let Self { min_priority, .. } = self;
        Ok(Admit::Reject(format!(
            "tier-shed: priority={} < min={min_priority} load={load}",
            request.class_priority
        )))
    }
}
