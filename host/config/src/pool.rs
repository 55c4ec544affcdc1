//! Pools of a cluster as plain data: the same in a run's file and in a policy bundle.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use windtunnel_base::input::is_default;

/// Equal instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSpec {
    /// Name in views, records and reports; may be empty where there is one pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What its instances do for a request.
    #[serde(skip_serializing_if = "is_default")]
    pub role: RoleSpec,
    /// Instances; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// GPU type; the model's default if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// Power of a GPU under load, watts, and behind it that of one that computes nothing; the first
    /// is built in for many GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_power: Option<Vec<f64>>,
    /// What a GPU costs, US dollars per hour; built in for a few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_price: Option<f64>,
    /// How an instance is spread over GPUs.
    #[serde(skip_serializing_if = "is_default")]
    pub parallel: ParallelSpec,
    /// Limits of the serving engine.
    #[serde(skip_serializing_if = "is_default")]
    pub engine: EngineSpec,
    /// Where step times come from.
    #[serde(skip_serializing_if = "is_default")]
    pub latency: LatencySpec,
}

/// What the instances of a pool do for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleSpec {
    /// Prefill and decode.
    #[default]
    Serve,
    /// Prefill only.
    Prefill,
    /// Decode; of prompts that no other instance computes, prefill as well.
    Decode,
    /// Encode images, audio and video, in the reference simulator.
    Encode,
    /// Nothing.
    Idle,
}

/// How an instance is spread over GPUs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParallelSpec {
    /// GPUs that split each layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<u32>,
    /// Data-parallel ranks of an instance; 1 if not given. Under the reference's rules replicas of
    /// a mixture-of-experts model, which share a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<u32>,
    /// Stages of a pipeline that share the layers out; 1, none, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<u32>,
    /// GPUs of a node; 8 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus_per_node: Option<u32>,
    /// Bandwidth between nodes, GB/s (10^9 bytes) of each GPU; 50 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inter_node_bandwidth: Option<f64>,
    /// Latency of a hop between nodes, microseconds; 4 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inter_node_latency_us: Option<f64>,
    /// What a GPU sends to another one of its node, GB/s; built in for many GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intra_node_bandwidth: Option<f64>,
    /// Spread experts over all GPUs of the instance.
    #[serde(skip_serializing_if = "is_default")]
    pub experts: bool,
    /// How data-parallel experts exchange tokens, by vLLM's names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moe_comm_backend: Option<String>,
}

