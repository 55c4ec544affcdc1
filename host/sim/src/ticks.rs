//! Runs in abstract time: what of a run has a meaning in it, and what is sent.

use crate::batching::{Times, described};
use crate::disaggregation::TransferUnits;
use crate::scale;
use crate::settings::{Given, names};
use crate::spec::{LoadGeneratorSpec, RulesSpec, RunSpec};
use crate::workload::Opened;
use serde_json::{Value, json};
use windtunnel_base::input::InputError;
use windtunnel_config::pool::{EngineSpec, LatencySpec, PoolSpec};
use windtunnel_engine::cluster::{ClusterConfig, PoolConfig};
use windtunnel_engine::latency::{TICK_US, Ticks};
use windtunnel_policy::PolicySpec;
use windtunnel_results::metrics::ticks::TickInputs;
use windtunnel_workload::step_load::{Load, StepLoad, StepParameters};

/// The name of the step-time model.
pub(crate) const MODEL: &str = "ticks";

/// Settings that only runs in ticks have.
const OWN: [&str; 5] = [
    "prefill_time",
    "itl",
    "total_prefill_chunks",
    "time_limit",
    "lockstep",
];

/// The other settings that mean something in ticks.
const SHARED: [&str; 40] = [
    "enable_prefix_caching",
    "prefix_tokens",
    "scale",
    "latency_model",
    "rules",
    "seed",
    "num_instances",
    "max_num_running_reqs",
    "batching_strategy",
    "plain_steps",
    "load_generator",
    "concurrency",
    "rate",
    "max_prompts",
    "output_tokens",
    "output_tokens_stdev",
    "policy_config",
    "admission_policy",
    "routing_policy",
    "scheduler",
    "priority_policy",
    "preemption_policy",
    "policy_param",
    "trusted",
    "prefill_instances",
    "decode_instances",
    "prefill_decode_instances",
    "pd_decider",
    "pd_prefix_threshold",
    "pd_transfer_bandwidth",
    "pd_transfer_base_latency",
    "pd_transfer_contention",
    "pd_transfer_descriptor_time",
    "pd_transfer_descriptor_blocks",
    "pd_hop_latency",
    "prefill_routing_policy",
    "prefill_routing_scorers",
    "decode_routing_policy",
    "decode_routing_scorers",
    "routing_scorers",
];

/// TickSim's figures where none are given: ticks of a prompt and of a decode, chunks of a prompt,
/// and mean output length, tokens.
const PREFILL_TIME: f64 = 2.0;
const ITL: f64 = 1.0;
const CHUNKS: u32 = 1;
const OUTPUT_TOKENS: u32 = 4;

/// Bandwidth in KV caches of whole prompts per tick, times in ticks. A KV cache is kept for as long
/// as it takes.
pub(crate) const TRANSFER_UNITS: TransferUnits = TransferUnits {
    bandwidth: (PROMPT_BYTES / (TICK_US as f64 * 1000.0), 0.0),
    time: (TICK_US as f64, 0.0),
    kept_us: i64::MAX,
};

/// What the KV cache of a prompt counts as, bytes.
const PROMPT_BYTES: f64 = 1e9;

/// The settings of transfers.
const TRANSFERS: [&str; 6] = [
    "pd_transfer_bandwidth",
    "pd_transfer_base_latency",
    "pd_transfer_contention",
    "pd_transfer_descriptor_time",
    "pd_transfer_descriptor_blocks",
    "pd_hop_latency",
];

/// Why one of them changes nothing.
const AT_ONCE: &str = "with `lockstep`, where KV caches move at once";

impl RunSpec {
    /// Is its time abstract? Then all its figures are in ticks.
    #[must_use]
    pub fn is_in_ticks(&self) -> bool {
        let of_pool = |model: &Option<String>| model.as_deref() == Some(MODEL);
        self.pools.iter().any(|pool| of_pool(&pool.latency.model))
    }
}

