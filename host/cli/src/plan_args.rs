//! Flags of `plan`.

use clap::Args;
use std::path::PathBuf;

/// `windtunnel plan`, beside the flags of `run`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Plan")]
pub struct PlanArgs {
    /// What has to be so: ttft.p99<500ms,tpot.p95<30ms; figures ttft, tpot, itl, e2e and
    /// queue_time, with .mean or a percentile; of a class as batch/e2e.p90<1m; served>=99.9%;
    /// attainment>=95% (with --slo-ttft and the like); or a metric of a sweep's rows. A request
    /// that is not served is later than any limit
    #[arg(long, value_name = "CONDITIONS", required = true)]
    pub slo: String,
    /// What to choose from: a flag of `run` and its values, as in a sweep; policies, too. Repeat
    /// for more [default: hardware=those with a known price, and tp=1,2,4,8]
    #[arg(long, value_name = "KEY=VALUES")]
    pub grid: Vec<String>,
    /// Look at pools that prefill and decode apart, too
    #[arg(long, conflicts_with = "max_rate")]
    pub split_pools: bool,
    /// Most GPUs
    #[arg(
        long,
        default_value_t = 128,
        value_name = "N",
        conflicts_with = "max_rate"
    )]
    pub max_gpus: u32,
    /// So many instances fail when most requests come, and do not return: the targets hold all the
    /// same. Clients send again what was lost, once, unless --retries says it
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub survive: u32,
    /// Find the most requests per second that the cluster of --num-instances serves within the
    /// targets; of a trace, the largest --rate-scale
    #[arg(long)]
    pub max_rate: bool,
    /// Seeds of each answer: --seed, --seed + 1, ...
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub seeds: u64,
    /// Keep what runs said, a line each: the same command goes on where an interrupted one stopped
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Write all that was looked at, a row each, in CSV
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write the cheapest one as Kubernetes objects that run vLLM
    #[arg(long, value_name = "FILE", conflicts_with = "max_rate")]
    pub manifest: Option<PathBuf>,
    /// Runs at a time [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}
