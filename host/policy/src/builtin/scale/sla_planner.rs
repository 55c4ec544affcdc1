//! `sla-planner`: what the next interval is expected to bring, over what an instance does within
//! the targets.

use super::numbers::{SECOND_US, instances, whole};
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::{ABOVE_ZERO, Param};
use std::collections::VecDeque;
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, Scale, ScaleView};

/// `sla-planner`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "ttft_ms",
            0.0,
            0.0,
            1e6,
            "target for the mean time to first token, milliseconds; 0: the run's",
        ),
        Param::number(
            "itl_ms",
            0.0,
            0.0,
            1e6,
            "target for the mean inter-token latency, milliseconds; 0: the run's",
        ),
        Param::number(
            "predictor",
            2.0,
            0.0,
            2.0,
            "0: the next interval is like the last one, 1: the mean of the window, 2: its linear trend",
        )
        .whole(),
        Param::number("window", 5.0, 1.0, 1000.0, "how many intervals the predictor looks at").whole(),
        Param::number(
            "tokens_per_second",
            0.0,
            0.0,
            1e9,
            "tokens that an instance does within the targets, as profiled; 0: learned in the run",
        ),
        Param::number(
            "smoothing",
            0.3,
            ABOVE_ZERO,
            1.0,
            "weight of the last interval in what is learned",
        ),
        Param::number(
            "headroom",
            0.1,
            0.0,
            0.9,
            "share of an instance that is left free",
        ),
    ],
    ..BuiltIn::new(
        "sla-planner",
        "As Dynamo's planner: the load that is predicted over the tokens that an instance does within the targets.",
        Make::Scale(|_, values| {
            let target = |name| values.get(name) * 1000.0;
            Box::new(SlaPlanner {
                ttft_us: target("ttft_ms"),
                itl_us: target("itl_ms"),
                predictor: values.get("predictor"),
                window: values.get("window") as usize,
                profiled: values.get("tokens_per_second"),
                smoothing: values.get("smoothing"),
                headroom: values.get("headroom"),
                learned: 0.0,
                completed: 0,
                output_tokens: 0,
                loads: VecDeque::new(),
            })
        }),
    )
};

/// The load that is predicted over what an instance does.
pub struct SlaPlanner {
    ttft_us: f64,
    itl_us: f64,
    predictor: f64,
    window: usize,
    profiled: f64,
    smoothing: f64,
    headroom: f64,
    /// Tokens per second of an instance; 0 = nothing learned yet.
    learned: f64,
    /// Requests that completed so far, and their output tokens.
    completed: u64,
    output_tokens: u64,
    /// Tokens per second that came, the last interval last.
    loads: VecDeque<f64>,
}

/// How much more could have been done, by a latency: half to twice.
fn slack(target_us: f64, latency_us: f64) -> f64 {
    match target_us > 0.0 && latency_us > 0.0 {
        true => (target_us / latency_us).clamp(0.5, 2.0),
        false => f64::INFINITY,
    }
}

impl SlaPlanner {
    /// Tokens per second of the next interval.
    fn predicted(&self) -> f64 {
        let n = self.loads.len() as f64;
        let last = self.loads.back().copied().unwrap_or(0.0);
        let mean = self.loads.iter().sum::<f64>() / n;
        if self.predictor == 0.0 || n < 2.0 {
            return last;
        }
        if self.predictor == 1.0 {
            return mean;
        }
        // The line of least squares through the window, one interval on.
        let middle = (n - 1.0) / 2.0;
        let (mut rise, mut spread) = (0.0, 0.0);
        for (k, load) in self.loads.iter().enumerate() {
            let x = k as f64 - middle;
            rise += x * (load - mean);
            spread += x * x;
        }
        (mean + rise / spread * (n - middle)).max(0.0)
    }

    fn learn(&mut self, pool: &ScaleView, seconds: f64) {
        if pool.ready == 0 || pool.completed == 0 {
            return;
        }
        let or = |own: f64, of_run: i64| if own > 0.0 { own } else { of_run as f64 };
        let by_ttft = slack(or(self.ttft_us, pool.slo_ttft_us), pool.ttft_mean_us);
        let by_itl = slack(or(self.itl_us, pool.slo_itl_us), pool.itl_mean_us);
        let slack = by_ttft.min(by_itl);
        if slack == f64::INFINITY {
            return;
        }
        let tokens = (pool.completed_prompt_tokens + pool.completed_output_tokens) as f64;
        let each = tokens / seconds / f64::from(pool.ready) * slack;
        self.learned = match self.learned > 0.0 {
            true => self.learned + self.smoothing * (each - self.learned),
            false => each,
        };
    }
}

impl Scale for SlaPlanner {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        _cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        let seconds = pool.interval_us as f64 / SECOND_US;
        self.completed += pool.completed;
        self.output_tokens += pool.completed_output_tokens;
        let mean_output = match self.completed {
            0 => 0.0,
            n => self.output_tokens as f64 / n as f64,
        };
        let came = pool.arrived_prompt_tokens as f64 + pool.arrived as f64 * mean_output;
        self.loads.push_back(came / seconds);
        if self.loads.len() > self.window {
            self.loads.pop_front();
        }
        self.learn(pool, seconds);
        let each = match self.profiled > 0.0 {
            true => self.profiled,
            false => self.learned,
        };
        let now = instances(pool);
        if each <= 0.0 {
            // Nothing is known yet; somebody has to serve what waits.
            return Ok(whole(match pool.held > 0 {
                true => now.max(1.0),
                false => now,
            }));
        }
        let wanted = (self.predicted() / (each * (1.0 - self.headroom))).ceil();
        Ok(whole(match pool.held > 0 || pool.in_flight > 0 {
            true => wanted.max(1.0),
            false => wanted,
        }))
    }
}
