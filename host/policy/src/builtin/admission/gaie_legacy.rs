//! `gaie-legacy`: a saturated cluster rejects sheddable requests, after the Gateway API inference
//! extension.

use crate::builtin::policy::{BuiltIn, Make};
use crate::param::{ABOVE_ZERO, Param};
use windtunnel_plugin_api::{Admission, Admit, ClusterView, Interests, PolicyError, RequestView};

/// `gaie-legacy`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "queue_limit",
            5.0,
            ABOVE_ZERO,
            f64::MAX,
            "Queue depth that counts as saturated",
        ),
        Param::number(
            "kv_limit",
            0.8,
            ABOVE_ZERO,
            1.0,
            "KV utilisation that counts as saturated",
        ),
    ],
    bundle_keys: &[
        ("gaie_qd_threshold", "queue_limit"),
        ("gaie_kv_threshold", "kv_limit"),
    ],
    ..BuiltIn::new(
        "gaie-legacy",
        "A saturated cluster refuses sheddable classes.",
        Make::Admission(|_, values| {
            Box::new(GaieLegacy {
                queue_limit: values.get("queue_limit"),
                kv_limit: values.get("kv_limit"),
            })
        }),
    )
};

/// Rejects sheddable requests (those of a negative class priority) while the cluster is saturated:
/// the mean over the instances of `max(queue depth / limit, KV utilisation / limit)` is 1 or more.
pub struct GaieLegacy {
    /// Queue depth that counts as saturated.
    pub queue_limit: f64,
    /// KV utilisation that counts as saturated, 0..=1.
    pub kv_limit: f64,
}

impl Admission for GaieLegacy {
    fn interests(&self) -> Interests {
        Interests::SNAPSHOTS
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        if request.class_priority >= 0 {
            return Ok(Admit::Admit);
        }
        let saturation = if cluster.instances.is_empty() {
            1.0
        } else {
            let sum: f64 = cluster
                .instances
                .iter()
                .map(|i| {
                    (f64::from(i.queue_depth) / self.queue_limit)
                        .max(i.kv_utilization / self.kv_limit)
                })
                .sum();
            sum / cluster.instances.len() as f64
        };
        if saturation < 1.0 {
            Ok(Admit::Admit)
        } else {
            Ok(Admit::Reject(format!(
                "gaie-saturated: saturation={saturation:.2}"
            )))
        }
    }
}
