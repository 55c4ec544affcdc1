//! The public formats of quantised weights: how wide they are, what they leave out, and what they
//! say of activations and of the KV cache.

use super::fields::Fields;
use regex_lite::Regex;
use serde_json::{Map, Value};
use windtunnel_base::input::{InputError, unknown};

/// In what a matrix multiplication is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// 16-bit floats; narrower weights are widened first.
    Bits16,
    /// 8-bit floats or integers.
    Bits8,
    /// 4-bit floats, where the GPU has them.
    Bits4,
}

/// How the weights of a model are quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    /// The method as the file spells it.
    pub method: String,
    /// Groups of modules and their width; the first that matches a module counts.
    groups: Vec<Group>,
    /// Modules that stay as they are.
    excluded: Vec<Pattern>,
    /// Only routed experts are quantised.
    experts_only: bool,
    /// Bytes of a KV element where the checkpoint has its scales.
    pub kv_bytes: Option<f64>,
}

/// Modules of one width.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    /// `None` = all linear layers.
    targets: Option<Vec<Pattern>>,
    /// Bits per weight, its share of scales and zero points included.
    bits: f64,
    compute: Compute,
}

/// What names modules.
#[derive(Clone, Debug)]
enum Pattern {
    /// A name or a part of one: `lm_head`, `model.layers.0.self_attn`.
    Name(String),
    /// `re:...`, or a name with stars.
    Regex(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        if let Some(regex) = text.strip_prefix("re:") {
            return Regex::new(&format!("^(?:{})", plain(regex)))
                .ok()
                .map(Self::Regex);
        }
        let text = plain(text);
        if text.contains(['*', '?']) {
            let mut regex = String::from("^(?:.*\\.)?");
            for c in text.chars() {
                match c {
                    '*' => regex.push_str(".*"),
                    '?' => regex.push('.'),
                    c => regex.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4]))),
                }
            }
            return Regex::new(&regex).ok().map(Self::Regex);
        }
        let text = ["language_model.", "model."]
            .iter()
            .fold(text.as_str(), |text, prefix| {
                text.strip_prefix(prefix).unwrap_or(text)
            });
        Some(Self::Name(text.trim_end_matches('.').to_owned()))
    }

    /// Does it name this module, or one that holds it? Files say `model.layers.0` or
    /// `language_model.model.layers.0`; `module` begins with `layers.`.
    fn matches(&self, module: &str) -> bool {
        match self {
            Self::Regex(regex) => ["", "model.", "language_model.model."]
                .iter()
                .any(|prefix| regex.is_match(&format!("{prefix}{module}"))),
            Self::Name(name) => {
                let whole = |at: usize, end: usize| {
                    (at == 0 || module.as_bytes()[at - 1] == b'.')
                        && (end == module.len() || module.as_bytes()[end] == b'.')
                };
                !name.is_empty()
                    && module
                        .match_indices(name.as_str())
                        .any(|(at, found)| whole(at, at + found.len()))
            }
        }
    }
}

/// A module's name with the words that are used here: architectures name the same thing in several
/// ways.
fn plain(name: &str) -> String {
    name.replace("feed_forward", "mlp")
        .replace("block_sparse_moe", "mlp")
        .replace("shared_experts", "shared_expert")
}

/// Methods by name, and how each is read.
const METHODS: [(&str, Method); 33] = [
    ("fp8", Method::Fixed(8.0, Compute::Bits8)),
    ("fbgemm_fp8", Method::Fixed(8.0, Compute::Bits8)),
    ("ptpc_fp8", Method::Fixed(8.0, Compute::Bits8)),
    ("tpu_int8", Method::Fixed(8.0, Compute::Bits8)),
    ("eetq", Method::Fixed(8.0, Compute::Bits16)),
    ("experts_int8", Method::Experts(8.0)),
    ("mxfp4", Method::Experts(4.25)),
    ("gpt_oss_mxfp4", Method::Experts(4.25)),
    ("awq", Method::Grouped),
    ("awq_marlin", Method::Grouped),
    ("gptq", Method::Grouped),
    ("gptq_marlin", Method::Grouped),
    ("gptq_marlin_24", Method::Grouped),
    ("moe_wna16", Method::Grouped),
    ("auto-round", Method::Grouped),
    ("auto_round", Method::Grouped),
    ("autoround", Method::Grouped),
    ("intel/auto-round", Method::Grouped),
    ("inc", Method::Grouped),
    ("ipex", Method::Grouped),
    ("marlin", Method::Grouped),
    ("qqq", Method::Grouped),
    ("deepspeedfp", Method::Grouped),
    ("vptq", Method::Grouped),
    ("bitnet", Method::Fixed(2.0, Compute::Bits16)),
    ("bitsandbytes", Method::BitsAndBytes),
    ("compressed-tensors", Method::CompressedTensors),
    ("modelopt", Method::ModelOpt),
    ("modelopt_fp4", Method::ModelOpt),
    ("modelopt_mixed", Method::ModelOpt),
    ("quark", Method::Quark),
    ("torchao", Method::TorchAo),
    ("hqq", Method::Hqq),
];

