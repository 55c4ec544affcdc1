//! The figures of the step-time model `xpu-roofline` as they are written, and what must hold of
//! them. The build script is made of this file too, like `entries.rs`.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Models and accelerators of the step-time model `xpu-roofline`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XpuCatalog {
    /// Models by name.
    pub models: BTreeMap<String, XpuModel>,
    /// Accelerators by name.
    pub hardware: BTreeMap<String, Xpu>,
}

/// The shape of a dense model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XpuModel {
    /// Parameters, all of which lie in memory.
    pub parameters: f64,
    /// Layers.
    pub layers: u64,
    /// Width of the hidden state.
    pub hidden: u64,
    /// Attention heads, each with keys and values of its own.
    pub heads: u64,
    /// Width of the feed-forward block.
    pub ffn: u64,
    /// Entries of the vocabulary.
    pub vocab: u64,
    /// Longest request (prompt plus output), tokens.
    pub max_len: u64,
    /// Data type of weights, activations and KV cache.
    pub dtype: XpuDtype,
}

/// A data type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XpuDtype {
    /// 32 bits.
    Fp32,
    /// IEEE half precision.
    Fp16,
    /// bfloat16.
    Bf16,
    /// 8 bits.
    Fp8,
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xpu {
    /// Other names.
    #[serde(default)]
    pub spellings: Vec<String>,
    /// Memory, GiB.
    pub memory_gib: f64,
    /// Memory bandwidth, 10^9 bytes per second.
    pub bandwidth_gb_s: f64,
    /// Bandwidth between accelerators of a node, 10^9 bytes per second; 0 = there is no link.
    pub intra_node_gb_s: f64,
    /// How sums over several of them are made.
    #[serde(default)]
    pub all_reduce: XpuAlgorithm,
    /// Latency of such a sum, microseconds.
    #[serde(default = "all_reduce_latency_us")]
    pub all_reduce_latency_us: f64,
    /// What one costs, US dollars; `None` = not known.
    #[serde(default)]
    pub capex_usd: Option<u32>,
    /// Units that multiply matrices, the preferred one first.
    pub units: Vec<XpuUnit>,
}

/// How accelerators exchange tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XpuAlgorithm {
    /// Around a ring: bytes count, steps do not.
    #[default]
    Ring,
    /// Up and down a tree: every level sends everything.
    Tree,
    /// Within groups first.
    Hierarchical,
    /// What the library chooses.
    Auto,
}

/// The latency that XpuSim has for all accelerators.
fn all_reduce_latency_us() -> f64 {
    5.0
}

/// A unit of an accelerator that multiplies matrices.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XpuUnit {
    /// Peak, TFLOP/s.
    pub tflops: f64,
    /// Share of the peak that products of matrices reach, 0..1.
    pub efficiency: f64,
    /// What it computes in.
    pub dtypes: Vec<XpuDtype>,
}

/// Do the figures make sense?
///
/// # Errors
/// Names the first entry with a figure that does not, and what is expected.
pub(crate) fn check_xpus(catalog: &XpuCatalog) -> Result<(), String> {
    let positive = |x: f64| x.is_finite() && x > 0.0;
    for (name, model) in &catalog.models {
        let figures = [
            ("layers", model.layers),
            ("hidden", model.hidden),
            ("heads", model.heads),
            ("ffn", model.ffn),
            ("vocab", model.vocab),
            ("max_len", model.max_len),
        ];
        let wrong = figures.iter().find(|(_, n)| !(1..=1 << 32).contains(n));
        if let Some((key, n)) = wrong {
            return Err(format!(
                "xpu_roofline model {name}: {key} is {n}; expected 1 to {}",
                1u64 << 32
            ));
        }
        if !positive(model.parameters) {
            return Err(format!(
                "xpu_roofline model {name}: parameters is {}; expected a finite number above 0",
                model.parameters
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (name, xpu) in &catalog.hardware {
        let wrong = |key: &str, value: f64, need: &str| {
            Err(format!(
                "xpu_roofline hardware {name}: {key} is {value}; expected {need}"
            ))
        };
        for (key, value) in [
            ("memory_gib", xpu.memory_gib),
            ("bandwidth_gb_s", xpu.bandwidth_gb_s),
        ] {
            if !positive(value) {
                return wrong(key, value, "a finite number above 0");
            }
        }
        for (key, value) in [
            ("intra_node_gb_s", xpu.intra_node_gb_s),
            ("all_reduce_latency_us", xpu.all_reduce_latency_us),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(key, value, "a finite number, 0 or above");
            }
        }
        for unit in &xpu.units {
            if !positive(unit.tflops) {
                return wrong("tflops", unit.tflops, "a finite number above 0");
            }
            if !(unit.efficiency > 0.0 && unit.efficiency <= 1.0) {
                return wrong("efficiency", unit.efficiency, "above 0 and at most 1");
            }
        }
        for other in xpu.spellings.iter().chain([name]) {
            if !seen.insert(other) {
                return Err(format!(
                    "xpu_roofline hardware {name}: two entries are called \"{other}\""
                ));
            }
        }
    }
    Ok(())
}
