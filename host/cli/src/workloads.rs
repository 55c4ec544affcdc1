//! From flags to a source of requests.

use super::args::CommonArgs;
use super::effects::Explicit;
use super::workload_args::{
    ReplayArgs, RunArgs, SessionModeName, TRACE_FLAGS, TraceArgs, WorkloadArgs,
};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use windtunnel_base::input::InputError;
use windtunnel_base::request::Source;
use windtunnel_config::Defaults;
use windtunnel_results::metrics::slo::{Dimension, SloTargets};
use windtunnel_workload::generator_config::GeneratorConfig;
use windtunnel_workload::spec::{self, Bounds, Changes, types};
use windtunnel_workload::synthetic::{Distribution, Length, Parameters};
use windtunnel_workload::{
    OpenOptions, RealTime, Selection, SessionMode, ThinkTime, Trace, open, trace_v2,
};

/// Flags of synthetic lengths.
const LENGTH_FLAGS: [&str; 9] = [
    "prefix_tokens",
    "prompt_tokens",
    "prompt_tokens_stdev",
    "prompt_tokens_min",
    "prompt_tokens_max",
    "output_tokens",
    "output_tokens_stdev",
    "output_tokens_min",
    "output_tokens_max",
];

/// A source, and what it is in words.
pub struct Opened {
    pub source: Box<dyn Source>,
    pub description: String,
    pub horizon_us: i64,
    /// Goodput targets that the trace's header carries.
    pub slo_targets: SloTargets,
    /// What a person should know about it.
    pub notes: Vec<String>,
    /// What no routing can exceed; known after the run.
    pub infinite_cache_hit_rate: Option<f64>,
    /// Rate of a GuideLLM-style generator, requests per second.
    pub generator_rate: Option<f64>,
}

impl Opened {
    pub fn trace(path: &Path, trace: Trace, horizon_us: i64) -> Self {
        Self {
            description: format!("{} ({})", path.display(), trace.format()),
            notes: trace.notes().to_vec(),
            source: Box::new(trace),
            horizon_us,
            slo_targets: SloTargets::default(),
            infinite_cache_hit_rate: None,
            generator_rate: None,
        }
    }
}

/// Traces that several runs replay; each is parsed once, so that all see the same.
#[derive(Debug, Default)]
pub struct Traces(Mutex<Vec<(PathBuf, OpenOptions, Trace)>>);

impl Traces {
    fn open(&self, path: &Path, options: &OpenOptions) -> Result<Trace, InputError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, trace)) = known.iter().find(|(p, o, _)| p == path && o == options) {
            return Ok(trace.clone());
        }
        let trace = open(path, None, options)?;
        known.push((path.to_owned(), *options, trace.clone()));
        Ok(trace)
    }
}

/// The simulated time limit: the flag, or none.
fn horizon(common: &CommonArgs) -> Result<i64, InputError> {
    match common.horizon {
        Some(us) if us <= 0 => Err(InputError::new(format!(
            "--horizon {us} must be above 0, in microseconds"
        ))),
        given => Ok(given.unwrap_or(i64::MAX)),
    }
}

