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
        Param::number(
            "max_in_flight",
            0.0,
            0.0,
            f64::MAX,
            "Requests in flight per instance that count as saturated, in place of both; 0 = they count",
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
                max_in_flight: values.get("max_in_flight"),
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
    /// Requests in flight per instance that count as saturated, in place of both limits; 0 = the
    /// limits count. It is fresh where the limits read scraped signals.
    pub max_in_flight: f64,
}

impl Admission for GaieLegacy {
    fn interests(&self) -> Interests {
        if self.max_in_flight > 0.0 {
            Interests::COUNTERS
        } else {
            Interests::SNAPSHOTS
        }
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
                    if self.max_in_flight > 0.0 {
                        return f64::from(i.in_flight) / self.max_in_flight;
                    }
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
