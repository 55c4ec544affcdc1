//! Reading a `config.json`: typed figures with their errors, defaults of model classes, and the
//! keys that nobody reads.

use serde_json::{Map, Value};
use windtunnel_base::input::InputError;

/// Larger figures are mistakes; below it no product of them leaves 128 bits.
const LARGEST: f64 = (1u64 << 30) as f64;

/// Objects that hold the language model of a multi-modal one, outermost first.
const LANGUAGE_MODELS: [&str; 5] = [
    "thinker_config",
    "text_config",
    "llm_config",
    "language_config",
    "language_model_config",
];

/// The keys of one configuration.
pub(super) struct Fields<'a> {
    pub(super) file: &'a str,
    pub(super) map: Map<String, Value>,
    /// Keys that the file leaves to the model's class, with what the class has.
    pub(super) defaulted: Vec<(&'static str, &'static str)>,
}

impl<'a> Fields<'a> {
    /// The keys of `map`; those of an inner language model replace those beside it.
    pub(super) fn new(file: &'a str, mut map: Map<String, Value>) -> Self {
        for key in LANGUAGE_MODELS {
            if let Some(Value::Object(inner)) = map.get(key).cloned() {
                map.extend(inner);
            }
        }
        Self {
            file,
            map,
            defaulted: Vec::new(),
        }
    }

    /// Fills in what the model's class in transformers has where the file says nothing.
    pub(super) fn fill_in(&mut self) {
        let model_type = self.text("model_type").to_owned();
        for (types, defaults) in CLASS_DEFAULTS {
            if !types.contains(&model_type.as_str()) {
                continue;
            }
            for (key, text) in *defaults {
                if !self.map.contains_key(*key) {
                    let value = serde_json::from_str(text).unwrap_or(Value::Null);
                    self.map.insert((*key).to_owned(), value);
                    self.defaulted.push((key, text));
                }
            }
        }
    }

    /// A count: truncated; 0 when it is missing or no number.
    pub(super) fn count(&self, key: &str) -> Result<u64, InputError> {
        let value = self.map.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        if value < 0.0 {
            return Err(self.error(format!("{key} is {value}; it must not be negative")));
        }
        if value > LARGEST {
            return Err(self.error(format!("{key} is {value}; that is too large to be true")));
        }
        Ok(value as u64)
    }