/// The workload of `run`.
pub fn for_run(
    args: &RunArgs,
    explicit: &Explicit,
    defaults: &Defaults,
    traces: Option<&Traces>,
) -> Result<Opened, InputError> {
    let w = &args.workload;
    if let Some(path) = &w.legacy.reqgen_config_path {
        return generated(path, args, explicit, traces.is_some());
    }
    let synthetic_traffic = w.workload_spec.is_some()
        || w.concurrency.is_some()
        || w.workload == "distribution"
        || defaults.preset(&w.workload).is_ok();
    explicit.reject_unless(
        &TRACE_FLAGS,
        !synthetic_traffic,
        "with synthetic traffic; it chooses from a trace file",
    )?;
    if let Some(path) = &w.workload_spec {
        return spec_of_run(path, args, explicit, traces.is_some());
    }
    let horizon_us = horizon(&args.common)?;
    if w.concurrency.is_some() {
        return closed_loop(args, explicit, defaults);
    }
    if w.workload == "distribution" || defaults.preset(&w.workload).is_ok() {
        explicit.reject_unless(
            &["workload_traces_filepath"],
            false,
            "with a synthetic workload; give --workload traces",
        )?;
        return synthetic(args, explicit, defaults, horizon_us);
    }
    let path = match (w.workload.as_str(), &w.workload_traces_filepath) {
        ("traces", Some(path)) => path.clone(),
        ("traces", None) => {
            return Err(InputError::new(
                "--workload traces needs --workload-traces-filepath FILE",
            ));
        }
        (name, None) if Path::new(name).exists() => PathBuf::from(name),
        (name, Some(_)) => {
            return Err(InputError::new(format!(
                "--workload-traces-filepath goes with --workload traces, found \"{name}\""
            )));
        }
        (name, None) => {
            let error = defaults
                .preset(name)
                .err()
                .map_or(String::new(), |e| e.to_string());
            return Err(InputError::new(format!(
                "{error}, distribution, traces; and there is no file of that name"
            )));
        }
    };
    explicit.reject_unless(
        &["rate"],
        false,
        "with a trace file, whose requests come as recorded; --rate-scale makes them faster",
    )?;
    explicit.reject_unless(
        &LENGTH_FLAGS,
        false,
        "with a trace file, whose requests have their own lengths",
    )?;
    let limits = Limits {
        max_requests: explicit.has("max_prompts").then_some(w.max_prompts),
        timeout_s: explicit.has("timeout").then_some(w.timeout),
    };
    let options = OpenOptions {
        horizon_us,
        ..part(&w.part, limits, args.common.seed)?
    };
    let trace = match traces {
        Some(traces) => traces.open(&path, &options)?,
        None => open(&path, None, &options)?,
    };
    Ok(Opened::trace(&path, trace, horizon_us))
}

/// Limits that a trace does not have itself.
pub struct Limits {
    pub max_requests: Option<u64>,
    pub timeout_s: Option<f64>,
}

/// Which part of a trace is replayed, and how.
pub fn part(part: &TraceArgs, limits: Limits, seed: u64) -> Result<OpenOptions, InputError> {
    let seconds = |flag: &str, value: Option<f64>| match value {
        Some(s) if !(0.0..=1e12).contains(&s) => Err(InputError::new(format!(
            "{flag} {s} must be 0 or more seconds"
        ))),
        given => Ok(given.map(|s| (s * 1e6).round() as i64)),
    };
    if limits.max_requests == Some(0) {
        return Err(InputError::new("--num-requests is 0; expected at least 1"));
    }
    let timeout_us = match limits.timeout_s {
        Some(s) if !s.is_finite() || s == 0.0 => {
            return Err(InputError::new(format!(
                "--timeout {s} must be above 0 seconds, or negative for none"
            )));
        }
        given => given.filter(|s| *s > 0.0).map(|s| (s * 1e6) as i64),
    };
    Ok(OpenOptions {
        seed,
        strict: part.strict,
        run: part.trace_run,
        selection: Selection {
            from_us: seconds("--trace-from", part.trace_from)?,
            to_us: seconds("--trace-to", part.trace_to)?,
            sample: part.trace_sample,
            loops: part.trace_loops,
            spread_ties: part.spread_ties,
            rate_scale: part.rate_scale,
            max_requests: limits.max_requests,
            timeout_us,
            seed,
        },
        ..OpenOptions::default()
    })
}

