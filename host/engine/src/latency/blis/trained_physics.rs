//! The trained-physics model: a roofline whose parts carry fitted factors, plus fitted overheads.

use super::super::coefficients::PhysicsCoefficients;
use super::super::communication::{Communication, Exchange};
use super::super::model::{LatencyModel, StepAggregates, StepItem, truncate_us};
use crate::rules::Preset;
use windtunnel_base::input::InputError;
use windtunnel_config::{Hardware, ModelArch};

/// Step times as BLIS computes them by default (August 2026).
///
/// Alpha: queueing per request, after the last token, per output token (microseconds). Beta:
/// factors of prefill compute (0), decode compute (1), weights (2), tensor-parallel communication
/// (3); microseconds per layer (4), per request (5), per step (6), per MoE layer of an interleaved
/// model (7); factors of prefill KV (8), decode KV (9), expert dispatch (10, else as 3). Without 8
/// (9) a prefill (decode) costs the larger of its compute and its KV traffic.
#[derive(Clone, Debug)]
pub struct TrainedPhysics {
    coefficients: PhysicsCoefficients,
    layers: f64,
    hidden: f64,
    /// Width of all key (or value) heads together.
    d_kv: f64,
    head_dim: f64,
    /// Attention heads per GPU.
    heads_per_gpu: f64,
    experts_per_token: f64,
    moe_ffn: f64,
    dense_ffn: f64,
    shared_ffn: f64,
    moe_layers: f64,
    dense_layers: f64,
    is_moe: bool,
    tp: f64,
    dp: f64,
    /// tp x dp.
    ranks: f64,
    /// GPUs that share the experts.
    group: f64,
    links: Communication,
    /// FLOP per microsecond, bytes per microsecond.
    peak: f64,
    bandwidth: f64,
    /// beta2 x weight time: the same in every step.
    weights_us: f64,
}

impl TrainedPhysics {
    /// The model for one deployment: `dp` replicas of `tp` GPUs each that share the experts.
    ///
    /// # Errors
    /// When coefficients or figures are missing, contradict each other, or the model cannot be
    /// split that way.
    pub fn new(
        alpha: &[f64],
        beta: &[f64],
        model: &ModelArch,
        hardware: &Hardware,
        tp: u32,
        dp: u32,
        comm_backend: &str,
    ) -> Result<Self, InputError> {
        let coefficients = PhysicsCoefficients::new(alpha, beta)?;
        check(model, hardware, tp, dp)?;
        let (moe_layers, dense_layers) = model.blis_layer_split();
        let head_dim = model.hidden / model.heads; // a stated head_dim is not read here
        let or_ffn = |width: u64| {
            if width > 0 {
                width as f64
            } else {
                model.intermediate as f64
            }
        };
        let ranks = f64::from(tp) * f64::from(dp);
        let group = if model.is_moe() { ranks } else { f64::from(tp) };
        let bandwidth = hardware.bandwidth_tb_s * 1e6;
        let experts_per_token = model.experts_per_token.max(1) as f64;
        let fp8 = model.blis_weight_bytes() == 1.0 && hardware.tflops_fp8 > 0.0;
        let mut physics = Self {
            coefficients,
            layers: model.layers as f64,
            hidden: model.hidden as f64,
            d_kv: (model.kv_heads * head_dim) as f64,
            head_dim: head_dim as f64,
            heads_per_gpu: (model.heads / u64::from(tp)) as f64,
            experts_per_token,
            moe_ffn: or_ffn(model.moe_intermediate),
            dense_ffn: or_ffn(model.dense_intermediate),
            shared_ffn: model.shared_intermediate as f64,
            moe_layers: moe_layers as f64,
            dense_layers: dense_layers as f64,
            is_moe: model.is_moe(),
            tp: f64::from(tp),
            dp: f64::from(dp),
            ranks,
            group,
            links: Communication {
                tp: f64::from(tp),
                dp: f64::from(dp),
                group,
                hidden: model.hidden as f64,
                activation_bytes: model.activation_bytes,
                experts_per_token,
                exchange: Exchange::of(comm_backend)?,
                bandwidth,
            },
            peak: if fp8 {
                hardware.tflops_fp8 * 1e6
            } else {
                hardware.tflops_peak * 1e6
            },
            bandwidth,
            weights_us: 0.0,
        };
        physics.weights_us = physics.coefficients.beta[2]
            * physics.weight_time(model.experts as f64, model.blis_weight_bytes());
        Ok(physics)
    }

