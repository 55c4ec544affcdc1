//! The commands, with examples of their use.

use super::accuracy::AccuracyArgs;
use super::args::{ModelsArgs, SweepArgs};
use super::calibrate::CalibrateArgs;
use super::compare::CompareArgs;
use super::doctor::DoctorArgs;
use super::emulate::EmulateArgs;
use super::evolve::EvolveCommand;
use super::explain::ExplainArgs;
use super::fit::FitArgs;
use super::leaderboard::LeaderboardCommand;
use super::live::{LiveArgs, ReplayDecisionsArgs};
use super::manual::ManArgs;
use super::observe::ObserveArgs;
use super::plan_args::PlanArgs;
use super::plugin::PluginCommand;
use super::policy::PolicyCommand;
use super::profile::ProfileArgs;
use super::queue_growth::GrowthArgs;
use super::score::{ScoreArgs, WorkerArgs};
use super::score_server::ServerArgs;
use super::suite::SuiteCommand;
use super::tables::TablesCommand;
use super::tune::TuneArgs;
use super::verify::VerifyArgs;
use super::workload_args::{ReplayArgs, RunArgs, WorkloadCommand};
use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

/// A wind tunnel for LLM-serving policies.
#[derive(Debug, Parser)]
#[command(
    name = "windtunnel",
    version,
    propagate_version = true,
    subcommand_required = true
)]
#[command(after_help = "Examples:
  windtunnel run --model meta-llama/llama-3.1-8b-instruct
  windtunnel run --model llama-3.1-8b-instruct --num-instances 4 --rate 40 --num-requests 2000
  windtunnel replay trace.csv --model llama-3.1-8b-instruct --num-instances 16
  windtunnel models llama")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much to say on stderr. The environment variable WINDTUNNEL_LOG takes finer directives
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Warn, help_heading = "Output")]
    pub log: LogLevel,
    /// Show all columns of tables, however wide they get [default: those that fit the terminal, or
    /// 100 columns]
    #[arg(long, global = true, help_heading = "Output")]
    pub wide: bool,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Simulate a cluster on a synthetic workload or a trace file
    #[command(
        after_help = RUN_EXAMPLES,
        mut_arg("model", |arg| arg.required(false))
    )]
    Run(Box<RunArgs>),
    /// Simulate a cluster on a recorded trace
    #[command(
        after_help = REPLAY_EXAMPLES,
        mut_arg("model", |arg| arg.required(false))
    )]
    Replay(Box<ReplayArgs>),
    /// Simulate a grid of settings in parallel, with any flags of `run`
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep(SweepArgs),
    /// Find the least cluster for a workload under targets, or the most load that a cluster takes;
    /// with any flags of `run`
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Run loads in ticks for a short and a long time, and compare their queues
    #[command(after_help = "Example:
  windtunnel queue-growth examples/ticksim/queue-growth-rate.yaml \\
      examples/ticksim/queue-growth-concurrent.yaml --time-limits 100,10000")]
    QueueGrowth(GrowthArgs),
    /// List the models, or explain what a run would use for one
    #[command(after_help = "Examples:
  windtunnel models
  windtunnel models llama-3.1
  windtunnel models meta-llama/llama-3.1-8b-instruct --hardware H100 --tp 2
  windtunnel models llama-3.1-70b-instruct --hardware H100 --tp 4 --pp 3")]
    Models(ModelsArgs),
    /// Policies: list, show, check a file, start a new one
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Start a compiled plugin, or print what one offers
    #[command(
        subcommand,
        after_help = "Examples:
  windtunnel plugin new my-router
  windtunnel plugin inspect my-router/target/release/libmy_router.so"
    )]
    Plugin(PluginCommand),
    /// Look at workloads, check, convert, merge and make them
    #[command(
        subcommand,
        after_help = "Examples:
  windtunnel workload show conversation_trace.jsonl
  windtunnel workload validate chat.yaml
  windtunnel workload convert chat.yaml --to trace-v2 --out chat"
    )]
    Workload(WorkloadCommand),
    /// Score policies on a suite of scenarios, against its tuned reference policies
    #[command(after_help = SCORE_EXAMPLES)]
    Score(ScoreArgs),
    /// Show what a policy saw and chose for the requests that it served worst, and what other
    /// choices would have brought
    #[command(after_help = "Examples:
  windtunnel explain my-router.lua
  windtunnel explain my-router.lua --suite routing-prefix --scenario rag --requests 3
  windtunnel explain least-loaded --scenario chat --json")]
    Explain(ExplainArgs),
    /// Compare policies with each other: the same scenarios and seeds, differences with their
    /// intervals
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Compare a simulation with what was measured, request by request: queue time, TTFT, ITL, E2E;
    /// or step by step: tokens of each request, duration
    #[command(after_help = "Examples:
  windtunnel verify bench.json simulated.csv
  windtunnel verify engine-steps.jsonl simulated-steps.jsonl
  windtunnel verify real.json simulated.json --tolerance 0.05 --json")]
    Verify(VerifyArgs),
    /// Simulate measured runs of real servers, and say how far off TTFT, TPOT and E2E are
    #[command(after_help = "Examples:
  windtunnel accuracy ground-truth
  windtunnel accuracy ground-truth --latency-model trained-physics --rules vllm
  windtunnel accuracy ground-truth --only llama-2-7b --csv errors.csv
  windtunnel accuracy ground-truth --html accuracy.html")]
    Accuracy(AccuracyArgs),
    /// Calibrate --latency-model kernel-tables to load tests of a real server
    ///
    /// Simulates the same requests again and again with other figures: the front end's time per
    /// request and per prompt token, the engine's own time per step and per running request, and a
    /// factor on the time of the GPU. The last 30 % of each file are not fitted: the errors that
    /// are printed are theirs. `--calibration FILE` of `run`, `replay` and `sweep` uses what is
    /// found.
    #[command(after_help = FIT_EXAMPLES)]
    Fit(Box<FitArgs>),
    /// Measured times of GPU kernels, which --latency-model kernel-tables reads: make files of
    /// them, show what is in them
    #[command(
        subcommand,
        after_help = "Examples:
  windtunnel tables show
  windtunnel tables show H100
  windtunnel tables import aiconfigurator_core-0.12.0 --system l40s --output l40s.tables
  windtunnel tables import vidur/data/profiling --system h100 --output vidur.tables"
    )]
    Tables(TablesCommand),
    /// Make a table of measured step times: of a live server, or of a log of its steps
    ///
    /// A server with the API of OpenAI is asked for completions by a fixed recipe: single prompts
    /// of growing length, growing numbers of short prompts with long answers, prompts that join
    /// others. It should serve nobody else meanwhile. `run --latency-model profile` simulates with
    /// the table.
    #[command(after_help = PROFILE_EXAMPLES)]
    Profile(ProfileArgs),
    /// Send a workload to a live server, and measure every answer
    ///
    /// The clock decides when a request is sent, whatever the server does: open loop, but for
    /// sessions and --concurrency, whose next request follows an answer. Where requests were sent
    /// too late to be believed, the files are marked and the exit code is 1. Ctrl-C stops sending,
    /// a second time waiting, too; what was measured is written.
    #[command(after_help = OBSERVE_EXAMPLES)]
    Observe(Box<ObserveArgs>),
    /// Hold simulations against what was observed of live servers
    ///
    /// Over all requests, one by one, by class and by session, with intervals; of several
    /// observations, whether the simulation puts them in the same order. With --url in one go: it
    /// observes the server as `observe` does, simulates what was sent as `run` does, and compares.
    #[command(after_help = CALIBRATE_EXAMPLES, mut_arg("model", |arg| arg.required(false)))]
    Calibrate(Box<CalibrateArgs>),
    /// Search the parameters that a policy declares
    #[command(after_help = TUNE_EXAMPLES)]
    Tune(TuneArgs),
    /// Keep candidates with their scores, and make those again
    #[command(
        subcommand,
        after_help = "Examples:
  windtunnel leaderboard add my-router.lua --suite routing-prefix --author me
  windtunnel leaderboard verify --suite routing-prefix
  windtunnel leaderboard render --suite routing-prefix --html board.html"
    )]
    Leaderboard(LeaderboardCommand),
    /// List and show the suites that policies are scored on
    #[command(
        subcommand,
        after_help = "Examples:
  windtunnel suite list
  windtunnel suite show routing-mixed"
    )]
    Suite(SuiteCommand),
    /// Have a framework for evolving programs evolve policies
    #[command(
        subcommand,
        after_help = "Example:
  windtunnel evolve init openevolve my-run"
    )]
    Evolve(EvolveCommand),
    /// Score candidates that come by HTTP: for search frameworks, and for several of them at once
    ///
    /// Speaks the protocol of GEPA's evaluation server (POST /evaluate, /evaluate_examples,
    /// /validate, GET /status, /task), and gives whole reports (POST /score). Prints one JSON line
    /// with its address when it is ready; ends on Ctrl-C and SIGTERM. Whoever reaches the address
    /// can have candidates scored.
    #[command(after_help = "Examples:
  windtunnel score-server --listen 8080 --suite routing-mixed
  curl -s localhost:8080/evaluate -d '{\"candidate\": \"return { route = function(req, insts) return 1 end }\"}'")]
    ScoreServer(ServerArgs),
    /// Route requests to real servers, with the policies of a simulation
    ///
    /// A gateway for servers with the API of OpenAI, as vLLM and SGLang have it. Admission and
    /// routing are the same policies as in `run`: built in, a Lua file, or a compiled plugin. What
    /// they are told comes from the servers' metrics and from the gateway's own account. The
    /// configuration and policies are read again when their files change; a policy that fails or
    /// is slow is replaced by a built-in one. Prints one JSON line with its address when it is
    /// ready; ends on Ctrl-C and SIGTERM, when what is under way is done.
    #[command(after_help = LIVE_EXAMPLES)]
    Live(LiveArgs),
    /// Ask the policies of a decision log the same once more, and compare
    ///
    /// Exit code 0: every decision is the same; 3: some are not, and the first is named.
    #[command(after_help = "Example:
  windtunnel replay-decisions decisions.jsonl")]
    ReplayDecisions(ReplayDecisionsArgs),
    /// Serve as vLLM would: OpenAI's API, metrics and timing, without model and GPU
    ///
    /// Each instance of the simulated cluster is a server of its own, which takes as long for a
    /// request as the simulation does, in real or in scaled time. For whoever builds or tests what
    /// stands in front of servers: gateways, autoscalers, load generators, dashboards. Answers are
    /// words without a meaning, of the length that the request asks for. Prints one JSON line with
    /// the addresses when it is ready; ends on Ctrl-C and SIGTERM.
    #[command(
        after_help = EMULATE_EXAMPLES,
        mut_arg("model", |arg| arg.required(false))
    )]
    Emulate(Box<EmulateArgs>),
    /// Work for a scorer
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Try what the commands need on this machine, and say what is missing
    #[command(after_help = "Example:
  windtunnel doctor")]
    Doctor(DoctorArgs),
    /// Write the manual pages
    #[command(after_help = "Example:
  windtunnel man ~/.local/share/man/man1
  man windtunnel-run")]
    Man(ManArgs),
    /// Print a completion script for your shell
    ///
    /// The script asks this program while you type: for flags, and for models, GPUs, workloads,
    /// suites and policies.
    #[command(after_help = "Examples:
  echo 'source <(windtunnel completions bash)' >> ~/.bashrc
  echo 'source <(windtunnel completions zsh)' >> ~/.zshrc
  windtunnel completions fish > ~/.config/fish/completions/windtunnel.fish")]
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

