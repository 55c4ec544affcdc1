//! What a model weighs and what it keeps per token, counted from its configuration.

use super::ModelArch;
use super::layers::{Ffn, Layer, Mixer};
use super::quantization::Compute;

/// How a part of the weights lies on the GPUs of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Split over the tensor-parallel GPUs.
    Tensor,
    /// Split over all GPUs that share the experts (tensor x data parallelism).
    Experts,
    /// A copy on every GPU.
    Copied,
}

impl Split {
    /// GPUs that share one copy of such a part, in an instance of `tp` x `dp` GPUs.
    #[must_use]
    pub fn gpus(self, tp: u32, dp: u32) -> f64 {
        match self {
            Self::Tensor => f64::from(tp),
            Self::Experts => f64::from(tp) * f64::from(dp),
            Self::Copied => 1.0,
        }
    }
}

/// One part of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// What it is: `attention`, `experts`, ...
    pub name: &'static str,
    /// Weights.
    pub parameters: f64,
    /// Their bytes.
    pub bytes: f64,
    /// How it lies on the GPUs.
    pub split: Split,
    /// In what its products are computed.
    pub compute: Compute,
}

/// The weights of a model by part; parts without weights are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(Vec<Part>);

/// The name of the part of input embeddings: a step reads a row per token of it, not all.
pub const EMBEDDINGS: &str = "embeddings";
/// The name of the part of the output head; with tied embeddings it has no weights of its own, but
/// bytes that are read.
pub const OUTPUT_HEAD: &str = "output head";
/// The name of the part of routed experts.
pub const EXPERTS: &str = "experts";
/// The name of the part of the vision encoder, which text does not run through.
pub const VISION: &str = "vision encoder";

impl Weights {
    /// The parts, in the order in which tokens meet them.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }

    /// A part by name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.0.iter().find(|part| part.name == name)
    }

    /// Weights in all.
    #[must_use]
    pub fn parameters(&self) -> f64 {
        self.0.iter().map(|part| part.parameters).sum()
    }

    /// Bytes in all, each weight once.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        self.0.iter().map(|part| part.bytes).sum()
    }

    /// Bytes on one GPU of an instance.
    #[must_use]
    pub fn bytes_per_gpu(&self, tp: u32, dp: u32) -> f64 {
        let on_gpu = |part: &Part| part.bytes / part.split.gpus(tp, dp);
        self.0.iter().map(on_gpu).sum()
    }

    fn add(
        &mut self,
        name: &'static str,
        split: Split,
        parameters: f64,
        bytes: f64,
        compute: Compute,
    ) {
        if parameters <= 0.0 {
            return;
        }
        match self.0.iter_mut().find(|part| part.name == name) {
            Some(part) => {
                part.parameters += parameters;
                part.bytes += bytes;
            }
            None => self.0.push(Part {
                name,
                parameters,
                bytes,
                split,
                compute,
            }),
        }
    }
}

/// Attention layers of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionLayers {
    /// How many.
    pub layers: u64,
    /// Tokens that a token attends to at most; `None` = the whole context.
    pub window: Option<u64>,
    /// Is the KV of all tokens kept?
    pub keeps_all: bool,
}

impl ModelArch {
    /// Width of a head of the attention; with compressed KV that of a query or key.
    #[must_use]
    pub fn head_width(&self) -> u64 {
        match self.head_dim {
            _ if self.kv_lora_rank > 0 && self.qk_nope_head_dim > 0 => {
                self.qk_nope_head_dim + self.qk_rope_head_dim
            }
            0 => self.hidden / self.heads.max(1),
            stated => stated,
        }
    }

    /// Width of a head's values.
    #[must_use]
    pub fn value_width(&self) -> u64 {
        match self.v_head_dim {
            0 => self.head_width(),
            stated => stated,
        }
    }

