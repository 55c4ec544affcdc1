//! From what a run says of its workload to a source of requests.

mod synthetic;

use crate::settings::Given;
use crate::spec::{
    LoadGeneratorSpec, ReplaySpec, RulesSpec, RunSpec, SessionModeSpec, TraceSpec, WorkloadSpec,
};
use crate::ticks;
use crate::xpusim;
use crate::xpusim_traffic::XPUSIM;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use windtunnel_base::input::InputError;
use windtunnel_config::Defaults;
use windtunnel_config::pool::PoolSpec;
use windtunnel_engine::instance::Preset;
use windtunnel_engine::profile::EngineProfile;
use windtunnel_results::metrics::slo::{Dimension, SloTargets};
use windtunnel_workload::generator_config::GeneratorConfig;
use windtunnel_workload::spec::{self, Bounds, Changes, Pauses, types};
use windtunnel_workload::synthetic::Length;
use windtunnel_workload::{
    ColumnMap, OpenOptions, RealTime, Selection, SessionMode, ThinkTime, Trace, detect, open,
    trace_v2,
};

/// Settings of a trace's part and pace.
pub(crate) const TRACE_SETTINGS: [&str; 11] = [
    "trace_from",
    "trace_to",
    "trace_sample",
    "trace_loops",
    "rate_scale",
    "spread_ties",
    "trace_run",
    "time_unit",
    "map",
    "trace_block_size",
    "strict",
];

pub use crate::opened::Opened;
pub use crate::spec::DEFAULT_SEED;
pub(crate) use synthetic::LENGTH_SETTINGS;
pub(crate) use synthetic::measured_us;
use synthetic::{lengths, timeout};

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
        known.push((path.to_owned(), options.clone(), trace.clone()));
        Ok(trace)
    }
}

/// The simulated time limit, microseconds.
pub(crate) fn horizon(run: &RunSpec) -> Result<i64, InputError> {
    match run.horizon_us {
        Some(us) if us <= 0 => Err(InputError::new(format!(
            "`horizon` {us} must be above 0, in microseconds"
        ))),
        given => Ok(given.unwrap_or(i64::MAX)),
    }
}

/// Opens the workload of a run that nobody simulates: its requests are sent to somebody else.
///
/// # Errors
/// When anything of it is wrong; settings stand in backticks in the message.
pub fn open_alone(run: &RunSpec) -> Result<Opened, InputError> {
    let defaults = crate::defaults(run.defaults_filepath.as_deref())?;
    open_workload(run, &Given::of(run), &defaults, None, ByRules::default())
}

/// What the rules of a run say of its workload, where the workload does not say it itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ByRules {
    /// Replays are cut at the reference's default horizon.
    pub(crate) reference_horizon: bool,
    /// Requests at a rate are evenly spaced, as in the simulators that are reproduced; otherwise
    /// they come at random, as `vllm bench serve` sends them.
    pub(crate) evenly: bool,
}

impl ByRules {
    /// What the rules `preset` of a run say.
    pub(crate) fn of(run: &RunSpec, preset: Preset) -> Self {
        let profile = |pool: &PoolSpec| EngineProfile::named(pool.engine.profile.as_deref()?);
        let mut profiles = run.pools.iter().filter_map(profile);
        Self {
            reference_horizon: preset == Preset::Blis && run.rules == RulesSpec::Blis,
            evenly: preset == Preset::Blis || profiles.any(EngineProfile::is_simulator),
        }
    }
}