const RUN_EXAMPLES: &str = "Examples:
  # 100 requests at 1 request/s on one instance
  windtunnel run --model meta-llama/llama-3.1-8b-instruct

  # a chatbot on four instances, shortest prompt first, with a goodput target
  windtunnel run --model llama-3.1-8b-instruct --workload chatbot --rate 60 --num-requests 5000 \\
      --num-instances 4 --routing-policy least-loaded --scheduler sjf --slo-ttft 200ms

  # the same as a page with plots, what instances do over time, and a trace for ui.perfetto.dev
  windtunnel run --model llama-3.1-8b-instruct --workload chatbot --rate 60 --num-requests 500 \\
      --num-instances 4 --html run.html --time-series run.parquet --timeline run.trace.json

  # a workload spec: clients, sessions, cohorts
  windtunnel run --model llama-3.1-8b-instruct --workload-spec chat.yaml --num-instances 4

  # vLLM's scheduler, told as vLLM is: urgent requests first, at most 64 on a server
  windtunnel run --model llama-3.1-8b-instruct --rules vllm --scheduling-policy priority \\
      --max-num-queued-reqs 64 --no-enable-prefix-caching --rate 40 --num-requests 1000

  # a model over two nodes of eight GPUs: a stage of a pipeline on each
  windtunnel run --model llama-3.1-70b-instruct --hardware H100 --tp 8 --pp 2 --rate 4

  # the same run again, from a file
  windtunnel run --model llama-3.1-8b-instruct --workload chatbot --rate 60 --dump-spec > run.yaml
  windtunnel run --spec run.yaml

  # a production trace through llm-d's default scorers, results of every request to a file
  windtunnel run --model llama-3.1-8b-instruct --workload AzureLLMInferenceTrace_conv.csv \\
      --num-instances 16 --routing-policy weighted --results-path results.csv";

