//! Typed files: what the simulator knows about models, GPUs and workload presets.
//!
//! The figures that come with it are built into the binary ([`Defaults::builtin`],
//! [`builtin::MODEL_CONFIGS`]); files of the same layout, and BLIS's own, can take their place.
//! Reading is strict: an unknown key or a figure that makes no sense is an error with its place.

pub mod autoscale;
mod blis;
mod blis_entries;
pub mod builtin;
mod calibration;
mod defaults;
mod entries;
pub mod flow_control;
mod hardware;
mod json;
mod kernel_tables;
mod kv_offload;
mod lora;
mod model;
pub mod pool;
mod step_log;
mod step_profile;
mod upkeep;
mod xpu;
mod xpu_entries;

pub use blis_entries::{KvDevice, LoraFigures, LoraOverhead};
pub use calibration::{
    Calibration, CalibrationSource, Estimate, Holdout, HoldoutErrors, PARAMETERS, Parameter,
};
pub use defaults::{Defaults, ModelFacts};
pub use entries::{
    AnalyticDefault, Coefficients, FittedDefault, FittedRow, Hardware, KernelFit, LengthPreset,
    ModelEntry, Preset,
};
pub use hardware::HardwareTable;
pub use kernel_tables::{
    DELTA_NET_WIDTHS, KernelOp, KernelSource, KernelTable, KernelTableInfo, KernelTables,
    KernelTablesWriter,
};
pub use kv_offload::{KvOffloadDevice, KvOffloadFile};
pub use lora::{LoraAdapter, LoraFile};
pub use model::{
    AttentionLayers, Compute, DeltaHeads, EMBEDDINGS, EXPERTS, Ffn, Layer, Mixer, ModelArch,
    OUTPUT_HEAD, Part, Quantization, Recurrent, RopeScaling, Split, VISION, Weights,
    layers_per_stage, short_name,
};
pub use step_log::{LoggedDecode, LoggedStep, is_step_log, parse_step_log};
pub use step_profile::{
    FitQuality, Interval, PassTimes, ProfileLimits, Provenance, StepProfile, StepRow, StepTable,
    StepTimes,
};
pub use upkeep::{Upkeep, Wrong};
pub use xpu_entries::{Xpu, XpuAlgorithm, XpuCatalog, XpuDtype, XpuModel, XpuUnit};
