//! The YAML header of a TraceV2 trace.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use windtunnel_base::input::{self, InputError};

/// What the header of a TraceV2 trace says. Absent keys are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    /// Version of the format; 2 and 3 are understood.
    pub trace_version: Option<u32>,
    /// Unit of all times: `us` or `microseconds`.
    pub time_unit: String,
    /// When the trace was recorded.
    pub created_at: String,
    /// Where the trace comes from.
    pub mode: Mode,
    /// Requests at the start that a calibration leaves out.
    pub warm_up_requests: u64,
    /// Seed of the workload.
    pub workload_seed: Option<i128>,
    /// File or preset the workload came from.
    pub workload_spec: String,
    /// How a session's context grows.
    pub session_context_growth: ContextGrowth,
    /// The server that was observed.
    pub server: Option<Server>,
    /// The network that was observed.
    pub network: Option<Network>,
    /// Latency targets by SLO class.
    pub goodput_slo_targets: BTreeMap<String, SloTargets>,
    /// KV offloading of the observed server.
    pub kv_offload: Option<KvOffload>,
    /// Cache counters of the observed server.
    pub observed_kv_metrics: Option<ObservedKvMetrics>,
}

/// Where a trace comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A real server was observed: send times are Unix epoch microseconds.
    Real,
    /// A simulation wrote it.
    #[default]
    #[serde(alias = "")]
    Generated,
    /// A simulation that replayed another trace wrote it.
    Replayed,
}

/// How the prompt of a session's next round comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextGrowth {
    /// Each round stands alone; recorded input lengths are whole prompts.
    #[default]
    #[serde(alias = "")]
    Independent,
    /// Each prompt repeats the session so far; recorded input lengths are the new tokens of the
    /// round.
    Accumulate,
}

/// The server of an observed trace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Serving software.
    pub r#type: String,
    /// Model served.
    pub model: String,
    /// Tensor parallelism.
    pub tensor_parallel: u32,
    /// Most running sequences.
    pub max_num_seqs: u64,
    /// KV block size, tokens.
    pub block_size: u64,
    /// Share of the GPU memory in use.
    pub gpu_memory_utilization: f64,
    /// Longest sequence, tokens.
    pub max_model_len: u64,
}

/// The network of an observed trace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Round-trip time, milliseconds.
    pub measured_rtt_ms: f64,
}

/// Latency targets of one SLO class, milliseconds; 0 = not gated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SloTargets {
    /// Time to first token.
    pub ttft_ms: f64,
    /// Inter-token latency.
    pub itl_ms: f64,
    /// End-to-end latency.
    pub e2e_ms: f64,
}

/// KV offloading of the observed server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KvOffload {
    /// CPU memory for blocks, bytes.
    pub cpu_bytes_to_use: u64,
    /// Size of one block, bytes.
    pub per_block_bytes: u64,
    /// Tokens of one block.
    pub block_size: u64,
    /// Blocks moved together.
    pub blocks_per_chunk: u64,
    /// Tokens behind one hash.
    pub tokens_per_hash: u64,
    /// Eviction policy.
    pub eviction_policy: String,
    /// Are only prompt blocks offloaded?
    pub offload_prompt_only: bool,
    /// Do KV events describe themselves?
    pub self_describing_kv_events: bool,
    /// Further tiers, as written.
    pub secondary_tiers: Vec<serde_json::Value>,
}

/// Cache counters of the observed server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObservedKvMetrics {
    /// Which counters they are.
    pub source: String,
    /// Hits / queries.
    pub hit_rate: f64,
    /// Blocks found.
    pub block_hits: f64,
    /// Blocks asked for.
    pub block_queries: f64,
    /// Seconds of loading.
    pub read_time_total: f64,
    /// Seconds of storing.
    pub write_time_total: f64,
    /// Version of the server.
    pub vllm_commit: String,
}

impl Header {
    /// Reads a header file.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key or a value that is not understood.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        Self::parse(path.display(), &input::read_text(path)?)
    }

    /// Reads a header from text; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn parse(name: impl fmt::Display, text: &str) -> Result<Self, InputError> {
        let header: Self = input::parse_yaml(&name, text)?;
        if let Some(version) = header.trace_version
            && !(1..=3).contains(&version)
        {
            return Err(InputError::in_file(
                name,
                format!("trace_version {version} is not understood; expected 3 (or older)"),
            ));
        }
        if !matches!(header.time_unit.as_str(), "" | "us" | "microseconds") {
            return Err(InputError::in_file(
                name,
                input::unknown("time_unit", &header.time_unit, &["us", "microseconds"]),
            ));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_and_strangers_are_refused() {
        let text = "trace_version: 3\ntime_unit: us\ncreated_at: '2026-08-01T00:00:00Z'\nmode: real\n\
            warm_up_requests: 2\nworkload_seed: 42\nworkload_spec: preset:chatbot\n\
            session_context_growth: accumulate\nserver:\n  type: vllm\n  model: m\nnetwork:\n  measured_rtt_ms: 1.5\n\
            goodput_slo_targets:\n  critical:\n    ttft_ms: 100\nkv_offload:\n  cpu_bytes_to_use: 1\n  \
            secondary_tiers:\n  - kind: disk\nobserved_kv_metrics:\n  source: tiered\n  hit_rate: 0.5\n";
        let header = Header::parse("h.yaml", text).unwrap();
        assert_eq!(header.mode, Mode::Real);
        assert_eq!(header.session_context_growth, ContextGrowth::Accumulate);
        assert_eq!(header.goodput_slo_targets["critical"].ttft_ms, 100.0);
        let error = Header::parse("h.yaml", "trace_version: 3\nwarmup_requests: 0\n").unwrap_err();
        assert!(
            error.to_string().starts_with(
                "h.yaml:2:1: unknown key \"warmup_requests\"; did you mean \"warm_up_requests\"?"
            ),
            "{error}"
        );
    }

    #[test]
    fn empty_values_are_the_defaults_and_wrong_ones_are_named() {
        let header = Header::parse("h", "mode: \"\"\nsession_context_growth: \"\"\n").unwrap();
        assert_eq!(header.mode, Mode::Generated);
        assert_eq!(header.session_context_growth, ContextGrowth::Independent);
        for (text, expected) in [
            ("trace_version: 9\n", "trace_version 9 is not understood"),
            ("time_unit: ms\n", "unknown time_unit \"ms\""),
            ("session_context_growth: accumulated\n", "accumulate"),
            ("mode: reall\n", "real"),
        ] {
            let error = Header::parse("h", text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
