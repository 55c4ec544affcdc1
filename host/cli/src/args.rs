//! The flags that several commands take, each once, with its help.

use super::autoscale_args::AutoscaleArgs;
use super::disaggregation_args::DisaggregationArgs;
use super::flow_control_args::FlowControlArgs;
use super::node_args::NodeArgs;
use super::scheduling_args::SchedulingArgs;
use super::tier_args::TierArgs;
use clap::{Args, ValueEnum};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_sim::{EventSpec, ScaleSpec};

/// Refuses the first of these flags that is 0.
///
/// # Errors
/// When one of them is.
pub fn refuse_zero(flags: &[(&str, bool)]) -> Result<(), InputError> {
    match flags.iter().find(|(_, zero)| *zero) {
        Some((flag, _)) => Err(InputError::new(format!(
            "{flag} must be at least 1, found 0"
        ))),
        None => Ok(()),
    }
}

/// Refuses a number of a flag that is not within `range`.
///
/// # Errors
/// When it is not.
pub fn within(flag: &str, found: u32, range: RangeInclusive<u32>) -> Result<(), InputError> {
    match range.contains(&found) {
        true => Ok(()),
        false => Err(InputError::new(format!(
            "{flag} must be from {} to {}, found {found}",
            range.start(),
            range.end()
        ))),
    }
}

/// Rules by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RulesName {
    /// What the latency model was fitted under
    Auto,
    /// What vLLM V1 does
    Vllm,
    /// What the simulator BLIS does, to the microsecond
    Blis,
}

/// Latency model by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LatencyName {
    /// Kernel-tables where the GPU's kernels were measured, else fitted coefficients, else
    /// trained-physics; xpu-roofline for its own models (under --rules blis, or with
    /// --vllm-version, fitted coefficients first)
    Auto,
    /// Fitted alpha/beta coefficients of one model on one GPU type
    Blackbox,
    /// Compute and bandwidth limits of the hardware: a lower bound
    Roofline,
    /// Roofline terms with globally fitted corrections
    TrainedPhysics,
    /// Kernels that were measured on the GPU, and what whole servers were measured to add
    KernelTables,
    /// Operation by operation at the rates of an accelerator, as XpuSim has it
    XpuRoofline,
    /// A table of measured step times: --profile FILE
    Profile,
    /// Abstract time, without model and hardware: --prefill-time, --itl, --total-prefill-chunks
    Ticks,
}

/// How results are printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for people
    Table,
    /// One JSON object
    Json,
    /// The sections that the simulator BLIS prints, for scripts that parse them
    Blis,
    /// One JSON object in the schema of XpuSim
    Xpusim,
}

