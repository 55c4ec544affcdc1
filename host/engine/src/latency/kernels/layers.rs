//! Which kernels a model runs on one GPU, and what they were measured to take.

use super::attention::{Attention, DecodeAttention, PrefillAttention};
use super::curve::{Curve, between};
use super::experts::{ExpertShape, Experts};
use super::gemm::{Gemm, Gemms, Roof};
use super::graphs::LARGEST_GRAPH;
use windtunnel_base::input::InputError;
use windtunnel_config::{
    Compute, EXPERTS, Ffn, Hardware, KernelFit, KernelOp, KernelTable, KernelTables, Mixer,
    ModelArch, Weights,
};

/// The kernels of a deployment.
pub(super) struct Parts<'a> {
    tables: &'a KernelTables,
    model: &'a ModelArch,
    hardware: &'a Hardware,
    tp: f64,
    /// Data-parallel replicas that share the experts.
    dp: f64,
    kv_dtype: &'static str,
    /// Products in the layers, and how many of each there are.
    products: Vec<(f64, Gemm)>,
    experts: Option<(f64, Experts)>,
    head: Gemm,
    /// Sums over the GPUs of a replica, and over all that share the experts.
    sums: Option<Sums>,
    exchange: Option<Sums>,
    notes: Vec<String>,
}

/// What the elementwise kernels between the products reach of the bandwidth.
const BETWEEN_SHARE: f64 = 0.8;
/// Activations of the hidden size that they read and write in a layer, and of the width of the
/// feed-forward block.
const BETWEEN_HIDDEN: f64 = 14.0;
const BETWEEN_WIDTH: f64 = 3.0;
/// No router is measured with fewer outputs.
const SMALLEST_ROUTER: f64 = 32.0;

/// New tokens from which on a step keeps the GPU at its power limit.
const SUSTAINED_TOKENS: f64 = 384.0;

/// The part of the weights that holds the dense feed-forward blocks.
const DENSE: &str = "dense feed-forward";
const SHARED: &str = "shared experts";
const PROJECTIONS: &str = "attention";

impl<'a> Parts<'a> {
    pub(super) fn new(
        tables: &'a KernelTables,
        model: &'a ModelArch,
        hardware: &'a Hardware,
        tp: u32,
        dp: u32,
        kv_element_bytes: f64,
    ) -> Result<Self, InputError> {
        check(tables, model)?;
        let mut parts = Self {
            tables,
            model,
            hardware,
            tp: f64::from(tp),
            dp: f64::from(dp),
            kv_dtype: if kv_element_bytes < 2.0 {
                "fp8"
            } else {
                "bfloat16"
            },
            products: Vec::new(),
            experts: None,
            head: Gemms::new(
                missing(tables, KernelOp::Gemm, "bfloat16", "")?,
                roof(hardware, false),
            )
            .gemm(model.vocab as f64 / f64::from(tp), model.hidden as f64, 2.0),
            sums: None,
            exchange: None,
            notes: Vec::new(),
        };
        parts.add_projections()?;
        parts.add_feed_forward()?;
        parts.add_experts()?;
        if tp > 1 {
            parts.sums = Some(Sums::new(tables, parts.tp)?);
        }
        if dp > 1 {
            parts.exchange = Some(Sums::new(tables, parts.tp * parts.dp)?);
        }
        Ok(parts)
    }

    /// Products of the data type of a part of the weights, and the bytes of its weights.
    fn gemms(&mut self, part: &str) -> Result<(Gemms, f64), InputError> {
        let weights = self.model.weights();
        let (compute, bytes) = precision(&weights, part);
        let eight = compute == Compute::Bits8 && self.hardware.tflops_fp8 > 0.0;
        let dtypes: &[&str] = if eight {
            &["fp8", "fp8_block", "bfloat16"]
        } else {
            &["bfloat16"]
        };
        for dtype in dtypes {
            if let Some(table) = self.tables.read(KernelOp::Gemm, dtype, "")? {
                let narrow = *dtype != "bfloat16";
                if narrow != eight || (!narrow && bytes < 2.0) {
                    self.notes.push(format!(
                        "{part}: products of weights of {bytes} bytes were not measured; they are taken to be as efficient \
                         as {dtype} ones"
                    ));
                }
                return Ok((Gemms::new(table, roof(self.hardware, narrow)), bytes));
            }
        }
        Err(none(self.tables, "matrix products", "bfloat16"))
    }

