//! The step-time model `xpu-roofline`: every operation of a layer by itself, at the rates of an
//! accelerator, with the collectives of tensor parallelism.

use super::capacity::GIB;
use super::collectives::{Collective, Link};
use super::model::{
    LENGTH_BOUNDS, LatencyModel, StepAggregates, StepItem, length_class, truncate_us,
};
use crate::rules::Preset;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_config::{Xpu, XpuAlgorithm, XpuModel};

/// Step times operation by operation: products of matrices take as long as their arithmetic or
/// their weights, everything else as long as its bytes.
///
/// The formulas are those of XpuSim: as many key and value heads as attention heads, two matrices
/// in a feed-forward block, the output head over every position, attention without the causal
/// mask and faster by a factor that depends on its length. A step of prompts of one length, or of
/// decodes of one context, takes what that simulator says; in any other step each request counts
/// with its own length, where that one [pads](Self::as_xpusim) all to the longest. Prefills and
/// decodes of one step share the weights that it reads.
#[derive(Clone, Debug)]
pub struct XpuRoofline {
    layers: f64,
    hidden: f64,
    ffn: f64,
    vocab: f64,
    /// Attention heads on one accelerator, and their width.
    heads: f64,
    head_width: f64,
    parameters: f64,
    /// Bytes of an element of weights, activations and KV cache.
    bytes: f64,
    tensor: u32,
    tp: f64,
    /// FLOP/s of products of matrices, and bytes per second of the memory.
    flops: f64,
    bandwidth: f64,
    /// Seconds to read the weights of each product of a layer, and those of the output head.
    read: WeightSeconds,
    link: Link,
    algorithm: XpuAlgorithm,
    /// What a step's tokens take whatever came before them, by their number: most steps have few.
    by_tokens: Arc<[TokenSeconds]>,
    /// Has it the embeddings of a token, and the output head? A stage of a pipeline may have
    /// neither.
    embeds: bool,
    samples: bool,
    /// Requests of a step count with the length of the longest.
    pads: bool,
    /// Microseconds on the engine's clock for one of the accelerator's.
    dilation: f64,
}

/// Picoseconds of a microsecond. The clock of a run that is to be as exact as XpuSim's counts them:
/// it reads a microsecond where a picosecond has passed, and goes on for 100 days.
pub const PICOSECONDS_PER_US: i64 = 1_000_000;

/// Seconds to read weights.
#[derive(Clone, Copy, Debug)]
struct WeightSeconds {
    qkv: f64,
    output: f64,
    /// Each matrix of the feed-forward block.
    ffn: f64,
    head: f64,
}

/// What a step computes.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// New tokens, of which `prefill` are of prompts.
    tokens: f64,
    prefill: f64,
    /// Pairs of a query and a key, each divided by the speedup of its length.
    pairs: f64,
    /// Tokens whose keys and values are read.
    read: f64,
}

/// Steps of fewer tokens find what these take in a table.
const TABLED_TOKENS: u32 = 257;

/// Seconds of the operations of a step that depend on the number of its tokens alone: those of a
/// layer, and the output head.
#[derive(Clone, Copy, Debug)]
struct TokenSeconds {
    norm: f64,
    qkv: f64,
    output: f64,
    all_reduce: f64,
    up: f64,
    activation: f64,
    down: f64,
    kv_write: f64,
    head: f64,
}

/// Seconds of one layer, by operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSeconds {
    /// Each of the two norms.
    pub norm: f64,
    /// Projections of queries, keys and values.
    pub qkv: f64,
    /// Products of queries and keys, softmax, products with values.
    pub attention: f64,
    /// Projection of attention's output.
    pub output: f64,
    /// Each of the two all-reduces.
    pub all_reduce: f64,
    /// First matrix of the feed-forward block.
    pub up: f64,
    /// Activation function.
    pub activation: f64,
    /// Second matrix of the feed-forward block.
    pub down: f64,
    /// Writing keys and values.
    pub kv_write: f64,
    /// Reading keys and values.
    pub kv_read: f64,
}

impl LayerSeconds {
    /// The whole layer.
    #[must_use]
    pub fn total(&self) -> f64 {
        2.0 * self.norm
            + self.qkv
            + self.attention
            + self.output
            + 2.0 * self.all_reduce
            + self.up
            + self.activation
            + self.down
            + self.kv_write
            + self.kv_read
    }
}

/// How much faster attention is than its formula, by the class of the longer of queries and keys.
const SPEEDUP: [f64; LENGTH_BOUNDS.len() + 1] = [1.5, 2.5, 3.5];