/// The request generator of the oldest releases of BLIS.
fn generated(
    path: &Path,
    args: &RunArgs,
    explicit: &Explicit,
    in_sweep: bool,
) -> Result<Opened, InputError> {
    let why = "with --reqgen-config-path, whose file says it";
    explicit.reject_unless(&LENGTH_FLAGS, false, why)?;
    explicit.reject_unless(&TRACE_FLAGS, false, why)?;
    explicit.reject_unless(&["rate", "max_prompts", "timeout"], false, why)?;
    let config = GeneratorConfig::read(path)?;
    let horizon_us = horizon(&args.common)?;
    let seed = (in_sweep || explicit.has("seed")).then_some(args.common.seed);
    let source = config.source(horizon_us, seed);
    let source = source.map_err(|e| InputError::in_file(path.display(), e.message()))?;
    Ok(Opened {
        description: format!(
            "{}, {} requests at {} request/s",
            path.display(),
            config.rate.max_requests,
            config.rate.rate
        ),
        source: Box::new(source),
        horizon_us,
        slo_targets: SloTargets::default(),
        notes: Vec::new(),
        infinite_cache_hit_rate: None,
        generator_rate: Some(config.rate.rate),
    })
}

/// What flags say instead of a workload spec.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpecFlags {
    pub rate: Option<f64>,
    pub seed: Option<u64>,
    pub horizon_us: Option<i64>,
    pub num_requests: Option<u64>,
    /// 0 = none.
    pub timeout_us: Option<i64>,
}

/// The workload spec of `run`, with the flags that go before it.
fn spec_of_run(
    path: &Path,
    args: &RunArgs,
    explicit: &Explicit,
    in_sweep: bool,
) -> Result<Opened, InputError> {
    let w = &args.workload;
    explicit.reject_unless(
        &LENGTH_FLAGS,
        false,
        "with --workload-spec, whose clients have their own lengths",
    )?;
    horizon(&args.common)?;
    let limit = explicit.has("timeout").then(|| timeout(w)).transpose()?;
    from_spec(
        path,
        SpecFlags {
            rate: explicit.has("rate").then_some(w.rate),
            // The runs of a sweep differ in their seeds, whatever the spec says.
            seed: (in_sweep || explicit.has("seed")).then_some(args.common.seed),
            horizon_us: args.common.horizon,
            num_requests: explicit.has("max_prompts").then_some(w.max_prompts),
            timeout_us: limit.map(|us| us.unwrap_or(0)),
        },
    )
}

/// A workload spec.
pub fn from_spec(path: &Path, flags: SpecFlags) -> Result<Opened, InputError> {
    let opened = spec::read(path, Changes { rate: flags.rate })?;
    let written = &opened.spec;
    if flags.num_requests == Some(0) {
        return Err(InputError::new("--num-requests is 0; expected at least 1"));
    }
    let bounds = Bounds {
        seed: flags.seed.unwrap_or(written.seed.cast_unsigned()),
        horizon_us: match (flags.horizon_us, written.horizon) {
            (Some(us), _) => us,
            (None, 0) => i64::MAX,
            (None, us) => us,
        },
        num_requests: flags
            .num_requests
            .or((written.num_requests > 0).then_some(written.num_requests)),
        timeout_us: flags.timeout_us,
    };
    finish(opened, bounds, path.display().to_string())
}

fn finish(opened: spec::Opened, bounds: Bounds, name: String) -> Result<Opened, InputError> {
    let mut slo_targets = SloTargets::default();
    for (class, targets) in &opened.spec.goodput_slo_targets {
        slo_targets.set(class, Dimension::Ttft, targets.ttft_ms * 1e3);
        slo_targets.set(class, Dimension::Itl, targets.itl_ms * 1e3);
        slo_targets.set(class, Dimension::E2e, targets.e2e_ms * 1e3);
    }
    let most = bounds
        .num_requests
        .map_or(String::new(), |n| format!(", at most {n} requests"));
    let clients = match opened.clients() {
        1 => "1 client".to_owned(),
        n => format!("{n} clients"),
    };
    Ok(Opened {
        description: format!("{name}, {clients}{most}, seed {}", bounds.seed),
        horizon_us: bounds.horizon_us,
        slo_targets,
        notes: opened.notes().to_vec(),
        infinite_cache_hit_rate: None,
        generator_rate: None,
        source: Box::new(opened.source(bounds)?),
    })
}