/// Opens what a run says of its workload; `traces` keeps what was parsed for the next run.
pub(crate) fn open_workload(
    run: &RunSpec,
    given: &Given,
    defaults: &Defaults,
    traces: Option<&Traces>,
    by_rules: ByRules,
) -> Result<Opened, InputError> {
    let w = &run.workload;
    let name = w.name.as_deref().unwrap_or("distribution");
    let preset = name == "distribution" || defaults.preset(name).is_ok();
    if run.is_as_xpusim() {
        return xpusim::open(run, given);
    }
    synthetic::check_times(run, given, preset)?;
    if run.is_in_ticks() {
        return ticks::open(run, given);
    }
    if let Some(generator) = w.load_generator {
        let own = w.replay.is_some() || w.reqgen_config_path.is_some() || w.spec.is_some();
        given.reject_unless(
            &["load_generator"],
            !own && w.traces_filepath.is_none(),
            "with a workload whose requests come at times of their own",
        )?;
        given.reject_unless(
            &["load_generator"],
            generator != LoadGeneratorSpec::OnePerStep,
            "where time is real, as one-per-step; it goes with `latency_model` ticks",
        )?;
        generator.check(given)?;
    }
    if let Some(replay) = &w.replay {
        return replayed(replay, run, given, by_rules.reference_horizon);
    }
    if let Some(path) = &w.reqgen_config_path {
        return generated(path, run, given);
    }
    let at_a_rate = preset || name == XPUSIM;
    let synthetic_traffic = w.spec.is_some() || w.concurrency.is_some() || at_a_rate;
    given.reject_unless(
        &TRACE_SETTINGS,
        !synthetic_traffic,
        "with synthetic traffic; it chooses from a trace file",
    )?;
    if let Some(path) = &w.spec {
        return spec_of_run(path, run, given);
    }
    let horizon_us = horizon(run)?;
    if w.concurrency.is_some() {
        return closed_loop(run, given, defaults);
    }
    if at_a_rate {
        given.reject_unless(
            &["workload_traces_filepath"],
            false,
            "with a synthetic workload; give `workload` traces",
        )?;
        return match preset {
            true => synthetic::at_a_rate(run, given, defaults, horizon_us, by_rules.evenly),
            false => synthetic::as_xpusim(run, given, horizon_us),
        };
    }
    let path = match (name, &w.traces_filepath) {
        ("traces", Some(path)) => path.clone(),
        ("traces", None) => {
            return Err(InputError::new(
                "`workload` traces needs `workload_traces_filepath` FILE",
            ));
        }
        (name, None) if Path::new(name).exists() => PathBuf::from(name),
        (name, Some(_)) => {
            return Err(InputError::new(format!(
                "`workload_traces_filepath` goes with `workload` traces, found \"{name}\""
            )));
        }
        (name, None) => {
            let error = defaults
                .preset(name)
                .err()
                .map_or(String::new(), |e| e.to_string());
            return Err(InputError::new(format!(
                "{error}, distribution, xpusim, traces; and there is no file of that name"
            )));
        }
    };
    given.reject_unless(
        &["rate", "load_generator"],
        false,
        "with a trace file, whose requests come as recorded; `rate_scale` makes them faster",
    )?;
    let own = "with a trace file, whose requests have their own lengths";
    let always = LENGTH_SETTINGS.iter().filter(|n| **n != "output_tokens");
    given.reject_unless(&always.copied().collect::<Vec<_>>(), false, own)?;
    // Data sets of texts may leave open how long answers are.
    let may_lack = w.trace.map.is_none() && detect(&path)?.may_lack_output_lengths();
    given.reject_unless(&["output_tokens"], may_lack, own)?;
    let limits = Limits {
        max_requests: w.num_requests,
        timeout_s: w.timeout,
    };
    let options = OpenOptions {
        horizon_us,
        output_tokens: w.output_tokens.mean.filter(|_| may_lack),
        ..part(&w.trace, limits, run.seed())?
    };
    let trace = match traces {
        Some(traces) => traces.open(&path, &options)?,
        None => open(&path, None, &options)?,
    };
    Ok(Opened::trace(&path, trace, horizon_us))
}

/// Limits that a trace does not have itself.
pub struct Limits {
    /// Most requests.
    pub max_requests: Option<u64>,
    /// Seconds after which clients give up; negative = never.
    pub timeout_s: Option<f64>,
}

