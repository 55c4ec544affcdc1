//! `keda`: by requests, and none at all while nobody asks for anything.

use super::hpa::{DOWN_WINDOW, Hpa, TOLERANCE, UP_INSTANCES, UP_PERCENT, in_flight};
use super::numbers::{SECOND_US, instances, whole};
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::{ABOVE_ZERO, Param};
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, Scale, ScaleView};

/// `keda`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "target",
            32.0,
            ABOVE_ZERO,
            1e6,
            "requests of an instance, those held at the front end included",
        ),
        Param::number(
            "activation",
            0.0,
            0.0,
            1e6,
            "requests up to which the pool counts as idle",
        ),
        Param::number(
            "cooldown_s",
            300.0,
            0.0,
            86_400.0,
            "seconds for which it is idle before all instances go",
        ),
        TOLERANCE,
        DOWN_WINDOW,
        UP_PERCENT,
        UP_INSTANCES,
    ],
    ..BuiltIn::new(
        "keda",
        "As KEDA: none while the pool is idle, one at once when requests come, and in between as hpa-concurrency.",
        Make::Scale(|_, values| {
            Box::new(Keda {
                activation: values.get("activation"),
                cooldown_us: values.get("cooldown_s") * SECOND_US,
                active_us: None,
                hpa: Hpa::of(values, in_flight),
            })
        }),
    )
};

/// None while the pool is idle.
pub struct Keda {
    activation: f64,
    cooldown_us: f64,
    /// When it was active last, or was looked at first.
    active_us: Option<i64>,
    hpa: Hpa,
}

impl Scale for Keda {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        let now_us = cluster.now_us;
        let active = in_flight(pool) > self.activation;
        let last = match active {
            true => now_us,
            false => self.active_us.unwrap_or(now_us),
        };
        self.active_us = Some(last);
        let between = self.hpa.recommend(pool, now_us);
        if active {
            return Ok(whole(between.max(1.0)));
        }
        // While nobody asks for anything, one stays until the pool has been idle for long.
        let idle = (now_us - last) as f64 >= self.cooldown_us;
        Ok(match idle || instances(pool) == 0.0 {
            true => 0,
            false => whole(between.max(1.0)),
        })
    }
}
