//! Runs under the rules of XpuSim: its defaults, what of a run it knows, what it sends, and its
//! clock, which is finer than ours.

use crate::batching::is_time;
use crate::opened::Opened;
use crate::settings::{Given, names};
use crate::spec::{LoadGeneratorSpec, RunSpec, WorkloadSpec};
use crate::xpusim_traffic::{DURATION_S, XPUSIM, drawn, measured};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_base::record::RunRecord;
use windtunnel_config::pool::{PoolSpec, RoleSpec};
use windtunnel_engine::cluster::{PoolConfig, RunEnd, TransferConfig};
use windtunnel_engine::latency::{GIB, LatencyModelKind, PICOSECONDS_PER_US, Resolved};
use windtunnel_engine::profile::EngineProfile;
use windtunnel_policy::Param;
use windtunnel_results::metrics::slo::parse_duration_us;
use windtunnel_results::metrics::xpusim::{XpuSimFigures, XpuSimInputs};
use windtunnel_workload::xpusim::{self, BEYOND_S, XpuSimTraffic};
use windtunnel_workload::xpusim_list;

/// The settings that mean something to it.
const KNOWN: [&str; 38] = [
    "model",
    "defaults_filepath",
    "rules",
    "seed",
    "num_instances",
    "hardware",
    "tp",
    "engine",
    "max_num_running_reqs",
    "batching_strategy",
    "latency_model",
    "prefill_instances",
    "decode_instances",
    "prefill_tp",
    "prefill_hardware",
    "prefill_latency_model",
    "decode_tp",
    "decode_hardware",
    "decode_latency_model",
    "pd_transfer_bandwidth",
    "pd_transfer_base_latency",
    "workload",
    "workload_traces_filepath",
    "load_generator",
    "rate",
    "duration",
    "warm_up",
    "prompt_tokens",
    "prompt_tokens_max",
    "output_tokens",
    "output_tokens_max",
    "slo_ttft",
    "slo_itl",
    "slo_e2e",
    "fitness_weights",
    "detectors",
    "saturation_config",
    "saturation_final_window",
];

/// The strategies that it has.
const STRATEGIES: [&str; 2] = ["greedy", "windowed"];
/// Its model, accelerators and tensor parallelism where none are given: of instances that serve,
/// that prefill and that decode.
const MODEL: &str = "llama-7b";
const SERVE: (&str, u32) = ("a100-80gb", 1);
const PREFILL: (&str, u32) = ("a100-80gb", 4);
const DECODE: (&str, u32) = ("mi300x", 8);
/// Its tensor parallelism where none is given: of an instance that serves, that prefills, that
/// decodes.
pub const XPUSIM_TP: [u32; 3] = [SERVE.1, PREFILL.1, DECODE.1];
/// GB/s of its links.
const BANDWIDTH: f64 = 100.0;

/// Far more KV blocks than anything needs: admission is by the byte.
const NO_END_OF_BLOCKS: u64 = 1 << 40;
/// Tokens of one. It has none, and large ones are opened less often.
const BLOCK_SIZE: u32 = 1024;
/// Units of the engine's clock in a second.
const CLOCK_PER_S: f64 = 1e6 * PICOSECONDS_PER_US as f64;

impl RunSpec {
    /// Does it follow the rules of XpuSim?
    #[must_use]
    pub fn is_as_xpusim(&self) -> bool {
        self.pools.iter().any(follows)
    }
}

fn follows(pool: &PoolSpec) -> bool {
    pool.engine.profile.as_deref() == Some(EngineProfile::XpuSim.name())
}

/// The run with XpuSim's defaults for what it leaves open; `None` = it follows other rules.
pub(crate) fn complete(run: &RunSpec) -> Option<RunSpec> {
    if !run.is_as_xpusim() {
        return None;
    }
    let mut run = run.clone();
    if run.model.is_empty() {
        run.model = MODEL.to_owned();
    }
    for pool in &mut run.pools {
        let (hardware, tp) = match pool.role {
            RoleSpec::Prefill => PREFILL,
            RoleSpec::Decode => DECODE,
            RoleSpec::Serve | RoleSpec::Encode | RoleSpec::Idle => SERVE,
        };
        pool.hardware.get_or_insert_with(|| hardware.to_owned());
        pool.parallel.tensor.get_or_insert(tp);
        if pool.latency.model.as_deref().is_none_or(|m| m == "auto") {
            pool.latency.model = Some(LatencyModelKind::XpuRoofline.name().to_owned());
        }
        let strategy = &mut pool.engine.batching_strategy;
        strategy.get_or_insert_with(|| STRATEGIES[0].to_owned());
    }
    let w = &mut run.workload;
    if w.traces_filepath.is_none() {
        w.name.get_or_insert_with(|| XPUSIM.to_owned());
    }
    w.duration.get_or_insert(DURATION_S);
    let bandwidth = &mut run.disaggregation.transfer_bandwidth;
    bandwidth.get_or_insert(BANDWIDTH);
    Some(run)
}

