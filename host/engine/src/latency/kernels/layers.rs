//! Which kernels a model runs on one GPU, and what they were measured to take.

use super::curve::Curve;
use super::experts::{ExpertShape, Experts};
use super::gemm::{Gemm, Gemms, Roof};
use super::latent;
use super::parallel::Parallel;
use super::part::{MeasuredTable, Measurement, Origin, PRODUCTS, StepPart, WIDE, none};
use super::recurrent;
use super::sums::Sums;
use std::rc::Rc;
use windtunnel_base::input::InputError;
use windtunnel_config::{
    Compute, EXPERTS, Ffn, Hardware, KernelFit, KernelOp, KernelTables, Mixer, ModelArch, Weights,
};

/// The kernels of a deployment.
pub(super) struct Parts<'a> {
    pub(super) tables: &'a KernelTables,
    pub(super) model: &'a ModelArch,
    hardware: &'a Hardware,
    pub(super) tp: f64,
    /// Data-parallel replicas that share the experts.
    dp: f64,
    /// Are experts spread over the GPUs, not split?
    whole_experts: bool,
    pub(super) kv_dtype: &'static str,
    /// Measured products by data type, as far as they were needed.
    gemms: Vec<(&'static str, Rc<Gemms>)>,
    /// Products in the layers, and how many of each there are.
    products: Vec<(f64, Gemm)>,
    experts: Option<(f64, Experts)>,
    /// Microseconds of attention in a step whatever it computes, over all layers.
    pub(super) attention_us: f64,
    head: Gemm,
    /// Sums over the GPUs of a replica, and over all that share the experts.
    sums: Option<Sums>,
    exchange: Option<Sums>,
    notes: Vec<String>,
    /// Where times come from, part by part.
    parts: Vec<StepPart>,
}

/// What the elementwise kernels between the products reach of the bandwidth.
const BETWEEN_SHARE: f64 = 0.8;
/// Activations of the hidden size that they read and write in a layer, and of the width of the
/// feed-forward block.
const BETWEEN_HIDDEN: f64 = 14.0;
/// Of these, what is measured with a whole layer of attention over compressed KV.
const WITHIN_LATENT: f64 = 7.0;
const BETWEEN_WIDTH: f64 = 3.0;
/// No router is measured with fewer outputs.
const SMALLEST_ROUTER: f64 = 32.0;

/// New tokens from which on a step keeps the GPU at its power limit.
const SUSTAINED_TOKENS: f64 = 384.0;

/// The part of the weights that holds the dense feed-forward blocks.
const DENSE: &str = "dense feed-forward";
const SHARED: &str = "shared experts";
/// Those of attention.
pub(super) const PROJECTIONS: &str = "attention";
const RECURRENT: &str = "recurrent layers";

impl<'a> Parts<'a> {
    pub(super) fn new(
        tables: &'a KernelTables,
        model: &'a ModelArch,
        hardware: &'a Hardware,
        gpus: Parallel,
        kv_element_bytes: f64,
    ) -> Result<Self, InputError> {
        check(tables, model)?;
        let Parallel {
            tp,
            dp,
            whole_experts,
            tp_on_node,
            experts_on_node,
        } = gpus;
        let mut gemms = Vec::new();
        let wide = wide_gemms(&mut gemms, tables, hardware)?;
        let vocabulary = model.vocab as f64 / f64::from(tp);
        let head = wide.gemm(vocabulary, model.hidden as f64, 2.0);
        let head = head.ok_or_else(|| none(tables, PRODUCTS, WIDE))?;
        let mut parts = Self {
            tables,
            model,
            hardware,
            tp: f64::from(tp),
            dp: f64::from(dp),
            whole_experts,
            kv_dtype: if kv_element_bytes < 2.0 { "fp8" } else { WIDE },
            gemms,
            products: Vec::new(),
            experts: None,
            attention_us: 0.0,
            head,
            sums: None,
            exchange: None,
            notes: Vec::new(),
            parts: Vec::new(),
        };
        parts.add_projections()?;
        parts.add_recurrent_projections()?;
        parts.add_feed_forward()?;
        parts.add_experts()?;
        if tp_on_node > 1 {
            parts.sums = Some(Sums::new(tables, f64::from(tp_on_node))?);
        }
        if dp > 1 && experts_on_node > 1 {
            parts.exchange = Some(Sums::new(tables, f64::from(experts_on_node))?);
        }
        parts.tell_sums();
        if model.samples {
            parts.tell(
                "output head",
                Origin::of_shape(parts.head.is_measured),
                Some(wide.measurement.clone()),
            );
        }
        Ok(parts)
    }