/// What a served model runs on.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Model and hardware")]
pub struct ModelArgs {
    /// Model, by full or short name (see `windtunnel models`)
    #[arg(long, required = true)]
    pub model: Option<String>,
    /// GPU type [default: the model's]
    #[arg(long, alias = "xpu", value_name = "GPU")]
    pub hardware: Option<String>,
    /// Power of a GPU under load and, if known, of one without work, watts: for the energy of the
    /// run [default: the limit of the GPU's data sheet; no idle power]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "WATTS[,IDLE]",
        hide_short_help = true
    )]
    pub gpu_power: Option<Vec<f64>>,
    /// Price of a GPU, US dollars per hour: for the cost of the run [default: that of the GPU, if
    /// it is known]
    #[arg(long, value_name = "USD", hide_short_help = true)]
    pub gpu_price: Option<f64>,
    /// Tensor parallelism, GPUs per instance [default: the model's]
    #[arg(long)]
    pub tp: Option<u32>,
    /// Data-parallel ranks of an instance; under vllm rules each has a queue and a KV cache of its
    /// own, and those of a mixture-of-experts model take each step together
    #[arg(long, default_value_t = 1)]
    pub dp: u32,
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// Spread experts over all GPUs of the instance, whole ones on each; without it each is split
    /// over them. kernel-tables can tell, analytic step times take them to be spread
    #[arg(long)]
    pub enable_expert_parallel: bool,
    /// Expert dispatch backend (needs --dp above 1)
    #[arg(long, value_name = "NAME")]
    pub moe_comm_backend: Option<String>,
    /// vLLM version of fitted coefficients; takes them in place of measured kernels
    #[arg(long, value_name = "VERSION")]
    pub vllm_version: Option<String>,
    /// Step-time model
    #[arg(long, value_enum, default_value_t = LatencyName::Auto, value_name = "MODEL")]
    pub latency_model: LatencyName,
    /// Measured step times: a table of whole steps, or a profile of ProfileSim (with
    /// --latency-model profile)
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Measured kernels of the GPU, as `windtunnel tables import` makes them, in place of the
    /// built-in ones (with --latency-model kernel-tables or auto)
    #[arg(long, value_name = "FILE")]
    pub kernel_tables: Option<PathBuf>,
    /// What `windtunnel fit` found out about this deployment; chooses --latency-model kernel-tables
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// What a step outside of that table takes: error (no result), clamp (the nearest one that was
    /// measured), linear (the last line goes on) [default: error]
    #[arg(long, value_name = "HOW")]
    pub extrapolation: Option<String>,
    /// Overhead coefficients a0,a1,a2 in microseconds (with --beta-coeffs)
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "A0,A1,A2",
        allow_hyphen_values = true
    )]
    pub alpha_coeffs: Option<Vec<f64>>,
    /// Step-time coefficients: 3 for blackbox, 7 to 11 for trained-physics (with --alpha-coeffs)
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "B0,B1,...",
        allow_hyphen_values = true
    )]
    pub beta_coeffs: Option<Vec<f64>>,
    /// Ticks that a whole prompt takes (with --latency-model ticks) [default: 2]
    #[arg(long, value_name = "TICKS", hide_short_help = true)]
    pub prefill_time: Option<f64>,
    /// Ticks that a step of decodes takes (with --latency-model ticks) [default: 1]
    #[arg(long, value_name = "TICKS", hide_short_help = true)]
    pub itl: Option<f64>,
    /// Steps that a prompt takes (with --latency-model ticks) [default: 1]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub total_prefill_chunks: Option<u32>,
    /// Folder with the model's Hugging Face config.json [default: built in]
    #[arg(long, value_name = "FOLDER")]
    pub model_config_folder: Option<PathBuf>,
    /// GPUs to add to the built-in ones, in the JSON layout of BLIS; its rows win
    #[arg(long, value_name = "FILE")]
    pub hardware_config: Option<PathBuf>,
    /// Models, coefficients, hardware and presets, as in defaults.yaml or in BLIS's layout
    /// [default: built in]
    #[arg(long, value_name = "FILE")]
    pub defaults_filepath: Option<PathBuf>,
    /// KV blocks per instance, under vllm rules of each of its data-parallel ranks [default: fitted
    /// or computed from GPU memory]
    #[arg(long, value_name = "BLOCKS")]
    pub total_kv_blocks: Option<u64>,
    /// Tokens per KV block
    #[arg(
        long,
        visible_alias = "block-size",
        default_value_t = 16,
        value_name = "TOKENS"
    )]
    pub block_size_in_tokens: u32,
    /// Share of GPU memory that may be used
    #[arg(long, default_value_t = 0.9, value_name = "SHARE")]
    pub gpu_memory_utilization: f64,
    /// Data type of the KV cache, as vLLM names it: auto, bfloat16, fp8, ... [default: what the
    /// checkpoint says, else 16 bits]
    #[arg(long, value_name = "DTYPE")]
    pub kv_cache_dtype: Option<String>,
    /// Most tokens of prompt and output; 0 = no limit [default: the model's, at most what the KV
    /// cache holds]
    #[arg(long, value_name = "TOKENS")]
    pub max_model_len: Option<u64>,
}

