//! Flags of what is sent, and of the commands that send it: run and replay.

use super::args::CommonArgs;
use super::xpusim_args::XpuSimArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use windtunnel_sim::{ArrivalsSpec, LoadGeneratorSpec};

/// How synthetic requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadGeneratorName {
    /// All --num-requests at time 0
    AllAtOnce,
    /// Always --concurrency requests in the system
    ConstantConcurrency,
    /// Evenly spaced by --rate
    ConstantRate,
    /// One with every step (with --latency-model ticks)
    OnePerStep,
}

impl From<LoadGeneratorName> for LoadGeneratorSpec {
    fn from(name: LoadGeneratorName) -> Self {
        match name {
            LoadGeneratorName::AllAtOnce => Self::AllAtOnce,
            LoadGeneratorName::ConstantConcurrency => Self::ConstantConcurrency,
            LoadGeneratorName::ConstantRate => Self::ConstantRate,
            LoadGeneratorName::OnePerStep => Self::OnePerStep,
        }
    }
}

/// How requests come at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsName {
    /// Evenly spaced
    Constant,
    /// At random, independent of each other
    Poisson,
}

impl From<ArrivalsName> for ArrivalsSpec {
    fn from(name: ArrivalsName) -> Self {
        match name {
            ArrivalsName::Constant => Self::Constant,
            ArrivalsName::Poisson => Self::Poisson,
        }
    }
}

/// Synthetic traffic, or a trace file.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Workload")]
pub struct WorkloadArgs {
    /// `distribution`, a preset (chatbot, contentgen, summarization, multidoc), `xpusim` (that
    /// simulator's traffic), `traces`, or a trace file or folder
    #[arg(long, default_value = "distribution")]
    pub workload: String,
    /// Trace file for --workload traces; its format is told by its content
    #[arg(long, value_name = "FILE")]
    pub workload_traces_filepath: Option<PathBuf>,
    /// Workload spec, YAML: clients, sessions, cohorts, closed loops (`windtunnel workload --help`)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "workload_traces_filepath", "concurrency"])]
    pub workload_spec: Option<PathBuf>,
    /// How requests come: all at once, or as --concurrency or --rate say
    #[arg(long, value_enum, value_name = "NAME")]
    pub load_generator: Option<LoadGeneratorName>,
    /// Users of a closed loop instead of a rate: each sends its next request when it has its answer
    #[arg(long, value_name = "USERS", conflicts_with = "rate")]
    pub concurrency: Option<u32>,
    /// Pause of each such user after an answer, milliseconds (with --concurrency)
    #[arg(long, value_name = "MS", requires = "concurrency")]
    pub think_time_ms: Option<u64>,
    /// Requests per second; --arrivals says how they come; with --workload-spec its aggregate_rate
    #[arg(
        long,
        alias = "arrival-rate",
        default_value_t = 1.0,
        value_name = "REQ/S"
    )]
    pub rate: f64,
    /// How requests come at --rate: at random as `vllm bench serve` sends them, or evenly spaced
    /// [default: poisson; constant under blis rules and for --engine xpusim and profilesim]
    #[arg(long, value_enum, value_name = "HOW")]
    pub arrivals: Option<ArrivalsName>,
    /// How bursty random ones are, as in `vllm bench serve`: 1 is a Poisson process, less is
    /// burstier, more is evener (gaps of a gamma distribution of this shape) [default: 1]
    #[arg(long, value_name = "SHAPE")]
    pub burstiness: Option<f64>,
    /// Requests to send
    #[arg(
        long,
        visible_alias = "num-requests",
        default_value_t = 100,
        value_name = "N"
    )]
    pub max_prompts: u64,
    /// Seconds in which requests come, after the warm-up, in place of their number [default of
    /// xpusim: 60]; what completes in it is reported apart
    #[arg(long, value_name = "SECONDS", conflicts_with = "max_prompts")]
    pub duration: Option<f64>,
    /// Seconds before that, in which requests come, too
    #[arg(long, value_name = "SECONDS")]
    pub warm_up: Option<f64>,
    /// Tokens every prompt shares, in front of its own
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    pub prefix_tokens: u32,
    /// Prompt length: mean
    #[arg(
        long,
        alias = "avg-input-length",
        default_value_t = 512,
        value_name = "TOKENS"
    )]
    pub prompt_tokens: u32,
    /// Prompt length: standard deviation
    #[arg(long, default_value_t = 256, value_name = "TOKENS")]
    pub prompt_tokens_stdev: u32,
    /// Prompt length: least
    #[arg(long, default_value_t = 2, value_name = "TOKENS")]
    pub prompt_tokens_min: u32,
    /// Prompt length: most
    #[arg(
        long,
        alias = "max-input-length",
        default_value_t = 7000,
        value_name = "TOKENS"
    )]
    pub prompt_tokens_max: u32,
    /// Output length: mean
    #[arg(
        long,
        alias = "avg-output-length",
        default_value_t = 512,
        value_name = "TOKENS"
    )]
    pub output_tokens: u32,
    /// Output length: standard deviation
    #[arg(long, default_value_t = 256, value_name = "TOKENS")]
    pub output_tokens_stdev: u32,
    /// Output length: least
    #[arg(long, default_value_t = 2, value_name = "TOKENS")]
    pub output_tokens_min: u32,
    /// Output length: most
    #[arg(
        long,
        alias = "max-output-length",
        default_value_t = 7000,
        value_name = "TOKENS"
    )]
    pub output_tokens_max: u32,
    /// Seconds after which a client gives up; negative = never. Specs and trace files have their
    /// own deadlines, so there it must be given
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS")]
    pub timeout: f64,
    /// Part and pace of a trace file.
    #[command(flatten)]
    pub part: TraceArgs,
    /// Flags of the legacy releases of BLIS.
    #[command(flatten)]
    pub legacy: LegacyArgs,
}