    /// Bytes of an element that is not quantised, as vLLM loads it by default: 16 bits, whatever
    /// the file's data type.
    #[must_use]
    pub fn element_bytes(&self) -> f64 {
        2.0
    }

    /// Attention layers by kind: those that see everything first, then by window.
    #[must_use]
    pub fn attention_layers(&self) -> Vec<AttentionLayers> {
        let mut kinds: Vec<AttentionLayers> = Vec::new();
        for layer in &self.layer_kinds {
            let Mixer::Attention { window, keeps_all } = layer.mixer else {
                continue;
            };
            match kinds
                .iter_mut()
                .find(|k| k.window == window && k.keeps_all == keeps_all)
            {
                Some(kind) => kind.layers += 1,
                None => kinds.push(AttentionLayers {
                    layers: 1,
                    window,
                    keeps_all,
                }),
            }
        }
        kinds.sort_by_key(|kind| kind.window);
        kinds
    }

    /// Layers for which `has` holds.
    #[must_use]
    pub fn count_layers(&self, has: impl Fn(&Layer) -> bool) -> u64 {
        self.layer_kinds.iter().filter(|layer| has(layer)).count() as u64
    }

    /// KV elements of one token in one attention layer, on one of `tp` GPUs. Key and value heads
    /// are split, and copied where there are fewer of them than GPUs; compressed KV is copied.
    #[must_use]
    pub fn kv_elements(&self, tp: u32) -> f64 {
        if self.kv_lora_rank > 0 {
            return (self.kv_lora_rank + self.qk_rope_head_dim) as f64;
        }
        let heads = (self.kv_heads as f64 / f64::from(tp)).max(1.0);
        heads * (self.head_width() + self.value_width()) as f64
    }

    /// Bytes of a KV element, unless the user chooses: as the checkpoint says, else 16 bits.
    #[must_use]
    pub fn kv_element_bytes(&self) -> f64 {
        let stated = self.quantization.as_ref().and_then(|q| q.kv_bytes);
        stated.unwrap_or_else(|| self.element_bytes())
    }

    /// Bytes of the state that one recurrent layer keeps per sequence.
    #[must_use]
    pub fn state_bytes(&self) -> f64 {
        self.recurrent.map_or(0.0, |r| r.state) * self.element_bytes()
    }

