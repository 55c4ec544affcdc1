//! What is built into the binary: the tables that the build script makes of `defaults.yaml` and of
//! the folder `model_configs`.

use super::entries::{
    AnalyticDefault, Coefficients, FittedDefault, FittedRow, Hardware, LengthPreset, ModelEntry,
    Preset,
};
use super::hardware::{HardwareTable, KnownGpu};
use std::collections::BTreeMap;

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// What a hardware entry says beside its figures, without memory of its own.
struct Gpu {
    alias_of: Option<&'static str>,
    spellings: &'static [&'static str],
    mfu_from: Option<&'static str>,
    reference_fp8: Option<f64>,
}

/// A [`ModelEntry`] that needs no memory of its own.
struct Model {
    hf_repo: Option<&'static str>,
    /// GPU, tensor parallelism, vLLM image.
    fitted_default: Option<(&'static str, u32, &'static str)>,
    /// GPU, tensor parallelism.
    analytic_default: Option<(&'static str, u32)>,
    fitted: &'static [Row],
}

/// A [`FittedRow`] that needs no memory of its own.
struct Row {
    gpu: &'static str,
    tp: u32,
    vllm: &'static str,
    alpha: [f64; 3],
    beta: [f64; 3],
    kv_blocks: u64,
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

/// Workload presets by name.
pub(crate) fn workloads() -> BTreeMap<String, Preset> {
    WORKLOADS
        .iter()
        .map(|(name, preset)| ((*name).to_owned(), preset.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The parameters of the language model that a `config.json` describes, counted from the shapes
    /// of its matrices (norms and biases left out), billions.
    fn billions(name: &str) -> f64 {
        let text = model_config(name).unwrap_or_else(|| panic!("{name}"));
        let whole: Value = serde_json::from_str(text).unwrap();
        let c = whole.get("text_config").unwrap_or(&whole);
        let n = |key: &str| c[key].as_f64().unwrap_or(0.0);
        let or = |a: f64, b: f64| if a > 0.0 { a } else { b };
        let (d, layers, heads) = (
            n("hidden_size"),
            n("num_hidden_layers"),
            n("num_attention_heads"),
        );
        let head = or(n("head_dim"), d / heads);
        let full = if n("kv_lora_rank") > 0.0 {
            let (nope, rope) = (n("qk_nope_head_dim"), n("qk_rope_head_dim"));
            d * n("q_lora_rank")
                + n("q_lora_rank") * heads * (nope + rope)
                + d * (n("kv_lora_rank") + rope)
                + n("kv_lora_rank") * heads * (nope + n("v_head_dim"))
                + heads * n("v_head_dim") * d
        } else {
            // Qwen3-Next's queries come with a gate.
            let gate = if n("full_attention_interval") > 0.0 {
                heads * head
            } else {
                0.0
            };
            d * (2.0 * heads * head + gate + 2.0 * n("num_key_value_heads") * head)
        };
        let keys = n("linear_num_key_heads") * n("linear_key_head_dim");
        let values = n("linear_num_value_heads") * n("linear_value_head_dim");
        let linear = d * (2.0 * keys + 3.0 * values) + 2.0 * d * n("linear_num_value_heads");
        let attention = match n("full_attention_interval") {
            0.0 => layers * full,
            k => layers / k * full + (layers - layers / k) * linear,
        };
        let width = n("intermediate_size");
        let experts = or(
            or(n("num_experts"), n("num_local_experts")),
            n("n_routed_experts"),
        );
        let expert = or(n("moe_intermediate_size"), width);
        // Llama 4 has a shared expert that its file does not name.
        let llama4 = c["model_type"] == "llama4_text";
        let shared = or(
            n("shared_expert_intermediate_size"),
            n("n_shared_experts") * expert,
        );
        let shared = if llama4 { expert } else { shared };
        let moe = if experts == 0.0 {
            0.0
        } else if let Some(list) = c["moe_layers"].as_array() {
            list.len() as f64
        } else {
            layers - n("first_k_dense_replace")
        };
        let feed_forward = moe * 3.0 * d * (experts * expert + shared + experts / 3.0)
            + (layers - moe) * 3.0 * d * or(n("intermediate_size_mlp"), width);
        let embeddings = if c["tie_word_embeddings"] == true {
            1.0
        } else {
            2.0
        };
        (attention + feed_forward + embeddings * n("vocab_size") * d) / 1e9
    }

    #[test]
    fn shapes_of_the_shipped_configurations_give_the_published_sizes() {
        for (name, published) in [
            ("llama-2-70b-hf", 68.98),
            ("mixtral-8x22b-v0.1", 140.6),
            ("qwen3-8b", 8.19),
            ("qwen3-14b", 14.77),
            ("qwen3-32b", 32.76),
            ("qwen3-30b-a3b", 30.53),
            ("qwen3-next-80b-a3b-instruct", 79.67),
            ("gpt-oss-20b", 20.91),
            ("gpt-oss-120b", 116.83),
            ("deepseek-v3", 671.03),
            ("kimi-k2-instruct", 1026.4),
            ("glm-4.5", 352.8),
            ("gemma-3-27b-it", 27.01),
            ("llama-4-maverick-17b-128e-instruct", 400.7),
            ("llama-4-maverick-17b-128e-instruct-fp8", 400.7),
        ] {
            let counted = billions(name);
            let off = counted / published - 1.0;
            assert!(
                off.abs() < 0.005,
                "{name}: {counted:.2} counted, {published} published"
            );
        }
    }
}