    /// The first of some counts that satisfies `wanted`, else 0.
    pub(super) fn first(
        &self,
        keys: &[&str],
        wanted: impl Fn(u64) -> bool,
    ) -> Result<u64, InputError> {
        for key in keys {
            let n = self.count(key)?;
            if wanted(n) {
                return Ok(n);
            }
        }
        Ok(0)
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.map.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// The first of some texts that is there, else empty.
    pub(super) fn first_text(&self, keys: &[&str]) -> &str {
        let mut found = keys.iter().map(|key| self.text(key));
        found.find(|text| !text.is_empty()).unwrap_or("")
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.map.get(key).and_then(Value::as_bool)
    }

    pub(super) fn list(&self, key: &str) -> Option<&Vec<Value>> {
        self.map.get(key).and_then(Value::as_array)
    }

    pub(super) fn error(&self, message: String) -> InputError {
        InputError::in_file(self.file, message)
    }

    /// Keys with a figure, a switch or a list that nothing here reads and that are not known to
    /// leave size and time alone; sorted.
    pub(super) fn not_understood(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self
            .map
            .iter()
            .filter(|(_, value)| match value {
                Value::Number(_) | Value::Object(_) => true,
                Value::Bool(on) => *on,
                Value::Array(items) => !items.is_empty(),
                Value::Null | Value::String(_) => false,
            })
            .map(|(key, _)| key.as_str())
            .filter(|key| !READ.contains(key) && !is_harmless(key))
            .collect();
        keys.sort_unstable();
        keys
    }
}

/// Model types, and the keys and values that their class has.
type ClassDefaults = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

/// What the classes of transformers have where a published file leaves a key out: model types, then
/// key and value. Source: the configuration classes of transformers 4.57.
#[rustfmt::skip]
const CLASS_DEFAULTS: &[ClassDefaults] = &[
    (&["gemma3_text", "gemma3"], &[
        ("vocab_size", "262208"), ("max_position_embeddings", "131072"), ("tie_word_embeddings", "true"),
        ("head_dim", "256"), ("sliding_window", "4096"), ("sliding_window_pattern", "6"),
        ("hidden_activation", "\"gelu_pytorch_tanh\""),
    ]),
    (&["gemma2"], &[
        ("vocab_size", "256000"), ("max_position_embeddings", "8192"), ("tie_word_embeddings", "true"),
        ("head_dim", "256"), ("sliding_window", "4096"), ("sliding_window_pattern", "2"),
        ("hidden_activation", "\"gelu_pytorch_tanh\""),
    ]),
    (&["gemma"], &[
        ("vocab_size", "256000"), ("max_position_embeddings", "8192"), ("tie_word_embeddings", "true"),
        ("head_dim", "256"), ("hidden_act", "\"gelu_pytorch_tanh\""),
    ]),
    (&["cohere", "cohere2"], &[("tie_word_embeddings", "true")]),
    (&["cohere2"], &[("sliding_window_pattern", "4"), ("sliding_window", "4096")]),
    (&["llama4_text", "llama4"], &[
        ("vocab_size", "202048"), ("attention_chunk_size", "8192"), ("intermediate_size_mlp", "16384"),
    ]),
    (&["qwen3_next"], &[
        ("linear_conv_kernel_dim", "4"), ("linear_key_head_dim", "128"), ("linear_value_head_dim", "128"),
        ("linear_num_key_heads", "16"), ("linear_num_value_heads", "32"), ("full_attention_interval", "4"),
        ("attn_output_gate", "true"),
    ]),
    (&["qwen3_5_text", "qwen3_5_moe_text"], &[
        ("linear_conv_kernel_dim", "4"), ("linear_key_head_dim", "128"), ("linear_value_head_dim", "128"),
        ("full_attention_interval", "4"), ("attn_output_gate", "true"),
    ]),
    (&["nemotron_h"], &[
        ("mamba_head_dim", "64"), ("n_groups", "8"), ("ssm_state_size", "128"), ("conv_kernel", "4"),
        ("expand", "2"), ("mlp_hidden_act", "\"relu2\""),
    ]),
    (&["mistral3", "mistral"], &[("hidden_act", "\"silu\"")]),
    (&["gpt_oss"], &[("sliding_window", "128")]),
];

/// The keys that are read, or whose effect is counted in some other way.
#[rustfmt::skip]
const READ: &[&str] = &[
    "num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "num_kv_heads",
    "multi_query_group_num", "intermediate_size", "ffn_hidden_size", "moe_intermediate_size", "n_shared_experts",
    "num_shared_experts", "num_shared_expert", "moe_num_shared_experts", "shared_expert_intermediate_size",
    "shared_intermediate_size", "torch_dtype", "dtype", "quantization_config", "compression_config", "num_experts",
    "moe_num_experts", "n_routed_experts", "num_local_experts", "num_routed_experts", "num_experts_per_tok",
    "num_experts_per_token", "experts_per_token", "moe_topk", "moe_k", "top_k_experts", "interleave_moe_layer_step",
    "intermediate_size_mlp", "hidden_act", "hidden_activation", "mlp_hidden_act", "head_dim", "kv_lora_rank",
    "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "qk_head_dim", "v_head_dim", "first_k_dense_replace",
    "tie_word_embeddings", "max_position_embeddings", "max_sequence_length", "seq_length", "model_max_length",
    "rope_scaling", "rope_parameters", "layer_types", "sliding_window", "sliding_window_pattern",
    "_sliding_window_pattern", "use_sliding_window", "max_window_layers", "attention_chunk_size", "no_rope_layers",
    "no_rope_layer_interval", "full_attention_interval", "attn_type_list", "hybrid_override_pattern",
    "layers_block_type", "attn_layer_period", "attn_layer_offset", "attn_layer_indices", "moe_layers",
    "mlp_only_layers", "decoder_sparse_step", "moe_layer_freq", "moe_layer_start_index", "moe_layer_end_index",
    "moe_layer_interval", "expert_layer_period", "expert_layer_offset", "mlp_layer_types", "attn_output_gate",
    "linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim",
    "linear_conv_kernel_dim", "mamba_num_heads", "mamba_head_dim", "mamba_n_heads", "mamba_d_head", "mamba_n_groups",
    "mamba_d_state", "mamba_d_conv", "conv_L_cache", "mamba_expand", "n_groups", "ssm_state_size", "conv_kernel", "expand",
    "text_config", "thinker_config", "llm_config", "language_config", "language_model_config", "vision_config",
    "num_nextn_predict_layers", "mtp_num_hidden_layers", "attention_bias", "mlp_bias", "use_bias",
];

/// Keys that bear neither on size nor on time: ids, training, generation, names, other encoders.
fn is_harmless(key: &str) -> bool {
    const PARTS: [&str; 22] = [
        "token_id",
        "token_index",
        "initializer",
        "dropout",
        "_loss",
        "loss_",
        "_coef",
        "_eps",
        "epsilon",
        "vision",
        "audio",
        "image",
        "video",
        "rope",
        "rotary",
        "softcap",
        "id2label",
        "label2id",
        "norm",
        "scaling",
        "scale",
        "auto_map",
    ];
    const WHOLE: [&str; 44] = [
        "use_cache",
        "pretraining_tp",
        "architectures",
        "transformers_version",
        "n_group",
        "topk_group",
        "topk_method",
        "scoring_func",
        "seq_aux",
        "use_qk_norm",
        "attention_multiplier",
        "logits_multiplier",
        "residual_multiplier",
        "embedding_multiplier",
        "mlp_multipliers",
        "ssm_multipliers",
        "key_multiplier",
        "ep_size",
        "attn_temperature_tuning",
        "floor_scale",
        "attn_scale",
        "for_llm_compressor",
        "output_router_logits",
        "router_jitter_noise",
        "is_decoder",
        "is_encoder_decoder",
        "mrope_section",
        "query_pre_attn_scalar",
        "swiglu_limit",
        "initial_context_length",
        "use_mamba_kernels",
        "chunk_size",
        "mamba_chunk_size",
        "time_step_limit",
        "time_step_max",
        "time_step_min",
        "time_step_floor",
        "use_conv_bias",
        "mamba_conv_bias",
        "task_specific_params",
        "dtype_plan",
        "partial_rotary_factor",
        "qkv_bias",
        "return_dict",
    ];
    key.starts_with('_') || WHOLE.contains(&key) || PARTS.iter().any(|part| key.contains(part))
}
