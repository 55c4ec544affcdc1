//! The roofline model as BLIS has it.

use super::super::model::{LatencyModel, StepAggregates, StepItem, power, truncate_us};
use crate::rules::Preset;
use windtunnel_base::input::InputError;
use windtunnel_config::{Hardware, ModelArch};

/// Roofline step times as BLIS computes them (August 2026): all requests of a step share one bound;
/// no overheads, no communication between GPUs, two matrices per feed-forward block.
#[derive(Clone, Debug)]
pub struct Roofline {
    // Model.
    layers: f64,
    hidden: f64,
    heads: f64,
    kv_heads: f64,
    /// Width of a head, not rounded.
    head_dim: f64,
    activation_bytes: f64,
    weight_bytes: f64,
    experts: f64,
    experts_per_token: f64,
    moe_ffn: f64,
    dense_ffn: f64,
    moe_layers: f64,
    dense_layers: f64,
    // Deployment.
    tp: f64,
    /// FLOP/s a prefill reaches on one GPU, and a decode.
    prefill_rate: f64,
    decode_rate: f64,
    /// Bytes per second.
    bandwidth: f64,
    // Per-token parts of the sums, for the aggregate form.
    flops_per_token: f64,
    flops_per_pair: f64,
    bytes_per_token: f64,
    bytes_per_context: f64,
}

/// Aggregate and ordered sums differ by rounding only (about 1e-13); nearer to a whole microsecond
/// than this share of the value, the ordered sum decides.
const OPEN: f64 = 1e-9;

impl Roofline {
    /// The model for one deployment on `tp` GPUs per instance.
    ///
    /// # Errors
    /// When figures that it needs are missing or contradict each other.
    pub fn new(model: &ModelArch, hardware: &Hardware, tp: u32) -> Result<Self, InputError> {
        check(model, hardware, tp)?;
        let (moe_layers, dense_layers) = model.blis_layer_split();
        let ffn = if model.intermediate > 0 {
            model.intermediate
        } else {
            4 * model.hidden
        };
        let or_ffn = |width: u64| if width > 0 { width } else { ffn } as f64;
        let weight_bytes = model.blis_weight_bytes();
        let peak = if weight_bytes == 1.0 && hardware.tflops_fp8 > 0.0 {
            hardware.tflops_fp8 * 1e12
        } else {
            hardware.tflops_peak * 1e12
        };
        let mut roofline = Self {
            layers: model.layers as f64,
            hidden: model.hidden as f64,
            heads: model.heads as f64,
            kv_heads: model.kv_heads as f64,
            head_dim: model.hidden as f64 / model.heads as f64,
            activation_bytes: model.activation_bytes,
            weight_bytes,
            experts: model.experts as f64,
            experts_per_token: model.experts_per_token as f64,
            moe_ffn: or_ffn(model.moe_intermediate),
            dense_ffn: or_ffn(model.dense_intermediate),
            moe_layers: moe_layers as f64,
            dense_layers: dense_layers as f64,
            tp: f64::from(tp),
            prefill_rate: peak * hardware.mfu_prefill,
            decode_rate: peak * hardware.mfu_decode,
            bandwidth: hardware.bandwidth_tb_s * 1e12,
            flops_per_token: 0.0,
            flops_per_pair: 0.0,
            bytes_per_token: 0.0,
            bytes_per_context: 0.0,
        };
        // Work is linear in the new tokens and in the (new token, attended token) pairs; a decode
        // without context has one new token and no pair.
        roofline.flops_per_token = roofline.flops(0, 1);
        roofline.flops_per_pair = roofline.flops(1, 1) - roofline.flops_per_token;
        roofline.bytes_per_token = roofline.bytes(0, 1);
        roofline.bytes_per_context = roofline.bytes(1, 0);
        Ok(roofline)
    }

