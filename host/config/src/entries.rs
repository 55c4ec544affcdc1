//! The entries of a defaults file as they are written, and what must hold of their figures.
//!
//! The build script, which turns `defaults.yaml` into tables, is made of this file too: it uses
//! nothing but serde and the standard library, and its messages leave the file to the caller.

use super::blis_entries::{KvDevice, LoraFigures};
use super::upkeep::Upkeep;
use super::xpu_entries::XpuCatalog;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A defaults file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefaultsFile {
    /// Where figures come from, for people; rows of `hardware` name theirs.
    #[serde(default)]
    pub(crate) sources: BTreeMap<String, String>,
    pub(crate) hardware: BTreeMap<String, HardwareEntry>,
    pub(crate) trained_physics: Coefficients,
    /// Figures of `kernel-tables`; those of the built-in file if it is not there.
    pub(crate) kernel_tables: Option<KernelFit>,
    /// What LoRA adapters cost in BLIS; as the built-in file says if it is not there.
    pub(crate) blis_lora: Option<LoraFigures>,
    /// Kinds of devices in BLIS; those of the built-in file if it is not there.
    pub(crate) blis_kv_devices: Option<BTreeMap<String, KvDevice>>,
    /// Figures of `xpu-roofline`; those of the built-in file if it is not there.
    pub(crate) xpu_roofline: Option<XpuCatalog>,
    pub(crate) workloads: BTreeMap<String, Preset>,
    pub(crate) models: BTreeMap<String, ModelEntry>,
}

/// Either an alias or all the figures; which, is checked after parsing so that messages keep their
/// place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HardwareEntry {
    /// A second name that reports show as it is; its figures are those of the other GPU.
    pub(crate) alias_of: Option<String>,
    /// Other spellings, which reports show as the entry's own name.
    #[serde(default)]
    pub(crate) spellings: Vec<String>,
    tflops_peak: Option<f64>,
    tflops_fp8: Option<f64>,
    tflops_fp4: Option<f64>,
    bandwidth_tb_s: Option<f64>,
    mfu_prefill: Option<f64>,
    mfu_decode: Option<f64>,
    memory_gib: Option<f64>,
    /// The calibrated GPU whose utilisations count, in place of its own.
    pub(crate) mfu_from: Option<String>,
    /// FP8 peak in the reference simulator's table, where that is not the dense one.
    pub(crate) reference_tflops_fp8: Option<f64>,
    tdp_w: Option<f64>,
    idle_w: Option<f64>,
    /// The lowest and the highest price that were found.
    usd_per_hour: Option<[f64; 2]>,
    /// What the link to another GPU of the node carries one way, 10^9 bytes per second.
    pub(crate) link_gb_s: Option<f64>,
    /// A key of `sources`.
    pub(crate) source: Option<String>,
}

impl HardwareEntry {
    /// The figures of an entry that is no alias; `all` are the entries beside it.
    ///
    /// # Errors
    /// Names the first figure that is missing or wrong, and the GPU.
    pub(crate) fn figures(
        &self,
        gpu: &str,
        all: &BTreeMap<String, HardwareEntry>,
    ) -> Result<Hardware, String> {
        let need = |value: Option<f64>, key: &str| {
            value.ok_or_else(|| format!("hardware {gpu}: {key} is missing"))
        };
        let calibrated = match &self.mfu_from {
            None => self,
            Some(name) => all
                .get(name)
                .filter(|other| other.mfu_prefill.is_some())
                .filter(|_| self.mfu_prefill.is_none() && self.mfu_decode.is_none())
                .ok_or_else(|| {
                    format!(
                        "hardware {gpu}: mfu_from is \"{name}\"; expected a GPU with utilisations, in place of \
                         mfu_prefill and mfu_decode"
                    )
                })?,
        };
        let hardware = Hardware {
            tflops_peak: need(self.tflops_peak, "tflops_peak")?,
            tflops_fp8: self.tflops_fp8.unwrap_or(0.0),
            tflops_fp4: self.tflops_fp4.unwrap_or(0.0),
            bandwidth_tb_s: need(self.bandwidth_tb_s, "bandwidth_tb_s")?,
            mfu_prefill: need(calibrated.mfu_prefill, "mfu_prefill")?,
            mfu_decode: need(calibrated.mfu_decode, "mfu_decode")?,
            memory_gib: self.memory_gib.unwrap_or(0.0),
        };
        hardware.check(gpu)?;
        Ok(hardware)
    }

    /// What its link to another GPU of the node carries one way, 10^9 bytes per second; `None` =
    /// not known.
    ///
    /// # Errors
    /// When it is no such number; names the GPU.
    pub(crate) fn link(&self, gpu: &str) -> Result<Option<f64>, String> {
        match self.link_gb_s {
            Some(link) if !(link.is_finite() && link > 0.0) => Err(format!(
                "hardware {gpu}: link_gb_s is {link}; expected a finite number above 0"
            )),
            link => Ok(link),
        }
    }