    fn add_projections(&mut self) -> Result<(), InputError> {
        let model = self.model;
        let attends = |mixer| matches!(mixer, Mixer::Attention { .. });
        let layers = model.count_layers(|l| attends(l.mixer)) as f64;
        let (gemms, bytes) = self.gemms(PROJECTIONS)?;
        let (width, value) = (model.head_width() as f64, model.value_width() as f64);
        let (heads, kv_heads) = self.heads();
        let gate = if model.output_gate { 2.0 } else { 1.0 };
        let hidden = model.hidden as f64;
        let into = heads * width * gate + kv_heads * (width + value);
        let out = heads * value;
        self.products
            .push((layers, gemms.gemm(into, hidden, bytes)));
        self.products.push((layers, gemms.gemm(hidden, out, bytes)));
        Ok(())
    }

    fn add_feed_forward(&mut self) -> Result<(), InputError> {
        let model = self.model;
        let dense = model.count_layers(|l| l.ffn == Ffn::Dense) as f64;
        let moe = model.count_layers(|l| l.ffn == Ffn::Experts) as f64;
        let blocks = [
            (DENSE, dense, model.dense_width()),
            (SHARED, moe, model.shared_width),
        ];
        for (part, layers, width) in blocks {
            if layers > 0.0 && width > 0 {
                let (gemms, bytes) = self.gemms(part)?;
                let width = width as f64 / self.tp;
                let hidden = model.hidden as f64;
                let into = width * (self.matrices() - 1.0);
                self.products
                    .push((layers, gemms.gemm(into, hidden, bytes)));
                self.products
                    .push((layers, gemms.gemm(hidden, width, bytes)));
            }
        }
        Ok(())
    }

    fn add_experts(&mut self) -> Result<(), InputError> {
        let model = self.model;
        let layers = model.count_layers(|l| l.ffn == Ffn::Experts) as f64;
        if layers == 0.0 {
            return Ok(());
        }
        let shape = ExpertShape {
            hidden: model.hidden as f64,
            width: model.expert_width() as f64,
            per_token: model.experts_per_token as f64,
            experts: model.experts as f64,
            // Replicas spread the experts over all of their GPUs; one splits each expert.
            tp: if self.dp > 1.0 { 1.0 } else { self.tp },
            ep: if self.dp > 1.0 {
                self.tp * self.dp
            } else {
                1.0
            },
            matrices: self.matrices(),
        };
        let (compute, bytes) = precision(&model.weights(), EXPERTS);
        let dtypes: &[&str] = match (compute, bytes) {
            (Compute::Bits8, _) => &["fp8", "fp8_block"],
            (Compute::Bits16, bytes) if bytes >= 2.0 => &["bfloat16"],
            (Compute::Bits16, _) => &["w4a16_mxfp4", "int4_wo"],
            (Compute::Bits4, _) => &[],
        };
        let spread = |name| -> Result<Vec<KernelTable>, InputError> {
            let read = |dtype: &&str| self.tables.read(KernelOp::Experts, dtype, name);
            let found = dtypes.iter().filter_map(|dtype| read(dtype).transpose());
            found.collect()
        };
        let (even, uneven) = (spread("balanced")?, spread("power_law_1.01")?);
        let experts = Experts::measured(&even, &uneven, shape).unwrap_or_else(|| {
            self.notes.push(format!(
                "experts of this shape (hidden size {}, width {}, {} of {}, TP {}, EP {}) were not measured on {}; their time is \
                 computed from bytes and arithmetic",
                shape.hidden, shape.width, shape.per_token, shape.experts, shape.tp, shape.ep, self.tables.gpu()
            ));
            let eight = compute != Compute::Bits16;
            let roof = Roof {
                weight_bytes: bytes,
                ..roof(self.hardware, eight)
            };
            Experts::Computed { roof, shape }
        });
        self.experts = Some((layers, experts));
        let router = Gemms::new(
            missing(self.tables, KernelOp::Gemm, "bfloat16", "")?,
            roof(self.hardware, false),
        );
        let outputs = shape.experts.max(SMALLEST_ROUTER);
        let router = router.gemm(outputs, shape.hidden, 2.0);
        self.products.push((layers, router));
        Ok(())
    }

