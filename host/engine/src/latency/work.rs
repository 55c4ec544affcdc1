//! What a step moves and computes on one GPU, counted from the model's configuration: the common
//! ground of the step-time models outside `blis` rules.

use super::model::{StepAggregates, power};
use windtunnel_config::{
    Compute, EMBEDDINGS, EXPERTS, Ffn, Hardware, Mixer, ModelArch, OUTPUT_HEAD, VISION, Weights,
};

/// Bytes and FLOPs of steps of one deployment, per GPU.
#[derive(Clone, Debug)]
pub struct StepWork {
    /// Layers.
    pub(super) layers: f64,
    /// Layers with experts.
    pub(super) expert_layers: f64,
    /// Layers with a dense feed-forward block.
    pub(super) dense_layers: f64,
    pub(super) hidden: f64,
    pub(super) tp: f64,
    pub(super) dp: f64,
    pub(super) experts_per_token: f64,
    /// GPUs that share the experts.
    pub(super) group: f64,
    /// FLOP per second of the GPU's peak for these weights, and bytes per second.
    pub(super) peak: f64,
    pub(super) bandwidth: f64,
    /// Bytes of weights that every step reads, without the output head.
    layer_bytes: f64,
    /// Bytes of the output head.
    head_bytes: f64,
    /// Bytes of all routed experts on this GPU, and how many there are in a layer.
    expert_bytes: f64,
    experts: f64,
    /// FLOPs of a token outside attention's products of queries and keys, without the output head.
    flops_per_token: f64,
    /// Of these, those of the routed experts.
    expert_flops: f64,
    /// FLOPs of the output head for a token that is sampled.
    flops_per_sample: f64,
    attention: Vec<Attention>,
    /// FLOPs of one query with one key (and its value) in one layer, in a prefill and in a decode.
    flops_per_pair: [f64; 2],
    /// Bytes of KV per token in one layer.
    kv_bytes: f64,
    /// Bytes of recurrent states per sequence.
    state_bytes: f64,
}

/// Attention layers of one kind.
#[derive(Clone, Debug)]
struct Attention {
    layers: f64,
    /// Tokens that a token attends to at most.
    window: f64,
}

impl StepWork {
    /// The work on one of `tp` x `dp` GPUs; `kv_element_bytes` is the width of the KV cache.
    #[must_use]
    pub fn new(
        model: &ModelArch,
        hardware: &Hardware,
        tp: u32,
        dp: u32,
        kv_element_bytes: f64,
    ) -> Self {
        let (tensor, data) = (f64::from(tp), f64::from(dp));
        let group = tensor * data;
        let weights = model.weights();
        let n = |x: u64| x as f64;
        let mut work = Self {
            layers: n(model.layers),
            expert_layers: n(model.count_layers(|l| l.ffn == Ffn::Experts)),
            dense_layers: n(model.count_layers(|l| l.ffn == Ffn::Dense)),
            hidden: n(model.hidden),
            tp: tensor,
            dp: data,
            experts_per_token: n(model.experts_per_token.max(1)),
            group,
            peak: peak(&weights, hardware),
            bandwidth: hardware.bandwidth_tb_s * 1e12,
            layer_bytes: 0.0,
            head_bytes: 0.0,
            expert_bytes: 0.0,
            experts: n(model.experts),
            flops_per_token: 0.0,
            expert_flops: 0.0,
            flops_per_sample: match model.samples {
                true => 2.0 * n(model.vocab) * n(model.hidden) / tensor / data,
                false => 0.0,
            },
            attention: model
                .attention_layers()
                .iter()
                .map(|kind| Attention {
                    layers: n(kind.layers),
                    window: kind.window.map_or(f64::INFINITY, n),
                })
                .collect(),
            flops_per_pair: pair_flops(model).map(|flops| flops / tensor / data),
            kv_bytes: model.kv_elements(tp) * kv_element_bytes,
            state_bytes: n(model.count_layers(|l| l.mixer == Mixer::Recurrent))
                * model.state_bytes()
                / tensor,
        };
        for part in weights.parts() {
            let share = part.split.gpus(tp, dp);
            match part.name {
                EMBEDDINGS if model.tied_embeddings => work.head_bytes += part.bytes / share,
                EMBEDDINGS | VISION => {}
                OUTPUT_HEAD => work.head_bytes += part.bytes / share,
                EXPERTS => {
                    work.expert_bytes += part.bytes / share;
                    let active = work.experts_per_token / work.experts.max(1.0);
                    let flops = 2.0 * part.parameters * active / group;
                    work.flops_per_token += flops;
                    work.expert_flops += flops;
                }
                _ => {
                    work.layer_bytes += part.bytes / share;
                    // Data-parallel replicas share out the tokens.
                    work.flops_per_token += 2.0 * part.parameters / share / data;
                }
            }
        }
        work
    }

    /// The same in two parts, for ranks of which each has a batch of its own: what a rank does for
    /// that batch, and what the experts on a GPU do for the tokens of all ranks.
    #[must_use]
    pub fn of_ranks(
        model: &ModelArch,
        hardware: &Hardware,
        tp: u32,
        dp: u32,
        kv_element_bytes: f64,
    ) -> [Self; 2] {
        let mut own = Self::new(model, hardware, tp, 1, kv_element_bytes);
        own.flops_per_token -= own.expert_flops;
        (own.expert_flops, own.expert_bytes) = (0.0, 0.0);
        let all = Self::new(model, hardware, tp, dp, kv_element_bytes);
        let shared = Self {
            layer_bytes: 0.0,
            head_bytes: 0.0,
            flops_per_token: all.expert_flops,
            flops_per_sample: 0.0,
            attention: Vec::new(),
            state_bytes: 0.0,
            ..all
        };
        [own, shared]
    }