/// Inside an instance.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Serving engine")]
pub struct EngineArgs {
    /// Whose behaviour the engine follows
    #[arg(long, value_enum, default_value_t = RulesName::Auto)]
    pub rules: RulesName,
    /// Touch every request in every step instead of what changes; the same results, slowly
    #[arg(long, hide_short_help = true)]
    pub plain_steps: bool,
    /// Most requests in the running batch
    #[arg(
        long,
        visible_alias = "max-num-seqs",
        alias = "max-batch-size",
        default_value_t = 256,
        value_name = "N"
    )]
    pub max_num_running_reqs: u32,
    /// Most new tokens per step
    #[arg(
        long,
        visible_alias = "max-num-batched-tokens",
        default_value_t = 2048,
        value_name = "TOKENS"
    )]
    pub max_num_scheduled_tokens: u32,
    /// Most prefill tokens of one request per step; 0 = no limit
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    pub long_prefill_token_threshold: u32,
    /// vLLM's scheduler.
    #[command(flatten)]
    pub scheduling: SchedulingArgs,
    /// Tiers below the GPU's KV blocks, and LoRA adapters with slots.
    #[command(flatten)]
    pub tiers: TierArgs,
    /// Order of the wait queue: fcfs, priority-fcfs, sjf, ..., FILE.lua, or FILE.so[:NAME]
    /// [default: fcfs]
    #[arg(long, value_name = "POLICY", help_heading = "Serving engine")]
    pub scheduler: Option<String>,
    /// Priority of a waiting request: slo-class, slo-based, ..., FILE.lua, or FILE.so[:NAME]
    /// [default: slo-class]
    #[arg(long, value_name = "POLICY", help_heading = "Serving engine")]
    pub priority_policy: Option<String>,
    /// Who is preempted: fcfs (last admitted), priority (least urgent), FILE.lua, or FILE.so[:NAME]
    /// [default: fcfs]
    #[arg(long, value_name = "POLICY", help_heading = "Serving engine")]
    pub preemption_policy: Option<String>,
}