/// Which part of a trace is replayed, and how.
pub fn part(part: &TraceSpec, limits: Limits, seed: u64) -> Result<OpenOptions, InputError> {
    let seconds = |flag: &str, value: Option<f64>| match value {
        Some(s) if !(0.0..=1e12).contains(&s) => Err(InputError::new(format!(
            "{flag} {s} must be 0 or more seconds"
        ))),
        given => Ok(given.map(|s| (s * 1e6).round() as i64)),
    };
    if limits.max_requests == Some(0) {
        return Err(InputError::new("`num_requests` is 0; expected at least 1"));
    }
    let timeout_us = match limits.timeout_s {
        Some(s) if !s.is_finite() || s == 0.0 => {
            return Err(InputError::new(format!(
                "`timeout` {s} must be above 0 seconds, or negative for none"
            )));
        }
        given => given.filter(|s| *s > 0.0).map(|s| (s * 1e6) as i64),
    };
    Ok(OpenOptions {
        seed,
        strict: part.strict,
        run: part.run,
        time_unit: part.time_unit,
        map: part.map.as_deref().map(ColumnMap::parse).transpose()?,
        block_size: part.block_size,
        selection: Selection {
            from_us: seconds("`trace_from`", part.from)?,
            to_us: seconds("`trace_to`", part.to)?,
            sample: part.sample.unwrap_or(1.0),
            loops: part.loops.unwrap_or(1),
            spread_ties: part.spread_ties,
            rate_scale: part.rate_scale.unwrap_or(1.0),
            max_requests: limits.max_requests,
            timeout_us,
            seed,
        },
        ..OpenOptions::default()
    })
}

/// The request generator of legacy BLIS.
fn generated(path: &Path, run: &RunSpec, given: &Given) -> Result<Opened, InputError> {
    let why = "with `reqgen_config_path`, whose file says it";
    given.reject_unless(&LENGTH_SETTINGS, false, why)?;
    given.reject_unless(&TRACE_SETTINGS, false, why)?;
    given.reject_unless(&["rate", "max_prompts", "timeout"], false, why)?;
    let config = GeneratorConfig::read(path)?;
    let horizon_us = horizon(run)?;
    let source = config.source(horizon_us, run.seed);
    let source = source.map_err(|e| InputError::in_file(path.display(), e.message()))?;
    let description = format!(
        "{}, {} requests at {} request/s",
        path.display(),
        config.rate.max_requests,
        config.rate.rate
    );
    Ok(Opened {
        generator_rate: Some(config.rate.rate),
        ..Opened::of(Box::new(source), description, horizon_us)
    })
}

/// What goes before the keys of a workload spec.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpecChanges {
    /// Requests per second of all clients together.
    pub rate: Option<f64>,
    /// Seed.
    pub seed: Option<u64>,
    /// When it ends, microseconds.
    pub horizon_us: Option<i64>,
    /// Most requests.
    pub num_requests: Option<u64>,
    /// When clients give up, microseconds; 0 = never.
    pub timeout_us: Option<i64>,
}

/// The workload spec of a run, with what goes before its keys.
fn spec_of_run(path: &Path, run: &RunSpec, given: &Given) -> Result<Opened, InputError> {
    let w = &run.workload;
    given.reject_unless(
        &LENGTH_SETTINGS,
        false,
        "with `workload_spec`, whose clients have their own lengths",
    )?;
    horizon(run)?;
    let limit = w.timeout.map(|_| timeout(w)).transpose()?;
    from_spec(
        path,
        SpecChanges {
            rate: w.rate,
            seed: run.seed,
            horizon_us: run.horizon_us,
            num_requests: w.num_requests,
            timeout_us: limit.map(|us| us.unwrap_or(0)),
        },
    )
}

/// A workload spec.
pub fn from_spec(path: &Path, changes: SpecChanges) -> Result<Opened, InputError> {
    let of_spec = Changes {
        rate: changes.rate,
        ..Changes::default()
    };
    let opened = spec::read(path, of_spec)?;
    let written = &opened.spec;
    if changes.num_requests == Some(0) {
        return Err(InputError::new("`num_requests` is 0; expected at least 1"));
    }
    let bounds = Bounds {
        seed: changes.seed.unwrap_or(written.seed.cast_unsigned()),
        horizon_us: match (changes.horizon_us, written.horizon) {
            (Some(us), _) => us,
            (None, 0) => i64::MAX,
            (None, us) => us,
        },
        num_requests: changes
            .num_requests
            .or((written.num_requests > 0).then_some(written.num_requests)),
        timeout_us: changes.timeout_us,
        pauses: Pauses::default(),
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
        generator_rate: None,
        says_accepted: false,
        source: Box::new(opened.source(bounds)?),
    })
}

