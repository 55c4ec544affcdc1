//! The two policies.

use windtunnel_plugin_api::{
    BatchLimits, Batching, ClusterView, Disaggregation, Event, EventKind, Interests, PolicyError,
    QueueView, RequestView, Setup, StepView,
};

/// Sets the tokens of a step by its estimated duration; the script
/// `policies/batching/step-time.lua` decides the same.
#[derive(Debug)]
pub struct StepTime {
    step_us: f64,
    least: u32,
}

impl StepTime {
    /// With its declared parameters.
    ///
    /// # Errors
    /// Never.
    pub fn new(setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self {
            step_us: 1000.0 * setup.param("step_ms"),
            least: setup.param("least") as u32,
        })
    }
}

impl Batching for StepTime {
    fn interests(&self) -> Interests {
        Interests::STEPS | Interests::WORK
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        let own = BatchLimits::of_engine(step, queue);
        let most = queue.max_step_tokens.saturating_sub(step.decoding);
        let context = step.decode_context_tokens;
        let fits = |tokens| queue.host.est_step_us(tokens, step.decoding, context) <= self.step_us;
        if step.decoding == 0 || most <= self.least || fits(most) {
            return Ok(own);
        }
        let (mut few, mut many) = (self.least, most);
        while many - few > 32 {
            let middle = few.midpoint(many);
            if fits(middle) {
                few = middle;
            } else {
                many = middle;
            }
        }
        Ok(BatchLimits {
            max_new_tokens: step.decoding + few,
            ..own
        })
    }
}

/// Has prompts computed elsewhere while the instance that decodes is busy, unless first tokens come
/// late.
#[derive(Debug)]
pub struct BusyDecode {
    tokens: f64,
    late_us: f64,
    /// Of the requests of late, the latest counting an eighth; 0 before the first.
    mean_ttft_us: f64,
}

impl BusyDecode {
    /// With its declared parameters.
    ///
    /// # Errors
    /// Never.
    pub fn new(setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self {
            tokens: setup.param("tokens"),
            late_us: 1000.0 * setup.param("late_ms"),
            mean_ttft_us: 0.0,
        })
    }
}

impl Disaggregation for BusyDecode {
    fn interests(&self) -> Interests {
        Interests::PRECISE_PREFIX | Interests::SNAPSHOTS | Interests::TOKENS
    }

    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        let instance = &cluster.instances[decode];
        let cached = cluster.host.precise_prefix_blocks(decode) * instance.block_size;
        let new = request.prompt_tokens.saturating_sub(cached);
        let late = self.mean_ttft_us > self.late_us;
        Ok(instance.batch_size > 0 && f64::from(new) > self.tokens && !late)
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        if event.what() == Some(EventKind::FirstToken) {
            let ttft_us = event.ttft_us as f64;
            let before = self.mean_ttft_us;
            self.mean_ttft_us = if before > 0.0 {
                before + (ttft_us - before) / 8.0
            } else {
                ttft_us
            };
        }
        Ok(())
    }
}
