//! The trained-physics model: a roofline whose parts carry fitted factors, plus fitted overheads.

use super::coefficients::PhysicsCoefficients;
use super::communication::{Communication, Exchange};
use super::model::{LatencyModel, StepAggregates, StepItem, truncate_us};
use super::roofline;
use super::work::StepWork;
use crate::rules::Preset;
use windtunnel_base::input::InputError;
use windtunnel_config::{Hardware, ModelArch};

/// Step times of BLIS's trained-physics coefficients over what a step really reads and computes:
/// stated head widths, compressed KV, windows, recurrent layers, quantised weights, and of the
/// experts those that the step's tokens are likely to pick. A step never takes less than the GPU
/// needs at full bandwidth and full peak.
///
/// What the coefficients mean, and BLIS's own reading, is at
/// [`blis::TrainedPhysics`](super::blis::TrainedPhysics). Coefficient 7 is not used: it is a time
/// per MoE layer of the one interleaved model of the fit, which stands for the expert weights that
/// BLIS leaves out there; here they are counted. The coefficients were fitted on H100 servers of
/// eleven models; other GPUs and architectures are an extrapolation.
#[derive(Clone, Debug)]
pub struct TrainedPhysics {
    coefficients: PhysicsCoefficients,
    work: StepWork,
    /// The same in two parts, of a rank and of all ranks, where there are several.
    of_ranks: Option<Box<[StepWork; 2]>>,
    communication: Communication,
}

