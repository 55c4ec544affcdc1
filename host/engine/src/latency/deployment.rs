//! What may be given about a deployment, and the complete deployment that results.

use super::capacity::{DeviceMemory, KvMemory};
use super::extrapolation::Extrapolation;
use super::kernels::Kernels;
use super::kind::LatencyModelKind;
use super::model::LatencyModel;
use super::profile::Profile;
use super::spread::{Nodes, Spread};
use super::ticks::Ticks;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use windtunnel_config::{Calibration, Defaults, Hardware, ModelArch, Upkeep};

/// What is given about a deployment; `None` = left to be chosen.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Model, full or short name, any case.
    pub model: String,
    /// GPU.
    pub gpu: Option<String>,
    /// GPUs that split each layer.
    pub tp: Option<u32>,
    /// Data-parallel replicas inside an instance.
    pub dp: u32,
    /// Stages of the pipeline that an instance is; 1 = it is none.
    pub pp: u32,
    /// Nodes that its GPUs lie on, and their links.
    pub nodes: Nodes,
    /// Are experts spread over all GPUs of an instance, whole ones on each? Else each is split over
    /// them. `kernel-tables` can tell; analytic models take them to be spread.
    pub expert_parallel: bool,
    /// vLLM version of the fitted coefficients: the image, or its part after the colon.
    pub vllm_version: Option<String>,
    /// Step-time model.
    pub latency: Option<LatencyModelKind>,
    /// File of a profile.
    pub profile: Option<PathBuf>,
    /// What happens outside of what the profile has.
    pub extrapolation: Extrapolation,
    /// File of measured kernels, in place of the built-in ones of the GPU.
    pub kernel_tables: Option<PathBuf>,
    /// What was found out about the deployment, for `kernel-tables`, which it chooses.
    pub calibration: Option<Calibration>,
    /// Alpha coefficients in place of the known ones; together with `beta`.
    pub alpha: Option<Vec<f64>>,
    /// Beta coefficients in place of the known ones; together with `alpha`.
    pub beta: Option<Vec<f64>>,
    /// Folder with the model's `config.json`.
    pub model_config_folder: Option<PathBuf>,
    /// Hardware file in BLIS's layout.
    pub hardware_config: Option<PathBuf>,
    /// Known models and figures.
    pub defaults: Defaults,
    /// KV blocks per instance.
    pub total_kv_blocks: Option<u64>,
    /// Tokens per KV block.
    pub block_size: u32,
    /// Share of the GPU memory that may be used, 0..1.
    pub gpu_memory_utilization: f64,
    /// Longest request (prompt plus output), tokens; 0 = unlimited.
    pub max_model_len: Option<u64>,
    /// Data type of the KV cache, vLLM's names; `None` = as the checkpoint says, else 16 bits.
    pub kv_cache_dtype: Option<String>,
    /// How data-parallel experts exchange tokens, vLLM's names.
    pub moe_comm_backend: Option<String>,
    /// The model of abstract time; nothing else but it is read then.
    pub ticks: Option<Ticks>,
    /// Are step times and KV capacity computed as BLIS does it, mistakes included? For runs that
    /// ask for its rules.
    pub as_blis: bool,
    /// Bytes of an instance that are neither weights nor KV cache, as BLIS counts memory.
    pub reserved_bytes: f64,
    /// Does `xpu-roofline` pad steps, count memory by the byte and time in picoseconds, as XpuSim?
    pub as_xpusim: bool,
}

/// Share of the GPU memory that may be used, by default.
pub(crate) const DEFAULT_UTILIZATION: f64 = 0.9;
/// Tokens per KV block by default, and of all fitted rows.
pub(crate) const DEFAULT_BLOCK_SIZE: u32 = 16;

impl Setup {
    /// A setup in which only the model is given: blocks of 16 tokens, 90 % of the GPU memory.
    #[must_use]
    pub fn new(model: impl Into<String>, defaults: Defaults) -> Self {
        Self {
            model: model.into(),
            gpu: None,
            tp: None,
            dp: 1,
            pp: 1,
            nodes: Nodes::default(),
            expert_parallel: false,
            vllm_version: None,
            latency: None,
            profile: None,
            extrapolation: Extrapolation::default(),
            kernel_tables: None,
            calibration: None,
            alpha: None,
            beta: None,
            model_config_folder: None,
            hardware_config: None,
            defaults,
            total_kv_blocks: None,
            block_size: DEFAULT_BLOCK_SIZE,
            gpu_memory_utilization: DEFAULT_UTILIZATION,
            max_model_len: None,
            kv_cache_dtype: None,
            moe_comm_backend: None,
            ticks: None,
            as_blis: false,
            reserved_bytes: 0.0,
            as_xpusim: false,
        }
    }
}

/// Where the number of KV blocks comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvBlocksSource {
    /// The user.
    Flag,
    /// The deployment that the coefficients were fitted to.
    FittedRow,
    /// Computed from model and GPU, see [`KvCapacity`](super::KvCapacity).
    Computed,
    /// It could not be computed.
    Fallback,
    /// The profile.
    Profile,
    /// There is no end of them, in abstract time.
    Unlimited,
}

