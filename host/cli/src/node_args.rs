//! Flags of instances that are a pipeline of stages, or lie on several nodes.

use clap::Args;
use windtunnel_engine::latency::{
    DEFAULT_GPUS_PER_NODE, DEFAULT_INTER_NODE_GB_S, DEFAULT_INTER_NODE_US,
};

/// Stages of an instance, its nodes and their links.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model and hardware")]
pub struct NodeArgs {
    /// Pipeline parallelism: stages that share the layers out, each on --tp GPUs of its own; under
    /// vllm rules, with step times that are made layer by layer
    #[arg(long, default_value_t = 1, value_name = "STAGES")]
    pub pp: u32,
    /// GPUs of a node; an instance of more lies on several
    #[arg(
        long,
        default_value_t = DEFAULT_GPUS_PER_NODE,
        value_name = "N",
        hide_short_help = true
    )]
    pub gpus_per_node: u32,
    /// Bandwidth of a GPU to other nodes, GB/s, for an instance that lies on several
    #[arg(
        long,
        default_value_t = DEFAULT_INTER_NODE_GB_S,
        value_name = "GB/S",
        hide_short_help = true
    )]
    pub inter_node_bandwidth: f64,
    /// Latency of a hop between nodes, microseconds
    #[arg(
        long,
        default_value_t = DEFAULT_INTER_NODE_US,
        value_name = "US",
        hide_short_help = true
    )]
    pub inter_node_latency: f64,
    /// Bandwidth of a GPU to another one of its node, GB/s, over which stages of a pipeline send
    /// activations [default: that of the GPU, if it is known]
    #[arg(long, value_name = "GB/S", hide_short_help = true)]
    pub intra_node_bandwidth: Option<f64>,
}