impl XpuRoofline {
    /// The model for instances of `tp` accelerators; `names` are those of model and accelerator,
    /// for messages.
    ///
    /// # Errors
    /// When nothing of the accelerator computes in the model's data type, or there is no link
    /// between several of them.
    pub fn new(
        names: (&str, &str),
        model: &XpuModel,
        xpu: &Xpu,
        tp: u32,
    ) -> Result<Self, InputError> {
        let (name, gpu) = names;
        let refuse = |message: String| Err(InputError::new(format!("xpu-roofline: {message}")));
        let Some(flops) = xpu.flops(model.dtype) else {
            let mut dtypes: Vec<&str> = Vec::new();
            for dtype in xpu.units.iter().flat_map(|unit| &unit.dtypes) {
                if !dtypes.contains(&dtype.name()) {
                    dtypes.push(dtype.name());
                }
            }
            return refuse(format!(
                "no unit of {gpu} multiplies matrices of {}, the data type of {name}; it has {}",
                model.dtype.name(),
                dtypes.join(", ")
            ));
        };
        if tp == 0 {
            return refuse("tensor parallelism must be 1 or more".to_owned());
        }
        if tp > 1 && xpu.intra_node_gb_s <= 0.0 {
            return refuse(format!(
                "there is no link between several {gpu} (intra_node_gb_s is 0); expected `tp` 1"
            ));
        }
        let n = |x: u64| x as f64;
        let tensor = f64::from(tp);
        let (hidden, ffn) = (n(model.hidden), n(model.ffn));
        let (bytes, bandwidth) = (model.dtype.bytes(), xpu.bandwidth_gb_s * 1e9);
        let read = |weights: f64| weights * bytes / tensor / bandwidth;
        let model = Self {
            read: WeightSeconds {
                qkv: read(3.0 * hidden * hidden),
                output: read(hidden * hidden),
                ffn: read(hidden * ffn),
                // The output head is on every accelerator.
                head: hidden * n(model.vocab) * bytes / bandwidth,
            },
            layers: n(model.layers),
            hidden,
            ffn,
            vocab: n(model.vocab),
            heads: n(model.heads) / tensor,
            head_width: n(model.hidden / model.heads),
            parameters: model.parameters,
            bytes,
            tensor: tp,
            tp: tensor,
            flops,
            bandwidth,
            link: Link {
                bandwidth: xpu.intra_node_gb_s * 1e9,
                latency: xpu.all_reduce_latency_us * 1e-6,
            },
            algorithm: xpu.all_reduce,
            by_tokens: Arc::new([]),
            embeds: true,
            samples: true,
            pads: false,
            dilation: 1.0,
        };
        let by_tokens = (0..TABLED_TOKENS).map(|tokens| model.of_tokens(f64::from(tokens)));
        Ok(Self {
            by_tokens: by_tokens.collect(),
            ..model
        })
    }

    /// The stages of a pipeline with so many layers each, the first one first. What the parameters
    /// of the model are beside its layers is shared by the first stage and the last.
    #[must_use]
    pub(super) fn stages(&self, layers: &[u64]) -> Vec<Self> {
        let (hidden, ffn) = (self.hidden, self.ffn);
        let of_layer = 4.0 * hidden * hidden + 2.0 * hidden * ffn;
        let beside = (self.parameters - self.layers * of_layer).max(0.0);
        let of_layer = (self.parameters - beside) / self.layers;
        let last = layers.len().saturating_sub(1);
        let stage = |(k, layers): (usize, &u64)| {
            let (embeds, samples) = (k == 0, k == last);
            let ends = f64::from(u8::from(embeds) + u8::from(samples));
            Self {
                layers: *layers as f64,
                parameters: *layers as f64 * of_layer + ends / 2.0 * beside,
                embeds,
                samples,
                ..self.clone()
            }
        };
        layers.iter().enumerate().map(stage).collect()
    }

    /// The same where so many of the accelerators that split a layer are on a node: it counts what
    /// they send each other there.
    #[must_use]
    pub(super) fn on_nodes(self, tensor: u32) -> Self {
        Self { tensor, ..self }
    }

    /// The same as XpuSim has it: a step takes as long as if all its requests had the length of the
    /// longest. Its microseconds are picoseconds.
    #[must_use]
    pub fn as_xpusim(self) -> Self {
        Self {
            pads: true,
            dilation: PICOSECONDS_PER_US as f64,
            ..self
        }
    }

    /// Bytes of weights on one accelerator.
    #[must_use]
    pub fn weight_bytes(&self) -> f64 {
        self.parameters * self.bytes / self.tp
    }

