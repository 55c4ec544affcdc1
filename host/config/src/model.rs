//! The architecture of a model, from its Hugging Face `config.json`.

use super::builtin;
use super::json::parse_json;
use serde_json::{Map, Value};
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
/// given.
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
    /// Bytes per activation and KV element (a); 0 = unknown data type.
    pub activation_bytes: f64,
    /// Bytes per weight where the weights are quantised.
    pub quantized_weight_bytes: Option<f64>,
    /// Routed experts (N); 0 = a dense model, never 1.
    pub experts: u64,
    /// Experts per token (k).
    pub experts_per_token: u64,
    /// Feed-forward width of one expert; 0 = `intermediate`.
    pub moe_intermediate: u64,
    /// Feed-forward width of the shared experts together (S).
    pub shared_intermediate: u64,
    /// Is there a count of shared experts, whatever `shared_intermediate` says?
    pub names_shared_experts: bool,
    /// Dense layers between two MoE layers (m).
    pub interleave_step: u64,
    /// Feed-forward width of the dense layers of an MoE model; 0 = `intermediate`.
    pub dense_intermediate: u64,
    /// Activation function (`silu`, ...), may be empty.
    pub activation: String,
    /// Width of one head where the file states it.
    pub head_dim: u64,
    /// Rank of the compressed KV (multi-head latent attention).
    pub kv_lora_rank: u64,
    /// Width of the rotary part beside the compressed KV.
    pub qk_rope_head_dim: u64,
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
}

/// Keys of the number of routed experts, in order of preference.
const EXPERT_KEYS: [&str; 5] = [
    "num_experts",
    "moe_num_experts",
    "n_routed_experts",
    "num_local_experts",
    "num_routed_experts",
];

/// Larger figures are mistakes; below it no product of them leaves 128 bits.
const LARGEST: f64 = (1u64 << 30) as f64;

struct Fields<'a> {
    file: &'a str,
    map: Map<String, Value>,
}

