//! How a server is asked, and what is sent to it.

use crate::api_key;
use crate::args::refuse_zero;
use crate::effects::Explicit;
use crate::print::say;
use crate::progress::SentBar;
use crate::spec;
use crate::workload_args::{SessionModeName, WorkloadArgs};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use windtunnel_base::input::InputError;
use windtunnel_live::client::Client;
use windtunnel_live::observe::{
    Answers, Api, Observation, PromptFormat, Prompts, Settings, Stop, observe, probe, served_model,
};
use windtunnel_results::metrics::slo::SloTargets;
use windtunnel_sim::{ReplaySpec, RunSpec, SessionModeSpec, workload};
use windtunnel_workload::{Format, detect};

/// Which of OpenAI's interfaces is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiName {
    /// /v1/completions
    Completions,
    /// /v1/chat/completions
    Chat,
}

/// How prompts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PromptFormatName {
    /// Lists of token ids if the server takes them, else words
    Auto,
    /// Lists of token ids: prompts have exactly the lengths of the workload
    Tokens,
    /// Words, as many as make the tokens; how many that are is asked before
    Text,
}

/// What stands in a session's prompts for earlier answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AnswersName {
    /// What the server answered
    Real,
    /// Made for it, as the rest of the prompt
    Made,
}

/// How a server is asked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Asking a server")]
pub struct AskArgs {
    /// The server's key
    #[arg(long, value_name = "KEY", conflicts_with = "api_key_env")]
    api_key: Option<String>,
    /// The environment variable that holds the server's key [default: WINDTUNNEL_API_KEY, if set]
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Which interface is used
    #[arg(long, value_enum, default_value_t = ApiName::Completions, value_name = "API")]
    api_format: ApiName,
    /// How prompts are written
    #[arg(long, value_enum, default_value_t = PromptFormatName::Auto, value_name = "FORMAT")]
    prompt_format: PromptFormatName,
    /// Which words or ids stand for the workload's tokens; the same ones may still be in the
    /// server's prefix cache [default: others each time]
    #[arg(long, value_name = "SEED")]
    prompt_seed: Option<u64>,
    /// What stands in a session's prompts for earlier answers
    #[arg(long, value_enum, default_value_t = AnswersName::Real, value_name = "WHICH")]
    answers: AnswersName,
    /// Most requests at once: a flag of the commands, as a simulated gateway has one of that name.
    #[arg(skip)]
    at_once: Option<usize>,
    /// Requests at the start that only warm the server up: marked, and part of no figure
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub warmup_requests: u64,
    /// Have answers come whole: then nobody knows when their first token was there
    #[arg(long)]
    no_streaming: bool,
    /// Let the server end answers where it likes; without it each has the length of the workload
    #[arg(long)]
    unconstrained_output: bool,
    /// Send ignore_eos, too, for servers that do not know min_tokens
    #[arg(long, conflicts_with = "unconstrained_output")]
    ignore_eos: bool,
    /// Keys that are added to the body of every request, a JSON object
    #[arg(long, value_name = "JSON")]
    extra_body: Option<String>,
    /// Read the prefix cache's counters from the server's /metrics, before and after
    #[arg(long)]
    scrape_kv_metrics: bool,
    /// Refuse the observation if more than 1 % of the requests are sent later than this after their
    /// time; milliseconds
    #[arg(long, default_value_t = 10.0, value_name = "MS")]
    pub max_lateness: f64,
}

impl AskArgs {
    /// The same with a limit on requests at once.
    pub fn at_once(&self, most: Option<usize>) -> Self {
        let mut limited = self.clone();
        limited.at_once = most;
        limited
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), InputError> {
        above_zero("--max-lateness", self.max_lateness)?;
        refuse_zero(&[("the limit on requests at once", self.at_once == Some(0))])?;
        if self
            .api_key
            .as_deref()
            .is_some_and(|key| !api_key::is_key(key))
        {
            let message = "--api-key: expected visible ASCII characters";
            return Err(InputError::new(message));
        }
        self.extra().map(|_| ())
    }