    /// Query and KV heads on one GPU.
    fn heads(&self) -> (f64, f64) {
        let share = |heads: u64| (heads as f64 / self.tp).max(1.0);
        (share(self.model.heads), share(self.model.kv_heads))
    }

    fn matrices(&self) -> f64 {
        if self.model.gated == Some(false) {
            2.0
        } else {
            3.0
        }
    }

    /// Sums over the GPUs in a step: after each attention and each feed-forward block.
    fn sums(&self) -> f64 {
        let model = self.model;
        let mixers = model.count_layers(|l| l.mixer != Mixer::None);
        let blocks = model.count_layers(|l| l.ffn != Ffn::None);
        (mixers + blocks) as f64
    }

    /// Microseconds by new tokens of all that depends on nothing else.
    pub(super) fn by_tokens(&self, fit: &KernelFit) -> Curve {
        let model = self.model;
        let hidden = model.hidden as f64;
        let width = if model.is_moe() {
            (model.experts_per_token * model.expert_width()) as f64
        } else {
            model.dense_width() as f64
        };
        let moved = BETWEEN_HIDDEN * hidden + BETWEEN_WIDTH * width / self.tp;
        let bandwidth = self.hardware.bandwidth_tb_s * 1e6 * BETWEEN_SHARE;
        let between_us = model.layers as f64 * moved * 2.0 / bandwidth;
        let sums = self.sums();
        Curve::through(|tokens| {
            let products = self.products.iter();
            let mut us: f64 = products
                .map(|(layers, gemm)| layers * gemm.us(tokens))
                .sum();
            if let Some((layers, experts)) = &self.experts {
                us += layers * experts.us(tokens * self.dp);
            }
            us *= fit.gemm;
            if tokens >= SUSTAINED_TOKENS {
                us *= fit.sustained;
            }
            if let Some(over_gpus) = &self.sums {
                us += sums * over_gpus.us(fit, tokens, hidden);
            }
            if let (Some(all), Some((layers, _))) = (&self.exchange, &self.experts) {
                // Tokens go to all GPUs and their sums come back: what a sum over all does.
                us += layers * all.us(fit, tokens * self.dp, hidden);
            }
            us + fit.between * between_us * tokens
        })
    }

    /// Microseconds of the output head by requests.
    pub(super) fn by_requests(&self, fit: &KernelFit) -> Curve {
        Curve::through(|requests| fit.between * self.head.us(requests.max(1.0)))
    }

    /// The attention of each kind of layer.
    pub(super) fn attention(&self) -> Result<Vec<Attention>, InputError> {
        let (heads, kv_heads) = self.heads();
        let width = self.model.head_width();
        let read = |op| self.of_width(op, width);
        let (decodes, scale) = read(KernelOp::DecodeAttention)?;
        let (prefills, _) = read(KernelOp::PrefillAttention)?;
        let none = || none(self.tables, "attention", self.kv_dtype);
        let decode = DecodeAttention::new(&decodes, heads, kv_heads).ok_or_else(none)?;
        let prefill = PrefillAttention::new(&prefills, heads, kv_heads).ok_or_else(none)?;
        let kinds = self.model.attention_layers().into_iter();
        Ok(kinds
            .map(|kind| Attention {
                // Heads of another width read and compute in proportion to it.
                layers: kind.layers as f64 * scale,
                window: kind.window.map_or(f64::INFINITY, |tokens| tokens as f64),
                decode: decode.clone(),
                prefill: prefill.clone(),
            })
            .collect())
    }

