//! `saturation`: as many instances as the tokens in their KV caches and wait queues need.

use super::numbers::{SECOND_US, instances, whole};
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::{ABOVE_ZERO, Param};
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, Scale, ScaleView};

/// `saturation`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "kv_threshold",
            0.8,
            ABOVE_ZERO,
            1.0,
            "share of an instance's KV cache that is there to be used",
        ),
        Param::number(
            "scale_up_threshold",
            0.85,
            ABOVE_ZERO,
            1.0,
            "demand over what is there to be used above which instances come",
        ),
        Param::number(
            "scale_down_boundary",
            0.7,
            ABOVE_ZERO,
            1.0,
            "the same below which they go",
        ),
        Param::number(
            "up_window_s",
            0.0,
            0.0,
            86_400.0,
            "seconds for which more must be needed before instances come",
        ),
        Param::number(
            "down_window_s",
            300.0,
            0.0,
            86_400.0,
            "seconds for which fewer must do before instances go",
        ),
    ],
    ..BuiltIn::new(
        "saturation",
        "BLIS's saturation analyzer: tokens in KV caches and wait queues against what the instances have room for.",
        Make::Scale(|_, values| {
            let window = |name| Window {
                us: values.get(name) * SECOND_US,
                since_us: None,
            };
            Box::new(Saturation {
                kv_threshold: values.get("kv_threshold"),
                up: values.get("scale_up_threshold"),
                down: values.get("scale_down_boundary"),
                up_window: window("up_window_s"),
                down_window: window("down_window_s"),
                requests: 0,
                tokens: 0,
            })
        }),
    )
};

/// A signal counts when it has been there for so long.
struct Window {
    us: f64,
    since_us: Option<i64>,
}

impl Window {
    /// Does it count at `now_us`? Then it starts anew.
    fn passes(&mut self, signal: bool, now_us: i64) -> bool {
        if !signal {
            self.since_us = None;
            return false;
        }
        let since = *self.since_us.get_or_insert(now_us);
        let passes = (now_us - since) as f64 >= self.us;
        if passes {
            self.since_us = None;
        }
        passes
    }
}

/// Tokens that need room against tokens that have it.
pub struct Saturation {
    kv_threshold: f64,
    up: f64,
    down: f64,
    up_window: Window,
    down_window: Window,
    /// Requests that arrived so far, and their prompt tokens.
    requests: u64,
    tokens: u64,
}

impl Scale for Saturation {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        self.requests += pool.arrived;
        self.tokens += pool.arrived_prompt_tokens;
        let mean_prompt = match self.requests {
            0 => 0.0,
            n => self.tokens as f64 / n as f64,
        };
        let ready = f64::from(pool.ready);
        let capacity = pool.kv_capacity_tokens as f64;
        let each = capacity * self.kv_threshold;
        let supply = ready * each;
        let in_use = pool.kv_utilization_mean * ready * capacity;
        // What waits at the front end is seen where there is no instance that it could wait at.
        let waiting = match instances(pool) {
            0.0 => pool.queued + pool.held,
            _ => pool.queued,
        };
        let demand = in_use + waiting as f64 * mean_prompt;
        let coming = f64::from(pool.loading) * each;
        let required = demand / self.up - (supply + coming);
        let spare = supply - demand / self.down;
        let more = each > 0.0 && required > 0.0;
        let fewer = !more && pool.ready > 1 && spare > 0.0 && supply - each > demand / self.down;
        let (now, now_us) = (instances(pool), cluster.now_us);
        let come = self.up_window.passes(more, now_us);
        let go = self.down_window.passes(fewer, now_us);
        Ok(whole(match (come, go) {
            (true, _) => now + (required / each).ceil().max(1.0),
            (_, true) => now - (spare / each).floor().clamp(1.0, ready),
            _ => now,
        }))
    }
}
