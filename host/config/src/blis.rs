//! Reading BLIS's own defaults file, both ages: that of February 2026 (fitted rows, vLLM versions)
//! and that of August 2026 (Hugging Face repositories, trained-physics coefficients).
//!
//! Neither has GPU figures, and either may lack presets, trained-physics coefficients, LoRA
//! adapters or devices for KV blocks.

use super::blis_entries::{KvDevice, LoraFigures};
use super::entries::{
    AnalyticDefault, Coefficients, FittedDefault, FittedRow, LengthPreset, ModelEntry, Preset,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use windtunnel_base::input::{InputError, parse_yaml};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: BTreeMap<String, Default_>,
    #[serde(default)]
    models: Vec<Row>,
    workloads: Option<BTreeMap<String, Workload>>,
    trained_physics_coefficients: Option<Physics>,
    lora: Option<LoraFigures>,
    kv_offload_devices: Option<BTreeMap<String, KvDevice>>,
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Default_ {
    #[serde(rename = "GPU")]
    gpu: String,
    tensor_parallelism: u32,
    vllm_version: Option<String>,
    hf_repo: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    #[serde(rename = "GPU")]
    gpu: String,
    tensor_parallelism: u32,
    vllm_version: String,
    alpha_coeffs: [f64; 3],
    beta_coeffs: [f64; 3],
    total_kv_blocks: u64,
    #[serde(default)]
    best_loss: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Physics {
    alpha_coeffs: Vec<f64>,
    beta_coeffs: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Workload {
    #[serde(default)]
    prefix_tokens: u32,
    prompt_tokens: u32,
    prompt_tokens_stdev: u32,
    prompt_tokens_min: u32,
    prompt_tokens_max: u32,
    output_tokens: u32,
    output_tokens_stdev: u32,
    output_tokens_min: u32,
    output_tokens_max: u32,
}

/// Is this text in BLIS's layout? It has a top-level key that ours has not, or a *list* of models.
pub(crate) fn is_blis_layout(text: &str) -> bool {
    let mut lines = text
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'))
        .peekable();
    while let Some(line) = lines.next() {
        match line.split(':').next() {
            Some(
                "defaults"
                | "trained_physics_coefficients"
                | "lora"
                | "kv_offload_devices"
                | "version",
            ) => return true,
            Some("models")
                if lines
                    .peek()
                    .is_some_and(|l| l.trim_start().starts_with('-')) =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// What a file in BLIS's layout says.
pub(crate) struct BlisDefaults {
    /// By full name, lower case.
    pub(crate) models: BTreeMap<String, ModelEntry>,
    pub(crate) trained_physics: Option<Coefficients>,
    pub(crate) workloads: Option<BTreeMap<String, Preset>>,
    pub(crate) lora: Option<LoraFigures>,
    pub(crate) kv_devices: Option<BTreeMap<String, KvDevice>>,
}

/// Parses a defaults file in BLIS's layout. `name` is what messages call it.
///
/// # Errors
/// When it is not one.
pub(crate) fn parse_defaults(name: &str, text: &str) -> Result<BlisDefaults, InputError> {
    let file: File = parse_yaml(name, text)?;
    let mut models: BTreeMap<String, ModelEntry> = BTreeMap::new();
    for (id, d) in file.defaults {
        let entry = models.entry(id.to_lowercase()).or_default();
        entry.hf_repo = d.hf_repo;
        entry.analytic_default = Some(AnalyticDefault {
            gpu: d.gpu.clone(),
            tp: d.tensor_parallelism,
        });
        entry.fitted_default = d.vllm_version.map(|vllm| FittedDefault {
            gpu: d.gpu,
            tp: d.tensor_parallelism,
            vllm,
        });
    }
    for row in file.models {
        let entry = models.entry(row.id.to_lowercase()).or_default();
        entry.fitted.push(FittedRow {
            gpu: row.gpu,
            tp: row.tensor_parallelism,
            vllm: row.vllm_version,
            alpha: row.alpha_coeffs,
            beta: row.beta_coeffs,
            kv_blocks: per_instance(row.total_kv_blocks, row.tensor_parallelism),
            blis_kv_blocks: (row.tensor_parallelism > 1).then_some(row.total_kv_blocks),
            loss: row.best_loss,
        });
    }
    Ok(BlisDefaults {
        models,
        trained_physics: file.trained_physics_coefficients.map(|c| Coefficients {
            alpha: c.alpha_coeffs,
            beta: c.beta_coeffs,
        }),
        workloads: file
            .workloads
            .map(|workloads| workloads.into_iter().map(preset).collect()),
        lora: file.lora,
        kv_devices: file.kv_offload_devices,
    })
}

/// What fits of the blocks that BLIS counts: it divides the memory of all GPUs by one GPU's share
/// of a block, which gives as many times too many as there are GPUs.
fn per_instance(blocks: u64, tp: u32) -> u64 {
    match blocks / u64::from(tp.max(1)) {
        0 if blocks > 0 => 1,
        blocks => blocks,
    }
}

fn preset((name, w): (String, Workload)) -> (String, Preset) {
    let preset = Preset {
        prefix: w.prefix_tokens,
        prompt: LengthPreset {
            mean: w.prompt_tokens,
            stdev: w.prompt_tokens_stdev,
            min: w.prompt_tokens_min,
            max: w.prompt_tokens_max,
        },
        output: LengthPreset {
            mean: w.output_tokens,
            stdev: w.output_tokens_stdev,
            min: w.output_tokens_min,
            max: w.output_tokens_max,
        },
    };
    (name, preset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEBRUARY: &str = "\
defaults:
  qwen/qwen2.5-7b-instruct:
    GPU: H100
    tensor_parallelism: 4
    vllm_version: vllm/vllm-openai:v0.8.4
workloads:
  tiny: {prompt_tokens: 3, prompt_tokens_stdev: 1, prompt_tokens_min: 2, prompt_tokens_max: 4, output_tokens: 1,
    output_tokens_stdev: 0, output_tokens_min: 1, output_tokens_max: 1}
models:
- GPU: H100
  alpha_coeffs:
  - 1.5
  - 0
  - 2.5
  best_loss: 9.0
  beta_coeffs: [3.5, 4.5, 5.5]
  id: Qwen/Qwen2.5-7B-Instruct
  tensor_parallelism: 4
  total_kv_blocks: 77
  vllm_version: vllm/vllm-openai:v0.8.4
version: 0.0.1
";

    const AUGUST: &str = "\
defaults:
  qwen/qwen3-14b: {GPU: H100, tensor_parallelism: 1, hf_repo: Qwen/Qwen3-14B}
trained_physics_coefficients:
  alpha_coeffs: [1, 2, 3]
  beta_coeffs: [1, 2, 3, 4, 5, 6, 7]
lora:
  load_base_latency_us: 1500.0
  load_bandwidth_bytes_us: 2.0e6
  footprint_bytes_per_rank: 2.0e6
  step_overhead_tiers:
    8: {k6: 0.02, k7: 1.0}
kv_offload_devices:
  s3: {read_bandwidth: 1.0e3, write_bandwidth: 1.0e3, base_latency: 30000.0}
version: 0.0.1
";

    #[test]
    fn the_february_layout_gives_fitted_rows() {
        let defaults = parse_defaults("feb.yaml", FEBRUARY).unwrap();
        let model = &defaults.models["qwen/qwen2.5-7b-instruct"];
        assert_eq!(model.fitted.len(), 1);
        assert_eq!(model.fitted[0].alpha, [1.5, 0.0, 2.5]);
        let row = &model.fitted[0];
        assert_eq!((row.kv_blocks, row.blis_kv_blocks), (19, Some(77)));
        assert_eq!(model.fitted_default.as_ref().unwrap().tp, 4);
        let tiny = &defaults.workloads.unwrap()["tiny"];
        assert_eq!((tiny.prefix, tiny.prompt.max), (0, 4));
        assert_eq!(defaults.trained_physics, None);
    }

    #[test]
    fn the_august_layout_gives_coefficients_and_repositories() {
        let defaults = parse_defaults("aug.yaml", AUGUST).unwrap();
        let model = &defaults.models["qwen/qwen3-14b"];
        assert_eq!(model.hf_repo.as_deref(), Some("Qwen/Qwen3-14B"));
        assert_eq!(model.fitted_default, None);
        assert_eq!(model.analytic_default.as_ref().unwrap().gpu, "H100");
        assert_eq!(defaults.trained_physics.unwrap().beta.len(), 7);
        assert_eq!(defaults.workloads, None);
    }

    #[test]
    fn ours_is_not_taken_for_theirs() {
        assert!(!is_blis_layout(include_str!("../../../defaults.yaml")));
        assert!(is_blis_layout("# x\nmodels:\n\n- id: a\n"));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_place() {
        let text = FEBRUARY.replace("best_loss", "best_los");
        let error = parse_defaults("feb.yaml", &text).err().unwrap().to_string();
        assert!(error.starts_with("feb.yaml:15:"), "{error}");
        assert!(error.contains("did you mean \"best_loss\"?"), "{error}");
    }
}