    /// The table of heads of this width, or of the nearest one and what is to be multiplied.
    fn of_width(&self, op: KernelOp, width: u64) -> Result<(KernelTable, f64), InputError> {
        let widths = self.tables.tables().iter();
        let widths = widths.filter(|t| t.op == op && t.dtype == self.kv_dtype);
        let nearest = widths
            .filter_map(|table| table.variant.parse::<u64>().ok())
            .min_by_key(|there| there.abs_diff(width))
            .ok_or_else(|| none(self.tables, "attention", self.kv_dtype))?;
        let table = missing(self.tables, op, self.kv_dtype, &nearest.to_string())?;
        Ok((table, width as f64 / nearest as f64))
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes
    }
}

/// Sums over some GPUs: elements and microseconds, within CUDA graphs and outside.
struct Sums {
    graph: (Vec<f64>, Vec<f64>),
    eager: (Vec<f64>, Vec<f64>),
}

impl Sums {
    fn new(tables: &KernelTables, gpus: f64) -> Result<Self, InputError> {
        let of = |mode| {
            let table = missing(tables, KernelOp::AllReduce, "bfloat16", mode)?;
            let row = table.rows.iter().position(|row| f64::from(row[0]) == gpus);
            let Some(row) = row else {
                let there: Vec<String> = table.rows.iter().map(|row| row[0].to_string()).collect();
                return Err(InputError::in_file(
                    tables.file(),
                    format!(
                        "sums over {gpus} GPUs were not measured on {}; those over {} were",
                        tables.gpu(),
                        there.join(", ")
                    ),
                ));
            };
            let known = |(_, us): &(&u32, &f64)| us.is_finite();
            let points = table.columns.iter().zip(&table.us[row]).filter(known);
            Ok(points.map(|(n, us)| (f64::from(*n), *us)).unzip())
        };
        Ok(Self {
            graph: of("graph")?,
            eager: of("eager")?,
        })
    }

    /// Microseconds of one sum over this many tokens.
    fn us(&self, fit: &KernelFit, tokens: f64, hidden: f64) -> f64 {
        let (factor, (elements, us)) = if tokens <= LARGEST_GRAPH as f64 {
            (fit.all_reduce, &self.graph)
        } else {
            (fit.all_reduce_eager, &self.eager)
        };
        factor * between(elements, us, tokens * hidden)
    }
}

/// Refuses models with layers of kinds that the tables do not have.
fn check(tables: &KernelTables, model: &ModelArch) -> Result<(), InputError> {
    let refuse = |what: &str| {
        Err(InputError::new(format!(
            "kernel-tables: {what} was not measured on {}; trained-physics and roofline compute it",
            tables.gpu()
        )))
    };
    if model.kv_lora_rank > 0 {
        return refuse("attention over compressed KV (MLA)");
    }
    if model.recurrent.is_some() {
        return refuse("linear attention");
    }
    Ok(())
}

/// In what a part of the weights is computed, and the bytes of one; 16 bits where it is not there.
fn precision(weights: &Weights, part: &str) -> (Compute, f64) {
    weights.part(part).map_or((Compute::Bits16, 2.0), |p| {
        (p.compute, p.bytes / p.parameters)
    })
}

/// What measured products take at least.
fn roof(hardware: &Hardware, eight_bits: bool) -> Roof {
    let tera = if eight_bits {
        hardware.tflops_fp8
    } else {
        hardware.tflops_peak
    };
    Roof {
        flops: tera * 1e6,
        bandwidth: hardware.bandwidth_tb_s * 1e6,
        weight_bytes: if eight_bits { 1.0 } else { 2.0 },
    }
}

fn missing(
    tables: &KernelTables,
    op: KernelOp,
    dtype: &str,
    variant: &str,
) -> Result<KernelTable, InputError> {
    let what = match op {
        KernelOp::Gemm => "matrix products",
        KernelOp::DecodeAttention | KernelOp::PrefillAttention => "attention",
        KernelOp::AllReduce => "sums over GPUs",
        KernelOp::Experts => "experts",
    };
    let table = tables.read(op, dtype, variant)?;
    table.ok_or_else(|| none(tables, what, dtype))
}

fn none(tables: &KernelTables, what: &str, dtype: &str) -> InputError {
    InputError::in_file(
        tables.file(),
        format!("no {what} in {dtype} were measured on {}", tables.gpu()),
    )
}