const PROFILE_EXAMPLES: &str = "Examples:
  # what a live server takes; it says neither how many tokens nor how many requests a step may have
  windtunnel profile http://127.0.0.1:8000 --max-num-batched-tokens 2048 --max-num-seqs 64 -o profile.csv

  # the steps that an engine, or a run, wrote down
  windtunnel profile --step-log steps.jsonl.gz --block-size 16 --num-gpu-blocks 2000 -o profile.csv

  # the run with it
  windtunnel run --latency-model profile --profile profile.csv --rate 2 --num-requests 100";

const OBSERVE_EXAMPLES: &str = "Examples:
  # 200 requests at 4 a second, and what became of each: seen.yaml, seen.csv
  windtunnel observe http://127.0.0.1:8000 --rate 4 --num-requests 200 --prompt-tokens 256 \\
      --output-tokens 64 --warmup-requests 10 --out seen

  # a workload spec with sessions, lines for AIPerf's tools, the server's hit rate
  windtunnel observe http://127.0.0.1:8000 --workload-spec chat.yaml --api-format chat \\
      --out seen --jsonl seen.jsonl --scrape-kv-metrics

  # a production trace, twice as fast
  windtunnel observe http://127.0.0.1:8000 --workload AzureLLMInferenceTrace_conv.csv \\
      --rate-scale 2 --num-requests 1000 --out seen --json";