/// Refuses what it does not know.
pub(crate) fn check(run: &RunSpec, given: &Given) -> Result<(), InputError> {
    if !run.is_as_xpusim() {
        return Ok(());
    }
    let refuse = |message: String| Err(InputError::new(message));
    if let Some(pool) = run.pools.iter().find(|pool| !follows(pool)) {
        return refuse(format!(
            "pool \"{}\" does not follow `engine` xpusim, and another pool does; one clock cannot show both",
            pool.name
        ));
    }
    let unknown_settings: Vec<&str> = names().filter(|name| !KNOWN.contains(name)).collect();
    let because = "with `engine` xpusim, which does not have it";
    given.reject_unless(&unknown_settings, false, because)?;
    let roles: Vec<RoleSpec> = run.pools.iter().map(|pool| pool.role).collect();
    let known = matches!(
        roles[..],
        [RoleSpec::Serve] | [RoleSpec::Prefill, RoleSpec::Decode]
    );
    if !known || run.pools.iter().any(|pool| pool.count.unwrap_or(1) != 1) {
        return refuse(
            "`engine` xpusim knows one instance, or one that prefills and one that decodes (`prefill_instances` 1, \
             `decode_instances` 1)"
                .to_owned(),
        );
    }
    let roofline = LatencyModelKind::XpuRoofline.name();
    for pool in &run.pools {
        if pool.latency.model.as_deref() != Some(roofline) {
            return refuse(format!(
                "`engine` xpusim goes with `latency_model` {roofline} alone"
            ));
        }
        let strategy = pool.engine.batching_strategy.as_deref();
        let name = strategy.map_or("", |s| s.split(':').next().unwrap_or(s).trim());
        if !STRATEGIES.contains(&name) {
            let wrong = unknown("`batching_strategy` of `engine` xpusim", name, &STRATEGIES);
            return Err(InputError::new(wrong));
        }
    }
    Ok(())
}

/// Microseconds that the engine's clock shows for one of a run.
pub(crate) fn clock_units(run: &RunSpec) -> i64 {
    match run.is_as_xpusim() {
        true => EngineProfile::XpuSim.clock_units(),
        false => 1,
    }
}

/// A time with its unit, on the engine's clock.
pub(crate) fn time_us(text: &str) -> Result<i64, InputError> {
    let us = parse_duration_us(text).filter(|us| (0.0..=1e9).contains(us));
    let expected = "a time with its unit, 20ms or 0.5s, of at most 1000 s";
    let us = us.ok_or_else(|| InputError::new(expected))?;
    Ok((us * PICOSECONDS_PER_US as f64).round() as i64)
}

/// Adds the times of a strategy that are not given, on the engine's clock.
pub(crate) fn add_default_times(values: &mut Vec<(String, f64)>, declared: &[Param]) {
    let times = declared.iter().filter(|param| is_time(param));
    for param in times {
        if values.iter().all(|(name, _)| *name != param.name) {
            let default = param.default * PICOSECONDS_PER_US as f64;
            values.push((param.name.to_string(), default));
        }
    }
}

/// An engine without limits but memory's, whose rules and batching are decided.
pub(crate) fn configure(pool: &mut PoolConfig, spec: &PoolSpec) {
    let engine = &mut pool.engine;
    engine.max_num_batched_tokens = u32::MAX;
    engine.max_num_seqs = spec.engine.max_num_seqs.unwrap_or(u32::MAX);
    engine.max_model_len = 0;
    engine.total_kv_blocks = NO_END_OF_BLOCKS;
    engine.block_size = BLOCK_SIZE;
}

/// Links of which each KV cache has one for itself; their latency is ignored.
pub(crate) fn transfer(of_ours: TransferConfig) -> TransferConfig {
    // It divides GiB by GB/s.
    let bytes_per_s = of_ours.bandwidth_gb_s * GIB;
    TransferConfig {
        bandwidth_gb_s: bytes_per_s / 1e9 / PICOSECONDS_PER_US as f64,
        base_latency_us: 0.0,
        contention: false,
        ..of_ours
    }
}

/// Start and end of the time that is measured, on the engine's clock.
fn window(w: &WorkloadSpec) -> Result<([i64; 2], f64), InputError> {
    let [from, to] = measured(w)?.unwrap_or([0.0, DURATION_S]);
    if to + BEYOND_S > 8e6 {
        return Err(InputError::new(format!(
            "`duration` and `warm_up` are {to} s together; expected at most {:e} s, for which a clock of picoseconds goes on",
            8e6 - BEYOND_S
        )));
    }
    let clock = |seconds: f64| (seconds * CLOCK_PER_S).round() as i64;
    Ok(([clock(from), clock(to)], w.duration.unwrap_or(DURATION_S)))
}