    /// Microseconds to read all resident weights once; all experts, whatever the batch.
    fn weight_time(&self, experts: f64, bytes: f64) -> f64 {
        let d = self.hidden;
        let mut ffn = 0.0;
        if self.moe_layers > 0.0 {
            ffn += self.moe_layers * (experts / self.group) * 3.0 * d * self.moe_ffn * bytes;
            if self.shared_ffn > 0.0 {
                ffn += self.moe_layers * 3.0 * d * self.shared_ffn * bytes / self.tp;
            }
        }
        if self.dense_layers > 0.0 {
            ffn += self.dense_layers * 1.0 * 3.0 * d * self.dense_ffn * bytes / self.tp;
        }
        (self.layers * d * (2.0 * d + 2.0 * self.d_kv) * bytes / self.tp + ffn) / self.bandwidth
    }

    /// FLOPs of the feed-forward blocks for some tokens.
    fn ffn_flops(&self, tokens: f64) -> f64 {
        let d = self.hidden;
        let mut flops = 0.0;
        if self.moe_layers > 0.0 {
            flops += self.moe_layers
                * (tokens * self.experts_per_token / self.group)
                * 6.0
                * d
                * self.moe_ffn;
            if self.shared_ffn > 0.0 {
                flops += self.moe_layers * tokens * 6.0 * d * self.shared_ffn / self.ranks;
            }
        }
        if self.dense_layers > 0.0 {
            flops += self.dense_layers * tokens * 1.0 * 6.0 * d * self.dense_ffn / self.ranks;
        }
        flops
    }

    /// Compute microseconds of tokens whose attention takes `attention` FLOPs per layer.
    fn compute_time(&self, tokens: f64, attention: f64) -> f64 {
        let d = self.hidden;
        (self.layers * 2.0 * tokens * d * (2.0 * d + 2.0 * self.d_kv) / self.ranks
            + attention
            + self.ffn_flops(tokens))
            / self.peak
    }

    fn prefill_us(&self, step: &StepAggregates) -> f64 {
        if step.prefill_tokens == 0 {
            return 0.0;
        }
        let tokens = step.prefill_tokens as f64;
        // Each new token is charged the whole prompt plus half its chunk. Sums of integers and
        // halves: exact.
        let pairs = step.prefill_tokens_x_prompt as f64 + step.prefill_tokens_squared as f64 / 2.0;
        let attention = 4.0 * self.heads_per_gpu * pairs * self.head_dim;
        let compute = self.compute_time(tokens, self.layers * attention / self.dp);
        let kv = self.layers * 2.0 * (self.d_kv / self.ranks) * tokens * 2.0 / self.bandwidth;
        self.coefficients.prefill(compute, kv)
    }

    fn decode_us(&self, step: &StepAggregates) -> f64 {
        if step.decodes == 0 {
            return 0.0;
        }
        let tokens = step.decodes as f64;
        let context = step.decode_context as f64;
        let kv = self.layers * 2.0 * (self.d_kv / self.ranks) * 2.0 * (context + tokens)
            / self.bandwidth;
        // The common case: the shipped coefficients do not charge a decode's arithmetic.
        let compute = if self.coefficients.beta[1] == 0.0 {
            0.0
        } else {
            let attention = self.layers * 4.0 * self.heads_per_gpu * context * self.head_dim;
            self.compute_time(tokens, attention / self.dp)
        };
        self.coefficients.decode(compute, kv)
    }