/// Users of a closed loop with the lengths of the flags or of a preset.
fn closed_loop(run: &RunSpec, given: &Given, defaults: &Defaults) -> Result<Opened, InputError> {
    let w = &run.workload;
    let name = w.name.as_deref().unwrap_or("distribution");
    let users = w.concurrency.unwrap_or_default();
    if users == 0 {
        return Err(InputError::new(
            "`concurrency` is 0; expected at least 1 user",
        ));
    }
    if w.num_requests.is_none() && run.horizon_us.is_none() {
        return Err(InputError::new(
            "`concurrency` goes on as long as answers come: give `num_requests` or `horizon`, too",
        ));
    }
    let (prefix_tokens, prompt, output) = lengths(w, given, defaults)?;
    prompt.check("`prompt_tokens`")?;
    output.check("`output_tokens`")?;
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
        id: name.to_owned(),
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
        seed: run.seed(),
        horizon_us: horizon(run)?,
        num_requests: w.num_requests,
        timeout_us: None,
        pauses: Pauses::default(),
    };
    let name = format!("{name} for {users} users");
    finish(spec::open(written, Path::new("."))?, bounds, name)
}

fn think_time(replay: &ReplaySpec, w: &WorkloadSpec) -> Result<Option<ThinkTime>, InputError> {
    let us = |ms: u64| i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX);
    match &replay.think_time_dist {
        Some(text) => ThinkTime::parse("`think_time_dist`", text).map(Some),
        None => Ok(w.think_time_ms.map(|ms| ThinkTime::Constant(us(ms)))),
    }
}

/// A replay. `as_the_reference` cuts at the reference's default horizon.
fn replayed(
    replay: &ReplaySpec,
    run: &RunSpec,
    given: &Given,
    as_the_reference: bool,
) -> Result<Opened, InputError> {
    let w = &run.workload;
    let closed_loop = replay.session_mode == Some(SessionModeSpec::ClosedLoop);
    given.reject_unless(
        &["think_time_ms", "think_time_dist"],
        closed_loop,
        "in fixed session mode; it goes with `session_mode` closed-loop",
    )?;
    given.reject_unless(
        &[
            "workload",
            "workload_spec",
            "concurrency",
            "rate",
            "reqgen_config_path",
        ],
        false,
        "with a replay, whose requests come as recorded",
    )?;
    given.reject_unless(
        &LENGTH_SETTINGS,
        false,
        "with a replay, whose requests have their own lengths",
    )?;
    let limits = Limits {
        max_requests: w.num_requests,
        timeout_s: w.timeout,
    };
    let options = OpenOptions {
        session_mode: if closed_loop {
            SessionMode::ClosedLoop
        } else {
            SessionMode::Fixed
        },
        think_time: think_time(replay, w)?,
        horizon_us: horizon(run)?,
        real_time: if as_the_reference {
            RealTime::AsRecorded
        } else {
            RealTime::Rebased
        },
        ..part(&w.trace, limits, run.seed())?
    };
    let header = replay.header.as_deref();
    let reference_horizon = as_the_reference && run.horizon_us.is_none();
    let mut opened = from_trace(&replay.trace, header, &options, reference_horizon)?;
    if let Some(header) = header {
        for (class, targets) in &trace_v2::Header::read(header)?.goodput_slo_targets {
            let goals = &mut opened.slo_targets;
            goals.set(class, Dimension::Ttft, targets.ttft_ms * 1e3);
            goals.set(class, Dimension::Itl, targets.itl_ms * 1e3);
            goals.set(class, Dimension::E2e, targets.e2e_ms * 1e3);
        }
    }
    if reference_horizon {
        opened.notes.push(format!(
            "under `rules` blis a replay stops at the reference's default horizon, {:.3} s; `horizon` changes it",
            opened.horizon_us as f64 / 1e6
        ));
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
    let idle = options.session_mode == SessionMode::ClosedLoop && !trace.has_sessions();
    let mut opened = Opened::trace(path, trace, horizon_us);
    if idle {
        opened.notes.push(format!(
            "{} has no sessions; the closed loop changes nothing",
            path.display()
        ));
    }
    Ok(opened)
}