    pub(super) fn tell(
        &mut self,
        name: &'static str,
        origin: Origin,
        measurement: Option<Measurement>,
    ) {
        self.parts.push(StepPart {
            name,
            origin,
            measurement,
            figures: String::new(),
        });
    }

    fn tell_sums(&mut self) {
        let names = [
            ["all-reduce, CUDA graphs", "all-reduce, longer steps"],
            ["exchange, CUDA graphs", "exchange, longer steps"],
        ];
        let sums = [&self.sums, &self.exchange];
        let told: Vec<(&str, Measurement)> = sums
            .into_iter()
            .zip(names)
            .filter_map(|(sums, names)| Some((sums.as_ref()?, names)))
            .flat_map(|(sums, names)| names.into_iter().zip(sums.measured.clone()))
            .collect();
        for (name, measurement) in told {
            self.tell(name, Origin::Measured, Some(measurement));
        }
    }

    /// Products of the data type of a part of the weights, and the bytes of its weights.
    pub(super) fn gemms(&mut self, part: &str) -> Result<(Rc<Gemms>, f64), InputError> {
        let weights = self.model.weights();
        let (compute, bytes) = precision(&weights, part);
        let eight = compute == Compute::Bits8 && self.hardware.tflops_fp8 > 0.0;
        let dtypes: &[&str] = if eight {
            &["fp8", "fp8_block", WIDE]
        } else {
            &[WIDE]
        };
        for dtype in dtypes {
            let found = gemms_of(&mut self.gemms, self.tables, self.hardware, dtype)?;
            if let Some(gemms) = found {
                let narrow = *dtype != WIDE;
                if narrow != eight || (!narrow && bytes < 2.0) {
                    self.notes.push(format!(
                        "{part}: products of weights of {bytes} bytes were not measured; they are taken to be as efficient \
                         as {dtype} ones"
                    ));
                }
                return Ok((gemms, bytes));
            }
        }
        Err(none(self.tables, PRODUCTS, WIDE))
    }

    /// Adds products with weights of these shapes, one after the other in so many layers.
    fn add_products(
        &mut self,
        name: &'static str,
        layers: f64,
        shapes: &[(f64, f64)],
        (gemms, bytes): (&Gemms, f64),
    ) -> Result<(), InputError> {
        let mut are_measured = true;
        for (n, k) in shapes {
            let gemm = gemms.gemm(*n, *k, bytes);
            let gemm = gemm.ok_or_else(|| none(self.tables, PRODUCTS, WIDE))?;
            are_measured &= gemm.is_measured;
            self.products.push((layers, gemm));
        }
        let measurement = Some(gemms.measurement.clone());
        self.tell(name, Origin::of_shape(are_measured), measurement);
        Ok(())
    }

    fn add_projections(&mut self) -> Result<(), InputError> {
        let model = self.model;
        let attends = |mixer| matches!(mixer, Mixer::Attention { .. });
        let layers = model.count_layers(|l| attends(l.mixer)) as f64;
        let (gemms, bytes) = self.gemms(PROJECTIONS)?;
        if model.kv_lora_rank > 0 {
            let shapes = latent::products(model, self.heads().0);
            return self.add_products("attention projections", layers, &shapes, (&gemms, bytes));
        }
        let (width, value) = (model.head_width() as f64, model.value_width() as f64);
        let (heads, kv_heads) = self.heads();
        let gate = if model.output_gate { 2.0 } else { 1.0 };
        let hidden = model.hidden as f64;
        let into = heads * width * gate + kv_heads * (width + value);
        let out = heads * value;
        let shapes = [(into, hidden), (hidden, out)];
        self.add_products("attention projections", layers, &shapes, (&gemms, bytes))
    }

    /// Of recurrent layers, which are gated delta nets.
    fn add_recurrent_projections(&mut self) -> Result<(), InputError> {
        let model = self.model;
        let Some(heads) = model.recurrent.and_then(|r| r.delta) else {
            return Ok(());
        };
        let (gemms, bytes) = self.gemms(RECURRENT)?;
        let shapes = recurrent::products(&heads, model.hidden as f64, 1.0 / self.tp);
        let name = "delta net projections";
        self.add_products(name, self.recurrent_layers(), &shapes, (&gemms, bytes))
    }

