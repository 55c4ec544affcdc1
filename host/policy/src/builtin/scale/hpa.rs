//! `hpa-concurrency`, `hpa-queue`, `hpa-kv`: the horizontal pod autoscaler of Kubernetes on one
//! number.

use super::numbers::{SECOND_US, instances, whole};
use crate::builtin::policy::{BuiltIn, Make, Values};
use crate::param::{ABOVE_ZERO, Param};
use std::collections::VecDeque;
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, Scale, ScaleView};

pub(super) const TOLERANCE: Param = Param::number(
    "tolerance",
    0.1,
    0.0,
    1.0,
    "share by which the metric may be off its target",
);
pub(super) const DOWN_WINDOW: Param = Param::number(
    "down_window_s",
    300.0,
    0.0,
    86_400.0,
    "seconds of which the highest recommendation counts when instances go",
);
pub(super) const UP_PERCENT: Param = Param::number(
    "up_percent",
    100.0,
    0.0,
    f64::MAX,
    "per cent of the instances that may come at once, if that is more than up_instances",
);
pub(super) const UP_INSTANCES: Param = Param::number(
    "up_instances",
    4.0,
    0.0,
    100_000.0,
    "instances that may come at once, if that is more than up_percent",
);

/// The parameters of a policy that brings something to this target.
const fn of_target(target: Param) -> [Param; 5] {
    [target, TOLERANCE, DOWN_WINDOW, UP_PERCENT, UP_INSTANCES]
}

/// `hpa-concurrency`.
pub const CONCURRENCY: BuiltIn = BuiltIn {
    params: &of_target(Param::number(
        "target",
        32.0,
        ABOVE_ZERO,
        1e6,
        "requests in flight of an instance, those held at the front end included",
    )),
    ..BuiltIn::new(
        "hpa-concurrency",
        "Kubernetes' horizontal pod autoscaler on requests in flight per instance.",
        Make::Scale(|_, values| Box::new(Hpa::of(values, in_flight))),
    )
};

/// `hpa-queue`.
pub const QUEUE: BuiltIn = BuiltIn {
    params: &of_target(Param::number(
        "target",
        5.0,
        ABOVE_ZERO,
        1e6,
        "waiting requests of an instance, those held at the front end included",
    )),
    ..BuiltIn::new(
        "hpa-queue",
        "Kubernetes' horizontal pod autoscaler on waiting requests per instance.",
        Make::Scale(|_, values| {
            let waiting = |pool: &ScaleView| (pool.queued + pool.held) as f64;
            Box::new(Hpa::of(values, waiting))
        }),
    )
};

/// `hpa-kv`.
pub const KV: BuiltIn = BuiltIn {
    params: &of_target(Param::number(
        "target",
        0.7,
        ABOVE_ZERO,
        1.0,
        "KV utilisation of an instance",
    )),
    ..BuiltIn::new(
        "hpa-kv",
        "Kubernetes' horizontal pod autoscaler on KV utilisation.",
        Make::Scale(|_, values| {
            let used = |pool: &ScaleView| match pool.ready {
                0 => 0.0,
                ready => pool.kv_utilization_mean * f64::from(ready),
            };
            Box::new(Hpa::of(values, used))
        }),
    )
};

/// Requests that are served or want to be.
pub(super) fn in_flight(pool: &ScaleView) -> f64 {
    (pool.in_flight + pool.held) as f64
}

/// As many instances as bring a number to its target, which each of them has a share of.
pub struct Hpa {
    /// The number, of all instances together.
    metric: fn(&ScaleView) -> f64,
    target: f64,
    tolerance: f64,
    window_us: f64,
    up_percent: f64,
    up_instances: f64,
    /// What was recommended when, within the window.
    told: VecDeque<(i64, f64)>,
}

impl Hpa {
    pub(super) fn of(values: &Values, metric: fn(&ScaleView) -> f64) -> Self {
        Self {
            metric,
            target: values.get("target"),
            tolerance: values.get("tolerance"),
            window_us: values.get("down_window_s") * SECOND_US,
            up_percent: values.get("up_percent"),
            up_instances: values.get("up_instances"),
            told: VecDeque::new(),
        }
    }

    /// What brings the number to its target: instances that are being started will take a share
    /// when it is too high, and are no reason to keep more when it is too low.
    fn wanted(&self, pool: &ScaleView) -> f64 {
        let (now, ready) = (instances(pool), f64::from(pool.ready));
        if ready == 0.0 {
            return now;
        }
        let metric = (self.metric)(pool);
        let ratio = metric / (ready * self.target);
        if (ratio - 1.0).abs() <= self.tolerance {
            return now;
        }
        if ratio < 1.0 {
            return (ratio * ready).ceil();
        }
        let ratio = metric / (now * self.target);
        match ratio <= 1.0 + self.tolerance {
            true => now,
            false => (ratio * now).ceil(),
        }
    }

    /// How many come where there is none: as many as there is work for, one at least if a request
    /// waits, of which a metric that is read from instances tells nothing.
    fn first_instances(&self, pool: &ScaleView) -> f64 {
        let waits = if pool.held > 0 { 1.0 } else { 0.0 };
        let wanted = ((self.metric)(pool) / self.target).ceil();
        wanted.max(waits).min(self.up_instances.max(1.0))
    }

    /// The recommendation at `now_us`.
    pub(super) fn recommend(&mut self, pool: &ScaleView, now_us: i64) -> f64 {
        let now = instances(pool);
        if self.told.is_empty() {
            self.told.push_back((now_us, now));
        }
        let wanted = self.wanted(pool);
        self.told.push_back((now_us, wanted));
        let from = now_us as f64 - self.window_us;
        while self.told.len() > 1 && self.told[0].0 as f64 <= from {
            self.told.pop_front();
        }
        let highest = self.told.iter().fold(wanted, |most, (_, n)| most.max(*n));
        let most = (now * (1.0 + self.up_percent / 100.0)).max(now + self.up_instances);
        now.max(wanted).min(highest).min(most)
    }
}

impl Scale for Hpa {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        Ok(whole(match instances(pool) {
            0.0 => self.first_instances(pool),
            _ => self.recommend(pool, cluster.now_us),
        }))
    }
}