    /// Bytes of weights that a step of `tokens` new tokens reads in the layers: of the experts
    /// those that some token is likely to pick. The output head is not among them.
    #[must_use]
    pub fn layer_weight_bytes(&self, tokens: u64) -> f64 {
        if self.expert_bytes == 0.0 {
            return self.layer_bytes;
        }
        let share = self.experts_per_token / self.experts;
        let touched = 1.0 - power(1.0 - share.min(1.0), tokens);
        self.layer_bytes + self.expert_bytes * touched
    }

    /// Bytes of all weights that a step of `tokens` new tokens reads.
    #[must_use]
    pub fn weight_bytes(&self, tokens: u64) -> f64 {
        self.layer_weight_bytes(tokens) + self.head_bytes
    }

    /// Bytes of KV and recurrent states that decodes read and write.
    #[must_use]
    pub fn decode_kv_bytes(&self, step: &StepAggregates) -> f64 {
        let (decodes, tokens) = (step.decodes as f64, step.decode_tokens() as f64);
        let context = step.decode_context as f64;
        // The mean stands for each: of contexts around a window this counts a little too much.
        let read = |layers: &Attention| layers.layers * (layers.window * decodes).min(context);
        let read: f64 = self.attention.iter().map(read).sum();
        let written: f64 = self.attention.iter().map(|a| a.layers * tokens).sum();
        (self.kv_bytes * (read + written) + 2.0 * self.state_bytes * decodes) / self.dp
    }

    /// Bytes of KV and recurrent states that prefills read and write.
    #[must_use]
    pub fn prefill_kv_bytes(&self, step: &StepAggregates) -> f64 {
        let tokens = step.prefill_tokens as f64;
        let requests = f64::from(step.requests) - step.decodes as f64;
        let context = step.prefill_context as f64;
        let moved = |a: &Attention| a.layers * (tokens + (a.window * requests).min(context));
        let moved: f64 = self.attention.iter().map(moved).sum();
        (self.kv_bytes * moved + 2.0 * self.state_bytes * requests) / self.dp
    }

    /// FLOPs of `tokens` new tokens of which `samples` end in a sampled token, and of `pairs`
    /// (query, key) pairs in a layer that sees everything.
    #[must_use]
    pub fn flops(&self, tokens: f64, samples: f64, pairs: f64, is_prefill: bool) -> f64 {
        let attended = |a: &Attention| a.layers * (a.window * tokens).min(pairs);
        let attended: f64 = self.attention.iter().map(attended).sum();
        self.flops_per_token * tokens
            + self.flops_per_sample * samples
            + self.flops_per_pair[usize::from(!is_prefill)] * attended
    }

    /// (query, key) pairs of the prefills of a step: of n new tokens after context c, the i-th
    /// attends c + i tokens, i from 1.
    #[must_use]
    pub fn prefill_pairs(step: &StepAggregates) -> f64 {
        step.prefill_tokens_x_context as f64
            + (step.prefill_tokens_squared + step.prefill_tokens) as f64 / 2.0
    }

    /// Seconds below which no GPU of this kind computes the step: its weights and KV read once at
    /// full bandwidth, or its arithmetic at the full peak.
    #[must_use]
    pub fn least_seconds(&self, step: &StepAggregates) -> f64 {
        let [bytes, flops] = self.least_work(step);
        (bytes / self.bandwidth).max(flops / self.peak)
    }

    /// Bytes and FLOPs of a step at least.
    fn least_work(&self, step: &StepAggregates) -> [f64; 2] {
        let (prefill, decoded) = (step.prefill_tokens as f64, step.decode_tokens() as f64);
        let bytes = self.weight_bytes(step.prefill_tokens + step.decode_tokens());
        let flops = self.flops(prefill, 0.0, Self::prefill_pairs(step), true)
            + self.flops(decoded, decoded, step.decode_pairs() as f64, true);
        [bytes, flops]
    }

    /// Seconds below which no GPU does its part [of ranks](Self::of_ranks), of which one has this
    /// step and all together have `all`.
    #[must_use]
    pub fn least_seconds_of_rank(
        [own, shared]: &[Self; 2],
        step: &StepAggregates,
        all: &StepAggregates,
    ) -> f64 {
        let ([bytes, flops], [more, of_all]) = (own.least_work(step), shared.least_work(all));
        ((bytes + more) / own.bandwidth).max((flops + of_all) / own.peak)
    }
}

/// FLOP per second of the GPU's peak in the arithmetic of most of the model's weights.
fn peak(weights: &Weights, hardware: &Hardware) -> f64 {
    let largest = weights
        .parts()
        .filter(|part| part.name != EMBEDDINGS)
        .max_by(|a, b| a.parameters.total_cmp(&b.parameters));
    let tera = match largest.map_or(Compute::Bits16, |part| part.compute) {
        Compute::Bits8 if hardware.tflops_fp8 > 0.0 => hardware.tflops_fp8,
        Compute::Bits4 if hardware.tflops_fp4 > 0.0 => hardware.tflops_fp4,
        // Weights that are narrower than the arithmetic are widened first.
        _ => hardware.tflops_peak,
    };
    tera * 1e12
}

/// FLOPs of one query with one key and its value, all heads of one layer: in a prefill, and in a
/// decode, which works on compressed KV as it lies.
fn pair_flops(model: &ModelArch) -> [f64; 2] {
    let heads = model.heads as f64;
    let expanded = 2.0 * heads * (model.head_width() + model.value_width()) as f64;
    if model.kv_lora_rank == 0 {
        return [expanded, expanded];
    }
    let rank = model.kv_lora_rank as f64;
    let absorbed = 2.0 * heads * (2.0 * rank + model.qk_rope_head_dim as f64);
    [expanded, absorbed]
}