const CALIBRATE_EXAMPLES: &str = "Examples:
  # what observe saw, and what replay makes of it
  windtunnel replay seen.csv --trace-header seen.yaml --model qwen3-14b --hardware H100 \\
      --results-path replayed.csv
  windtunnel calibrate seen replayed.csv --report report.json

  # three routing policies on the same servers: are they ordered as in reality?
  windtunnel calibrate --pair rr=rr-replayed.csv --pair ll=ll-replayed.csv --pair mine=mine-replayed.csv

  # in one go; the same of three loads, the last one held out of a fit
  windtunnel calibrate --url http://127.0.0.1:8000 --model qwen3-14b --hardware H100 \\
      --rate 4 --num-requests 200
  windtunnel calibrate --url http://127.0.0.1:8000 --model qwen3-14b --hardware H100 \\
      --rates 2,8,5 --num-requests 200 --fit calibration.yaml";

const FIT_EXAMPLES: &str = "Examples:
  # two loads of one server, told as the server was
  windtunnel fit bench-rate2.json bench-rate8.json --model qwen3-14b --hardware H100 --tp 1 \\
      --max-num-seqs 256 --max-num-batched-tokens 8192 -o calibration.yaml

  # runs with what was found
  windtunnel run --model qwen3-14b --hardware H100 --tp 1 --calibration calibration.yaml --rate 6";

const SWEEP_EXAMPLES: &str = "Examples:
  # which routing policy, at which load, over three seeds
  windtunnel sweep --model llama-3.1-8b-instruct --num-instances 4 --num-requests 2000 \\
      --grid rate=20,40,60 --grid routing-policy=round-robin,least-loaded,weighted --seeds 3 --out sweep.csv

  # values with commas are separated by semicolons; keys of a policy bundle can vary, too
  windtunnel sweep --model llama-3.1-8b-instruct --num-instances 4 --routing-policy weighted \\
      --grid \"routing-scorers=queue-depth:1;prefix-affinity:2,queue-depth:1\"";

