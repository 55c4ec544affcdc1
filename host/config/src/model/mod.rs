//! The architecture of a model, from its Hugging Face `config.json`.

mod count;
mod fields;
mod layers;
mod quantization;
mod recurrent;
mod stage;
#[cfg(test)]
mod tests;

use super::builtin;
use super::json::parse_json;
pub use count::{AttentionLayers, EMBEDDINGS, EXPERTS, OUTPUT_HEAD, Part, Split, VISION, Weights};
use fields::Fields;
pub use layers::{Ffn, Layer, Mixer};
pub use quantization::{Compute, Quantization};
pub use recurrent::{DeltaHeads, Recurrent};
use serde_json::Value;
pub use stage::layers_per_stage;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text};

/// Rope scaling, as far as it changes the model's length.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeScaling {
    /// Kind (`yarn`, `linear`, `llama3`, ...), empty if none is given.
    pub kind: String,
    /// Factor; 0 = not given.
    pub factor: f64,
    /// Length before scaling, tokens; 0 = not given.
    pub original_max_position_embeddings: u64,
}

/// What the step-time models and the KV capacity read of a model. Counts are plain numbers, 0 = not
/// given. Fields and methods named after BLIS hold that simulator's reading, where it differs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelArch {
    /// Layers (L).
    pub layers: u64,
    /// Hidden size (d).
    pub hidden: u64,
    /// Vocabulary, tokens.
    pub vocab: u64,
    /// Attention heads (H).
    pub heads: u64,
    /// Key/value heads (K); equal to `heads` where the file has none.
    pub kv_heads: u64,
    /// Feed-forward width (F).
    pub intermediate: u64,
    /// Bytes per activation and KV element (a) after the file's data type; 0 = unknown data type.
    pub activation_bytes: f64,
    /// How the weights are quantised; `None` = they are not.
    pub quantization: Option<Quantization>,
    /// Bytes per weight where BLIS sees quantised weights.
    pub blis_quantized_bytes: Option<f64>,
    /// Routed experts (N); 0 = a dense model, never 1.
    pub experts: u64,
    /// Experts per token (k).
    pub experts_per_token: u64,
    /// Feed-forward width of one expert; 0 = `intermediate`.
    pub moe_intermediate: u64,
    /// Feed-forward width of the shared experts of a layer together.
    pub shared_width: u64,
    /// The same as BLIS reads it (S).
    pub shared_intermediate: u64,
    /// Is there a count of shared experts, whatever `shared_intermediate` says?
    pub names_shared_experts: bool,
    /// Dense layers between two MoE layers (m).
    pub interleave_step: u64,
    /// Feed-forward width of the dense layers of an MoE model; 0 = `intermediate`.
    pub dense_intermediate: u64,
    /// Activation function as BLIS reads it (`silu`, ...), may be empty.
    pub activation: String,
    /// Have feed-forward blocks a gate, hence three matrices and not two? `None` = the activation
    /// function does not tell.
    pub gated: Option<bool>,
    /// Has the attention a gate on its output, as wide as the queries?
    pub output_gate: bool,
    /// Width of one head where the file states it.
    pub head_dim: u64,
    /// Rank of the compressed KV (multi-head latent attention).
    pub kv_lora_rank: u64,
    /// Width of the rotary part beside the compressed KV.
    pub qk_rope_head_dim: u64,
    /// Width of the other part of a query or key, with compressed KV.
    pub qk_nope_head_dim: u64,
    /// Width of a head's values where it differs from its keys.
    pub v_head_dim: u64,
    /// Rank of compressed queries.
    pub q_lora_rank: u64,
    /// Leading layers that are dense in an MoE model.
    pub first_k_dense: u64,
    /// Are input and output embeddings one matrix?
    pub tied_embeddings: bool,
    /// Model type (`llama`, ...), may be empty.
    pub model_type: String,
    /// Context length without scaling, tokens.
    pub max_position_embeddings: u64,
    /// Rope scaling, if any.
    pub rope_scaling: Option<RopeScaling>,
    /// The layers, first to last.
    pub layer_kinds: Vec<Layer>,
    /// Layers before these, where this is a stage of a pipeline.
    pub first_layer: u64,
    /// Has it the input embeddings? Only the first stage of a pipeline has.
    pub embeds: bool,
    /// Has it the output head? Only the last stage of a pipeline has.
    pub samples: bool,
    /// What a recurrent layer weighs and keeps, where there are any.
    pub recurrent: Option<Recurrent>,
    /// Weights of the vision encoder; 0 = none, or its size is not told.
    pub vision_parameters: f64,
    /// Does it read images?
    pub is_multimodal: bool,
    /// What a person should know about this reading, one sentence each.
    pub notes: Vec<String>,
}

/// More layers are a mistake.
const MOST_LAYERS: u64 = 10_000;

