//! What was measured, by steps or from outside, and what is known of the engine.

use crate::args::refuse_zero;
use clap::Args;
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;
use windtunnel_engine::latency::MeasuredStep;

/// What was measured: it goes into the header of the table, and limits what is asked of a server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What was measured")]
pub struct MeasuredArgs {
    /// The model: what a server serves it as [default: the only one that it serves]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// GPU, or other device
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Data type of the weights
    #[arg(long, value_name = "NAME")]
    pub dtype: Option<String>,
    /// GPUs that split each layer
    #[arg(long, value_name = "N")]
    pub tp: Option<u32>,
    /// The engine with its version [default: what the server says]
    #[arg(long, value_name = "NAME")]
    pub engine: Option<String>,
    /// Tokens per KV block [default: what the server says]
    #[arg(long, value_name = "TOKENS")]
    pub block_size: Option<u32>,
    /// KV blocks [default: what the server says]
    #[arg(long, value_name = "BLOCKS")]
    pub num_gpu_blocks: Option<u64>,
    /// Most new tokens of a step, as the engine was told. A server does not say it
    #[arg(long, value_name = "TOKENS")]
    pub max_num_batched_tokens: Option<u32>,
    /// Most requests in the batch, as the engine was told. A server does not say it
    #[arg(long, value_name = "N")]
    pub max_num_seqs: Option<u32>,
    /// Most tokens of prompt and output [default: what the server says]
    #[arg(long, value_name = "TOKENS")]
    pub max_model_len: Option<u64>,
}

impl MeasuredArgs {
    /// Refuses limits that leave nothing.
    pub fn check(&self) -> Result<(), InputError> {
        let no_batch = self.max_num_batched_tokens == Some(0);
        refuse_zero(&[
            ("--tp", self.tp == Some(0)),
            ("--block-size", self.block_size == Some(0)),
            ("--num-gpu-blocks", self.num_gpu_blocks == Some(0)),
            ("--max-num-batched-tokens", no_batch),
            ("--max-num-seqs", self.max_num_seqs == Some(0)),
            ("--max-model-len", self.max_model_len == Some(0)),
        ])
    }
}

/// Steps to fit a table to, and where they come from.
pub struct Measurement {
    /// The steps.
    pub steps: Vec<MeasuredStep>,
    /// What a request takes beside its steps, milliseconds.
    pub request_overhead_ms: f64,
    /// Files with their hashes, servers with what was asked of them.
    pub sources: BTreeMap<String, String>,
    /// What a person should know about it.
    pub notes: Vec<String>,
}