/// The request generator of the legacy releases of BLIS, and its coefficients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "GuideLLM-style generator")]
pub struct LegacyArgs {
    /// Configuration of evenly spaced requests: format, seed, rate, data (YAML)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "workload_spec", "workload_traces_filepath", "concurrency"])]
    pub reqgen_config_path: Option<PathBuf>,
    /// Step time in seconds: B0 + B1 x prefilled tokens + B2 x decodes
    #[arg(
        long,
        value_name = "B0,B1,B2",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "queuing_coeffs"
    )]
    pub regression_coeffs: Option<Vec<f64>>,
    /// Microseconds before a request is queued: A x prompt tokens + B
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "regression_coeffs"
    )]
    pub queuing_coeffs: Option<Vec<f64>>,
    /// Microseconds after a request is completed until it has left: C x prompt tokens + D; no part
    /// of its latency, but of the run's duration (with --reqgen-config-path)
    #[arg(
        long,
        value_name = "C,D",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "reqgen_config_path"
    )]
    pub finished_coeffs: Option<Vec<f64>>,
}

/// What of a trace is replayed, and how fast; for traces of every format.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Traces")]
pub struct TraceArgs {
    /// Leave out what comes before this time of the trace, which becomes time 0; seconds
    #[arg(long, value_name = "SECONDS")]
    pub trace_from: Option<f64>,
    /// Leave out what comes from this time of the trace on; seconds
    #[arg(long, value_name = "SECONDS")]
    pub trace_to: Option<f64>,
    /// Keep this share of the requests (of sessions: of the sessions), drawn with --seed
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    pub trace_sample: f64,
    /// Replay it so many times, one after the other
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub trace_loops: u32,
    /// Factor on the arrival rate: recorded times are divided by it
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub rate_scale: f64,
    /// Spread requests with the same time evenly up to the next time
    #[arg(long)]
    pub spread_ties: bool,
    /// Which run of a result file with several, from 1
    #[arg(long, value_name = "N")]
    pub trace_run: Option<usize>,
    /// Unit of the trace's time stamps, where its format leaves it open [default: the format's
    /// usual one, ms in Mooncake traces]
    #[arg(long, value_enum, value_name = "UNIT")]
    pub time_unit: Option<TimeUnitName>,
    /// Which column is what in a CSV of no known format:
    /// arrival=COLUMN,prompt=COLUMN,output=COLUMN; session, tenant and client, if there are any
    #[arg(long, value_name = "KEY=COLUMN,...")]
    pub map: Option<String>,
    /// Tokens of the blocks that the hash_ids of a Mooncake trace name [default: 512]
    #[arg(long, value_name = "TOKENS")]
    pub trace_block_size: Option<u32>,
    /// Stop at the first row that makes no sense, instead of skipping and counting it
    #[arg(long)]
    pub strict: bool,
}