const PLAN_EXAMPLES: &str = "Examples:
  # how many GPUs of which kind for 50 requests/s
  windtunnel plan --model llama-3.1-8b-instruct --workload chatbot --rate 50 \\
      --slo 'ttft.p99<500ms,tpot.p95<30ms'

  # the most requests/s that four H100 serve so
  windtunnel plan --max-rate --model llama-3.1-8b-instruct --hardware H100 --tp 1 \\
      --num-instances 4 --workload chatbot --slo 'ttft.p99<500ms,tpot.p95<30ms'

  # what a policy saves, for a trace, with one instance failing at its peak
  windtunnel plan --model llama-3.1-8b-instruct --hardware H100 --tp 1 --workload trace.csv \\
      --grid routing-policy=round-robin,my-router.lua --survive 1 --slo 'ttft.p95<1s'";

const SCORE_EXAMPLES: &str = "Examples:
  # how good is it, where is it weak, what to try next
  windtunnel score my-router.lua

  # the whole report as JSON; a broken candidate is a result, too: exit code 0, ok false
  windtunnel score my-router.lua --suite routing-prefix --json

  # several at once, and many from another program
  windtunnel score least-loaded jsq dynamo-kv my-router.lua
  windtunnel score - --suite routing-mixed < candidates.jsonl

  # the last word, on scenarios of which nothing else is told
  windtunnel score my-router.lua --split holdout --seeds auto";

const COMPARE_EXAMPLES: &str = "Examples:
  # is mine better than llm-d's, and where
  windtunnel compare llm-d my-router.lua

  # several against a baseline, on scenarios that none was made for
  windtunnel compare least-loaded a.lua b.lua --suite routing-mixed --split val --seeds auto";

const TUNE_EXAMPLES: &str = "Examples:
  # the weights of the weighted router, written as a script with new defaults
  windtunnel tune weighted --suite routing-prefix --out weighted-tuned.lua

  # a policy of your own: its lines --@param name = default, least..most say what to search
  windtunnel tune my-router.lua --budget 400 --holdout --out params.json";

const LIVE_EXAMPLES: &str = "Examples:
  # two servers, and a policy that was found in the tunnel
  windtunnel live --endpoint http://127.0.0.1:8000 --endpoint http://127.0.0.1:8001 \\
      --routing-policy my-router.lua --decision-log decisions.jsonl

  # everything in a file; is it right?
  windtunnel live gateway.yaml --check
  windtunnel live gateway.yaml

  # did it decide as the same policy does on the same input?
  windtunnel replay-decisions decisions.jsonl";

const EMULATE_EXAMPLES: &str = "Examples:
  # one server on port 8000, as `vllm serve meta-llama/llama-3.1-8b-instruct` on an H100
  windtunnel emulate --model meta-llama/llama-3.1-8b-instruct --hardware H100
  curl localhost:8000/v1/completions -H 'content-type: application/json' \\
      -d '{\"prompt\": \"Hello\", \"max_tokens\": 5}'

  # four servers on ports 9000 to 9003, ten times as fast as real ones
  windtunnel emulate --model llama-3.1-8b-instruct --num-instances 4 --port 9000 --speed 10

  # one answer in a hundred breaks off, the second server crashes after a minute for 20 seconds
  windtunnel emulate --model llama-3.1-8b-instruct --num-instances 2 --cut-rate 1 --event 60:fail:1:20

  # pools of different GPUs, as the file of a run says
  windtunnel emulate --spec cluster.yaml";

const REPLAY_EXAMPLES: &str = "Examples:
  windtunnel replay --trace-header run.yaml --trace-data run.csv --model llama-3.1-8b-instruct
  windtunnel replay AzureLLMInferenceTrace_code.csv --model llama-3.1-8b-instruct --num-instances 16
  windtunnel replay --trace-header run.yaml --trace-data run.csv --model llama-3.1-8b-instruct \\
      --session-mode closed-loop --think-time-ms 500";

/// Severity of log lines. BLIS's names are understood too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing
    #[value(alias = "fatal", alias = "panic")]
    Off,
    /// Errors
    Error,
    /// Warnings
    #[value(alias = "warning")]
    Warn,
    /// Progress in words
    Info,
    /// Details
    Debug,
    /// Everything
    Trace,
}

impl LogLevel {
    /// What is let through.
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}