    /// FLOPs of one request with `new` tokens after `context` tokens.
    fn flops(&self, context: u32, new: u32) -> f64 {
        let (l, d, h, n) = (self.layers, self.hidden, self.heads, f64::from(new));
        let d_kv = self.kv_heads * self.head_dim;
        let mut gemm = (2.0 * n * (d * d + 2.0 * d * d_kv) + 2.0 * n * d * d) * l;
        let attended = if new > 1 {
            f64::from(context) + (n - 1.0) / 2.0
        } else {
            f64::from(context)
        };
        gemm += (4.0 * h * n * attended * self.head_dim) * l;
        let vector = ((5.0 * h * n * attended) + 2.0 * n * d) * l;
        if self.moe_layers > 0.0 {
            gemm += 2.0 * n * (2.0 * d * self.moe_ffn) * self.experts_per_token * self.moe_layers;
        }
        if self.dense_layers > 0.0 {
            gemm += 2.0 * n * (2.0 * d * self.dense_ffn) * self.dense_layers;
        }
        gemm + vector
    }

    /// Bytes of activations and KV that one request moves.
    fn bytes(&self, context: u32, new: u32) -> f64 {
        let (l, a) = (self.layers, self.activation_bytes);
        let (c, n) = (f64::from(context), f64::from(new));
        let kv = 2.0 * l * self.kv_heads * self.head_dim * a;
        kv * n + kv * c + l * self.hidden * a * n
    }

    /// Bytes of weights that a step of `tokens` new tokens reads: of the experts those that some
    /// token is likely to pick.
    fn weights(&self, tokens: u64) -> f64 {
        let d = self.hidden;
        let d_kv = self.kv_heads * self.head_dim;
        let attention = (d * (d + 2.0 * d_kv) + d * d) * self.layers;
        let mut mlp = 0.0;
        if self.moe_layers > 0.0 {
            let n = self.experts;
            let idle = power((n - self.experts_per_token) / n, tokens);
            mlp += self.moe_layers * 2.0 * d * self.moe_ffn * (n * (1.0 - idle));
        }
        if self.dense_layers > 0.0 {
            mlp += self.dense_layers * 2.0 * d * self.dense_ffn;
        }
        (attention + mlp) * self.weight_bytes
    }

    fn bound_us(&self, compute_s: f64, bytes: f64) -> f64 {
        compute_s.max(bytes / self.bandwidth) * 1e6
    }

    /// Step time in microseconds, not truncated, summed request by request: prefills first, then
    /// decodes, each in batch order. This is the definition.
    #[must_use]
    pub fn ordered_us(&self, items: &[StepItem]) -> f64 {
        let tokens = items
            .iter()
            .map(|i| {
                if i.is_prefill {
                    u64::from(i.new_tokens)
                } else {
                    1
                }
            })
            .sum();
        let mut compute = 0.0;
        let mut bytes = self.weights(tokens) / self.tp;
        for prefill in [true, false] {
            let rate = if prefill {
                self.prefill_rate
            } else {
                self.decode_rate
            };
            for item in items.iter().filter(|i| i.is_prefill == prefill) {
                let new = if prefill { item.new_tokens } else { 1 };
                compute += self.flops(item.context, new) / self.tp / rate;
                bytes += self.bytes(item.context, new) / self.tp;
            }
        }
        self.bound_us(compute, bytes)
    }

    /// The same from the aggregates alone; may differ from [`ordered_us`](Self::ordered_us) in the
    /// last bits.
    #[must_use]
    pub fn aggregate_us(&self, step: &StepAggregates) -> f64 {
        let prefill = step.prefill_tokens as f64;
        let decodes = step.decodes as f64;
        let decode_context = step.decode_context as f64;
        // Of n new tokens after context c, the i-th attends c + i tokens, i from 0.
        let pairs = step.prefill_tokens_x_context as f64
            + (step.prefill_tokens_squared - step.prefill_tokens) as f64 / 2.0;
        let prefill_flops = self.flops_per_token * prefill + self.flops_per_pair * pairs;
        let decode_flops = self.flops_per_token * decodes + self.flops_per_pair * decode_context;
        let compute =
            prefill_flops / self.tp / self.prefill_rate + decode_flops / self.tp / self.decode_rate;
        let dynamic = self.bytes_per_token * (prefill + decodes)
            + self.bytes_per_context * (step.prefill_context as f64 + decode_context);
        let weights = self.weights(step.prefill_tokens + step.decodes);
        self.bound_us(compute, weights / self.tp + dynamic / self.tp)
    }
}

impl LatencyModel for Roofline {
    fn fitted_under(&self) -> Preset {
        Preset::Blis
    }

