//! What is built into the binary: the tables that the build script makes of `defaults.yaml` and of
//! the folder `model_configs`.

use super::blis_entries::{KvDevice, LoraFigures, LoraOverhead};
use super::entries::{
    AnalyticDefault, Coefficients, FittedDefault, FittedRow, Hardware, KernelFit, LengthPreset,
    ModelEntry, Preset,
};
use super::hardware::{HardwareTable, KnownGpu};
use super::upkeep::Upkeep;
use super::xpu_entries::{Xpu, XpuAlgorithm, XpuCatalog, XpuDtype, XpuModel, XpuUnit};
use std::collections::BTreeMap;

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// What a hardware entry says beside its figures, without memory of its own.
struct Gpu {
    alias_of: Option<&'static str>,
    spellings: &'static [&'static str],
    mfu_from: Option<&'static str>,
    reference_fp8: Option<f64>,
    upkeep: Upkeep,
    link_gb_s: Option<f64>,
}

/// A [`ModelEntry`] that needs no memory of its own.
struct Model {
    hf_repo: Option<&'static str>,
    aliases: &'static [&'static str],
    /// GPU, tensor parallelism, vLLM image.
    fitted_default: Option<(&'static str, u32, &'static str)>,
    /// GPU, tensor parallelism.
    analytic_default: Option<(&'static str, u32)>,
    fitted: &'static [Row],
}

/// An [`Xpu`] that needs no memory of its own.
struct XpuRow {
    spellings: &'static [&'static str],
    memory_gib: f64,
    bandwidth_gb_s: f64,
    intra_node_gb_s: f64,
    all_reduce: XpuAlgorithm,
    all_reduce_latency_us: f64,
    capex_usd: Option<u32>,
    /// Peak, share of it, data types.
    units: &'static [(f64, f64, &'static [XpuDtype])],
}

/// A [`FittedRow`] that needs no memory of its own.
struct Row {
    gpu: &'static str,
    tp: u32,
    vllm: &'static str,
    alpha: [f64; 3],
    beta: [f64; 3],
    kv_blocks: u64,
    blis_kv_blocks: Option<u64>,
    loss: f64,
}

/// The text of the built-in `config.json` of a model, by short name (lower case).
#[must_use]
pub fn model_config(short_name: &str) -> Option<&'static str> {
    MODEL_CONFIGS
        .binary_search_by_key(&short_name, |(name, _)| name)
        .ok()
        .map(|at| MODEL_CONFIGS[at].1)
}

/// Models by full name, lower case.
pub(crate) fn models() -> BTreeMap<String, ModelEntry> {
    let entry = |model: &Model| ModelEntry {
        hf_repo: model.hf_repo.map(str::to_owned),
        aliases: model.aliases.iter().map(|a| (*a).to_owned()).collect(),
        fitted_default: model.fitted_default.map(|(gpu, tp, vllm)| FittedDefault {
            gpu: gpu.to_owned(),
            tp,
            vllm: vllm.to_owned(),
        }),
        analytic_default: model.analytic_default.map(|(gpu, tp)| AnalyticDefault {
            gpu: gpu.to_owned(),
            tp,
        }),
        fitted: model.fitted.iter().map(row).collect(),
    };
    MODELS
        .iter()
        .map(|(id, model)| ((*id).to_owned(), entry(model)))
        .collect()
}

fn row(row: &Row) -> FittedRow {
    FittedRow {
        gpu: row.gpu.to_owned(),
        tp: row.tp,
        vllm: row.vllm.to_owned(),
        alpha: row.alpha,
        beta: row.beta,
        kv_blocks: row.kv_blocks,
        blis_kv_blocks: row.blis_kv_blocks,
        loss: row.loss,
    }
}

/// GPUs and their other names.
pub(crate) fn hardware() -> HardwareTable {
    let mut table = HardwareTable::default();
    for (name, figures, gpu) in HARDWARE {
        let row = KnownGpu {
            figures: *figures,
            mfu_from: gpu.mfu_from.map(str::to_owned),
            reference_fp8: gpu.reference_fp8,
            upkeep: gpu.upkeep,
            link_gb_s: gpu.link_gb_s,
            notes: Vec::new(),
        };
        table.insert((*name).to_owned(), row, gpu.spellings);
        if let Some(target) = gpu.alias_of {
            table.note_alias((*name).to_owned(), target.to_owned());
        }
    }
    table
}

/// Coefficients of the trained-physics step-time model.
pub(crate) fn trained_physics() -> Coefficients {
    let (alpha, beta) = TRAINED_PHYSICS;
    Coefficients {
        alpha: alpha.to_vec(),
        beta: beta.to_vec(),
    }
}

/// Figures of the step-time model `kernel-tables`.
pub(crate) fn kernel_fit() -> KernelFit {
    KERNEL_FIT
}

/// What LoRA adapters cost in BLIS.
pub(crate) fn lora() -> LoraFigures {
    let ([base, bandwidth, footprint], tiers) = BLIS_LORA;
    LoraFigures {
        load_base_latency_us: base,
        load_bandwidth_bytes_us: bandwidth,
        footprint_bytes_per_rank: footprint,
        step_overhead_tiers: tiers.iter().copied().collect(),
    }
}

/// Kinds of devices of BLIS that keep KV blocks.
pub(crate) fn kv_devices() -> BTreeMap<String, KvDevice> {
    let named = |(name, device): &(&str, KvDevice)| ((*name).to_owned(), *device);
    BLIS_KV_DEVICES.iter().map(named).collect()
}

/// Workload presets by name.
pub(crate) fn workloads() -> BTreeMap<String, Preset> {
    WORKLOADS
        .iter()
        .map(|(name, preset)| ((*name).to_owned(), preset.clone()))
        .collect()
}

/// Models and accelerators of the step-time model `xpu-roofline`.
pub(crate) fn xpu() -> XpuCatalog {
    let named = |(name, model): &(&str, XpuModel)| ((*name).to_owned(), *model);
    let xpu = |row: &XpuRow| Xpu {
        spellings: row.spellings.iter().map(|s| (*s).to_owned()).collect(),
        memory_gib: row.memory_gib,
        bandwidth_gb_s: row.bandwidth_gb_s,
        intra_node_gb_s: row.intra_node_gb_s,
        all_reduce: row.all_reduce,
        all_reduce_latency_us: row.all_reduce_latency_us,
        capex_usd: row.capex_usd,
        units: row
            .units
            .iter()
            .map(|&(tflops, efficiency, dtypes)| XpuUnit {
                tflops,
                efficiency,
                dtypes: dtypes.to_vec(),
            })
            .collect(),
    };
    XpuCatalog {
        models: XPU_MODELS.iter().map(named).collect(),
        hardware: XPUS
            .iter()
            .map(|(name, row)| ((*name).to_owned(), xpu(row)))
            .collect(),
    }
}
