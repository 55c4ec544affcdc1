//! `windtunnel emulate`: servers that are the simulator.

use super::args::{EngineArgs, ModelArgs, RulesName, refuse_zero};
use super::effects::Explicit;
use super::endings;
use super::output::check_path;
use super::print::{say, to_stdout};
use super::spec;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use windtunnel_base::input::InputError;
use windtunnel_live::emulate::faults::{FailureType, FaultRates, Happening, Mishap};
use windtunnel_live::emulate::{self as servers, MetricNames, Options};
use windtunnel_sim::{
    EventKind, EventSpec, PoliciesSpec, PoolSpec, RulesSpec, RunSpec, Simulation,
};
use windtunnel_workload::Listed;

/// What answers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Words without a meaning
    Random,
    /// What the request says
    Echo,
}

/// Whose names metrics have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Names {
    /// Those of vLLM 0.32
    Vllm,
    /// Those of SGLang
    Sglang,
}

/// Errors with which requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum FailureName {
    /// 429
    RateLimit,
    /// 401
    InvalidApiKey,
    /// 400: the prompt is too long
    ContextLength,
    /// 503
    ServerError,
    /// 400
    InvalidRequest,
    /// 404
    ModelNotFound,
}

/// `windtunnel emulate`.
#[derive(Args, Clone, Debug)]
pub struct EmulateArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    elsewhere: ElsewhereArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
struct ClusterArgs {
    /// The cluster as the file of a run says it: pools, engines, policies inside instances
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    spec: Option<PathBuf>,
    /// Servers
    #[arg(
        long,
        alias = "data-parallel-size",
        default_value_t = 1,
        value_name = "N"
    )]
    num_instances: u32,
    /// Seed of answers, chances and policies
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// A parameter of a policy: name=value, or hook.name=value
    #[arg(long, value_name = "PARAM")]
    policy_param: Vec<String>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