/// When a run ends: 100 s after what is measured, or when nothing is left to do then.
pub(crate) fn end(run: &RunSpec) -> Result<Option<RunEnd>, InputError> {
    if !run.is_as_xpusim() {
        return Ok(None);
    }
    let ([_, to], _) = window(&run.workload)?;
    Ok(Some(RunEnd {
        idle_from_us: to,
        from_us: to + (BEYOND_S * CLOCK_PER_S) as i64,
    }))
}

/// Opens what a run sends: XpuSim's traffic, or a list of requests.
pub(crate) fn open(run: &RunSpec, given: &Given) -> Result<Opened, InputError> {
    let w = &run.workload;
    let ignored = given.has("pd_transfer_base_latency").then(|| {
        "`pd_transfer_base_latency` changes nothing under `engine` xpusim: XpuSim reads the latency of its links and \
         ignores it"
            .to_owned()
    });
    let mut opened = match list(w)? {
        Some(path) => {
            let own = "with a list of requests, which says it";
            let of_traffic = [
                "load_generator",
                "rate",
                "prompt_tokens",
                "prompt_tokens_max",
                "output_tokens",
                "output_tokens_max",
            ];
            given.reject_unless(&of_traffic, false, own)?;
            let source = xpusim_list::read(&path, CLOCK_PER_S)?;
            Opened::of(Box::new(source), path.display().to_string(), i64::MAX)
        }
        None => traffic(run)?,
    };
    opened.notes.extend(ignored);
    Ok(opened)
}

/// The list that a run names; `None` = its requests are drawn.
fn list(w: &WorkloadSpec) -> Result<Option<PathBuf>, InputError> {
    match (w.name.as_deref(), &w.traces_filepath) {
        (Some(XPUSIM), None) => Ok(None),
        (None | Some("traces"), Some(path)) => Ok(Some(path.clone())),
        (Some(name), None) if Path::new(name).exists() => Ok(Some(PathBuf::from(name))),
        (name, _) => Err(InputError::new(format!(
            "`workload` is \"{}\"; expected {XPUSIM} or a JSON list of requests with `engine` xpusim",
            name.unwrap_or_default()
        ))),
    }
}

fn traffic(run: &RunSpec) -> Result<Opened, InputError> {
    let w = &run.workload;
    let evenly = match w.load_generator {
        None => false,
        Some(LoadGeneratorSpec::ConstantRate) => true,
        Some(_) => {
            return Err(InputError::new(
                "`load_generator` of `engine` xpusim is constant-rate, or none is given: then requests come at random",
            ));
        }
    };
    let parameters = parameters(run, evenly)?;
    let source = XpuSimTraffic::new(&parameters)?;
    let pace = if evenly { ", evenly" } else { "" };
    let description = format!(
        "{XPUSIM}, {} s of requests at {} request/s{pace}, seed {}",
        parameters.until_s + BEYOND_S,
        parameters.rate,
        parameters.seed
    );
    Ok(Opened::of(Box::new(source), description, i64::MAX))
}

fn parameters(run: &RunSpec, evenly: bool) -> Result<xpusim::Parameters, InputError> {
    let [_, until_s] = measured(&run.workload)?.unwrap_or([0.0, DURATION_S]);
    Ok(xpusim::Parameters {
        evenly,
        goes_on: true,
        clock_per_s: CLOCK_PER_S,
        ..drawn(run, until_s)
    })
}

/// Refuses lengths beyond the model's, as XpuSim does where one instance serves.
pub(crate) fn check_lengths(run: &RunSpec, all: &[Resolved]) -> Result<(), InputError> {
    let [resolved] = all else { return Ok(()) };
    if !run.is_as_xpusim() || list(&run.workload)?.is_some() {
        return Ok(());
    }
    let drawn = drawn(run, 0.0);
    let longest = u64::from(drawn.prompt.most) + u64::from(drawn.output.most);
    if longest > resolved.max_model_len {
        return Err(InputError::new(format!(
            "`prompt_tokens_max` {} and `output_tokens_max` {} are {longest} tokens together; {} takes {}",
            drawn.prompt.most, drawn.output.most, resolved.canonical, resolved.max_model_len
        )));
    }
    Ok(())
}

/// The figures of a run as XpuSim makes them, and the run on our clock. `None` = it followed other
/// rules.
pub(crate) fn figures(
    run: &RunSpec,
    record: RunRecord,
    resolved: &[Resolved],
) -> Result<(RunRecord, Option<XpuSimFigures>), InputError> {
    if !run.is_as_xpusim() {
        return Ok((record, None));
    }
    let (window, duration_s) = window(&run.workload)?;
    let inputs = XpuSimInputs {
        clock_per_s: CLOCK_PER_S,
        window,
        duration_s,
    };
    let figures = XpuSimFigures::of(&record, &inputs);
    let mut record = record.on_coarser_clock(PICOSECONDS_PER_US);
    for (totals, resolved) in record.instances.iter_mut().zip(resolved) {
        totals.kv_total_blocks = resolved.total_kv_blocks;
    }
    Ok((record, Some(figures)))
}