/// Keys of the length that a model is made for, in order of preference.
const LENGTH_KEYS: [&str; 4] = [
    "max_position_embeddings",
    "max_sequence_length",
    "seq_length",
    "model_max_length",
];

/// Keys of the number of experts per token, in order of preference.
const EXPERTS_PER_TOKEN_KEYS: [&str; 6] = [
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "moe_topk",
    "top_k_experts",
    "moe_k",
];

/// Keys of the number of routed experts, in order of preference.
const EXPERT_KEYS: [&str; 5] = [
    "num_experts",
    "moe_num_experts",
    "n_routed_experts",
    "num_local_experts",
    "num_routed_experts",
];

impl ModelArch {
    /// Parses a Hugging Face `config.json`. `file` is what messages call it; `model` is the model's
    /// name, which may tell the width of quantised weights (`...-fp8`, `...w4a16`).
    ///
    /// Keys of a `text_config` object replace those beside it (multi-modal models keep the language
    /// model there).
    ///
    /// # Errors
    /// When the text is no JSON object, a needed figure is missing, or one is negative.
    pub fn parse(file: &str, text: &str, model: &str) -> Result<Self, InputError> {
        let Value::Object(map) = parse_json(file, text)? else {
            return Err(InputError::in_file(file, "expected a JSON object"));
        };
        let mut f = Fields::new(file, map);
        f.fill_in();
        let f = f;
        let heads = f.count("num_attention_heads")?;
        let kv_heads = f.first(
            &[
                "num_key_value_heads",
                "num_kv_heads",
                "multi_query_group_num",
            ],
            |n| n > 0,
        )?;
        let intermediate = f.first(&["intermediate_size", "ffn_hidden_size"], |n| n > 0)?;
        let moe_intermediate = f.count("moe_intermediate_size")?;
        let shared_experts = f.count("n_shared_experts")?;
        let expert_width = if moe_intermediate > 0 {
            moe_intermediate
        } else {
            intermediate
        };
        let shared_intermediate = match f.count("shared_expert_intermediate_size")? {
            0 => shared_experts * expert_width,
            width => width,
        };
        let experts = f.first(&EXPERT_KEYS, |n| n >= 2)?;
        let layers = f.count("num_hidden_layers")?;
        let hidden = f.count("hidden_size")?;
        if layers > MOST_LAYERS {
            return Err(f.error(format!(
                "num_hidden_layers is {layers}; that is too large to be true"
            )));
        }
        let quantization = Quantization::parse(&f)?;
        let by_name = bytes_by_name(model);
        let rope = match f.map.get("rope_scaling") {
            None | Some(Value::Null) => f.map.get("rope_parameters"),
            rope => rope,
        };
        let layer_kinds = layers::layers(&f, layers, experts >= 2)?;
        let recurrent = layer_kinds
            .iter()
            .any(|layer| layer.mixer == Mixer::Recurrent)
            .then(|| Recurrent::parse(&f, hidden))
            .transpose()?;
        let mut arch = Self {
            layers,
            hidden,
            vocab: f.count("vocab_size")?,
            heads,
            kv_heads: if kv_heads > 0 { kv_heads } else { heads },
            intermediate,
            activation_bytes: dtype_bytes(f.first_text(&["torch_dtype", "dtype"])),
            blis_quantized_bytes: blis_quantization(f.map.get("quantization_config")).or(by_name),
            quantization: quantization
                .or_else(|| by_name.map(|bytes| Quantization::by_name(bytes * 8.0))),
            experts,
            experts_per_token: f.first(&EXPERTS_PER_TOKEN_KEYS, |n| n > 0)?,
            moe_intermediate,
            shared_width: shared_width(&f, expert_width)?,
            shared_intermediate,
            names_shared_experts: shared_experts > 0,
            interleave_step: f.count("interleave_moe_layer_step")?,
            dense_intermediate: f.count("intermediate_size_mlp")?,
            activation: f.text("hidden_act").to_owned(),
            gated: gated(&f),
            output_gate: f.flag("attn_output_gate") == Some(true),
            head_dim: f.count("head_dim")?,
            kv_lora_rank: f.count("kv_lora_rank")?,
            qk_rope_head_dim: f.count("qk_rope_head_dim")?,
            qk_nope_head_dim: f.count("qk_nope_head_dim")?,
            v_head_dim: f.count("v_head_dim")?,
            q_lora_rank: f.count("q_lora_rank")?,
            first_k_dense: f.count("first_k_dense_replace")?,
            tied_embeddings: f.flag("tie_word_embeddings") == Some(true),
            model_type: f.text("model_type").to_owned(),
            max_position_embeddings: f.first(&LENGTH_KEYS, |n| n > 0)?,
            rope_scaling: rope_scaling(rope),
            layer_kinds,
            first_layer: 0,
            embeds: true,
            samples: true,
            recurrent,
            vision_parameters: vision_parameters(f.map.get("vision_config")),
            is_multimodal: f.map.get("vision_config").is_some_and(Value::is_object),
            notes: Vec::new(),
        };
        for (key, value) in [
            ("num_hidden_layers", layers),
            ("hidden_size", hidden),
            ("num_attention_heads", heads),
        ] {
            if value == 0 {
                return Err(f.error(format!(
                    "{key} is missing or 0; a model's config.json must have it"
                )));
            }
        }
        arch.notes = notes(&f, &arch);
        Ok(arch)
    }