/// Refuses what has no meaning in ticks, or only in ticks.
pub(crate) fn check(run: &RunSpec, given: &Given) -> Result<(), InputError> {
    if !run.is_in_ticks() {
        return given.reject_unless(&OWN, false, "without `latency_model` ticks");
    }
    let other = run
        .pools
        .iter()
        .find(|pool| pool.latency.model.as_deref() != Some(MODEL));
    if let Some(pool) = other {
        return Err(InputError::new(format!(
            "pool \"{}\" has real step times and another pool has ticks; one clock cannot show both",
            pool.name
        )));
    }
    let first = run.pools[0].latency.total_prefill_chunks;
    if run
        .pools
        .iter()
        .any(|pool| pool.latency.total_prefill_chunks != first)
    {
        return Err(InputError::new(
            "`total_prefill_chunks` must be the same in all pools: it is the length of every prompt",
        ));
    }
    if run.rules == RulesSpec::Blis {
        return Err(InputError::new(
            "`rules` blis does not go with `latency_model` ticks, whose steps are over when they end",
        ));
    }
    given.reject_unless(&TRANSFERS, !run.disaggregation.lockstep, AT_ONCE)?;
    let caching = |pool: &PoolSpec| pool.engine.enable_prefix_caching == Some(true);
    given.reject_unless(
        &["prefix_tokens"],
        run.pools.iter().any(caching),
        "in ticks without `enable_prefix_caching`",
    )?;
    given.reject_unless(
        &["enable_prefix_caching"],
        run.workload.prefix_tokens.is_some(),
        "in ticks without `prefix_tokens`: the chunks that all prompts share",
    )?;
    let meaningless: Vec<&str> = names()
        .filter(|name| !OWN.contains(name) && !SHARED.contains(name))
        .collect();
    given.reject_unless(
        &meaningless,
        false,
        "with `latency_model` ticks, whose time is abstract: it knows requests, steps and places in a batch",
    )
}

/// The model of a pool.
pub(crate) fn model(spec: &LatencySpec, lockstep: bool) -> Result<Ticks, InputError> {
    let model = Ticks::new(
        spec.prefill_time.unwrap_or(PREFILL_TIME),
        spec.itl.unwrap_or(ITL),
        spec.total_prefill_chunks.unwrap_or(CHUNKS),
    )?;
    Ok(match lockstep {
        true => model.in_parallel(),
        false => model,
    })
}

/// An engine without limits of tokens and memory, which computes one chunk of a request in a step
/// and chooses the next step when the last one is over.
pub(crate) fn configure(pool: &mut PoolConfig, run: &RunSpec, spec: &EngineSpec) {
    let caches = spec.enable_prefix_caching == Some(true);
    pool.kv_bytes_per_token = PROMPT_BYTES / f64::from(chunks(run));
    let engine = &mut pool.engine;
    engine.max_num_batched_tokens = u32::MAX;
    engine.long_prefill_token_threshold = 1;
    engine.rules.async_scheduling = false;
    engine.rules.spare_lone_prefill = false;
    engine.rules.prefiller_yields_token = true;
    engine.rules.decoder_fetches_kv = !run.disaggregation.lockstep;
    engine.scheduling.enable_prefix_caching = caches;
    if caches || run.disaggregation.transfer_descriptor_time.is_some() {
        // A block for each chunk, where blocks matter.
        engine.block_size = 1;
    }
    engine.scheduling.reserve_full_isl = false;
}

/// Chunks of a prompt, the same in all pools.
fn chunks(run: &RunSpec) -> u32 {
    let pool = run.pools.first();
    let chunks = pool.and_then(|pool| pool.latency.total_prefill_chunks);
    chunks.unwrap_or(CHUNKS)
}

/// A time in ticks on the engine's clock, microseconds.
pub(crate) fn time_us(text: &str) -> Result<i64, InputError> {
    let ticks = text.parse::<f64>().unwrap_or(f64::NAN);
    Ticks::us(ticks)
}