impl KvBlocksSource {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "given",
            Self::FittedRow => "fitted_deployment",
            Self::Computed => "computed",
            Self::Fallback => "fallback",
            Self::Profile => "profile",
            Self::Unlimited => "unlimited",
        }
    }
}

/// Where the model length comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxModelLenSource {
    /// The user.
    Flag,
    /// The model's configuration, see [`max_model_len`](super::max_model_len()).
    ModelConfig,
    /// The model's configuration, lowered to what the KV cache holds.
    KvCapacity,
    /// Nothing limits it.
    Unlimited,
    /// The profile.
    Profile,
}

/// One deployment, complete.
#[derive(Clone)]
pub struct Resolved {
    /// The model as given, in lower case.
    pub model: String,
    /// The model's full name; as given (in lower case) where none is known.
    pub canonical: String,
    /// GPU, as the hardware table spells it; may be empty with explicit blackbox coefficients.
    pub gpu: String,
    /// GPUs that split each layer.
    pub tp: u32,
    /// Data-parallel replicas inside an instance.
    pub dp: u32,
    /// Stages of the pipeline that an instance is; 1 = it is none.
    pub pp: u32,
    /// Layers on each of them, the first one first; none where there is no pipeline.
    pub layers_per_stage: Vec<u64>,
    /// How it lies on GPUs and nodes, where step times depend on that.
    pub spread: Option<Spread>,
    /// What the stage has of the model whose GPUs are the fullest, where there are several stages.
    pub fullest_stage: Option<ModelArch>,
    /// vLLM image of the fitted coefficients; `None` with other step-time models.
    pub vllm_version: Option<String>,
    /// Which step-time model it is.
    pub latency_kind: LatencyModelKind,
    /// The step-time model.
    pub latency: Arc<dyn LatencyModel>,
    /// The same where it is a measured table.
    pub profile: Option<Arc<Profile>>,
    /// The same where it is made of measured kernels.
    pub kernels: Option<Arc<Kernels>>,
    /// KV blocks per instance.
    pub total_kv_blocks: u64,
    /// Where they come from.
    pub kv_blocks_source: KvBlocksSource,
    /// Bytes of an element of the KV cache.
    pub kv_element_bytes: f64,
    /// Memory of one GPU, where model and GPU are known.
    pub memory: Option<KvMemory>,
    /// The same where requests are admitted by the byte.
    pub device_memory: Option<DeviceMemory>,
    /// Longest request (prompt plus output), tokens; 0 = unlimited.
    pub max_model_len: u64,
    /// Where it comes from.
    pub max_model_len_source: MaxModelLenSource,
    /// Alpha coefficients of the step-time model (zeros for roofline).
    pub alpha: Vec<f64>,
    /// Beta coefficients of the step-time model (none for roofline).
    pub beta: Vec<f64>,
    /// What a person should know about these choices, one sentence each.
    pub notes: Vec<String>,
    /// Mixture of experts?
    pub is_moe: bool,
    /// The architecture where it is known.
    pub arch: Option<ModelArch>,
    /// The GPU's figures where they are known.
    pub hardware: Option<Hardware>,
    /// What a GPU costs, US dollars, where that is known.
    pub capex_usd: Option<u32>,
    /// Power and price of a GPU, as far as they are known.
    pub upkeep: Upkeep,
}

impl Resolved {
    /// GPUs of an instance.
    #[must_use]
    pub fn gpus_per_instance(&self) -> u32 {
        self.tp.saturating_mul(self.pp).saturating_mul(self.dp)
    }

    /// A deployment in abstract time: there is no model, no GPU, and no end of KV blocks.
    #[must_use]
    pub fn in_ticks(ticks: Ticks) -> Self {
        Self {
            model: String::new(),
            canonical: String::new(),
            gpu: String::new(),
            tp: 1,
            dp: 1,
            pp: 1,
            layers_per_stage: Vec::new(),
            spread: None,
            fullest_stage: None,
            vllm_version: None,
            latency_kind: LatencyModelKind::Ticks,
            latency: Arc::new(ticks),
            profile: None,
            kernels: None,
            total_kv_blocks: u32::MAX.into(),
            kv_blocks_source: KvBlocksSource::Unlimited,
            kv_element_bytes: 0.0,
            memory: None,
            device_memory: None,
            max_model_len: 0,
            max_model_len_source: MaxModelLenSource::Unlimited,
            alpha: Vec::new(),
            beta: Vec::new(),
            notes: Vec::new(),
            is_moe: false,
            arch: None,
            hardware: None,
            capex_usd: None,
            upkeep: Upkeep::default(),
        }
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("canonical", &self.canonical)
            .field("gpu", &self.gpu)
            .field("tp", &self.tp)
            .field("dp", &self.dp)
            .field("pp", &self.pp)
            .field("vllm_version", &self.vllm_version)
            .field("latency_kind", &self.latency_kind)
            .field("total_kv_blocks", &self.total_kv_blocks)
            .field("kv_blocks_source", &self.kv_blocks_source)
            .field("max_model_len", &self.max_model_len)
            .field("max_model_len_source", &self.max_model_len_source)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}