    fn extra(&self) -> Result<Map<String, Value>, InputError> {
        let Some(text) = &self.extra_body else {
            return Ok(Map::new());
        };
        match serde_json::from_str(text) {
            Ok(Value::Object(keys)) => Ok(keys),
            _ => Err(InputError::new(format!(
                "--extra-body: expected a JSON object such as {{\"temperature\": 0}}, found {text}"
            ))),
        }
    }

    fn api(&self) -> Api {
        match self.api_format {
            ApiName::Completions => Api::Completions,
            ApiName::Chat => Api::Chat,
        }
    }

    fn prompt_format(&self) -> Option<PromptFormat> {
        match self.prompt_format {
            PromptFormatName::Auto => None,
            PromptFormatName::Tokens => Some(PromptFormat::Tokens),
            PromptFormatName::Text => Some(PromptFormat::Text),
        }
    }

    fn settings(
        &self,
        model: String,
        run: &RunSpec,
        horizon_us: i64,
    ) -> Result<Settings, InputError> {
        // The workload's own deadlines are its requests'.
        let timeout = run.workload.timeout.unwrap_or(300.0);
        Ok(Settings {
            model,
            api: self.api(),
            streaming: !self.no_streaming,
            max_concurrency: self.at_once,
            timeout: (timeout > 0.0).then(|| Duration::from_secs_f64(timeout.min(1e9))),
            warm_up: self.warmup_requests,
            constrained: !self.unconstrained_output,
            ignore_eos: self.ignore_eos,
            answers: match self.answers {
                AnswersName::Real => Answers::Real,
                AnswersName::Made => Answers::Made,
            },
            extra: self.extra()?,
            scrape_kv: self.scrape_kv_metrics,
            horizon_us,
        })
    }
}

/// What is sent: synthetic traffic, a spec or a trace, as `run` and `replay` take them.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// Workload.
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Header of the TraceV2 trace that --workload names, YAML
    #[arg(long, value_name = "FILE", help_heading = "Traces")]
    workload_header: Option<PathBuf>,
    /// How sessions of the trace are replayed
    #[arg(long, value_enum, default_value_t = SessionModeName::Fixed, value_name = "MODE", help_heading = "Traces")]
    session_mode: SessionModeName,
    /// Think time between the rounds of a session: constant:value=T or
    /// lognormal:mu=M,sigma=S[,min=T][,max=T], ln of seconds (closed-loop) [default: the trace's]
    #[arg(long, value_name = "DISTRIBUTION", help_heading = "Traces")]
    think_time_dist: Option<String>,
}

impl LoadArgs {
    /// The run with this as its workload.
    ///
    /// # Errors
    /// When flags are given that have no effect here.
    pub fn add_to(&self, run: RunSpec, explicit: &Explicit) -> Result<RunSpec, InputError> {
        let of_blis = ["regression_coeffs", "queuing_coeffs", "finished_coeffs"];
        explicit.reject_unless(&of_blis, false, "here: the server takes its own time")?;
        let mut run = RunSpec {
            workload: spec::workload(&self.workload, explicit),
            ..run
        };
        let trace = self.trace(&run);
        let of_traces = ["workload_header", "session_mode", "think_time_dist"];
        explicit.reject_unless(
            &of_traces,
            trace.is_some(),
            "without a trace file (--workload)",
        )?;
        // Epoch times of observed traces become times of a replay; a replay knows sessions.
        let replayed = of_traces.iter().any(|flag| explicit.has(flag));
        if let Some(trace) = trace
            && (replayed || detect(&trace)? == Format::TraceV2)
        {
            let mode = match self.session_mode {
                SessionModeName::Fixed => SessionModeSpec::Fixed,
                SessionModeName::ClosedLoop => SessionModeSpec::ClosedLoop,
            };
            run.workload.replay = Some(ReplaySpec {
                trace,
                header: self.workload_header.clone(),
                session_mode: explicit.has("session_mode").then_some(mode),
                think_time_dist: self.think_time_dist.clone(),
            });
            (run.workload.name, run.workload.traces_filepath) = (None, None);
        }
        Ok(run)
    }