    /// Power and price of the same.
    ///
    /// # Errors
    /// Names the first figure that is wrong, and the GPU.
    pub(crate) fn upkeep(&self, gpu: &str) -> Result<Upkeep, String> {
        let upkeep = Upkeep {
            tdp_w: self.tdp_w,
            idle_w: self.idle_w,
            usd_per_hour: self.usd_per_hour,
        };
        let wrong = |wrong| format!("hardware {gpu}: {wrong}");
        upkeep.check().map_err(wrong).map(|()| upkeep)
    }
}

/// Do the entries of a defaults file name sources that it has?
///
/// # Errors
/// Names the first entry that names something that is not there.
pub(crate) fn check_hardware(
    hardware: &BTreeMap<String, HardwareEntry>,
    sources: &BTreeMap<String, String>,
) -> Result<(), String> {
    for (gpu, entry) in hardware {
        if let Some(name) = &entry.source
            && !sources.contains_key(name)
        {
            return Err(format!(
                "hardware {gpu}: source is \"{name}\"; expected a key of sources"
            ));
        }
    }
    Ok(())
}

/// The figures of one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Peak of 16-bit arithmetic without sparsity, TFLOP/s.
    pub tflops_peak: f64,
    /// Peak of FP8 arithmetic without sparsity, TFLOP/s; 0 = it has none.
    #[serde(default)]
    pub tflops_fp8: f64,
    /// Peak of FP4 arithmetic without sparsity, TFLOP/s; 0 = it has none.
    #[serde(default)]
    pub tflops_fp4: f64,
    /// Peak memory bandwidth, TB/s (10^12 bytes per second).
    pub bandwidth_tb_s: f64,
    /// Share of the peak that a prefill reaches, 0..1.
    pub mfu_prefill: f64,
    /// Share of the peak that a decode reaches, 0..1.
    pub mfu_decode: f64,
    /// Memory per GPU, GiB; 0 = not known (it is needed only to compute the KV cache's size).
    #[serde(default)]
    pub memory_gib: f64,
}

impl Hardware {
    /// Refuses figures that are not finite or not positive where they must be.
    ///
    /// # Errors
    /// Names the first figure that is wrong, and the GPU.
    pub fn check(&self, gpu: &str) -> Result<(), String> {
        let refuse = |what: &str, value: f64, need: &str| {
            Err(format!("GPU {gpu}: {what} is {value}; expected {need}"))
        };
        for (what, value) in [
            ("peak TFLOP/s", self.tflops_peak),
            ("memory bandwidth", self.bandwidth_tb_s),
            ("MFU of prefill", self.mfu_prefill),
            ("MFU of decode", self.mfu_decode),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return refuse(what, value, "a finite number above 0");
            }
        }
        for (what, value) in [
            ("FP8 TFLOP/s", self.tflops_fp8),
            ("FP4 TFLOP/s", self.tflops_fp4),
            ("memory", self.memory_gib),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(what, value, "a finite number, 0 or above");
            }
        }
        Ok(())
    }
}

/// Coefficients of a step-time model; what each means is told there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficients {
    /// Overheads beside the steps, microseconds.
    pub alpha: Vec<f64>,
    /// Parts of a step.
    pub beta: Vec<f64>,
}

/// What measured servers add to measured kernels: figures of the step-time model `kernel-tables`,
/// fitted on whole servers.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelFit {
    /// Factor on matrix products and experts.
    pub gemm: f64,
    /// Further factor on them in long steps, which keep the GPU at its power limit: kernels are
    /// measured in bursts.
    pub sustained: f64,
    /// Factor on the attention of decodes.
    pub decode_attention: f64,
    /// Factor on the attention of prefills.
    pub prefill_attention: f64,
    /// Factor on sums over GPUs within CUDA graphs, which steps of up to 512 tokens are.
    pub all_reduce: f64,
    /// Factor on those of longer steps.
    pub all_reduce_eager: f64,
    /// Factor on the output head, and on what is read and written between the kernels.
    pub between: f64,
    /// Per step, microseconds.
    pub step_us: f64,
    /// Per layer, microseconds.
    pub layer_us: f64,
    /// Per request of the step, microseconds.
    pub request_us: f64,
    /// Per step that prefills, microseconds.
    pub prefill_us: f64,
    /// Time that the engine's own code needs per step, microseconds; a step takes at least that
    /// and `host_request_us` for each of its requests.
    pub host_us: f64,
    /// Time that the engine's own code needs per request of the step, microseconds.
    pub host_request_us: f64,
    /// Time between a request's arrival and its wait queue in which it keeps nobody else waiting,
    /// microseconds.
    pub front_end_us: f64,
    /// Time of an API server's process, which does one thing at a time, per request, microseconds.
    pub front_end_request_us: f64,
    /// The same per prompt token, microseconds.
    pub front_end_token_us: f64,
    /// The same per request to which a step's output is sent, microseconds.
    pub front_end_output_us: f64,
}

