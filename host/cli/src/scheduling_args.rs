//! Flags of vLLM's scheduler, under vLLM's names. Those that vLLM turns on and off as `--NAME` and
//! `--no-NAME` are pairs here, too: the last one typed counts.

use clap::{Args, ValueEnum};
use windtunnel_sim::SchedulingPolicySpec;

/// Flags that are turned off as `--no-NAME`, by their names as settings.
pub const SWITCHES: [&str; 4] = [
    "async_scheduling",
    "enable_prefix_caching",
    "enable_chunked_prefill",
    "scheduler_reserve_full_isl",
];

/// The setting that a flag's id names: `no_x` turns `x` off.
pub fn setting(id: &str) -> &str {
    match id.strip_prefix("no_") {
        Some(name) if SWITCHES.contains(&name) => name,
        _ => id,
    }
}

/// vLLM's scheduling policy by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchedulingPolicyName {
    /// First come, first served; the request admitted last is preempted
    Fcfs,
    /// By the priority that clients send (lower is more urgent, 0 by default), then by arrival
    Priority,
}

impl From<SchedulingPolicyName> for SchedulingPolicySpec {
    fn from(name: SchedulingPolicyName) -> Self {
        match name {
            SchedulingPolicyName::Fcfs => Self::Fcfs,
            SchedulingPolicyName::Priority => Self::Priority,
        }
    }
}

/// What vLLM's scheduler is told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving engine")]
pub struct SchedulingArgs {
    /// The version of vLLM that --rules vllm follows: vllm-0.8.5, vllm-0.11, vllm-0.15, vllm-0.19,
    /// or vllm-0.32 [default: vllm-0.32]; or a simulator: profilesim, xpusim
    #[arg(long, value_name = "VERSION")]
    pub engine: Option<String>,
    /// Choose the batch of a step while the step before it runs [default under vllm rules; off:
    /// --no-async-scheduling]
    #[arg(long, overrides_with = "no_async_scheduling")]
    pub async_scheduling: bool,
    /// Off
    #[arg(long, hide = true, overrides_with = "async_scheduling")]
    pub no_async_scheduling: bool,
    /// Look up prompts in the prefix cache [default; off: --no-enable-prefix-caching]
    #[arg(long, overrides_with = "no_enable_prefix_caching")]
    pub enable_prefix_caching: bool,
    /// Off
    #[arg(long, hide = true, overrides_with = "enable_prefix_caching")]
    pub no_enable_prefix_caching: bool,
    /// A prompt may be computed in several steps [default; off: --no-enable-chunked-prefill]
    #[arg(long, overrides_with = "no_enable_chunked_prefill")]
    pub enable_chunked_prefill: bool,
    /// Off
    #[arg(long, hide = true, overrides_with = "enable_chunked_prefill")]
    pub no_enable_chunked_prefill: bool,
    /// Admit a request only if its whole prompt has KV blocks [default under vllm rules; off:
    /// --no-scheduler-reserve-full-isl]
    #[arg(long, overrides_with = "no_scheduler_reserve_full_isl")]
    pub scheduler_reserve_full_isl: bool,
    /// Off
    #[arg(long, hide = true, overrides_with = "scheduler_reserve_full_isl")]
    pub no_scheduler_reserve_full_isl: bool,
    /// vLLM's order of the wait queue and choice of whom to preempt, in place of --scheduler,
    /// --priority-policy and --preemption-policy
    #[arg(long, value_enum, value_name = "POLICY")]
    pub scheduling_policy: Option<SchedulingPolicyName>,
    /// How batches are formed, under vllm rules: continuous, static, in-flight, one-prefill, ...,
    /// as "windtunnel policy list --hook batching" has them, a script (FILE.lua) or a plugin
    /// (FILE.so[:NAME]) [default: continuous]
    #[arg(long, value_name = "NAME|FILE[:PARAM=VALUE,...]")]
    pub batching_strategy: Option<String>,
    /// Share of the KV blocks that an admission leaves free, from 0 to below 1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub watermark: Option<f64>,
    /// The threshold of --long-prefill-token-threshold is at least an equal share of the step's
    /// tokens
    #[arg(long)]
    pub long_prefill_token_threshold_adaptive: bool,
    /// Most requests admitted to the running batch [default: --max-num-seqs]
    #[arg(long, value_name = "N")]
    pub max_num_active_seqs: Option<u32>,
    /// Most requests that an instance's server has, waiting or running; it refuses more [default:
    /// no limit]
    #[arg(long, value_name = "N")]
    pub max_num_queued_reqs: Option<u32>,
    /// An instance's server refuses requests while those without a first token have so many prompt
    /// tokens [default: no limit]
    #[arg(long, value_name = "TOKENS")]
    pub max_num_queued_tokens: Option<u64>,
    /// Most LoRA adapters in one step [default under vllm rules: 1]
    #[arg(long, value_name = "N")]
    pub max_loras: Option<u32>,
    /// Time to load an adapter that the step before had not, microseconds [default: 0]
    #[arg(long, value_name = "US")]
    pub lora_load_time: Option<u32>,
    /// Time of the engine core to choose a step, microseconds: per step, and per request in it.
    /// Chosen ahead, it is hidden behind the step before unless longer [default: 0,0]
    #[arg(long, value_delimiter = ',', value_name = "US[,US]")]
    pub core_schedule_us: Option<Vec<f64>>,
    /// Time of the engine core to process a step's output, microseconds: per step, and per request
    /// in it [default: 0,0]
    #[arg(long, value_delimiter = ',', value_name = "US[,US]")]
    pub core_update_us: Option<Vec<f64>>,
    /// Processes of an instance's API server, through which requests come and tokens leave
    /// [default: --dp]
    #[arg(long, value_name = "N")]
    pub api_server_count: Option<u32>,
    /// Time of such a process, which does one thing at a time, microseconds: per request, per
    /// prompt token, and per request to which a step's output is sent [default: that of the
    /// step-time model; 0,0,0 but for kernel-tables]
    #[arg(long, value_delimiter = ',', value_name = "US[,US[,US]]")]
    pub api_server_us: Option<Vec<f64>>,
    /// Drafts of speculative decoding per request and step; needs --speculative-method, and
    /// --acceptance-rate or a trace with a column "accepted" [default: 0, none]
    #[arg(long, value_name = "N")]
    pub num_speculative_tokens: Option<u32>,
    /// Where drafts come from: eagle, which has KV of its own, or ngram
    #[arg(long, value_name = "METHOD")]
    pub speculative_method: Option<String>,
    /// Chance of a draft to be right if those before it are, from 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub acceptance_rate: Option<f64>,
}

impl SchedulingArgs {
    /// Whether each of [`SWITCHES`] is on; `None` = nothing was typed.
    pub fn switches(&self) -> [Option<bool>; 4] {
        let pairs = [
            (self.async_scheduling, self.no_async_scheduling),
            (self.enable_prefix_caching, self.no_enable_prefix_caching),
            (self.enable_chunked_prefill, self.no_enable_chunked_prefill),
            (
                self.scheduler_reserve_full_isl,
                self.no_scheduler_reserve_full_isl,
            ),
        ];
        pairs.map(|(on, off)| (on || off).then_some(on))
    }
}