    /// Bytes of a token's keys and values on one accelerator.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> f64 {
        2.0 * self.layers * self.hidden * self.bytes / self.tp
    }

    /// GiB of activations of a step of `tokens` new tokens on one accelerator.
    #[must_use]
    pub fn activation_gib(&self, tokens: f64) -> f64 {
        tokens * (4.0 * self.hidden + 2.0 * self.ffn) * self.bytes / self.tp / GIB
    }

    /// Seconds of one layer of a step of these requests.
    #[must_use]
    pub fn layer_seconds(&self, items: &mut dyn Iterator<Item = StepItem>) -> LayerSeconds {
        self.layer(&self.load_of(items))
    }

    /// Seconds of a step of these requests.
    #[must_use]
    pub fn seconds(&self, items: &mut dyn Iterator<Item = StepItem>) -> f64 {
        self.seconds_of(&self.load_of(items))
    }

    fn step_seconds(&self, step: &StepAggregates) -> f64 {
        self.seconds_of(&self.load(step))
    }

    fn load_of(&self, items: &mut dyn Iterator<Item = StepItem>) -> Load {
        let mut step = StepAggregates::default();
        items.for_each(|item| step.add(item));
        self.load(&step)
    }

    fn load(&self, step: &StepAggregates) -> Load {
        match self.pads {
            true => Load::padded(step),
            false => Load::of(step),
        }
    }

    fn seconds_of(&self, load: &Load) -> f64 {
        if load.tokens == 0.0 {
            return 0.0;
        }
        let embedding = match self.embeds {
            true => load.prefill * self.hidden * self.bytes / self.bandwidth,
            false => 0.0,
        };
        let tokens = self.of_tokens(load.tokens);
        let head = if self.samples { tokens.head } else { 0.0 };
        self.layers * self.layer_of(load, &tokens).total() + embedding + head
    }

    fn layer(&self, load: &Load) -> LayerSeconds {
        self.layer_of(load, &self.of_tokens(load.tokens))
    }

    fn layer_of(&self, load: &Load, of: &TokenSeconds) -> LayerSeconds {
        // A product of queries and keys, one with values, and softmax, which touches each score
        // four bytes' worth.
        let arithmetic = 4.0 * self.heads * self.head_width / self.flops;
        let softmax = 4.0 * self.heads / self.bandwidth;
        LayerSeconds {
            norm: of.norm,
            qkv: of.qkv,
            attention: load.pairs * arithmetic + load.pairs * softmax,
            output: of.output,
            all_reduce: of.all_reduce,
            up: of.up,
            activation: of.activation,
            down: of.down,
            kv_write: of.kv_write,
            kv_read: self.moved(2.0 * load.read * (self.hidden / self.tp)),
        }
    }

    /// Seconds to move so many elements.
    fn moved(&self, elements: f64) -> f64 {
        elements * self.bytes / self.bandwidth
    }

    fn of_tokens(&self, tokens: f64) -> TokenSeconds {
        if let Some(known) = self.by_tokens.get(tokens as usize) {
            return *known;
        }
        let (hidden, ffn) = (self.hidden, self.ffn);
        let product = |weights: f64, read: f64| {
            let arithmetic = 2.0 * tokens * weights / self.tp / self.flops;
            arithmetic.max(read)
        };
        let reduced = tokens * hidden * self.bytes;
        let head = 2.0 * tokens * (hidden * self.vocab) / self.flops;
        let all_reduce = Collective::AllReduce;
        TokenSeconds {
            norm: self.moved(2.0 * tokens * hidden),
            qkv: product(3.0 * hidden * hidden, self.read.qkv),
            output: product(hidden * hidden, self.read.output),
            all_reduce: all_reduce.seconds(self.algorithm, self.tensor, reduced, self.link),
            up: product(hidden * ffn, self.read.ffn),
            activation: self.moved(2.0 * tokens * ffn),
            down: product(ffn * hidden, self.read.ffn),
            kv_write: self.moved(2.0 * tokens * (hidden / self.tp)),
            head: head.max(self.read.head),
        }
    }
}

impl Load {
    /// Of a step that was summed up.
    fn of(step: &StepAggregates) -> Self {
        let pairs = step.pairs_by_length.iter().zip(SPEEDUP);
        Self {
            tokens: (step.prefill_tokens + step.decode_tokens()) as f64,
            prefill: step.prefill_tokens as f64,
            pairs: pairs.map(|(pairs, speedup)| *pairs as f64 / speedup).sum(),
            read: (step.prefill_context + step.decode_context) as f64,
        }
    }

    /// Of a step whose requests all are as long as the longest.
    fn padded(step: &StepAggregates) -> Self {
        let Some(longest) = step.longest else {
            return Self::default();
        };
        let new = f64::from(longest.new_tokens);
        let context = f64::from(longest.context);
        let (prefill, keys) = match longest.is_prefill {
            true => (new, context + new),
            false => (0.0, context),
        };
        let pairs = new * keys / SPEEDUP[length_class(keys.max(new) as u32)];
        let requests = f64::from(step.requests);
        Self {
            tokens: requests * new,
            prefill: requests * prefill,
            pairs: requests * pairs,
            read: requests * context,
        }
    }
}

impl LatencyModel for XpuRoofline {
    fn fitted_under(&self) -> Preset {
        Preset::Vllm
    }

    fn step_us(&self, step: &StepAggregates, _: &mut dyn Iterator<Item = StepItem>) -> i64 {
        // To the nearest; there is no time below 0.
        truncate_us(self.step_seconds(step) * 1e6 * self.dilation + 0.5).max(1)
    }

    fn exact_us(
        &self,
        step: &StepAggregates,
        _: &mut dyn Iterator<Item = StepItem>,
    ) -> Option<f64> {
        Some(self.step_seconds(step) * 1e6 * self.dilation)
    }

    fn reads_lengths(&self) -> bool {
        true
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