/// Units of time stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeUnitName {
    /// Seconds
    S,
    /// Milliseconds
    Ms,
    /// Microseconds
    Us,
    /// Nanoseconds
    Ns,
}

/// `windtunnel run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Take the run from a file that --dump-spec wrote, or from a configuration of XpuSim; flags
    /// then only say what to print and write, and what the latter has no key for: --engine,
    /// --load-generator, --warm-up
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub spec: Option<PathBuf>,
    /// Print the run as YAML, for --spec, instead of simulating it
    #[arg(long, help_heading = "Output")]
    pub dump_spec: bool,
    /// Shared flags.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Workload.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// XpuSim's flags.
    #[command(flatten)]
    pub xpusim: XpuSimArgs,
}

/// `windtunnel replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Trace file; its format is told by its content
    #[arg(
        value_name = "TRACE",
        conflicts_with = "trace_data",
        required_unless_present = "trace_data"
    )]
    pub trace: Option<PathBuf>,
    /// Header of a TraceV2 trace, YAML
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub trace_header: Option<PathBuf>,
    /// Data of a TraceV2 trace, CSV; the same as TRACE
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub trace_data: Option<PathBuf>,
    /// How sessions are replayed
    #[arg(long, value_enum, default_value_t = SessionModeName::Fixed, value_name = "MODE", help_heading = "Workload")]
    pub session_mode: SessionModeName,
    /// Think time between the rounds of a session, milliseconds (closed-loop) [default: the
    /// trace's]
    #[arg(long, value_name = "MS", help_heading = "Workload")]
    pub think_time_ms: Option<u64>,
    /// The same, drawn: constant:value=T or lognormal:mu=M,sigma=S[,min=T][,max=T], ln of seconds;
    /// T like 500ms or 2s
    #[arg(
        long,
        value_name = "DISTRIBUTION",
        conflicts_with = "think_time_ms",
        help_heading = "Workload"
    )]
    pub think_time_dist: Option<String>,
    /// Most requests, in order of arrival [default: all]
    #[arg(long, value_name = "N", help_heading = "Workload")]
    pub num_requests: Option<u64>,
    /// Seconds after which the client of a request without a deadline gives up [default: never]
    #[arg(long, value_name = "SECONDS", help_heading = "Workload")]
    pub timeout: Option<f64>,
    /// Part and pace of the trace.
    #[command(flatten)]
    pub part: TraceArgs,
    /// Shared flags.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Session replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SessionModeName {
    /// Every request arrives when it was recorded
    Fixed,
    /// A follow-up arrives its think time after the answer before it
    ClosedLoop,
}

/// `windtunnel workload`.
#[derive(Debug, Subcommand)]
pub enum WorkloadCommand {
    /// What a workload looks like: rate over time, lengths, burstiness, shared prefixes
    #[command(after_help = "Examples:
  windtunnel workload show conversation_trace.jsonl
  windtunnel workload show chat.yaml --num-requests 5000 --html chat.html")]
    Show(ShowArgs),
    /// Check specs and traces, every row of them
    #[command(after_help = "Example:
  windtunnel workload validate chat.yaml trace.csv")]
    Validate(ValidateArgs),
    /// Write a workload in another format
    #[command(after_help = "Examples:
  windtunnel workload convert chat.yaml --to trace-v2 --out chat
  windtunnel workload convert trace.csv --to spec > fitted.yaml
  windtunnel workload convert old.yaml --to spec > new.yaml")]
    Convert(ConvertArgs),
    /// Merge workload specs into one, each keeping its rates
    #[command(after_help = "Example:
  windtunnel workload compose chat.yaml batch.yaml > both.yaml")]
    Compose(ComposeArgs),
    /// Print the JSON schema of workload specs, for editors
    #[command(after_help = "Example:
  windtunnel workload schema > workload-spec.schema.json")]
    Schema,
    /// Print a spec to begin with: a preset or a scenario
    #[command(after_help = "Examples:
  windtunnel workload generate chatbot --rate 20 > chat.yaml
  windtunnel workload generate mixed-slo --rate 50 --num-requests 5000 > mixed.yaml")]
    Generate(GenerateArgs),
}