/// Around the instances.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster and policies")]
pub struct ClusterArgs {
    /// Serving instances in the cluster
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub num_instances: u32,
    /// Instances that come and go: from AT on, the pool has N instances. New ones start
    /// empty; those that go, the youngest first, get no new requests and finish theirs.
    /// AT is in seconds, or in ticks; POOL may be left out where there is one. May be given
    /// several times
    #[arg(long, value_name = "AT:[POOL:]N", value_delimiter = ',')]
    pub scale: Vec<ScaleSpec>,
    /// What happens to instances: they fail (AT:fail:K[:RESTART]: others take requests in
    /// their place after so many seconds), take longer for their steps
    /// (AT:slow:K:FACTOR:SECONDS), or are replaced N at once (AT:roll:N[:STARTUP]). K are
    /// instances from 0, as 2 or 0+1+2; POOL/ may stand before them. May be given several times
    #[arg(long, value_name = "AT:KIND:WHOM", value_delimiter = ',')]
    pub event: Vec<EventSpec>,
    /// How often a client sends a request again that was lost on an instance that failed
    /// [default: 0]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Seconds after which it does [default: 1]
    #[arg(long, value_name = "SECONDS")]
    pub retry_after: Option<f64>,
    /// Policies in a YAML file; a flag given explicitly wins
    #[arg(long, value_name = "FILE")]
    pub policy_config: Option<PathBuf>,
    /// A parameter of a policy: name=value, or hook.name=value (routing.weight=2); may
    /// be given several times
    #[arg(long, value_name = "PARAM")]
    pub policy_param: Vec<String>,
    /// Lift the limits of scripts: instructions, memory, time
    #[arg(long)]
    pub trusted: bool,
    /// Predict output lengths for the policies that read predictions: exact, or
    /// lognormal:SIGMA[:BIAS]; by class as in lognormal:0.4,batch=lognormal:0.6:0.8
    #[arg(long, value_name = "PREDICTOR")]
    pub output_predictor: Option<String>,
    /// How wrong the durations are that policies ask for with est_prefill_us and the like: exact,
    /// or lognormal:SIGMA[:BIAS] [default: exact]
    #[arg(long, value_name = "ERROR")]
    pub estimate_error: Option<String>,
    /// Admission: a name that "windtunnel policy list" gives, FILE.lua, or FILE.so[:NAME] [default:
    /// always-admit]
    #[arg(long, value_name = "POLICY")]
    pub admission_policy: Option<String>,
    /// Tokens the bucket holds (token-bucket) [default: 10000]
    #[arg(long, value_name = "TOKENS")]
    pub token_bucket_capacity: Option<f64>,
    /// Tokens per second the bucket gains (token-bucket) [default: 1000]
    #[arg(long, value_name = "TOKENS/S")]
    pub token_bucket_refill_rate: Option<f64>,
    /// Arrival to admission decision, microseconds
    #[arg(long, default_value_t = 0, value_name = "US")]
    pub admission_latency: u32,
    /// Routing: round-robin, least-loaded, weighted, ..., FILE.lua, or FILE.so[:NAME] [default:
    /// round-robin]
    #[arg(long, value_name = "POLICY")]
    pub routing_policy: Option<String>,
    /// Scorers of weighted routing, name:weight,... [default:
    /// precise-prefix-cache:2,queue-depth:1,kv-utilization:1]
    #[arg(long, value_name = "SCORERS")]
    pub routing_scorers: Option<String>,
    /// Weight of the scorer lora-affinity, behind --routing-scorers or the default ones
    #[arg(long, value_name = "WEIGHT")]
    pub lora_scorer_weight: Option<f64>,
    /// Two-weight form of weighted routing: weight of free KV blocks [default: 0.6]
    #[arg(long, value_name = "WEIGHT")]
    pub routing_cache_weight: Option<f64>,
    /// Two-weight form of weighted routing: weight of short queues [default: 0.4]
    #[arg(long, value_name = "WEIGHT")]
    pub routing_load_weight: Option<f64>,
    /// Admission to routing decision, microseconds
    #[arg(long, default_value_t = 0, value_name = "US")]
    pub routing_latency: u32,
    /// Age at which the router's view of an instance is refreshed, microseconds; 0 = always fresh
    #[arg(long, default_value_t = 50_000, value_name = "US")]
    pub snapshot_refresh_interval: u32,
    /// Age at which the router's view of the prefix caches is refreshed, microseconds; 0 = always
    /// fresh
    #[arg(long, default_value_t = 50_000, value_name = "US")]
    pub cache_signal_delay: u32,
}

/// What to find out.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Analysis")]
pub struct AnalysisArgs {
    /// Goodput target for time to first token: 200ms, or class=200ms,class=1s
    #[arg(long, value_name = "TARGETS")]
    pub slo_ttft: Option<String>,
    /// Goodput target for a request's mean inter-token latency
    #[arg(long, value_name = "TARGETS")]
    pub slo_itl: Option<String>,
    /// Goodput target for end-to-end latency
    #[arg(long, value_name = "TARGETS")]
    pub slo_e2e: Option<String>,
    /// Exit with code 3 if one of these is so: ttft.p99>300ms, served<99.9%, requests_per_s<40;
    /// figures as in `windtunnel plan --slo`, in a sweep the metrics of its rows
    #[arg(long, value_name = "CONDITIONS")]
    pub fail_if: Option<String>,
    /// Weigh the run into one number, higher is better: throughput:1,p99_ttft:2,...
    #[arg(long, value_name = "WEIGHTS")]
    pub fitness_weights: Option<String>,
    /// Record the front end's decisions: none, decisions
    #[arg(long, value_enum, default_value_t = TraceLevel::None, value_name = "LEVEL")]
    pub trace_level: TraceLevel,
    /// Alternatives to keep per routing decision, with the regret (needs --trace-level decisions)
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub counterfactual_k: usize,
    /// Print a summary of the decisions (needs --trace-level decisions)
    #[arg(long)]
    pub summarize_trace: bool,
    /// Write every decision as a line of JSON (needs --trace-level decisions)
    #[arg(long, value_name = "FILE")]
    pub decisions_path: Option<PathBuf>,
    /// Saturation detectors: composite, threshold, backlog-drift, a list of them, or all
    #[arg(long, value_name = "NAMES")]
    pub detectors: Option<String>,
    /// Settings of the detectors in YAML: threshold.threshold_ms, backlog_drift.window_size_sec
    /// (needs --detectors)
    #[arg(long, value_name = "FILE")]
    pub saturation_config: Option<PathBuf>,
    /// Write the detectors' verdicts over time as JSON (needs --detectors)
    #[arg(long, value_name = "FILE")]
    pub saturation_report: Option<PathBuf>,
    /// Window at the end of the run that decides the detectors' labels, seconds (needs --detectors)
    /// [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub saturation_final_window: Option<f64>,
}