    fn step_us(&self, step: &StepAggregates, items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        if step.requests == 0 {
            return 1;
        }
        let mut us = self.aggregate_us(step);
        if (us - us.round()).abs() <= us * OPEN {
            let items: Vec<StepItem> = items.collect();
            us = self.ordered_us(&items);
        }
        truncate_us(us).max(1)
    }

    fn queueing_us(&self, _prompt_tokens: u32) -> i64 {
        0
    }

    fn output_token_us(&self) -> i64 {
        0
    }

    fn post_decode_us(&self) -> i64 {
        0
    }
}

fn check(model: &ModelArch, hardware: &Hardware, tp: u32) -> Result<(), InputError> {
    let refuse = |message: String| Err(InputError::new(format!("roofline: {message}")));
    if tp == 0 {
        return refuse("tensor parallelism must be 1 or more".to_owned());
    }
    if model.activation_bytes <= 0.0 {
        return refuse("the model's data type (torch_dtype) is missing or unknown".to_owned());
    }
    if model.is_moe() {
        if model.experts_per_token == 0 || model.experts_per_token > model.experts {
            return refuse(format!(
                "num_experts_per_tok is {}; with {} experts it must be 1 to {}",
                model.experts_per_token, model.experts, model.experts
            ));
        }
    } else if model.experts_per_token > 0 {
        return refuse(format!(
            "num_experts_per_tok is {}, but the model configuration has no number of experts",
            model.experts_per_token
        ));
    }
    hardware
        .check("figures")
        .map_err(|message| InputError::in_file("roofline", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use windtunnel_config::Defaults;

    fn h100() -> Hardware {
        *Defaults::builtin().hardware.find("H100").unwrap().1
    }

    fn item() -> impl Strategy<Value = StepItem> {
        (any::<bool>(), 1u32..3000, 0u32..40_000, 0u32..100).prop_map(
            |(is_prefill, new, context, more)| {
                let new_tokens = if is_prefill { new } else { 1 };
                StepItem {
                    new_tokens,
                    context,
                    prompt_tokens: if is_prefill {
                        context + new_tokens + more
                    } else {
                        context.saturating_sub(more)
                    },
                    is_prefill,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn the_aggregate_form_never_changes_a_step_time(
            items in prop::collection::vec(item(), 1..300),
            which in 0usize..4,
        ) {
            let (name, tp) = [
                ("qwen3-14b", 2),
                ("mixtral-8x7b-v0.1", 4),
                ("llama-4-scout-17b-16e-instruct-fp8-dynamic", 4),
                ("deepseek-v2-lite", 3),
            ][which];
            let arch = ModelArch::builtin(name).unwrap();
            let mut step = StepAggregates::default();
            items.iter().for_each(|i| step.add(*i));
            let agree = |hardware: &Hardware| {
                let model = Roofline::new(&arch, hardware, tp).unwrap();
                let (ordered, aggregate) = (model.ordered_us(&items), model.aggregate_us(&step));
                prop_assert!((ordered - aggregate).abs() <= ordered * OPEN * 0.01, "{ordered} {aggregate}");
                let fast = model.step_us(&step, &mut items.iter().copied());
                prop_assert_eq!(fast, truncate_us(ordered).max(1));
                Ok(ordered)
            };
            let us = agree(&h100())?;
            // A GPU so much faster or slower that the step lasts a whole number of microseconds,
            // but for rounding: the place where the two forms could part.
            let scale = us / us.round().max(1.0);
            let mut edge = h100();
            edge.tflops_peak *= scale;
            edge.tflops_fp8 *= scale;
            edge.bandwidth_tb_s *= scale;
            agree(&edge)?;
        }
    }

    #[test]
    fn contradictory_figures_are_refused() {
        let good = ModelArch::builtin("mixtral-8x7b-v0.1").unwrap();
        let error = |change: fn(&mut ModelArch)| {
            let mut arch = good.clone();
            change(&mut arch);
            Roofline::new(&arch, &h100(), 1).unwrap_err().to_string()
        };
        assert!(error(|a| a.experts_per_token = 9).contains("must be 1 to 8"));
        assert!(error(|a| a.experts = 0).contains("no number of experts"));
        assert!(error(|a| a.activation_bytes = 0.0).contains("torch_dtype"));
        assert!(Roofline::new(&good, &h100(), 0).is_err());
    }
}