    /// Reads `config.json` in `folder` (or `folder` itself where it is a file), see
    /// [`parse`](Self::parse).
    ///
    /// # Errors
    /// When it cannot be read or is no model configuration.
    pub fn load(folder: &Path, model: &str) -> Result<Self, InputError> {
        let path = if folder.is_file() {
            folder.to_path_buf()
        } else {
            folder.join("config.json")
        };
        Self::parse(&path.display().to_string(), &read_text(&path)?, model)
    }

    /// The built-in configuration of a model: by the part of its name after the first slash, in
    /// lower case.
    #[must_use]
    pub fn builtin(model: &str) -> Option<Self> {
        let model = model.to_lowercase();
        let short = short_name(&model);
        let text = builtin::model_config(short)?;
        let file = format!("model_configs/{short}/config.json");
        // A test parses them all.
        Some(Self::parse(&file, text, &model).expect("built-in model configurations are sound"))
    }

    /// Bytes per weight (w) as BLIS reads them: quantised, else as the activations.
    #[must_use]
    pub fn blis_weight_bytes(&self) -> f64 {
        self.blis_quantized_bytes.unwrap_or(self.activation_bytes)
    }

    /// Mixture of experts?
    #[must_use]
    pub fn is_moe(&self) -> bool {
        self.experts >= 2
    }

    /// Does it speak of experts without saying how many there are? Its weights cannot be counted
    /// then.
    #[must_use]
    pub fn expert_count_is_missing(&self) -> bool {
        self.experts == 0 && (self.experts_per_token > 0 || self.names_shared_experts)
    }

    /// MoE layers and dense layers as BLIS's step-time models split them: with an interleave step m
    /// every (m+1)-th layer is MoE (in truth every m-th, see [`layer_kinds`](Self::layer_kinds)).
    #[must_use]
    pub fn blis_layer_split(&self) -> (u64, u64) {
        if !self.is_moe() {
            (0, self.layers)
        } else if self.interleave_step > 0 {
            let moe = self.layers / (self.interleave_step + 1);
            (moe, self.layers - moe)
        } else {
            (self.layers, 0)
        }
    }
}

/// The part after the first slash; the whole name where there is none.
#[must_use]
pub fn short_name(model: &str) -> &str {
    model.split_once('/').map_or(model, |(_, short)| short)
}

/// Bytes of one element of a data type; 0 = unknown.
fn dtype_bytes(dtype: &str) -> f64 {
    match dtype {
        "float32" => 4.0,
        "float16" | "bfloat16" => 2.0,
        "int8" | "uint8" | "fp8" | "int4" | "nf4" => 1.0,
        _ => 0.0,
    }
}

/// Bytes per weight as BLIS reads `quantization_config`: `bits`, else the fp8 method, else
/// compressed-tensors' groups.
fn blis_quantization(config: Option<&Value>) -> Option<f64> {
    let config = config?.as_object()?;
    let bits = match config.get("bits") {
        Some(Value::String(s)) => s.trim().parse().ok(),
        Some(v) => v.as_f64(),
        None => None,
    };
    if let Some(bits) = bits.filter(|b: &f64| b.is_finite() && *b > 0.0) {
        return Some(bits / 8.0);
    }
    let method = config.get("quant_method").and_then(Value::as_str)?;
    if method.eq_ignore_ascii_case("fp8") {
        return Some(1.0);
    }
    if !method.eq_ignore_ascii_case("compressed-tensors") {
        return None;
    }
    let groups = config.get("config_groups")?.as_object()?;
    let mut names: Vec<&String> = groups.keys().collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| groups[name].get("weights")?.get("num_bits")?.as_f64())
        .find(|bits| *bits > 0.0)
        .map(|bits| bits / 8.0)
}

/// Bytes per weight as the model's name tells them: a part `w<bits>a<bits>`, else a part `fp8`.
fn bytes_by_name(model: &str) -> Option<f64> {
    let model = model.to_lowercase();
    let parts = || model.split(['.', '-', '_', '/']);
    let wide = parts().find_map(|part| {
        let (weights, activations) = part.strip_prefix('w')?.split_once('a')?;
        activations.parse::<u32>().ok()?;
        weights.parse::<u32>().ok().filter(|bits| *bits > 0)
    });
    wide.map(|bits| f64::from(bits) / 8.0)
        .or_else(|| parts().any(|part| part == "fp8").then_some(1.0))
}

