//! The keys of a configuration of inference-perf. Absent and `null` are the same, as in the copies
//! that it writes into its reports.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) load: Load,
    pub(super) data: Data,
    #[serde(default)]
    pub(super) api: Option<Api>,
    #[serde(default)]
    pub(super) server: Option<Server>,
    #[serde(default)]
    pub(super) report: Option<Report>,
    #[serde(default, rename = "metrics")]
    _metrics: Option<IgnoredAny>,
    #[serde(default, rename = "storage")]
    _storage: Option<IgnoredAny>,
    #[serde(default, rename = "tokenizer")]
    _tokenizer: Option<IgnoredAny>,
    #[serde(default, rename = "circuit_breakers")]
    _circuit_breakers: Option<IgnoredAny>,
    #[serde(default, rename = "vllm")]
    _vllm: Option<IgnoredAny>,
}

/// How requests are sent; only what is measured depends on it.
#[derive(Deserialize)]
pub(super) struct Api {
    #[serde(default)]
    pub(super) streaming: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Server {
    #[serde(default)]
    pub(super) ignore_eos: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Report {
    #[serde(default)]
    pub(super) goodput: Option<Goodput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Goodput {
    #[serde(default)]
    pub(super) constraints: Option<BTreeMap<String, f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) interval: Option<f64>,
    #[serde(default)]
    pub(super) stages: Vec<Stage>,
    #[serde(default)]
    pub(super) sweep: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) num_workers: Option<i64>,
    #[serde(default)]
    pub(super) worker_max_concurrency: Option<i64>,
    #[serde(default, rename = "worker_max_tcp_connections")]
    _worker_max_tcp_connections: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) trace: Option<Trace>,
    #[serde(default)]
    pub(super) circuit_breakers: Option<Vec<String>>,
    #[serde(default)]
    pub(super) request_timeout: Option<f64>,
    #[serde(default)]
    pub(super) lora_traffic_split: Option<Vec<Split>>,
    #[serde(default)]
    pub(super) base_seed: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    #[serde(default)]
    pub(super) rate: Option<f64>,
    #[serde(default)]
    pub(super) duration: Option<i64>,
    #[serde(default)]
    pub(super) num_requests: Option<i64>,
    #[serde(default)]
    pub(super) concurrency_level: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trace {
    pub(super) file: String,
    #[serde(default, rename = "format")]
    _format: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Split {
    pub(super) name: String,
    pub(super) split: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) input_distribution: Option<Lengths>,
    #[serde(default)]
    pub(super) output_distribution: Option<Lengths>,
    #[serde(default)]
    pub(super) shared_prefix: Option<Prefix>,
    #[serde(default)]
    pub(super) multimodal: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) trace: Option<Trace>,
    #[serde(default)]
    pub(super) otel_trace_replay: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) conversation_replay: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) synthetic_agentic: Option<IgnoredAny>,
    /// Lengths are those of the whole prompt either way.
    #[serde(default, rename = "use_chat_template")]
    _use_chat_template: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prefix {
    #[serde(default, alias = "num_groups")]
    pub(super) num_unique_system_prompts: Option<i64>,
    #[serde(default, alias = "num_prompts_per_group")]
    pub(super) num_users_per_system_prompt: Option<i64>,
    #[serde(default)]
    pub(super) system_prompt_len: Option<Length>,
    #[serde(default)]
    pub(super) question_len: Option<Length>,
    #[serde(default)]
    pub(super) output_len: Option<Length>,
    #[serde(default)]
    pub(super) question_distribution: Option<Lengths>,
    #[serde(default)]
    pub(super) output_distribution: Option<Lengths>,
    #[serde(default)]
    pub(super) seed: Option<i64>,
    #[serde(default)]
    pub(super) enable_multi_turn_chat: Option<bool>,
    #[serde(default)]
    pub(super) multimodal: Option<IgnoredAny>,
}

/// A length, or how it is drawn.
pub(super) enum Length {
    Fixed(i64),
    Drawn(Box<Lengths>),
}

/// How lengths are drawn.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lengths {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) min: Option<f64>,
    #[serde(default)]
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) mean: Option<f64>,
    #[serde(default, alias = "std")]
    pub(super) std_dev: Option<f64>,
    #[serde(default)]
    pub(super) variance: Option<f64>,
    #[serde(default)]
    pub(super) skew: Option<f64>,
    #[serde(default)]
    pub(super) total_count: Option<i64>,
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LengthVisitor)
    }
}

struct LengthVisitor;

impl<'de> serde::de::Visitor<'de> for LengthVisitor {
    type Value = Length;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number of tokens or a distribution")
    }

    fn visit_u64<E: serde::de::Error>(self, tokens: u64) -> Result<Length, E> {
        i64::try_from(tokens).map(Length::Fixed).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, tokens: i64) -> Result<Length, E> {
        Ok(Length::Fixed(tokens))
    }

    fn visit_map<M: serde::de::MapAccess<'de>>(self, map: M) -> Result<Length, M::Error> {
        let map = serde::de::value::MapAccessDeserializer::new(map);
        Lengths::deserialize(map).map(|drawn| Length::Drawn(Box::new(drawn)))
    }
}