impl Fields<'_> {
    /// A count: truncated; 0 when it is missing or no number.
    fn count(&self, key: &str) -> Result<u64, InputError> {
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
    fn first(&self, keys: &[&str], wanted: impl Fn(u64) -> bool) -> Result<u64, InputError> {
        for key in keys {
            let n = self.count(key)?;
            if wanted(n) {
                return Ok(n);
            }
        }
        Ok(0)
    }

    fn text(&self, key: &str) -> &str {
        self.map.get(key).and_then(Value::as_str).unwrap_or("")
    }

    fn error(&self, message: String) -> InputError {
        InputError::in_file(self.file, message)
    }
}

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
        let Value::Object(mut map) = parse_json(file, text)? else {
            return Err(InputError::in_file(file, "expected a JSON object"));
        };
        if let Some(Value::Object(inner)) = map.get("text_config").cloned() {
            map.extend(inner);
        }
        let f = Fields { file, map };

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
        let dtype = match f.text("torch_dtype") {
            "" => f.text("dtype"),
            dtype => dtype,
        };
        let arch = Self {
            layers: f.count("num_hidden_layers")?,
            hidden: f.count("hidden_size")?,
            vocab: f.count("vocab_size")?,
            heads,
            kv_heads: if kv_heads > 0 { kv_heads } else { heads },
            intermediate,
            activation_bytes: dtype_bytes(dtype),
            quantized_weight_bytes: quantization(f.map.get("quantization_config"))
                .or_else(|| bytes_by_name(model)),
            experts: f.first(&EXPERT_KEYS, |n| n >= 2)?,
            experts_per_token: f.count("num_experts_per_tok")?,
            moe_intermediate,
            shared_intermediate,
            names_shared_experts: shared_experts > 0,
            interleave_step: f.count("interleave_moe_layer_step")?,
            dense_intermediate: f.count("intermediate_size_mlp")?,
            activation: f.text("hidden_act").to_owned(),
            head_dim: f.count("head_dim")?,
            kv_lora_rank: f.count("kv_lora_rank")?,
            qk_rope_head_dim: f.count("qk_rope_head_dim")?,
            first_k_dense: f.count("first_k_dense_replace")?,
            tied_embeddings: f.map.get("tie_word_embeddings").and_then(Value::as_bool)
                == Some(true),
            model_type: f.text("model_type").to_owned(),
            max_position_embeddings: f.count("max_position_embeddings")?,
            rope_scaling: rope_scaling(f.map.get("rope_scaling")),
        };
        for (key, value) in [
            ("num_hidden_layers", arch.layers),
            ("hidden_size", arch.hidden),
            ("num_attention_heads", arch.heads),
        ] {
            if value == 0 {
                return Err(f.error(format!(
                    "{key} is missing or 0; a model's config.json must have it"
                )));
            }
        }
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

    /// Bytes per weight (w): quantised, else as the activations.
    #[must_use]
    pub fn weight_bytes(&self) -> f64 {
        self.quantized_weight_bytes.unwrap_or(self.activation_bytes)
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

    /// MoE layers and dense layers as the step-time models split them: with an interleave step m
    /// every (m+1)-th layer is MoE.
    #[must_use]
    pub fn layer_split(&self) -> (u64, u64) {
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

/// Bytes per weight as `quantization_config` tells them: `bits`, else the fp8 method, else
/// compressed-tensors' groups.
fn quantization(config: Option<&Value>) -> Option<f64> {
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
    let rope = value?.as_object()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, model: &str) -> ModelArch {
        let text = format!(
            "{{\"num_hidden_layers\": 2, \"hidden_size\": 8, \"num_attention_heads\": 4, {text} \"x\": 0}}"
        );
        ModelArch::parse("config.json", &text, model).unwrap()
    }

    #[test]
    fn every_folder_of_model_configs_is_built_in_and_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model_configs");
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let built_in: Vec<&str> = builtin::MODEL_CONFIGS.iter().map(|(n, _)| *n).collect();
        assert_eq!(names, built_in);
        for name in built_in {
            let arch = ModelArch::builtin(name).unwrap();
            assert!(arch.activation_bytes > 0.0, "{name}");
            assert_eq!(
                arch,
                ModelArch::load(&folder.join(name), name).unwrap(),
                "{name}"
            );
        }
        assert!(ModelArch::builtin("Qwen/Qwen3-14B").is_some());
        assert!(ModelArch::builtin("nobody/nothing").is_none());
    }

    #[test]
    fn the_language_model_of_a_multi_modal_one_is_found() {
        let scout = ModelArch::builtin("llama-4-scout-17b-16e-instruct-fp8-dynamic").unwrap();
        assert_eq!(
            (scout.layers, scout.hidden, scout.experts, scout.vocab),
            (48, 5120, 16, 202_048)
        );
        assert_eq!(scout.layer_split(), (24, 24));
        assert_eq!(scout.quantized_weight_bytes, Some(1.0));
        assert_eq!(
            scout.dense_intermediate, 16384,
            "from intermediate_size_mlp"
        );
    }

    #[test]
    fn bytes_per_weight_come_from_the_quantization_then_the_name_then_the_data_type() {
        let w = |text: &str, model: &str| {
            parse(&format!("\"dtype\": \"bfloat16\", {text}"), model).weight_bytes()
        };
        assert_eq!(w("", "plain"), 2.0);
        assert_eq!(w("", "org/x-FP8-dynamic"), 1.0);
        assert_eq!(w("", "org/xfp8"), 2.0);
        assert_eq!(w("", "org/x-quantized.w4a16"), 0.5);
        assert_eq!(w("\"quantization_config\": {\"bits\": 4},", "x-fp8"), 0.5);
        assert_eq!(
            w("\"quantization_config\": {\"bits\": \"8\"},", "plain"),
            1.0
        );
        assert_eq!(
            w(
                "\"quantization_config\": {\"quant_method\": \"fp8\"},",
                "plain"
            ),
            1.0
        );
        let groups = "\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"config_groups\": \
            {\"b\": {\"weights\": {\"num_bits\": 8}}, \"a\": {\"weights\": {\"num_bits\": 4}}}},";
        assert_eq!(w(groups, "plain"), 0.5);
        assert_eq!(
            w(
                "\"quantization_config\": {\"quant_method\": \"awq\"},",
                "x-w8a8"
            ),
            1.0
        );
    }

    #[test]
    fn experts_and_heads_have_many_names() {
        let arch = parse(
            "\"num_experts\": 1, \"n_routed_experts\": 64, \"n_shared_experts\": 2, \"moe_intermediate_size\": 7,",
            "m",
        );
        assert_eq!((arch.experts, arch.shared_intermediate), (64, 14));
        assert!(!arch.expert_count_is_missing());
        let arch = parse("\"multi_query_group_num\": 2, \"ffn_hidden_size\": 5,", "m");
        assert_eq!((arch.kv_heads, arch.intermediate), (2, 5));
        assert_eq!(parse("", "m").kv_heads, 4);
        assert!(parse("\"num_experts_per_tok\": 2,", "m").expert_count_is_missing());
        assert!(parse("\"n_shared_experts\": 1,", "m").expert_count_is_missing());
    }

    #[test]
    fn what_is_no_model_configuration_is_refused() {
        let error = |text: &str| {
            ModelArch::parse("c.json", text, "m")
                .unwrap_err()
                .to_string()
        };
        assert!(error("{\"a\": \n }").starts_with("c.json:2:"));
        assert_eq!(error("[]"), "c.json: expected a JSON object");
        assert!(error("{}").contains("num_hidden_layers is missing"));
        assert!(error("{\"head_dim\": -1}").contains("must not be negative"));
        assert!(error("{\"hidden_size\": 1e12}").contains("too large"));
        assert!(error("").contains("empty"));
    }
}