    pub(super) fn recurrent_layers(&self) -> f64 {
        let model = self.model;
        model.count_layers(|l| l.mixer == Mixer::Recurrent) as f64
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
                let shapes = [(into, hidden), (hidden, width)];
                self.add_products(part, layers, &shapes, (&gemms, bytes))?;
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
        let gpus = self.tp * self.dp;
        let shape = ExpertShape {
            hidden: model.hidden as f64,
            width: model.expert_width() as f64,
            per_token: model.experts_per_token as f64,
            experts: model.experts as f64,
            // All GPUs of the instance hold the experts together, replicas, too: each has whole
            // ones, or a slice of every one.
            tp: if self.whole_experts { 1.0 } else { gpus },
            ep: if self.whole_experts { gpus } else { 1.0 },
            matrices: self.matrices(),
        };
        let (compute, bytes) = precision(&model.weights(), EXPERTS);
        let dtypes: &[&str] = match (compute, bytes) {
            (Compute::Bits8, _) => &["fp8", "fp8_block"],
            (Compute::Bits16, bytes) if bytes >= 2.0 => &["bfloat16"],
            (Compute::Bits16, _) => &["w4a16_mxfp4", "int4_wo"],
            (Compute::Bits4, _) => &[],
        };
        let tables = self.tables;
        let spread = |name| -> Result<Vec<MeasuredTable<'_>>, InputError> {
            let read = |dtype: &&str| MeasuredTable::read(tables, KernelOp::Experts, dtype, name);
            let found = dtypes.iter().filter_map(|dtype| read(dtype).transpose());
            found.collect()
        };
        let (even, uneven) = (spread("balanced")?, spread("power_law_1.01")?);
        let measured = Experts::measured(&even, &uneven, shape);
        let (experts, measurement) = measured.map(|(e, m)| (e, Some(m))).unwrap_or_else(|| {
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
            (Experts::Computed { roof, shape }, None)
        });
        self.experts = Some((layers, experts));
        let origin = if measurement.is_some() {
            Origin::Measured
        } else {
            Origin::Computed
        };
        self.tell(EXPERTS, origin, measurement);
        let gemms = wide_gemms(&mut self.gemms, tables, self.hardware)?;
        let router = [(shape.experts.max(SMALLEST_ROUTER), shape.hidden)];
        self.add_products("router", layers, &router, (&gemms, 2.0))
    }

    /// Query and KV heads on one GPU.
    pub(super) fn heads(&self) -> (f64, f64) {
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
        self.curve(fit, [true, true])
    }

    /// The same in two parts: of what a rank does for its own tokens, and, by the tokens of the
    /// mean rank, of the experts and the exchange, which are for all ranks.
    pub(super) fn by_tokens_of_ranks(&self, fit: &KernelFit) -> [Curve; 2] {
        [[true, false], [false, true]].map(|parts| self.curve(fit, parts))
    }

    fn curve(&self, fit: &KernelFit, [own, shared]: [bool; 2]) -> Curve {
        let model = self.model;
        let hidden = model.hidden as f64;
        let width = if model.is_moe() {
            (model.experts_per_token * model.expert_width()) as f64
        } else {
            model.dense_width() as f64
        };
        let within = if model.kv_lora_rank > 0 {
            WITHIN_LATENT
        } else {
            0.0
        };
        let moved = (BETWEEN_HIDDEN - within) * hidden + BETWEEN_WIDTH * width / self.tp;
        let bandwidth = self.hardware.bandwidth_tb_s * 1e6 * BETWEEN_SHARE;
        let between_us = model.layers as f64 * moved * 2.0 / bandwidth;
        let sums = self.sums();
        let experts = self.experts.as_ref().filter(|_| shared);
        let sums_of_rank = self.sums.as_ref().filter(|_| own);
        Curve::through(|tokens| {
            let products = self.products.iter().filter(|_| own);
            let mut us: f64 = products
                .map(|(layers, gemm)| layers * gemm.us(tokens))
                .sum();
            if let Some((layers, experts)) = experts {
                us += layers * experts.us(tokens * self.dp);
            }
            us *= fit.gemm;
            if tokens >= SUSTAINED_TOKENS {
                us *= fit.sustained;
            }
            if let Some(over_gpus) = sums_of_rank {
                us += sums * over_gpus.us(fit, tokens, hidden);
            }
            if let (Some(all), Some((layers, _))) = (&self.exchange, experts) {
                // Tokens go to all GPUs and their sums come back: what a sum over all does.
                us += layers * all.us(fit, tokens * self.dp, hidden);
            }
            match own {
                true => us + self.attention_us + fit.between * between_us * tokens,
                false => us,
            }
        })
    }

    /// Microseconds of the output head by requests; a stage before the last has none.
    pub(super) fn by_requests(&self, fit: &KernelFit) -> Curve {
        let share = if self.model.samples { fit.between } else { 0.0 };
        Curve::through(|requests| share * self.head.us(requests.max(1.0)))
    }

    /// The most new tokens of a step for which every kernel was measured.
    pub(super) fn reach(&self) -> f64 {
        let products = self.products.iter().map(|(_, gemm)| gemm.reach());
        let experts = self.experts.iter().map(|(_, e)| e.reach() / self.dp);
        let hidden = self.model.hidden as f64;
        let sums = self.sums.iter().map(|s| s.reach() / hidden);
        let exchange = self.exchange.iter().map(|s| s.reach() / hidden / self.dp);
        let all = products.chain(experts).chain(sums).chain(exchange);
        all.fold(f64::INFINITY, f64::min)
    }

    /// What was not measured and is computed, a sentence each; and where the time of each part
    /// comes from, those included that are the same for every model.
    pub(super) fn into_told(mut self, fit: &KernelFit) -> (Vec<String>, Vec<StepPart>) {
        let share = BETWEEN_SHARE * 100.0;
        let constant = |name, figures| StepPart {
            name,
            origin: Origin::Fitted,
            measurement: None,
            figures,
        };
        self.parts.extend([
            StepPart {
                name: "between the kernels",
                origin: Origin::Computed,
                measurement: None,
                figures: format!("bytes at {share} % of the GPU's bandwidth"),
            },
            constant(
                "step",
                format!(
                    "{} us, {} us per layer, {} us per request, {} us if it prefills",
                    fit.step_us, fit.layer_us, fit.request_us, fit.prefill_us
                ),
            ),
            constant(
                "host",
                format!(
                    "at least {} us and {} us per request",
                    fit.host_us, fit.host_request_us
                ),
            ),
            constant(
                "front end",
                format!(
                    "{} us; a process of the API server {} us, {} us per prompt token, {} us per output",
                    fit.front_end_us,
                    fit.front_end_request_us,
                    fit.front_end_token_us,
                    fit.front_end_output_us
                ),
            ),
        ]);
        (self.notes, self.parts)
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
    if model.kv_lora_rank > 0 && !latent::has_measured_heads(model) {
        return refuse("attention over compressed KV (MLA) with heads of such widths");
    }
    let widths = recurrent::has_measured_widths;
    if model
        .recurrent
        .is_some_and(|r| !r.delta.is_some_and(|heads| widths(&heads)))
    {
        return refuse("linear attention other than gated delta nets of common widths");
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

/// Measured products of a data type, made when they are needed first; `None` where there are none.
fn gemms_of(
    made: &mut Vec<(&'static str, Rc<Gemms>)>,
    tables: &KernelTables,
    hardware: &Hardware,
    dtype: &'static str,
) -> Result<Option<Rc<Gemms>>, InputError> {
    if let Some((_, gemms)) = made.iter().find(|(of, _)| *of == dtype) {
        return Ok(Some(Rc::clone(gemms)));
    }
    let Some(measured) = MeasuredTable::read(tables, KernelOp::Gemm, dtype, "")? else {
        return Ok(None);
    };
    let measurement = measured.measurement();
    let gemms = Gemms::new(measured.table, roof(hardware, dtype != WIDE), measurement);
    let gemms = Rc::new(gemms);
    made.push((dtype, Rc::clone(&gemms)));
    Ok(Some(gemms))
}

/// Those of 16 bits, which every model needs.
fn wide_gemms(
    made: &mut Vec<(&'static str, Rc<Gemms>)>,
    tables: &KernelTables,
    hardware: &Hardware,
) -> Result<Rc<Gemms>, InputError> {
    gemms_of(made, tables, hardware, WIDE)?.ok_or_else(|| none(tables, PRODUCTS, WIDE))
}