impl TrainedPhysics {
    /// The model for one deployment: `dp` replicas of `tp` GPUs each that share the experts;
    /// `kv_element_bytes` is the width of the KV cache.
    ///
    /// # Errors
    /// When coefficients or figures are missing or contradict each other.
    #[expect(
        clippy::too_many_arguments,
        reason = "a deployment and its coefficients; one caller"
    )]
    pub fn new(
        alpha: &[f64],
        beta: &[f64],
        model: &ModelArch,
        hardware: &Hardware,
        tp: u32,
        dp: u32,
        comm_backend: &str,
        kv_element_bytes: f64,
    ) -> Result<Self, InputError> {
        let coefficients = PhysicsCoefficients::new(alpha, beta)?;
        roofline::check("trained-physics", model, hardware, tp)?;
        let work = StepWork::new(model, hardware, tp, dp, kv_element_bytes);
        Ok(Self {
            coefficients,
            communication: Communication {
                tp: work.tp,
                dp: work.dp,
                group: work.group,
                hidden: work.hidden,
                activation_bytes: model.element_bytes(),
                experts_per_token: work.experts_per_token,
                exchange: Exchange::of(comm_backend)?,
                bandwidth: work.bandwidth / 1e6,
            },
            of_ranks: (dp > 1).then(|| {
                let parts = StepWork::of_ranks(model, hardware, tp, dp, kv_element_bytes);
                Box::new(parts)
            }),
            work,
        })
    }

    /// The same where so many of the GPUs that split a layer, and of those that share the experts,
    /// are on a node: it counts what they send each other there.
    #[must_use]
    pub(super) fn on_nodes(mut self, tensor: u32, experts: u32) -> Self {
        self.communication.tp = f64::from(tensor);
        self.communication.group = f64::from(experts);
        self
    }

    fn us(&self, bytes: f64) -> f64 {
        bytes / self.work.bandwidth * 1e6
    }

    fn prefill_us(&self, step: &StepAggregates) -> f64 {
        if step.prefill_tokens == 0 {
            return 0.0;
        }
        let tokens = step.prefill_tokens as f64;
        // As in the fit: each new token is charged the whole prompt plus half its chunk.
        let pairs = step.prefill_tokens_x_prompt as f64 + step.prefill_tokens_squared as f64 / 2.0;
        let compute = self.work.flops(tokens, 0.0, pairs, true) / self.work.peak * 1e6;
        let kv = self.us(self.work.prefill_kv_bytes(step));
        self.coefficients.prefill(compute, kv)
    }

    fn decode_us(&self, step: &StepAggregates) -> f64 {
        if step.decodes == 0 {
            return 0.0;
        }
        let (tokens, pairs) = (step.decode_tokens() as f64, step.decode_pairs() as f64);
        let compute = self.work.flops(tokens, 0.0, pairs, false) / self.work.peak * 1e6;
        let kv = self.us(self.work.decode_kv_bytes(step));
        self.coefficients.decode(compute, kv)
    }

    /// The same of a rank that has this step where all ranks together have `all`.
    fn rank_us(&self, parts: &[StepWork; 2], step: &StepAggregates, all: &StepAggregates) -> f64 {
        let [own, shared] = parts;
        let (links, beta) = (&self.communication, &self.coefficients.beta);
        let peak_us = 1e6 / own.peak;
        let (mut prefill_us, mut decode_us) = (0.0, 0.0);
        if all.prefill_tokens > 0 {
            let pairs =
                step.prefill_tokens_x_prompt as f64 + step.prefill_tokens_squared as f64 / 2.0;
            let flops = own.flops(step.prefill_tokens as f64, 0.0, pairs, true)
                + shared.flops(all.prefill_tokens as f64, 0.0, 0.0, true);
            let kv_us = self.us(own.prefill_kv_bytes(step));
            prefill_us = self.coefficients.prefill(flops * peak_us, kv_us);
        }
        if all.decodes > 0 {
            let (tokens, pairs) = (step.decode_tokens() as f64, step.decode_pairs() as f64);
            let flops = own.flops(tokens, 0.0, pairs, false)
                + shared.flops(all.decode_tokens() as f64, 0.0, 0.0, false);
            let kv_us = self.us(own.decode_kv_bytes(step));
            decode_us = self.coefficients.decode(flops * peak_us, kv_us);
        }
        let tokens = step.tokens() as f64;
        let reduced = links.all_reduce(own.layers + own.dense_layers, tokens);
        let weights =
            own.layer_weight_bytes(step.tokens()) + shared.layer_weight_bytes(all.tokens());
        // It sends its own tokens; the count of messages is by those of all replicas.
        let sent = links.dispatch(own.expert_layers, tokens * self.work.dp);
        prefill_us
            + decode_us
            + beta[2] * self.us(weights)
            + beta[3] * reduced
            + beta[10] * sent
            + beta[4] * own.layers
            + beta[5] * f64::from(step.requests)
            + beta[6]
    }

    /// Step time in microseconds, not rounded; the step must not be empty.
    fn time_us(&self, step: &StepAggregates) -> f64 {
        let (work, links, beta) = (&self.work, &self.communication, &self.coefficients.beta);
        let tokens = step.prefill_tokens as f64 + step.decode_tokens() as f64;
        let reduced = links.all_reduce(work.layers + work.dense_layers, tokens) / work.dp
            + if work.dp == 1.0 {
                links.all_reduce(work.expert_layers, tokens)
            } else {
                0.0
            };
        // The fit left the output head out of the weights.
        let weights = work.layer_weight_bytes(step.prefill_tokens + step.decode_tokens());
        self.prefill_us(step)
            + self.decode_us(step)
            + beta[2] * self.us(weights)
            + beta[3] * reduced
            + beta[10] * links.dispatch(work.expert_layers, tokens)
            + beta[4] * work.layers
            + beta[5] * f64::from(step.requests)
            + beta[6]
    }
}

impl LatencyModel for TrainedPhysics {
    fn fitted_under(&self) -> Preset {
        Preset::Blis
    }

    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        if step.requests == 0 {
            return 1;
        }
        let least = (self.work.least_seconds(step) * 1e6).ceil();
        truncate_us(self.time_us(step).max(least)).max(1)
    }

    fn together_us(&self, ranks: &[StepAggregates]) -> Option<i64> {
        let parts = self.of_ranks.as_ref()?;
        let mut all = StepAggregates::default();
        ranks.iter().for_each(|rank| all.merge(rank));
        let us = ranks.iter().map(|rank| {
            let least = (StepWork::least_seconds_of_rank(parts, rank, &all) * 1e6).ceil();
            self.rank_us(parts, rank, &all).max(least)
        });
        Some(truncate_us(us.fold(0.0, f64::max)).max(1))
    }

    fn queueing_us(&self, _prompt_tokens: u32) -> i64 {
        self.coefficients.queueing_us()
    }

    fn output_token_us(&self) -> i64 {
        self.coefficients.output_token_us()
    }

    fn post_decode_us(&self) -> i64 {
        self.coefficients.post_decode_us()
    }
}