/// Users of a closed loop with the lengths of the flags or of a preset.
fn closed_loop(
    args: &RunArgs,
    explicit: &Explicit,
    defaults: &Defaults,
) -> Result<Opened, InputError> {
    let w = &args.workload;
    let users = w.concurrency.unwrap_or_default();
    if users == 0 {
        return Err(InputError::new(
            "--concurrency is 0; expected at least 1 user",
        ));
    }
    if !explicit.has("max_prompts") && args.common.horizon.is_none() {
        return Err(InputError::new(
            "--concurrency goes on as long as answers come: give --num-requests or --horizon, too",
        ));
    }
    let (prefix_tokens, prompt, output) = lengths(w, explicit, defaults)?;
    prompt.check("--prompt-tokens")?;
    output.check("--output-tokens")?;
    let gaussian = |l: &Length| {
        let params = [
            ("mean", l.mean),
            ("std_dev", l.stdev),
            ("min", l.min.into()),
            ("max", l.max.into()),
        ];
        Some(types::Distribution {
            kind: types::DistributionKind::Gaussian,
            params: params.map(|(k, x)| (k.to_owned(), x)).into(),
            file: None,
        })
    };
    let think_us = w.think_time_ms.unwrap_or(0).saturating_mul(1000);
    let client = types::Client {
        id: w.workload.clone(),
        concurrency: users,
        think_time_us: i64::try_from(think_us).unwrap_or(i64::MAX),
        input_distribution: gaussian(&prompt),
        output_distribution: gaussian(&output),
        prefix_group: if prefix_tokens > 0 {
            "shared".into()
        } else {
            String::new()
        },
        prefix_length: Some(prefix_tokens),
        timeout: Some(timeout(w)?.unwrap_or(0)),
        ..types::Client::default()
    };
    let written = spec::WorkloadSpec {
        clients: vec![client],
        ..spec::WorkloadSpec::default()
    };
    let bounds = Bounds {
        seed: args.common.seed,
        horizon_us: horizon(&args.common)?,
        num_requests: explicit.has("max_prompts").then_some(w.max_prompts),
        timeout_us: None,
    };
    let name = format!("{} for {users} users", w.workload);
    finish(spec::open(written, Path::new("."))?, bounds, name)
}

/// The time limit of every request, microseconds.
fn timeout(w: &WorkloadArgs) -> Result<Option<i64>, InputError> {
    if !w.timeout.is_finite() || w.timeout == 0.0 {
        return Err(InputError::new(format!(
            "--timeout {} must be above 0 seconds, or negative for none",
            w.timeout
        )));
    }
    Ok((w.timeout > 0.0).then_some((w.timeout * 1e6) as i64))
}

/// Prefix, prompt and output lengths of a preset or of the flags.
fn lengths(
    w: &WorkloadArgs,
    explicit: &Explicit,
    defaults: &Defaults,
) -> Result<(u32, Length, Length), InputError> {
    let length = |mean: u32, stdev: u32, min, max| Length {
        mean: f64::from(mean),
        stdev: f64::from(stdev),
        min,
        max,
    };
    if w.workload == "distribution" {
        Ok((
            w.prefix_tokens,
            length(
                w.prompt_tokens,
                w.prompt_tokens_stdev,
                w.prompt_tokens_min,
                w.prompt_tokens_max,
            ),
            length(
                w.output_tokens,
                w.output_tokens_stdev,
                w.output_tokens_min,
                w.output_tokens_max,
            ),
        ))
    } else {
        let why = format!(
            "with the preset \"{}\", which sets all lengths; use --workload distribution",
            w.workload
        );
        explicit.reject_unless(&LENGTH_FLAGS, false, &why)?;
        let preset = defaults.preset(&w.workload)?;
        let of = |l: windtunnel_config::LengthPreset| length(l.mean, l.stdev, l.min, l.max);
        Ok((preset.prefix, of(preset.prompt), of(preset.output)))
    }
}