impl KernelFit {
    /// Names the first figure that makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        let factors = [
            ("gemm", self.gemm),
            ("sustained", self.sustained),
            ("decode_attention", self.decode_attention),
            ("prefill_attention", self.prefill_attention),
            ("all_reduce", self.all_reduce),
            ("all_reduce_eager", self.all_reduce_eager),
            ("between", self.between),
        ];
        let times = [
            ("step_us", self.step_us),
            ("layer_us", self.layer_us),
            ("request_us", self.request_us),
            ("prefill_us", self.prefill_us),
            ("host_us", self.host_us),
            ("host_request_us", self.host_request_us),
            ("front_end_us", self.front_end_us),
            ("front_end_request_us", self.front_end_request_us),
            ("front_end_token_us", self.front_end_token_us),
            ("front_end_output_us", self.front_end_output_us),
        ];
        for (name, value) in factors {
            if !(0.1..=10.0).contains(&value) {
                return Err(format!(
                    "kernel_tables: {name} is {value}; expected 0.1 to 10"
                ));
            }
        }
        for (name, value) in times {
            if !(0.0..=1e6).contains(&value) {
                return Err(format!(
                    "kernel_tables: {name} is {value}; expected 0 to 1000000"
                ));
            }
        }
        Ok(())
    }
}

/// What is known about one model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Its Hugging Face repository, in its own spelling.
    pub hf_repo: Option<String>,
    /// Other repositories of the same architecture and size, in their own spelling: earlier names,
    /// copies, other weights.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Deployment that is meant when nothing else is said and fitted coefficients are used.
    pub fitted_default: Option<FittedDefault>,
    /// Deployment that is meant when nothing else is said and step times are computed from figures
    /// of model and GPU.
    pub analytic_default: Option<AnalyticDefault>,
    /// Fitted coefficients; the first of equal keys counts.
    #[serde(default)]
    pub fitted: Vec<FittedRow>,
}

/// GPU, tensor parallelism and vLLM version of a measured deployment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedDefault {
    /// GPU.
    pub gpu: String,
    /// GPUs per instance.
    pub tp: u32,
    /// vLLM image.
    pub vllm: String,
}

/// GPU and tensor parallelism of a computed deployment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalyticDefault {
    /// GPU.
    pub gpu: String,
    /// GPUs per instance.
    pub tp: u32,
}

/// Blackbox coefficients fitted to one measured deployment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedRow {
    /// GPU.
    pub gpu: String,
    /// GPUs per instance.
    pub tp: u32,
    /// vLLM image.
    pub vllm: String,
    /// Queueing per request, queueing per prompt token, time per output token; microseconds.
    pub alpha: [f64; 3],
    /// Time per step, per prefilled token, per decode; microseconds.
    pub beta: [f64; 3],
    /// KV blocks (of 16 tokens) that fill what the weights leave of 90 % of the memory.
    pub kv_blocks: u64,
    /// The number that BLIS has, where it is another one: it divides the memory of all GPUs by one
    /// GPU's share of a block.
    pub blis_kv_blocks: Option<u64>,
    /// Residual of the fit.
    pub loss: f64,
}

/// A workload preset: lengths in tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Prefix that all requests share.
    pub prefix: u32,
    /// Prompt beyond the prefix.
    pub prompt: LengthPreset,
    /// Output.
    pub output: LengthPreset,
}

/// A clamped normal distribution of a length, tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthPreset {
    /// Mean.
    pub mean: u32,
    /// Standard deviation.
    pub stdev: u32,
    /// Smallest.
    pub min: u32,
    /// Largest.
    pub max: u32,
}

/// Looks at the figures of models, presets and the trained-physics model.
///
/// # Errors
/// Names the first that makes no sense.
pub(crate) fn check(
    models: &BTreeMap<String, ModelEntry>,
    physics: &Coefficients,
    workloads: &BTreeMap<String, Preset>,
) -> Result<(), String> {
    let sound = |values: &[f64]| values.iter().all(|v| v.is_finite() && *v >= 0.0);
    if physics.alpha.len() != 3 || !(7..=11).contains(&physics.beta.len()) {
        return Err(format!(
            "trained-physics coefficients: {} alpha and {} beta; expected 3 and 7 to 11",
            physics.alpha.len(),
            physics.beta.len()
        ));
    }
    if !sound(&physics.alpha) || !sound(&physics.beta) {
        return Err("trained-physics coefficients must be finite and 0 or above".to_owned());
    }
    for (id, entry) in models {
        for row in &entry.fitted {
            let label = format!("model {id}, {} x {}, {}", row.tp, row.gpu, row.vllm);
            if !sound(&row.alpha) || !sound(&row.beta) {
                return Err(format!(
                    "{label}: coefficients must be finite and 0 or above"
                ));
            }
            if row.tp == 0 || row.kv_blocks == 0 || row.blis_kv_blocks == Some(0) {
                return Err(format!("{label}: tp and KV blocks must be above 0"));
            }
        }
    }
    for (id, preset) in workloads {
        for (what, length) in [("prompt", preset.prompt), ("output", preset.output)] {
            if length.min > length.max {
                return Err(format!(
                    "workload {id}: {what} min {} is above max {}",
                    length.min, length.max
                ));
            }
        }
    }
    Ok(())
}