/// Depth of the decision trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceLevel {
    /// Nothing
    None,
    /// Every admission and routing decision
    Decisions,
}

/// Where results go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// What to print on stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Results of every request, to a .csv, .json, .jsonl or .parquet file
    #[arg(long, value_name = "FILE")]
    pub results_path: Option<PathBuf>,
    /// Totals and results of every request, as BLIS writes them in JSON
    #[arg(long, value_name = "FILE")]
    pub metrics_path: Option<PathBuf>,
    /// Write what happens in the prefix caches as lines of JSON: KV blocks stored and removed, as
    /// vLLM publishes its KV events
    #[arg(long, value_name = "FILE")]
    pub kv_events_path: Option<PathBuf>,
    /// Write every step as a line of JSON: when it ran, how long it took, what it computed of which
    /// request. `windtunnel profile --step-log` and `windtunnel verify` read it
    #[arg(long, value_name = "FILE")]
    pub step_log: Option<PathBuf>,
    /// Write what scripts print, FILE: TEXT a line, in the order in which they do; at most 100,000
    /// lines and 16 MiB
    #[arg(long, value_name = "FILE")]
    pub script_log: Option<PathBuf>,
    /// Show the run as a page that needs nothing but itself: distributions of latencies, queue,
    /// batch, KV blocks and throughput over time, each instance
    #[arg(long, alias = "html-path", value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// What each instance does over time, to a .csv, .json, .jsonl or .parquet file: queue, batch,
    /// KV blocks, prompt and output tokens per second
    #[arg(long, value_name = "FILE")]
    pub time_series: Option<PathBuf>,
    /// Length of its intervals, seconds (needs --time-series or --html) [default: as long as it
    /// takes for 500 to 1000 of them]
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    pub time_series_interval: Option<f64>,
    /// Requests and steps as a trace in Chrome's JSON, for ui.perfetto.dev. Every step is kept,
    /// which takes time and memory
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// Export the requests as a TraceV2 trace that can be replayed: PREFIX.yaml and PREFIX.csv
    #[arg(long, value_name = "PREFIX")]
    pub trace_output: Option<PathBuf>,
    /// Keep no request's record, only sums and counts: memory does not grow with the number of
    /// requests. Rows still go to --results-path, while the run goes on
    #[arg(long)]
    pub summary_only: bool,
    /// No progress bar
    #[arg(long, short)]
    pub quiet: bool,
}