fn synthetic(
    args: &RunArgs,
    explicit: &Explicit,
    defaults: &Defaults,
    horizon_us: i64,
) -> Result<Opened, InputError> {
    let w = &args.workload;
    let (prefix_tokens, prompt, output) = lengths(w, explicit, defaults)?;
    let timeout_us = timeout(w)?;
    let source = Distribution::new(Parameters {
        rate: w.rate,
        num_requests: w.max_prompts,
        prefix_tokens,
        prompt,
        output,
        horizon_us,
        seed: args.common.seed,
        timeout_us,
        from_zero: false,
    })?;
    let description = format!(
        "{}, {} requests at {} request/s, seed {}",
        w.workload, w.max_prompts, w.rate, args.common.seed
    );
    Ok(Opened {
        source: Box::new(source),
        description,
        horizon_us,
        slo_targets: SloTargets::default(),
        notes: Vec::new(),
        infinite_cache_hit_rate: None,
        generator_rate: None,
    })
}

fn think_time(args: &ReplayArgs) -> Result<Option<ThinkTime>, InputError> {
    let us = |ms: u64| i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX);
    match &args.think_time_dist {
        Some(text) => ThinkTime::parse("--think-time-dist", text).map(Some),
        None => Ok(args.think_time_ms.map(|ms| ThinkTime::Constant(us(ms)))),
    }
}

/// The workload of `replay`. `as_the_reference` cuts at the reference's default horizon.
pub fn for_replay(
    args: &ReplayArgs,
    explicit: &Explicit,
    as_the_reference: bool,
) -> Result<Opened, InputError> {
    let path = args.trace.as_ref().or(args.trace_data.as_ref());
    let path = path.ok_or_else(|| InputError::new("give a trace file, or --trace-data FILE"))?;
    let closed_loop = args.session_mode == SessionModeName::ClosedLoop;
    explicit.reject_unless(
        &["think_time_ms", "think_time_dist"],
        closed_loop,
        "in fixed session mode; it goes with --session-mode closed-loop",
    )?;
    let limits = Limits {
        max_requests: args.num_requests,
        timeout_s: args.timeout,
    };
    let options = OpenOptions {
        session_mode: if closed_loop {
            SessionMode::ClosedLoop
        } else {
            SessionMode::Fixed
        },
        think_time: think_time(args)?,
        seed: args.common.seed,
        horizon_us: horizon(&args.common)?,
        real_time: if as_the_reference {
            RealTime::AsRecorded
        } else {
            RealTime::Rebased
        },
        ..part(&args.part, limits, args.common.seed)?
    };
    let header = args.trace_header.as_deref();
    let reference_horizon = as_the_reference && args.common.horizon.is_none();
    let mut opened = from_trace(path, header, &options, reference_horizon)?;
    if let Some(header) = header {
        for (class, targets) in &trace_v2::Header::read(header)?.goodput_slo_targets {
            opened
                .slo_targets
                .set(class, Dimension::Ttft, targets.ttft_ms * 1e3);
            opened
                .slo_targets
                .set(class, Dimension::Itl, targets.itl_ms * 1e3);
            opened
                .slo_targets
                .set(class, Dimension::E2e, targets.e2e_ms * 1e3);
        }
    }
    Ok(opened)
}

fn from_trace(
    path: &Path,
    header: Option<&Path>,
    options: &OpenOptions,
    reference_horizon: bool,
) -> Result<Opened, InputError> {
    let mut trace = open(path, header, options)?;
    let mut horizon_us = options.horizon_us;
    if reference_horizon {
        horizon_us = trace.replay_horizon_us();
        trace.set_horizon_us(horizon_us);
    }
    let idle = options.session_mode == SessionMode::ClosedLoop
        && trace.as_trace_v2().is_some_and(|t| !t.has_sessions());
    let mut opened = Opened::trace(path, trace, horizon_us);
    if idle {
        opened.notes.push(format!(
            "{} has no sessions; the closed loop changes nothing",
            path.display()
        ));
    }
    Ok(opened)
}