fn rope_scaling(value: Option<&Value>) -> Option<RopeScaling> {
    let mut rope = value?.as_object()?;
    // One entry per kind of layer: the length is that of full attention.
    if let Some(Value::Object(full)) = rope.get("full_attention") {
        rope = full;
    }
    let text = |key: &str| rope.get(key).and_then(Value::as_str).unwrap_or("");
    let number = |key: &str| rope.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    Some(RopeScaling {
        kind: match text("type") {
            "" => text("rope_type").to_owned(),
            kind => kind.to_owned(),
        },
        factor: number("factor"),
        original_max_position_embeddings: number("original_max_position_embeddings") as u64,
    })
}

/// Feed-forward width of the shared experts of a layer together.
fn shared_width(f: &Fields<'_>, expert_width: u64) -> Result<u64, InputError> {
    let stated = f.first(
        &[
            "shared_expert_intermediate_size",
            "shared_intermediate_size",
        ],
        |n| n > 0,
    )?;
    if stated > 0 {
        return Ok(stated);
    }
    let count = f.first(
        &[
            "n_shared_experts",
            "num_shared_experts",
            "num_shared_expert",
            "moe_num_shared_experts",
        ],
        |n| n > 0,
    )?;
    // Llama 4 has one, and no key for it.
    let built_in = u64::from(f.text("model_type").starts_with("llama4"));
    Ok(count.max(built_in) * expert_width)
}

/// Do feed-forward blocks have a gate, as far as the activation function and the model's class
/// tell?
fn gated(f: &Fields<'_>) -> Option<bool> {
    let activation = f
        .first_text(&["mlp_hidden_act", "hidden_activation", "hidden_act"])
        .to_lowercase();
    let model_type = f.text("model_type");
    match activation.as_str() {
        "" | "silu" | "swish" | "swiglu" | "geglu" | "situ" | "swigluoai" => Some(true),
        "relu2" | "relu" | "squared_relu" => Some(false),
        a if a.starts_with("gelu") && GATED_GELU.iter().any(|t| model_type.starts_with(t)) => {
            Some(true)
        }
        a if a.starts_with("gelu") && PLAIN_GELU.contains(&model_type) => Some(false),
        _ => None,
    }
}

/// Model types whose gelu has a gate, by how they begin.
const GATED_GELU: [&str; 4] = ["gemma", "t5gemma", "grok", "paligemma"];

/// Model types whose gelu has none.
const PLAIN_GELU: [&str; 12] = [
    "gpt2",
    "gpt_neox",
    "gptj",
    "gpt_bigcode",
    "falcon",
    "starcoder2",
    "phi",
    "opt",
    "bloom",
    "mpt",
    "persimmon",
    "codegen",
];

/// Weights of a vision encoder of the usual shape; 0 where its figures are missing.
fn vision_parameters(config: Option<&Value>) -> f64 {
    let Some(config) = config.and_then(Value::as_object) else {
        return 0.0;
    };
    let first = |keys: &[&str]| {
        let mut values = keys.iter().filter_map(|key| config.get(*key)?.as_f64());
        values.find(|n| *n > 0.0).unwrap_or(0.0)
    };
    let layers = first(&["num_hidden_layers", "depth", "layers"]);
    let width = first(&["embed_dim", "hidden_size", "width"]);
    let ffn = match first(&["intermediate_size"]) {
        0.0 => width * first(&["mlp_ratio"]),
        ffn => ffn,
    };
    layers * (4.0 * width * width + 2.0 * width * ffn)
}

/// What a person should know about how a configuration was read.
fn notes(f: &Fields<'_>, arch: &ModelArch) -> Vec<String> {
    let mut notes = Vec::new();
    let unknown = f.not_understood();
    if !unknown.is_empty() {
        notes.push(format!(
            "config.json has keys that are not understood, though size or time may depend on them: {}",
            unknown.join(", ")
        ));
    }
    if !f.defaulted.is_empty() {
        let taken: Vec<String> = f
            .defaulted
            .iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        notes.push(format!(
            "config.json leaves keys to the model's class {}: {}",
            arch.model_type,
            taken.join(", ")
        ));
    }
    let dtype = f.first_text(&["torch_dtype", "dtype"]);
    if dtype.is_empty() {
        notes.push(
            "config.json names no torch_dtype: 16-bit weights and KV are counted, as vLLM loads them"
                .to_owned(),
        );
    }
    if arch.is_multimodal && arch.vision_parameters == 0.0 {
        notes.push("the weights of the vision encoder are not counted".to_owned());
    }
    notes
}