/// Everything `run` and `replay` share.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Model and hardware.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Serving engine.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Cluster and policies.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Prefill and decode apart.
    #[command(flatten)]
    pub disaggregation: DisaggregationArgs,
    /// Holding requests back
    #[command(flatten)]
    pub flow_control: FlowControlArgs,
    /// Scaling by a policy
    #[command(flatten)]
    pub autoscale: AutoscaleArgs,
    /// Analysis.
    #[command(flatten)]
    pub analysis: AnalysisArgs,
    /// Output.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Simulated time at which the run stops, microseconds [default: none; a replay under --rules
    /// blis stops at twice the latest arrival, as BLIS does]
    #[arg(long, value_name = "US", help_heading = "Workload")]
    pub horizon: Option<i64>,
    /// Ticks from which on no step begins (with --latency-model ticks)
    #[arg(
        long,
        value_name = "TICKS",
        help_heading = "Workload",
        hide_short_help = true
    )]
    pub time_limit: Option<f64>,
    /// Seed of everything random
    #[arg(long, default_value_t = 42, help_heading = "Workload")]
    pub seed: u64,
}

/// `windtunnel sweep`, beside the flags of `run`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sweep")]
pub struct SweepArgs {
    /// A dimension: a flag of `run` and its values, KEY=V1,V2,... or KEY=FROM:TO:STEP (semicolons
    /// between values that contain commas; true and false for a flag without value).
    /// bundle:KEY.KEY=V1,V2 varies a key of --policy-config, "flags=--tp 8;--tp 4 --num-instances
    /// 2" several flags together. Repeat for more dimensions: every combination is run
    #[arg(long, value_name = "KEY=VALUES", required = true)]
    pub grid: Vec<String>,
    /// Seeds of every combination: --seed, --seed + 1, ...
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seeds: u64,
    /// Metrics that the table shows, by their names in rows: `ttft_mean_ms,capex_usd` [default:
    /// those that matter]
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "json"
    )]
    pub columns: Vec<String>,
    /// A row per run, in CSV. The same command goes on where an interrupted one stopped; more
    /// values or seeds add to the rows there are
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Runs at a time; each holds its requests in memory, unless with --summary-only [default: the
    /// number of cores]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Forget the rows of --out and start over
    #[arg(long, requires = "out")]
    pub fresh: bool,
}

/// `windtunnel models`.
#[derive(Args, Clone, Debug)]
pub struct ModelsArgs {
    /// Part of the names to list; a full or short name explains that model
    pub name: Option<String>,
    /// GPU type to explain for [default: the model's]
    #[arg(long, value_name = "GPU")]
    pub hardware: Option<String>,
    /// Tensor parallelism to explain for [default: the model's]
    #[arg(long)]
    pub tp: Option<u32>,
    /// Pipeline parallelism to explain for, stages
    #[arg(long, default_value_t = 1, value_name = "STAGES")]
    pub pp: u32,
    /// Bandwidth between GPUs of a node to explain that for, GB/s [default: that of the GPU, if it
    /// is known]
    #[arg(long, value_name = "GB/S")]
    pub intra_node_bandwidth: Option<f64>,
    /// Folder with the config.json of a model that is not built in
    #[arg(long, value_name = "FOLDER")]
    pub model_config_folder: Option<PathBuf>,
    /// GPUs, in BLIS's hardware layout
    #[arg(long, value_name = "FILE")]
    pub hardware_config: Option<PathBuf>,
    /// Data type of the KV cache to explain for [default: what the checkpoint says, else 16 bits]
    #[arg(long, value_name = "DTYPE")]
    pub kv_cache_dtype: Option<String>,
    /// Step-time model to explain for
    #[arg(long, value_enum, default_value_t = LatencyName::Auto, value_name = "MODEL")]
    pub latency_model: LatencyName,
    /// Models and figures, as in defaults.yaml or in BLIS's layout [default: built in]
    #[arg(long, value_name = "FILE")]
    pub defaults_filepath: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A value of an enumeration by its name on the command line.
///
/// # Errors
/// When there is none of that name.
pub fn named<T: ValueEnum>(kind: &str, name: &str) -> Result<T, InputError> {
    let names: Vec<String> = T::value_variants()
        .iter()
        .filter_map(|v| Some(v.to_possible_value()?.get_name().to_owned()))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    T::from_str(name, false).map_err(|_| InputError::unknown(kind, name, &names))
}
