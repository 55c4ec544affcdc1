//! Flags of what lies below the GPU's KV blocks, and of LoRA adapters with slots, under the names
//! of the reference simulator.

use clap::Args;
use std::path::PathBuf;

/// Tiers of KV blocks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "KV tiers")]
pub struct TierArgs {
    /// KV blocks on the CPU, to which full blocks are copied and from which prefixes come back, as
    /// vLLM's offloading connector does it or, under blis rules, as BLIS; 0 = none [default: 0]
    #[arg(long, value_name = "BLOCKS")]
    pub kv_cpu_blocks: Option<u64>,
    /// Bandwidth at which blocks come back from the CPU, GB/s of each GPU, under vllm rules
    #[arg(long, value_name = "GB/S")]
    pub kv_cpu_bandwidth: Option<f64>,
    /// Tokens that come back from the CPU per microsecond, each block rounded up, under blis rules
    /// [default: 100]
    #[arg(long, value_name = "TOKENS")]
    pub kv_transfer_bandwidth: Option<f64>,
    /// Time besides that of each block that comes back from the CPU, under vllm rules of each load,
    /// microseconds [default: 0]
    #[arg(long, value_name = "US")]
    pub kv_transfer_base_latency: Option<i64>,
    /// Under blis rules, where it changes nothing, as in BLIS; from 0 to 1
    #[arg(long, value_name = "SHARE", hide_short_help = true)]
    pub kv_offload_threshold: Option<f64>,
    /// KV blocks on the CPU and on devices below it, a file of BLIS (kv_offload: cpu_bytes_to_use,
    /// secondary_tiers), in place of --kv-cpu-blocks, under blis rules
    #[arg(long, value_name = "FILE")]
    pub kv_offload_config: Option<PathBuf>,
    /// LoRA adapters with their ranks, and what they cost, a file of BLIS (lora: adapter_capacity,
    /// adapters), under blis rules
    #[arg(long, value_name = "FILE")]
    pub lora_config: Option<PathBuf>,
    /// LoRA adapters that an instance has room for [default: the file's]
    #[arg(long, value_name = "N")]
    pub lora_adapter_capacity: Option<u32>,
    /// Time to load an adapter besides that of its bytes, microseconds [default: the file's, or
    /// 1500]
    #[arg(long, value_name = "US")]
    pub lora_load_base_latency_us: Option<f64>,
    /// Bandwidth at which adapters are loaded, bytes per microsecond [default: the file's, or 2e6]
    #[arg(long, value_name = "BYTES")]
    pub lora_load_bandwidth_bytes_us: Option<f64>,
    /// Bytes of an adapter per rank [default: the file's, or 2e6]
    #[arg(long, value_name = "BYTES")]
    pub lora_footprint_bytes_per_rank: Option<f64>,
}
