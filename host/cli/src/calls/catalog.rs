//! What there is by name: models, GPUs, presets of workloads, policies.

use crate::{models, policy};
use serde_json::{Value, json};
use windtunnel_base::input::InputError;
use windtunnel_config::Defaults;

/// The models that are built in, as `windtunnel models --json` lists them.
#[must_use]
pub fn models() -> Value {
    models::listed(Defaults::builtin())
}

/// The GPUs that are known by name, with their figures.
#[must_use]
pub fn hardware() -> Value {
    let table = &Defaults::builtin().hardware;
    let one = |name: &str| {
        let (name, figures) = table.find(name)?;
        let upkeep = table.upkeep(name);
        let known = |x: f64| (x > 0.0).then_some(x);
        Some(json!({
            "hardware": name,
            "memory_gib": known(figures.memory_gib),
            "bandwidth_tb_s": figures.bandwidth_tb_s,
            "tflops_16_bit": figures.tflops_peak,
            "tflops_fp8": known(figures.tflops_fp8),
            "tflops_fp4": known(figures.tflops_fp4),
            "tdp_w": upkeep.tdp_w,
            "idle_w": upkeep.idle_w,
            "usd_per_hour": upkeep.price(),
        }))
    };
    table.names().filter_map(one).collect()
}

/// The presets of workloads, with the lengths of their requests.
#[must_use]
pub fn workloads() -> Value {
    let presets = Defaults::builtin().workloads.iter();
    let one = |(name, preset): (&String, &windtunnel_config::Preset)| {
        json!({
            "workload": name,
            "prefix_tokens": preset.prefix,
            "prompt_tokens": preset.prompt.mean,
            "prompt_tokens_stdev": preset.prompt.stdev,
            "prompt_tokens_min": preset.prompt.min,
            "prompt_tokens_max": preset.prompt.max,
            "output_tokens": preset.output.mean,
            "output_tokens_stdev": preset.output.stdev,
            "output_tokens_min": preset.output.min,
            "output_tokens_max": preset.output.max,
        })
    };
    presets.map(one).collect()
}

/// The policies that can be chosen by name, as `windtunnel policy list --json` lists them; those of
/// one hook, or all.
///
/// # Errors
/// When there is no such hook.
pub fn policies(hook: Option<&str>) -> Result<Value, InputError> {
    policy::listed(hook)
}
