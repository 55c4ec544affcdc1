//! The model configurations that are built into the binary: one line per folder of
//! `model_configs/`.

/// Short model name (folder name) and the text of its `config.json`, sorted by name.
pub const MODEL_CONFIGS: &[(&str, &str)] = &[
    (
        "codellama-34b-instruct-hf",
        include_str!("../../../model_configs/codellama-34b-instruct-hf/config.json"),
    ),
    (
        "deepseek-v2-lite",
        include_str!("../../../model_configs/deepseek-v2-lite/config.json"),
    ),
    (
        "glm-5.2-fp8",
        include_str!("../../../model_configs/glm-5.2-fp8/config.json"),
    ),
    (
        "llama-2-7b-hf",
        include_str!("../../../model_configs/llama-2-7b-hf/config.json"),
    ),
    (
        "llama-3.1-70b-instruct",
        include_str!("../../../model_configs/llama-3.1-70b-instruct/config.json"),
    ),
    (
        "llama-3.1-8b-instruct",
        include_str!("../../../model_configs/llama-3.1-8b-instruct/config.json"),
    ),
    (
        "llama-4-scout-17b-16e-instruct-fp8-dynamic",
        include_str!(
            "../../../model_configs/llama-4-scout-17b-16e-instruct-fp8-dynamic/config.json"
        ),
    ),
    (
        "mistral-nemo-instruct-2407",
        include_str!("../../../model_configs/mistral-nemo-instruct-2407/config.json"),
    ),
    (
        "mixtral-8x7b-v0.1",
        include_str!("../../../model_configs/mixtral-8x7b-v0.1/config.json"),
    ),
    (
        "qwen2.5-1.5b-instruct",
        include_str!("../../../model_configs/qwen2.5-1.5b-instruct/config.json"),
    ),
    (
        "qwen2.5-3b-instruct",
        include_str!("../../../model_configs/qwen2.5-3b-instruct/config.json"),
    ),
    (
        "qwen2.5-7b-instruct",
        include_str!("../../../model_configs/qwen2.5-7b-instruct/config.json"),
    ),
    (
        "qwen3-14b",
        include_str!("../../../model_configs/qwen3-14b/config.json"),
    ),
    (
        "qwen3-30b-a3b",
        include_str!("../../../model_configs/qwen3-30b-a3b/config.json"),
    ),
    (
        "yi-34b",
        include_str!("../../../model_configs/yi-34b/config.json"),
    ),
];

/// The text of the built-in `config.json` of a model, by short name (lower case).
#[must_use]
pub fn model_config(short_name: &str) -> Option<&'static str> {
    MODEL_CONFIGS
        .iter()
        .find(|(name, _)| *name == short_name)
        .map(|(_, text)| *text)
}