    /// Step time in microseconds, not truncated; the step must not be empty.
    fn time_us(&self, step: &StepAggregates) -> f64 {
        let tokens = step.prefill_tokens as f64 + step.decodes as f64;
        let links = &self.links;
        let attention = links.all_reduce(self.layers, tokens) / self.dp;
        let dense = links.all_reduce(self.dense_layers, tokens) / self.dp;
        let reduce = if self.is_moe && self.dp == 1.0 {
            links.all_reduce(self.moe_layers, tokens)
        } else {
            0.0
        };
        let interleaved = if self.is_moe && self.dense_layers > 0.0 {
            1.0
        } else {
            0.0
        };
        let beta = &self.coefficients.beta;
        // Added in this order: the sum is truncated, so its last bit counts.
        self.prefill_us(step)
            + self.decode_us(step)
            + self.weights_us
            + beta[3] * (attention + dense + reduce)
            + beta[10] * links.dispatch(self.moe_layers, tokens)
            + beta[4] * self.layers
            + beta[5] * f64::from(step.requests)
            + beta[6]
            + beta[7] * interleaved * self.moe_layers
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
        truncate_us(self.time_us(step)).max(1)
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

fn check(model: &ModelArch, hardware: &Hardware, tp: u32, dp: u32) -> Result<(), InputError> {
    let refuse = |message: String| Err(InputError::new(format!("trained-physics: {message}")));
    if tp == 0 || dp == 0 {
        return refuse("tensor and data parallelism must be 1 or more".to_owned());
    }
    for (what, heads) in [
        ("attention heads", model.heads),
        ("key/value heads", model.kv_heads),
    ] {
        if !heads.is_multiple_of(u64::from(tp)) {
            return refuse(format!(
                "{heads} {what} cannot be split over {tp} GPUs; tensor parallelism must divide them"
            ));
        }
    }
    if model.intermediate == 0 {
        return refuse("intermediate_size is missing in the model configuration".to_owned());
    }
    if model.activation_bytes <= 0.0 {
        return refuse("the model's data type (torch_dtype) is missing or unknown".to_owned());
    }
    if model.is_moe() && model.experts_per_token == 0 {
        return refuse(format!(
            "num_experts_per_tok is missing; the model has {} experts",
            model.experts
        ));
    }
    if dp > 1 && !model.is_moe() {
        return refuse(format!(
            "data parallelism of {dp} within an instance is for mixture-of-experts models; this one is dense"
        ));
    }
    hardware
        .check("figures")
        .map_err(|message| InputError::in_file("trained-physics", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_config::Defaults;

    fn h100() -> Hardware {
        *Defaults::builtin().hardware.find("H100").unwrap().1
    }

    fn build(name: &str, beta: &[f64], tp: u32, dp: u32) -> Result<TrainedPhysics, InputError> {
        let arch = ModelArch::builtin(name).unwrap();
        TrainedPhysics::new(&[1.9, 2.9, 3.9], beta, &arch, &h100(), tp, dp, "naive")
    }

    #[test]
    fn an_empty_step_takes_a_microsecond_and_overheads_are_truncated() {
        let model = build("qwen3-14b", &[1.0; 7], 1, 1).unwrap();
        assert_eq!(
            model.step_us(&StepAggregates::default(), &mut std::iter::empty()),
            1
        );
        assert_eq!(
            (
                model.queueing_us(9),
                model.post_decode_us(),
                model.output_token_us()
            ),
            (1, 2, 3)
        );
    }

    #[test]
    fn the_eleventh_coefficient_defaults_to_the_fourth() {
        let model = build("qwen3-30b-a3b", &[0.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0], 1, 2).unwrap();
        assert_eq!(model.coefficients.beta[10], 7.0);
        assert_eq!(model.coefficients.supplied, 7);
    }

    #[test]
    fn fewer_than_nine_coefficients_take_the_larger_of_compute_and_traffic() {
        let step = StepAggregates {
            requests: 1,
            prefill_tokens: 1000,
            prefill_tokens_x_prompt: 1_000_000,
            prefill_tokens_squared: 1_000_000,
            ..StepAggregates::default()
        };
        let seven = build("qwen3-14b", &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1, 1).unwrap();
        let ten = build(
            "qwen3-14b",
            &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0],
            1,
            1,
        )
        .unwrap();
        assert!(ten.time_us(&step) > seven.time_us(&step));
    }

    #[test]
    fn a_deployment_that_cannot_be_is_refused() {
        let error = |name: &str, beta: usize, tp: u32, dp: u32| {
            build(name, &vec![1.0; beta], tp, dp)
                .unwrap_err()
                .to_string()
        };
        assert!(error("qwen3-14b", 7, 3, 1).contains("40 attention heads cannot be split over 3"));
        assert!(error("qwen2.5-7b-instruct", 7, 7, 1).contains("4 key/value heads"));
        assert!(error("qwen3-14b", 6, 1, 1).contains("it takes 7 to 11"));
        assert!(error("qwen3-14b", 12, 1, 1).contains("it takes 7 to 11"));
        assert!(error("qwen3-14b", 7, 1, 2).contains("this one is dense"));
        let arch = ModelArch::builtin("qwen3-14b").unwrap();
        let error = TrainedPhysics::new(&[0.0; 3], &[0.0; 7], &arch, &h100(), 1, 1, "deepep_low")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("did you mean \"deepep_low_latency\"?"),
            "{error}"
        );
    }
}