/// A workload of any kind.
#[derive(Args, Clone, Debug)]
pub struct InputArgs {
    /// Workload spec, trace file, or folder of ServeGen data; told by its content
    #[arg(value_name = "WORKLOAD")]
    pub file: PathBuf,
    /// Header of a TraceV2 trace, YAML
    #[arg(long, value_name = "FILE")]
    pub trace_header: Option<PathBuf>,
    /// Seed of what is drawn [default: the spec's; 42 for traces]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Most requests [default: the spec's; all of a trace]
    #[arg(long, value_name = "N")]
    pub num_requests: Option<u64>,
    /// Nothing of a spec from this time on, microseconds [default: the spec's]
    #[arg(long, value_name = "US")]
    pub horizon: Option<i64>,
    /// Length of answers where a data set of texts does not tell it
    #[arg(long, value_name = "TOKENS")]
    pub output_tokens: Option<u32>,
    /// Part and pace of a trace.
    #[command(flatten)]
    pub part: TraceArgs,
}

/// `windtunnel workload show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The workload.
    #[command(flatten)]
    pub input: InputArgs,
    /// Tokens per block of the infinite prefix cache
    #[arg(
        long,
        visible_alias = "block-size",
        default_value_t = 16,
        value_name = "TOKENS"
    )]
    pub block_size_in_tokens: u32,
    /// Write a page with plots; it needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `windtunnel workload validate`.
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// Specs and traces
    #[arg(value_name = "WORKLOAD", required = true)]
    pub files: Vec<PathBuf>,
    /// Unit of the traces' time stamps, where their format leaves it open
    #[arg(long, value_enum, value_name = "UNIT")]
    pub time_unit: Option<TimeUnitName>,
    /// Tokens of the blocks that the hash_ids of Mooncake traces name [default: 512]
    #[arg(long, value_name = "TOKENS")]
    pub trace_block_size: Option<u32>,
}

/// `windtunnel workload convert`.
#[derive(Args, Clone, Debug)]
pub struct ConvertArgs {
    /// The workload.
    #[command(flatten)]
    pub input: InputArgs,
    /// Format to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: Target,
    /// File to write; of a TraceV2 trace the prefix of its two files [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What a workload can be converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Header and CSV with everything but shared tokens outside of groups and sessions
    TraceV2,
    /// JSON lines with lengths and block ids
    Mooncake,
    /// CSV with times and lengths
    Azure,
    /// A spec: of specs and configurations the clients spelled out, of traces rates and lengths
    /// over time
    Spec,
}

/// `windtunnel workload compose`.
#[derive(Args, Clone, Debug)]
pub struct ComposeArgs {
    /// Workload specs
    #[arg(value_name = "SPEC", required = true)]
    pub files: Vec<PathBuf>,
}

/// `windtunnel workload generate`.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// Preset (chatbot, contentgen, summarization, multidoc) or scenario (bursty, unfair,
    /// prefix-heavy, mixed-slo)
    pub name: String,
    /// Requests per second
    #[arg(long, default_value_t = 1.0, value_name = "REQ/S")]
    pub rate: f64,
    /// Requests
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub num_requests: u64,
    /// Seed
    #[arg(long, default_value_t = 42)]
    pub seed: i64,
    /// Models, coefficients, hardware and presets [default: built in]
    #[arg(long, value_name = "FILE")]
    pub defaults_filepath: Option<PathBuf>,
}