#[derive(Clone, Copy)]
enum Method {
    /// Bits per weight of all linear layers.
    Fixed(f64, Compute),
    /// Bits per weight of the routed experts.
    Experts(f64),
    /// `bits` and `group_size`.
    Grouped,
    BitsAndBytes,
    CompressedTensors,
    ModelOpt,
    Quark,
    TorchAo,
    Hqq,
}

/// Keys under which formats list modules that stay as they are.
const EXCLUSIONS: [&str; 7] = [
    "modules_to_not_convert",
    "llm_int8_skip_modules",
    "ignored_layers",
    "ignore",
    "exclude_modules",
    "exclude",
    "skip_modules",
];

impl Quantization {
    /// What the file says of quantised weights, if anything.
    ///
    /// # Errors
    /// When the method is unknown (with the list of those that are known), or its width is missing.
    pub(super) fn parse(f: &Fields<'_>) -> Result<Option<Self>, InputError> {
        let found = ["quantization_config", "compression_config"]
            .into_iter()
            .find_map(|key| Some((key, f.map.get(key)?.as_object()?)));
        let Some((key, outer)) = found.filter(|(_, config)| !config.is_empty()) else {
            return Ok(None);
        };
        // ModelOpt's own file nests the figures once more.
        let config = match outer.get("quantization").and_then(Value::as_object) {
            Some(inner) => inner,
            None => outer,
        };
        let text = |name: &str| {
            let value = config.get(name).or_else(|| outer.get(name));
            value.and_then(Value::as_str).map(str::to_lowercase)
        };
        let method = match text("quant_method") {
            Some(method) => method,
            None if config.contains_key("quant_algo") => "modelopt".to_owned(),
            None if key == "compression_config" => "compressed-tensors".to_owned(),
            None if config.contains_key("bits") => "gptq".to_owned(),
            None => {
                return Err(f.error(format!(
                    "{key} has no quant_method; known: {}",
                    METHODS.map(|(name, _)| name).join(", ")
                )));
            }
        };
        let Some((_, how)) = METHODS.iter().find(|(name, _)| *name == method) else {
            let names = METHODS.map(|(name, _)| name);
            return Err(f.error(format!(
                "{key}: {}",
                unknown("quant_method", &method, &names)
            )));
        };
        let missing = |what: &str| {
            f.error(format!(
                "{key}: quant_method \"{method}\" without {what}: the width of its weights is not known"
            ))
        };
        let mut experts_only = false;
        let groups = match *how {
            Method::Fixed(bits, compute) => vec![Group::all(bits, compute)],
            Method::Experts(bits) => {
                experts_only = true;
                vec![Group::all(bits, Compute::Bits16)]
            }
            Method::Grouped => {
                let bits = number(config, "bits").ok_or_else(|| missing("bits"))?;
                let zero_points = if config.get("sym") == Some(&Value::Bool(true)) {
                    0.0
                } else {
                    bits
                };
                vec![Group::all(
                    bits + (16.0 + zero_points) / group_size(config).unwrap_or(f64::INFINITY),
                    Compute::Bits16,
                )]
            }
            Method::BitsAndBytes => {
                let on = |name: &str| config.get(name) == Some(&Value::Bool(true));
                // One float32 per 64 weights, itself in 8 bits with double quantisation.
                let bits = match (on("load_in_4bit"), on("load_in_8bit")) {
                    (true, _) if on("bnb_4bit_use_double_quant") => 4.0 + 8.127 / 64.0,
                    (true, _) => 4.5,
                    (_, true) => 8.0,
                    _ => return Err(missing("load_in_4bit or load_in_8bit")),
                };
                vec![Group::all(bits, Compute::Bits16)]
            }
            Method::CompressedTensors => compressed_tensors(config)
                .ok_or_else(|| missing("num_bits in its config_groups"))?,
            Method::ModelOpt => model_opt(config).ok_or_else(|| missing("a known quant_algo"))?,
            Method::Quark => quark(config).ok_or_else(|| missing("a known weight dtype"))?,
            Method::TorchAo => torch_ao(config).ok_or_else(|| missing("a known quant_type"))?,
            Method::Hqq => {
                let weights = config
                    .get("quant_config")
                    .and_then(|c| c.get("weight_quant_params"))
                    .and_then(Value::as_object)
                    .unwrap_or(config);
                let bits = number(weights, "nbits").ok_or_else(|| missing("nbits"))?;
                // A 16-bit scale and zero point per group.
                let group = group_size(weights).unwrap_or(f64::INFINITY);
                vec![Group::all(bits + 32.0 / group, Compute::Bits16)]
            }
        };
        if let Some(group) = groups.iter().find(|g| !(g.bits >= 1.0 && g.bits <= 32.0)) {
            return Err(f.error(format!(
                "{key}: weights of {} bits; expected 1 to 32",
                group.bits
            )));
        }
        let excluded = EXCLUSIONS
            .iter()
            .filter_map(|key| config.get(*key).or_else(|| outer.get(*key))?.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .filter_map(Pattern::parse)
            .collect();
        Ok(Some(Self {
            method,
            groups,
            excluded,
            experts_only,
            kv_bytes: kv_bytes(config, outer),
        }))
    }

    /// All linear layers in `bits` bits, as a model's name tells.
    pub(super) fn by_name(bits: f64) -> Self {
        let compute = if bits == 8.0 {
            Compute::Bits8
        } else {
            Compute::Bits16
        };
        Self {
            method: "the model's name".to_owned(),
            groups: vec![Group::all(bits, compute)],
            excluded: Vec::new(),
            experts_only: false,
            kv_bytes: None,
        }
    }

    /// Bits per weight of a module and in what it is computed; `None` = it is not quantised.
    pub(super) fn of(&self, module: &str, is_expert: bool) -> Option<(f64, Compute)> {
        if self.experts_only && !is_expert || self.excluded.iter().any(|p| p.matches(module)) {
            return None;
        }
        let targeted = |group: &&Group| match &group.targets {
            None => true,
            Some(targets) => targets.iter().any(|p| p.matches(module)),
        };
        let group = self.groups.iter().find(targeted)?;
        Some((group.bits, group.compute))
    }
}

impl Group {
    fn all(bits: f64, compute: Compute) -> Self {
        Self {
            targets: None,
            bits,
            compute,
        }
    }
}

/// A number above 0, also written as text.
fn number(config: &Map<String, Value>, key: &str) -> Option<f64> {
    let value = match config.get(key)? {
        Value::String(s) => s.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    (value.is_finite() && value > 0.0).then_some(value)
}

fn group_size(config: &Map<String, Value>) -> Option<f64> {
    number(config, "group_size").or_else(|| number(config, "q_group_size"))
}

fn compressed_tensors(config: &Map<String, Value>) -> Option<Vec<Group>> {
    let groups = config.get("config_groups")?.as_object()?;
    let mut names: Vec<&String> = groups.keys().collect();
    names.sort();
    let read = |name: &String| {
        let group = groups[name].as_object()?;
        let weights = group.get("weights")?.as_object()?;
        let bits = number(weights, "num_bits")?;
        let float = weights.get("type").and_then(Value::as_str) == Some("float");
        // Scales: 8-bit floats for groups of 4-bit floats, else 16 bits.
        let scale = if float && bits <= 4.0 { 8.0 } else { 16.0 };
        let activations = group
            .get("input_activations")
            .and_then(Value::as_object)
            .and_then(|a| number(a, "num_bits"));
        let targets: Vec<&str> = group
            .get("targets")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let everything = targets.is_empty() || targets.contains(&"Linear");
        Some(Group {
            targets: (!everything)
                .then(|| targets.into_iter().filter_map(Pattern::parse).collect()),
            bits: bits + scale / group_size(weights).unwrap_or(f64::INFINITY),
            compute: match activations {
                Some(bits) if bits <= 4.0 => Compute::Bits4,
                Some(bits) if bits <= 8.0 => Compute::Bits8,
                _ => Compute::Bits16,
            },
        })
    };
    let mut read: Vec<Group> = names.into_iter().filter_map(read).collect();
    // Named modules before the rest.
    read.sort_by_key(|group| group.targets.is_none());
    (!read.is_empty()).then_some(read)
}

/// Bits and arithmetic of one of ModelOpt's algorithms.
fn algorithm(name: &str) -> Option<(f64, Compute)> {
    Some(match name.to_uppercase().as_str() {
        "FP8" | "FP8_PER_CHANNEL_PER_TOKEN" | "FP8_PB_WO" | "MXFP8" => (8.0, Compute::Bits8),
        "INT8_SQ" | "INT8" => (8.0, Compute::Bits8),
        "NVFP4" => (4.5, Compute::Bits4),
        "NVFP4_AWQ" | "W4A16_NVFP4" | "NVFP4_WEIGHT_ONLY" => (4.5, Compute::Bits16),
        "MXFP4" => (4.25, Compute::Bits4),
        "W4A16_AWQ" | "INT4_AWQ" | "W4A16" => (4.125, Compute::Bits16),
        "W4A8_AWQ" => (4.125, Compute::Bits8),
        "W8A16" => (8.0, Compute::Bits16),
        _ => return None,
    })
}

fn model_opt(config: &Map<String, Value>) -> Option<Vec<Group>> {
    let name = config.get("quant_algo").and_then(Value::as_str)?;
    if !name.eq_ignore_ascii_case("MIXED_PRECISION") {
        let (bits, compute) = algorithm(name)?;
        return Some(vec![Group::all(bits, compute)]);
    }
    let modules = config.get("quantized_layers")?.as_object()?;
    let read = |(module, how): (&String, &Value)| {
        let (bits, compute) = algorithm(how.get("quant_algo")?.as_str()?)?;
        Some(Group {
            targets: Some(vec![Pattern::parse(module)?]),
            bits,
            compute,
        })
    };
    modules.iter().map(read).collect()
}

fn quark(config: &Map<String, Value>) -> Option<Vec<Group>> {
    let global = config.get("global_quant_config")?;
    let dtype = |key: &str| {
        let spec = match global.get(key)? {
            Value::Array(list) => list.last()?,
            value => value,
        };
        spec.get("dtype")?.as_str()
    };
    let width = |dtype: &str| {
        Some(match dtype.to_lowercase().as_str() {
            // OCP microscaling: an 8-bit exponent per 32 weights.
            "fp4" => 4.25,
            "fp6_e2m3" | "fp6_e3m2" => 6.25,
            "int4" | "uint4" => 4.125,
            "fp8_e4m3" | "fp8_e5m2" | "fp8" | "int8" | "uint8" => 8.0,
            "bfloat16" | "float16" => 16.0,
            _ => return None,
        })
    };
    let bits = width(dtype("weight")?)?;
    let compute = match dtype("input_tensors").and_then(width) {
        Some(bits) if bits < 5.0 => Compute::Bits4,
        Some(bits) if bits < 9.0 => Compute::Bits8,
        _ => Compute::Bits16,
    };
    Some(vec![Group::all(bits, compute)])
}

fn torch_ao(config: &Map<String, Value>) -> Option<Vec<Group>> {
    let (name, group) = match config.get("quant_type")? {
        Value::String(name) => (name.to_lowercase(), None),
        value => {
            let one = value.get("default")?;
            let data = one.get("_data").and_then(Value::as_object);
            (
                one.get("_type")?.as_str()?.to_lowercase(),
                data.and_then(group_size),
            )
        }
    };
    let dynamic = name.contains("dynamic") || name.contains("8wa8") || name.contains("w8a8");
    let compute = if dynamic {
        Compute::Bits8
    } else {
        Compute::Bits16
    };
    // A 16-bit scale and zero point per group.
    let grouped = |bits: f64| bits + 32.0 / group.unwrap_or(128.0);
    let bits = if name.contains("nvfp4") {
        4.5
    } else if name.contains("mxfp4") || (name.contains("mx") && name.contains("4")) {
        4.25
    } else if name.contains("int4") || name.contains("uintx") {
        grouped(4.0)
    } else if name.contains("int8") || name.contains("float8") || name.contains("fp8") {
        8.0
    } else {
        return None;
    };
    Some(vec![Group::all(bits, compute)])
}

/// Bytes of a KV element where the checkpoint tells.
fn kv_bytes(config: &Map<String, Value>, outer: &Map<String, Value>) -> Option<f64> {
    let get = |key: &str| config.get(key).or_else(|| outer.get(key));
    if let Some(scheme) = get("kv_cache_scheme").and_then(Value::as_object) {
        return number(scheme, "num_bits").map(|bits| bits / 8.0);
    }
    let named = |name: &str| {
        let name = name.to_uppercase();
        if name.contains("FP8") || name.contains("INT8") {
            Some(1.0)
        } else if name.contains("FP4") {
            Some(4.5 / 8.0)
        } else {
            None
        }
    };
    get("kv_cache_scheme")
        .or_else(|| get("kv_cache_quant_algo"))
        .and_then(Value::as_str)
        .and_then(named)
}