    /// The weights of the model by part. Small ones (biases, convolutions, position embeddings) and
    /// layers for multi-token prediction, which vLLM does not load by default, are left out.
    #[must_use]
    pub fn weights(&self) -> Weights {
        let n = |x: u64| x as f64;
        let (d, vocab) = (n(self.hidden), n(self.vocab));
        let plain = self.element_bytes();
        let mut weights = Weights::default();
        let embeddings = if self.embeds { vocab * d } else { 0.0 };
        weights.add(
            EMBEDDINGS,
            Split::Tensor,
            embeddings,
            embeddings * plain,
            Compute::Bits16,
        );
        for (i, layer) in (self.first_layer..).zip(&self.layer_kinds) {
            let mut add = |name, split, module: &str, parameters: f64| {
                let quantized = self.quantization.as_ref().and_then(|q| {
                    let module = format!("layers.{i}.{module}");
                    q.of(&module, name == EXPERTS)
                });
                let (bytes, compute) = match quantized {
                    Some((bits, compute)) => (bits / 8.0, compute),
                    None => (plain, Compute::Bits16),
                };
                weights.add(name, split, parameters, parameters * bytes, compute);
            };
            match layer.mixer {
                Mixer::Attention { .. } if self.kv_lora_rank > 0 => {
                    let (heads, rank) = (n(self.heads), n(self.kv_lora_rank));
                    let query = heads * n(self.head_width());
                    let copied = "attention, compressing";
                    if self.q_lora_rank > 0 {
                        let rank = n(self.q_lora_rank);
                        add(copied, Split::Copied, "self_attn.q_a_proj", d * rank);
                        add(
                            "attention",
                            Split::Tensor,
                            "self_attn.q_b_proj",
                            rank * query,
                        );
                    } else {
                        add("attention", Split::Tensor, "self_attn.q_proj", d * query);
                    }
                    let compressed = rank + n(self.qk_rope_head_dim);
                    add(
                        copied,
                        Split::Copied,
                        "self_attn.kv_a_proj_with_mqa",
                        d * compressed,
                    );
                    let nope = n(self.head_width().saturating_sub(self.qk_rope_head_dim));
                    let expanded = rank * heads * (nope + n(self.value_width()));
                    add("attention", Split::Tensor, "self_attn.kv_b_proj", expanded);
                    let out = heads * n(self.value_width()) * d;
                    add("attention", Split::Tensor, "self_attn.o_proj", out);
                }
                Mixer::Attention { .. } => {
                    let query = n(self.heads) * n(self.head_width());
                    let gate = if self.output_gate { 2.0 } else { 1.0 };
                    let (key, value) = (n(self.head_width()), n(self.value_width()));
                    let kv_heads = n(self.kv_heads);
                    let out = n(self.heads) * value * d;
                    add(
                        "attention",
                        Split::Tensor,
                        "self_attn.q_proj",
                        d * query * gate,
                    );
                    add(
                        "attention",
                        Split::Tensor,
                        "self_attn.k_proj",
                        d * kv_heads * key,
                    );
                    add(
                        "attention",
                        Split::Tensor,
                        "self_attn.v_proj",
                        d * kv_heads * value,
                    );
                    add("attention", Split::Tensor, "self_attn.o_proj", out);
                }
                Mixer::Recurrent => {
                    let parameters = self.recurrent.map_or(0.0, |r| r.parameters);
                    add(
                        "recurrent layers",
                        Split::Tensor,
                        "linear_attn.in_proj",
                        parameters,
                    );
                }
                Mixer::None => {}
            }
            // Where the activation does not tell, capacity and step time refuse the model.
            let matrices = if self.gated == Some(false) { 2.0 } else { 3.0 };
            let ffn = |width: u64| matrices * d * n(width);
            match layer.ffn {
                Ffn::Dense => {
                    let width = ffn(self.dense_width());
                    add("dense feed-forward", Split::Tensor, "mlp.gate_proj", width);
                }
                Ffn::Experts => {
                    let each = ffn(self.expert_width());
                    let all = each * n(self.experts);
                    add(EXPERTS, Split::Experts, "mlp.experts.0.gate_proj", all);
                    let shared = ffn(self.shared_width);
                    let module = "mlp.shared_expert.gate_proj";
                    add("shared experts", Split::Tensor, module, shared);
                    let router = n(self.experts) * d;
                    weights.add(
                        "routers",
                        Split::Copied,
                        router,
                        router * plain,
                        Compute::Bits16,
                    );
                }
                Ffn::None => {}
            }
            weights.add(
                "norms",
                Split::Copied,
                2.0 * d,
                2.0 * d * plain,
                Compute::Bits16,
            );
        }
        let has_head = self.samples && !self.tied_embeddings;
        let head = if has_head { vocab * d } else { 0.0 };
        weights.add(
            OUTPUT_HEAD,
            Split::Tensor,
            head,
            head * plain,
            Compute::Bits16,
        );
        let vision = self.vision_parameters;
        weights.add(
            VISION,
            Split::Tensor,
            vision,
            vision * plain,
            Compute::Bits16,
        );
        weights
    }

    /// Feed-forward width of a dense layer.
    #[must_use]
    pub fn dense_width(&self) -> u64 {
        match self.dense_intermediate {
            0 => self.intermediate,
            width => width,
        }
    }

    /// Feed-forward width of one routed expert.
    #[must_use]
    pub fn expert_width(&self) -> u64 {
        match self.moe_intermediate {
            0 => self.intermediate,
            width => width,
        }
    }
}