/// Limits of the serving engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSpec {
    /// The version of vLLM that the engine follows under its rules, as `vllm-0.32`, which it is if
    /// not given.
    #[serde(rename = "engine", skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Most requests in the running batch; 256 if not given, under vLLM's rules what vLLM takes on
    /// the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_seqs: Option<u32>,
    /// Most new tokens per step; 2048 if not given, under vLLM's rules what vLLM takes on the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_batched_tokens: Option<u32>,
    /// Most prefill tokens of one request per step; 0 = no limit, the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_prefill_token_threshold: Option<u32>,
    /// The threshold is at least an equal share of the step's tokens; only with a threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_prefill_token_threshold_adaptive: Option<bool>,
    /// Choose the batch of a step while the step before it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub async_scheduling: Option<bool>,
    /// Look up prompts in the prefix cache; yes if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_prefix_caching: Option<bool>,
    /// A prompt may be computed in several steps; yes if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_chunked_prefill: Option<bool>,
    /// Admit a request only if its whole prompt has KV blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_reserve_full_isl: Option<bool>,
    /// Share of the KV blocks that an admission leaves free, from 0 to below 1; 0 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<f64>,
    /// Most requests admitted to the running batch; `max_num_seqs` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_active_seqs: Option<u32>,
    /// Most requests that the server of an instance has, waiting or running; more are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_queued_reqs: Option<u32>,
    /// Prompt tokens of requests without a first token at which the server refuses more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_queued_tokens: Option<u64>,
    /// Most LoRA adapters in one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_loras: Option<u32>,
    /// Time to load an adapter, microseconds; 0 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_load_time_us: Option<u32>,
    /// Drafts of speculative decoding per request and step; 0, none, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_speculative_tokens: Option<u32>,
    /// Where drafts come from: `eagle` or `ngram`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculative_method: Option<String>,
    /// Chance of a draft to be right if those before it are, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptance_rate: Option<f64>,
    /// Tokens per KV block; 16 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// KV blocks per instance; measured or computed if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_kv_blocks: Option<u64>,
    /// Share of the GPU memory that may be used; 0.9 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_utilization: Option<f64>,
    /// Data type of the KV cache by vLLM's names; as the checkpoint says, else 16 bits, if not
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_dtype: Option<String>,
    /// Most tokens of prompt and output; 0 = no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u64>,
    /// KV blocks on the CPU; 0, none, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cpu_blocks: Option<u64>,
    /// Bandwidth at which blocks come back from the CPU under vLLM's rules, GB/s (10^9 bytes) of
    /// each GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cpu_bandwidth: Option<f64>,
    /// Tokens that come back from the CPU per microsecond under the reference's rules, each block
    /// rounded up; 100 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_transfer_bandwidth: Option<f64>,
    /// Time besides that of each block that comes back from the CPU, under vLLM's rules of each
    /// load, microseconds; 0 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_transfer_base_latency: Option<i64>,
    /// Without effect, as in the reference simulator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_offload_threshold: Option<f64>,
    /// File of tiers in the reference simulator's layout, in place of `kv_cpu_blocks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_offload_config: Option<PathBuf>,
    /// File of LoRA adapters in the reference simulator's layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_config: Option<PathBuf>,
    /// LoRA adapters that an instance has room for; as that file says if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_adapter_capacity: Option<u32>,
    /// Time to load an adapter besides that of its bytes, microseconds; as that file or the
    /// defaults say if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_load_base_latency_us: Option<f64>,
    /// Bandwidth at which adapters are loaded, bytes per microsecond; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_load_bandwidth_bytes_us: Option<f64>,
    /// Bytes of an adapter per rank; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_footprint_bytes_per_rank: Option<f64>,
    /// How batches are formed, by name and parameters: `NAME[:param=value,...]`; `continuous` if
    /// not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching_strategy: Option<String>,
    /// Time of the engine core to choose a step, microseconds: per step, and per request in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_schedule_us: Option<Vec<f64>>,
    /// Time of the engine core to process a step's output, microseconds: per step, and per request
    /// in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_update_us: Option<Vec<f64>>,
    /// Processes of the API server of an instance; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_server_count: Option<u32>,
    /// Time of such a process, which does one thing at a time, microseconds: per request, per
    /// prompt token, and per request to which a step's output is sent. That of the step-time model
    /// if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_server_us: Option<Vec<f64>>,
    /// Touch every request in every step: the definition of correctness, slowly.
    #[serde(skip_serializing_if = "is_default")]
    pub plain_steps: bool,
}

/// Where step times come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LatencySpec {
    /// `auto` (the default), `blackbox`, `roofline`, `trained-physics`; `profile` for a measured
    /// table, or `ticks` for abstract time without model and hardware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// vLLM version of fitted coefficients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vllm_version: Option<String>,
    /// Overhead coefficients, microseconds; together with `beta_coeffs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_coeffs: Option<Vec<f64>>,
    /// Step-time coefficients; together with `alpha_coeffs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_coeffs: Option<Vec<f64>>,
    /// The file of a measured table of step times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<PathBuf>,
    /// What happens outside of that table: `error` (the default), `clamp` or `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extrapolation: Option<String>,
    /// File of measured kernels for `kernel-tables`; the built-in ones of the GPU if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_tables: Option<PathBuf>,
    /// What `windtunnel fit` found out about the deployment, for `kernel-tables`, which it chooses;
    /// none if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<PathBuf>,
    /// Of `ticks`: time to compute a whole prompt, ticks; 2 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_time: Option<f64>,
    /// Of `ticks`: time of a step of decodes, ticks; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl: Option<f64>,
    /// Of `ticks`: steps that a prompt takes; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_prefill_chunks: Option<u32>,
}