/// Opens what a run in ticks sends.
pub(crate) fn open(run: &RunSpec, given: &Given) -> Result<Opened, InputError> {
    let w = &run.workload;
    let Some(generator) = w.load_generator else {
        return Err(InputError::new(
            "`latency_model` ticks needs `load_generator`: all-at-once, constant-concurrency, \
             constant-rate or one-per-step",
        ));
    };
    generator.check(given)?;
    let (load, name) = match generator {
        LoadGeneratorSpec::AllAtOnce => {
            let n = w.num_requests.unwrap_or(100);
            (Load::AllAtOnce(n), format!("{n} requests at once"))
        }
        LoadGeneratorSpec::ConstantConcurrency => {
            let n = w.concurrency.unwrap_or_default();
            let name = format!("always {n} requests in the system");
            (Load::Concurrency(n.into()), name)
        }
        LoadGeneratorSpec::OnePerStep => (Load::PerStep, "a request with every step".to_owned()),
        LoadGeneratorSpec::ConstantRate => {
            let rate = w.rate.unwrap_or(1.0);
            (Load::Rate(rate), format!("{rate} requests per tick"))
        }
    };
    let endless = !matches!(load, Load::AllAtOnce(_));
    if endless && w.num_requests.is_none() && run.time_limit.is_none() {
        return Err(InputError::new(
            "this load goes on for ever: give `time_limit` or `num_requests`, too",
        ));
    }
    let horizon_us = match run.time_limit {
        None => i64::MAX,
        Some(ticks) if ticks > 0.0 => {
            Ticks::us(ticks).map_err(|e| {
                InputError::new(format!("`time_limit` is {ticks}; expected {}", e.message()))
            })?;
            // What would happen at the limit itself does not.
            (ticks * TICK_US as f64).ceil() as i64 - 1
        }
        Some(ticks) => {
            return Err(InputError::new(format!(
                "`time_limit` is {ticks}; expected a number above 0, in ticks"
            )));
        }
    };
    let seed = u32::try_from(run.seed()).map_err(|_| {
        InputError::new(format!(
            "`seed` is {}; expected a number below 2^32, as numpy's generator takes it",
            run.seed()
        ))
    })?;
    let mean = w.output_tokens.mean.unwrap_or(OUTPUT_TOKENS);
    let deviation = w.output_tokens.stdev.unwrap_or(0);
    let source = StepLoad::new(StepParameters {
        load,
        prompt_tokens: chunks(run),
        prefix_tokens: w.prefix_tokens.unwrap_or(0),
        output_tokens: [mean.into(), deviation.into()],
        most: w.num_requests,
        tick_us: TICK_US,
        seed,
    })?;
    let description = format!("{name}, {mean} +- {deviation} output tokens, seed {seed}");
    Ok(Opened::of(Box::new(source), description, horizon_us))
}

/// What the figures of a run need.
pub(crate) fn inputs(run: &RunSpec, config: &ClusterConfig) -> Option<TickInputs> {
    run.is_in_ticks().then(|| TickInputs {
        tick_us: TICK_US,
        time_limit: run.time_limit,
        lockstep: config.lockstep,
        slots: config
            .pools
            .iter()
            .flat_map(|pool| std::iter::repeat_n(pool.engine.max_num_seqs, pool.instances as usize))
            .collect(),
    })
}

/// First lines of the report.
pub(crate) fn header(
    run: &RunSpec,
    config: &ClusterConfig,
    workload: &str,
    policies: &PolicySpec,
) -> Vec<String> {
    let pools: Vec<String> = config
        .pools
        .iter()
        .zip(config.initial())
        .enumerate()
        .map(|(k, (pool, instances))| {
            let name = match pool.name.as_str() {
                "" => String::new(),
                name => format!("{name}: "),
            };
            format!(
                "{name}{} x {} places, batching {}",
                instances,
                pool.engine.max_num_seqs,
                policies.batching_of(k).name()
            )
        })
        .collect();
    let lockstep = match config.lockstep {
        true => ", in lockstep",
        false => "",
    };
    let mut lines = vec![format!("{}, time in ticks{lockstep}", pools.join("; "))];
    lines.extend(scale::described(run));
    lines.push(format!("workload: {workload}"));
    lines.push(format!(
        "policies: admission {}, routing {}, scheduler {}",
        policies.admission.name(),
        policies.routing.name(),
        policies.scheduler.name()
    ));
    lines
}

/// What was simulated, for programs.
pub(crate) fn setup(
    run: &RunSpec,
    config: &ClusterConfig,
    policies: &PolicySpec,
    workload: &str,
) -> Value {
    let pools = run.pools.iter().zip(&config.pools).zip(config.initial());
    let pools = pools.enumerate().map(|(k, ((spec, pool), instances))| {
        let (strategy, params) = described(policies.batching_of(k), Times::Ticks(TICK_US));
        let latency = &spec.latency;
        json!({
            "name": pool.name,
            "num_instances": instances,
            "max_num_running_reqs": pool.engine.max_num_seqs,
            "batching_strategy": strategy,
            "batching_params": params,
            "prefill_time_ticks": latency.prefill_time.unwrap_or(PREFILL_TIME),
            "itl_ticks": latency.itl.unwrap_or(ITL),
            "total_prefill_chunks": latency.total_prefill_chunks.unwrap_or(CHUNKS),
        })
    });
    json!({
        "windtunnel_version": env!("CARGO_PKG_VERSION"),
        "latency_model": MODEL,
        "pools": pools.collect::<Vec<_>>(),
        "workload": workload,
        "seed": run.seed(),
        "time_limit_ticks": run.time_limit,
        "lockstep": config.lockstep,
        "scale": run.scale,
    })
}