    /// The trace file that is sent, if it is one.
    fn trace(&self, run: &RunSpec) -> Option<PathBuf> {
        let w = &run.workload;
        if w.spec.is_some() || w.concurrency.is_some() || w.reqgen_config_path.is_some() {
            return None;
        }
        let name = w.name.as_deref()?;
        let path = match name {
            "traces" => w.traces_filepath.clone()?,
            name => PathBuf::from(name),
        };
        let defaults = windtunnel_sim::defaults(run.defaults_filepath.as_deref()).ok()?;
        let is_preset = name == "distribution" || defaults.preset(name).is_ok();
        (!is_preset && path.exists()).then_some(path)
    }
}

/// What was observed, and of what.
pub struct Seen {
    /// The server.
    pub url: String,
    /// The model that it served.
    pub model: String,
    /// What was sent, in words.
    pub workload: String,
    /// Targets that the workload carries.
    pub targets: SloTargets,
    /// Seed of the workload, if one was given.
    pub seed: Option<u64>,
    /// How prompts were written.
    pub prompts: Prompts,
    /// Requests at the start that only warmed up.
    pub warm_up: u64,
    /// What was measured.
    pub observation: Observation,
}

/// Sends the workload of `run` to the server at `url`.
///
/// # Errors
/// When the workload is wrong, or the server cannot be asked at all.
pub fn ask(
    url: &str,
    model: Option<&str>,
    args: &AskArgs,
    run: &RunSpec,
    quiet: bool,
) -> anyhow::Result<Seen> {
    let mut opened = workload::open_alone(run)?;
    for note in &opened.notes {
        say(&format!("note: {note}"));
    }
    let key = match &args.api_key {
        Some(key) => Some(key.clone()),
        None => api_key::from_environment(args.api_key_env.as_deref())?,
    };
    let client = Client::new(url, key)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let model = served_model(&client, model).await?;
        let seed = args.prompt_seed.unwrap_or_else(seed_of_now);
        let (api, format) = (args.api(), args.prompt_format());
        let (prompts, notes) = probe(&client, &model, api, format, seed).await?;
        for note in &notes {
            say(&format!("note: {note}"));
        }
        let settings = args.settings(model, run, opened.horizon_us)?;
        let bar = SentBar::new(opened.source.size_hint(), quiet);
        let source = opened.source.as_mut();
        let stop = on_signals();
        let mut progress = |so_far: &_| bar.show(so_far);
        let seen = observe(&client, &settings, &prompts, source, stop, &mut progress);
        let observation = seen.await?;
        bar.done();
        for note in &observation.notes {
            say(&format!("note: {note}"));
        }
        Ok(Seen {
            url: client.url().to_owned(),
            model: settings.model,
            workload: opened.description,
            targets: opened.slo_targets,
            seed: run.seed,
            prompts,
            warm_up: args.warmup_requests,
            observation,
        })
    })
}

/// Words of another run are others, so that no cache knows them.
fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64)
}

/// The first signal stops sending, the second one waiting, too.
fn on_signals() -> watch::Receiver<Stop> {
    let (tell, told) = watch::channel(Stop::Not);
    let tell = std::sync::Arc::new(tell);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            let tell = std::sync::Arc::clone(&tell);
            tokio::spawn(async move {
                while terminated.recv().await.is_some() {
                    further(&tell);
                }
            });
        }
    }
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            further(&tell);
        }
    });
    told
}

fn further(tell: &watch::Sender<Stop>) {
    tell.send_modify(|stop| match stop {
        Stop::Not => {
            say("nothing more is sent; what is under way is waited for (once more: not even that)");
            *stop = Stop::Sending;
        }
        _ => *stop = Stop::Waiting,
    });
}

/// Refuses a number that must be above 0.
fn above_zero(flag: &str, value: f64) -> Result<(), InputError> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(InputError::new(format!(
            "{flag} must be above 0, found {value}"
        ))),
    }
}