struct ServerArgs {
    /// Address to listen on. Whoever reaches it can have requests served, and change what goes
    /// wrong
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    host: IpAddr,
    /// Port of the first server, the others have the next ones; 0 takes free ones
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Names under which the model is served; answers have the first [default: the model's]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    served_model_name: Vec<String>,
    /// A key that requests to /v1 must show (Authorization: Bearer KEY)
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Simulated seconds that pass in a second
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
    /// What answers say
    #[arg(long, value_enum, default_value_t = Mode::Random)]
    mode: Mode,
    /// Output tokens after which the model stops by itself, and their standard deviation; requests
    /// with ignore_eos go on [default: answers are as long as they may be, in a chat that names no
    /// limit 256]
    #[arg(long, value_delimiter = ',', value_name = "MEAN[,STDEV]")]
    output_tokens: Option<Vec<f64>>,
    /// Tell cached prompt tokens in answers
    #[arg(long)]
    enable_prompt_tokens_details: bool,
    /// Send X-Request-Id back
    #[arg(long)]
    enable_request_id_headers: bool,
    /// LoRA adapters that are there from the start: NAME=PATH, or JSON with name and path
    #[arg(long, value_name = "ADAPTER", num_args = 1..)]
    lora_modules: Vec<String>,
    /// Whose names metrics have
    #[arg(long, value_enum, default_value_t = Names::Vllm)]
    metrics: Names,
    /// Requests as they come, and what becomes of each: a trace that `windtunnel replay` reads
    #[arg(long, value_name = "FILE")]
    requests_log: Option<PathBuf>,
    /// End when standard input does, so that no server outlives who started it
    #[arg(long)]
    until_stdin_closes: bool,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Faults")]
struct FaultArgs {
    /// Requests that are answered with an error, percent. POST /admin/config changes this and the
    /// next ones while a server runs; a request's header X-Return-Error names a status
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    failure_injection_rate: f64,
    /// With which errors [default: any]
    #[arg(long, value_enum, value_name = "TYPE", num_args = 1.., value_delimiter = ',')]
    failure_types: Vec<FailureName>,
    /// Answers whose connection breaks in the middle, percent; the header X-Cut-After names a
    /// number of tokens
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    cut_rate: f64,
    /// Requests that are never answered, percent
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    hang_rate: f64,
    /// Metrics are read again when they are older than this
    #[arg(long, default_value_t = 0, value_name = "MS")]
    metrics_age: u64,
    /// What happens to servers: they crash (AT:fail:K[:RESTART]) or take longer for their steps
    /// (AT:slow:K:FACTOR:SECONDS), in simulated seconds. K are servers from 0, as 2 or 0+1+2; POOL/
    /// may stand before them. May be given several times
    #[arg(long, value_name = "AT:KIND:WHOM", value_delimiter = ',')]
    event: Vec<EventSpec>,
}

/// Flags of llm-d-inference-sim that mean something that is said in another way here.
#[derive(Args, Clone, Debug)]
struct ElsewhereArgs {
    #[arg(long, hide = true)]
    time_to_first_token: Option<String>,
    #[arg(long, hide = true)]
    inter_token_latency: Option<String>,
    #[arg(long, hide = true)]
    prefill_time_per_token: Option<String>,
    #[arg(long, hide = true)]
    prefill_overhead: Option<String>,
    #[arg(long, hide = true)]
    time_factor_under_load: Option<String>,
    #[arg(long, hide = true)]
    latency_calculator: Option<String>,
    #[arg(long, hide = true)]
    kv_cache_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    enable_kvcache: Option<String>,
    #[arg(long, hide = true)]
    max_waiting_queue_length: Option<String>,
}

impl ElsewhereArgs {
    fn refuse(&self) -> Result<(), InputError> {
        let timing = "the simulated engine takes the time: --hardware, --latency-model and --profile say how long";
        let given = [
            ("time-to-first-token", &self.time_to_first_token, timing),
            ("inter-token-latency", &self.inter_token_latency, timing),
            (
                "prefill-time-per-token",
                &self.prefill_time_per_token,
                timing,
            ),
            ("prefill-overhead", &self.prefill_overhead, timing),
            (
                "time-factor-under-load",
                &self.time_factor_under_load,
                timing,
            ),
            ("latency-calculator", &self.latency_calculator, timing),
            (
                "kv-cache-size",
                &self.kv_cache_size,
                "here it is --total-kv-blocks",
            ),
            (
                "enable-kvcache",
                &self.enable_kvcache,
                "there is a prefix cache always; --no-enable-prefix-caching switches it off",
            ),
            (
                "max-waiting-queue-length",
                &self.max_waiting_queue_length,
                "vLLM's --max-num-queued-reqs limits requests on a server",
            ),
        ];
        match given.iter().find(|(_, value, _)| value.is_some()) {
            Some((flag, _, why)) => Err(InputError::new(format!("--{flag}: {why}"))),
            None => Ok(()),
        }
    }
}

/// Runs the command: serves until it is told to end.
pub fn emulate(args: &EmulateArgs, explicit: &Explicit) -> anyhow::Result<()> {
    args.elsewhere.refuse()?;
    refuse_zero(&[("--num-instances", args.cluster.num_instances == 0)])?;
    let simulation = resolve(args, explicit)?;
    let options = options(args, &simulation)?;
    let engine = simulation.standalone()?;
    for note in simulation.notes() {
        say(&format!("note: {note}"));
    }
    let end = Arc::new(watch::Sender::new(false));
    if args.server.until_stdin_closes {
        endings::end_with_stdin(&end);
    }
    let about = about(&simulation, &options);
    let ready = |addresses: &[SocketAddr]| {
        let urls: Vec<String> = addresses.iter().map(|a| format!("http://{a}")).collect();
        let mut about = about;
        about["urls"] = json!(urls);
        to_stdout(|out| writeln!(out, "{about}")).map_err(std::io::Error::other)
    };
    let signals = Arc::clone(&end);
    let begin = move || endings::end_on_signals(&signals);
    servers::serve(engine, options, &end, begin, ready).map_err(|e| InputError::new(e).into())
}

/// The cluster behind the servers.
fn resolve(args: &EmulateArgs, explicit: &Explicit) -> anyhow::Result<Simulation> {
    let mut run = match &args.cluster.spec {
        Some(path) => {
            let own = ["seed", "port", "host"];
            for name in windtunnel_sim::settings::names().filter(|name| !own.contains(name)) {
                explicit.reject_unless(&[name], false, "with --spec, whose file says it")?;
            }
            let run = RunSpec::load(path)?;
            RunSpec {
                workload: Default::default(),
                ..run
            }
        }
        None => of_flags(args, explicit),
    };
    if run.model.is_empty() && args.cluster.spec.is_none() {
        return Err(InputError::new("give --model, or --spec FILE").into());
    }
    if run.rules == RulesSpec::Auto {
        run.rules = RulesSpec::Vllm;
    }
    if explicit.has("seed") {
        run.seed = Some(args.cluster.seed);
    }
    // Requests come from clients.
    Ok(run.resolve_with(Box::new(Listed::default()), "clients")?)
}

fn of_flags(args: &EmulateArgs, explicit: &Explicit) -> RunSpec {
    let (engine, scheduling) = (&args.engine, &args.engine.scheduling);
    let pool = PoolSpec {
        count: Some(args.cluster.num_instances),
        ..spec::of_pool(&args.model, engine, explicit)
    };
    RunSpec {
        pools: vec![pool],
        rules: match engine.rules {
            RulesName::Auto => RulesSpec::Auto,
            RulesName::Vllm => RulesSpec::Vllm,
            RulesName::Blis => RulesSpec::Blis,
        },
        policies: PoliciesSpec {
            scheduling_policy: scheduling.scheduling_policy.map(Into::into),
            scheduler: engine.scheduler.clone(),
            priority: engine.priority_policy.clone(),
            preemption: engine.preemption_policy.clone(),
            params: args.cluster.policy_param.clone(),
            ..PoliciesSpec::default()
        },
        ..spec::of_model(&args.model)
    }
}

fn options(args: &EmulateArgs, simulation: &Simulation) -> Result<Options, InputError> {
    let (server, faults) = (&args.server, &args.faults);
    if !(1e-3..=1e3).contains(&server.speed) {
        return Err(InputError::new(format!(
            "--speed is {}; expected a factor from 0.001 to 1000",
            server.speed
        )));
    }
    let output_tokens = match server.output_tokens.as_deref() {
        None => None,
        Some([mean]) => Some((*mean, 0.0)),
        Some([mean, deviation]) => Some((*mean, *deviation)),
        Some(all) => {
            return Err(InputError::new(format!(
                "--output-tokens has {} numbers; expected a mean, and a standard deviation behind it",
                all.len()
            )));
        }
    };
    if let Some((mean, deviation)) = output_tokens
        && !((1.0..=1e9).contains(&mean) && (0.0..=1e9).contains(&deviation))
    {
        return Err(InputError::new(format!(
            "--output-tokens is {mean},{deviation}; expected a mean of at least 1, and a standard deviation of 0 or more"
        )));
    }
    let rates = FaultRates {
        failure_injection_rate: faults.failure_injection_rate,
        failure_types: faults
            .failure_types
            .iter()
            .map(|name| (*name).into())
            .collect(),
        cut_rate: faults.cut_rate,
        hang_rate: faults.hang_rate,
        metrics_age_ms: faults.metrics_age,
        slow: 1.0,
    };
    rates
        .check()
        .map_err(|what| InputError::new(format!("--{what}")))?;
    if !faults.failure_types.is_empty() && faults.failure_injection_rate == 0.0 {
        let message = "--failure-types has no effect without --failure-injection-rate";
        return Err(InputError::new(message));
    }
    let log = server
        .requests_log
        .as_ref()
        .map(|path| -> Result<_, InputError> {
            check_path(path)?;
            let file = File::create(path).map_err(|e| {
                InputError::in_file(path.display(), windtunnel_base::input::plain(&e))
            })?;
            Ok(Box::new(BufWriter::new(file)) as Box<dyn Write>)
        });
    let model = simulation.model().to_owned();
    Ok(Options {
        host: server.host,
        port: server.port,
        speed: server.speed,
        names: match server.served_model_name.is_empty() {
            true => vec![model.clone()],
            false => server.served_model_name.clone(),
        },
        model,
        api_key: server.api_key.clone(),
        prompt_tokens_details: server.enable_prompt_tokens_details,
        request_id_headers: server.enable_request_id_headers,
        output_tokens,
        echo: server.mode == Mode::Echo,
        seed: args.cluster.seed,
        adapters: server
            .lora_modules
            .iter()
            .map(|text| adapter(text))
            .collect::<Result<_, _>>()?,
        metrics: match server.metrics {
            Names::Vllm => MetricNames::Vllm,
            Names::Sglang => MetricNames::Sglang,
        },
        faults: rates,
        happenings: happenings(&faults.event, simulation, server.speed)?,
        log: log.transpose()?,
    })
}

impl From<FailureName> for FailureType {
    fn from(name: FailureName) -> Self {
        match name {
            FailureName::RateLimit => Self::RateLimit,
            FailureName::InvalidApiKey => Self::InvalidApiKey,
            FailureName::ContextLength => Self::ContextLength,
            FailureName::ServerError => Self::ServerError,
            FailureName::InvalidRequest => Self::InvalidRequest,
            FailureName::ModelNotFound => Self::ModelNotFound,
        }
    }
}

/// An adapter by name and path, in one of vLLM's two ways to write it.
fn adapter(text: &str) -> Result<(String, String), InputError> {
    let wrong = || {
        InputError::new(format!(
            "--lora-modules: expected NAME=PATH, or JSON with name and path, found {text:?}"
        ))
    };
    if text.starts_with('{') {
        let object: Value = serde_json::from_str(text).map_err(|_| wrong())?;
        let part = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        return part("name").zip(part("path")).ok_or_else(wrong);
    }
    let (name, path) = text.split_once('=').ok_or_else(wrong)?;
    match name.is_empty() || path.is_empty() {
        true => Err(wrong()),
        false => Ok((name.to_owned(), path.to_owned())),
    }
}

/// What happens to servers, in the machine's time.
fn happenings(
    events: &[EventSpec],
    simulation: &Simulation,
    speed: f64,
) -> Result<Vec<Happening>, InputError> {
    let pools = &simulation.deployment().config().pools;
    let mut all = Vec::new();
    for event in events {
        let wrong = |what: String| InputError::new(format!("--event: {what}"));
        let time = |seconds: f64| {
            let wrong = |_| wrong(format!("{seconds} is no time that can be waited for"));
            Duration::try_from_secs_f64(seconds / speed).map_err(wrong)
        };
        let at = match pools.iter().position(|pool| pool.name == event.pool) {
            Some(at) => at,
            None if event.pool.is_empty() && pools.len() == 1 => 0,
            None => {
                let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
                let names = names.join(", ");
                return Err(wrong(format!(
                    "there is no pool \"{}\"; there are: {names}",
                    event.pool
                )));
            }
        };
        let first: u32 = pools[..at].iter().map(|pool| pool.instances).sum();
        let count = pools[at].instances;
        for &k in &event.instances {
            if k >= count {
                return Err(wrong(format!(
                    "there is no server {k}; there are {count}, from 0"
                )));
            }
            let server = (first + k) as usize;
            let mut add = |seconds: f64, what: Mishap| -> Result<(), InputError> {
                let at = time(seconds)?;
                all.push(Happening { at, server, what });
                Ok(())
            };
            match event.kind {
                EventKind::Fail => {
                    let restart = event.restart_after.map(time).transpose()?;
                    add(event.at, Mishap::Crash(restart))?;
                }
                EventKind::Slow => {
                    add(event.at, Mishap::Slow(event.factor.unwrap_or(1.0)))?;
                    add(event.at + event.duration.unwrap_or(0.0), Mishap::Slow(1.0))?;
                }
                EventKind::Roll => {}
            }
        }
        if event.kind == EventKind::Roll {
            let why = "servers are not replaced; fail and slow are what happens to them";
            return Err(wrong(why.to_owned()));
        }
    }
    Ok(all)
}

/// What is served, for whoever reads the first line.
fn about(simulation: &Simulation, options: &Options) -> Value {
    let deployment = simulation.deployment();
    let pools = deployment.config().pools.iter();
    let pools = pools.flat_map(|pool| {
        let about = json!({
            "pool": pool.name,
            "gpu": pool.gpu,
            "gpus": pool.gpus_per_instance,
            "kv_blocks": pool.engine.total_kv_blocks,
        });
        std::iter::repeat_n(about, pool.instances as usize)
    });
    json!({
        "urls": [],
        "model": options.names[0],
        "speed": options.speed,
        "servers": pools.collect::<Vec<_>>(),
    })
}
