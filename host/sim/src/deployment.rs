//! What a run's instances and front end are, before any policy or request is known.

use crate::autoscale;
use crate::batching;
use crate::disaggregation::{self, TransferUnits};
use crate::events;
use crate::flow_control;
use crate::policies::make_policies;
use crate::profile;
use crate::ranks;
use crate::scale;
use crate::scheduling;
use crate::settings::Given;
use crate::spec::{RulesSpec, RunSpec};
use crate::ticks;
use crate::tiers;
use crate::wide;
use crate::xpusim;
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::record::Role;
use windtunnel_base::request::Source;
use windtunnel_config::pool::{PoolSpec, RoleSpec};
use windtunnel_config::{Calibration, Defaults, Upkeep};
use windtunnel_engine::cluster::{
    Cluster, ClusterConfig, PoolConfig, QueueLimits, RunEnd, check_nodes,
};
use windtunnel_engine::forecast::ForecastError;
use windtunnel_engine::frontend::{FrontEndConfig, Predictor, TraceConfig};
use windtunnel_engine::instance::{EngineConfig, Preset, SchedulingConfig};
use windtunnel_engine::latency::{
    Extrapolation, KvBlocksSource, LatencyModelKind, Resolved, Setup, resolve,
};
use windtunnel_engine::ranks::Ranks;
use windtunnel_policy::PolicySpec;
use windtunnel_policy::lua::UsageMonitor;
use windtunnel_results::report::machines::{Choice, Machine, differences};

/// Far beyond any cluster; each instance takes about a kilobyte before its first request.
const MOST_INSTANCES: u32 = 100_000;

/// Instances and front end, complete.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// What was found out about the model and its GPUs, pool by pool; none = the deployment was put
    /// together of parts.
    resolved: Vec<Resolved>,
    /// The same for reports.
    machines: Vec<Machine>,
    preset: Preset,
    /// To the letter as the reference simulator, as the run says.
    as_blis: bool,
    /// When runs end although there is more to do.
    end: Option<RunEnd>,
    config: ClusterConfig,
}

/// How a deployment is played once.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    /// Seed of the random numbers that policies draw, and of the output predictor's errors.
    pub seed: u64,
    /// When the run ends, microseconds; `i64::MAX` = when all is done.
    pub horizon_us: i64,
    /// What to remember beyond the records.
    pub trace: TraceConfig,
    /// Scripts draw numbers of their own: which ones depends on their text, so that a script cannot
    /// tell the run's seed by them.
    pub salted: bool,
    /// Targets that scaling policies are told: time to first token, mean inter-token latency,
    /// end-to-end latency, microseconds; 0 = none.
    pub slo_targets_us: [i64; 3],
}

/// The models and figures of a run.
///
/// # Errors
/// When the file cannot be read or is wrong.
pub fn defaults(path: Option<&Path>) -> Result<Defaults, InputError> {
    path.map_or_else(|| Ok(Defaults::builtin().clone()), Defaults::load)
}

impl Deployment {
    /// Decides a run's deployment; reads the files that it names.
    ///
    /// # Errors
    /// When a name is unknown, figures are missing or contradict each other, the model does not fit
    /// on the GPUs, or a setting would change nothing.
    pub fn resolve(run: &RunSpec) -> Result<Self, InputError> {
        let defaults = defaults(run.defaults_filepath.as_deref())?;
        let completed = xpusim::complete(run);
        Self::with(completed.as_ref().unwrap_or(run), &Given::of(run), defaults)
    }

    pub(crate) fn with(
        run: &RunSpec,
        given: &Given,
        defaults: Defaults,
    ) -> Result<Self, InputError> {
        let one = [PoolSpec::default()];
        let specs = if run.pools.is_empty() {
            &one
        } else {
            &run.pools[..]
        };
        ticks::check(run, given)?;
        xpusim::check(run, given)?;
        let profile = LatencyModelKind::Profile.name();
        let measured = |pool: &PoolSpec| pool.latency.model.as_deref() == Some(profile);
        if run.model.is_empty() && !run.is_in_ticks() && !specs.iter().all(measured) {
            return Err(InputError::new(
                "`model` is not given; only a run with `latency_model` ticks or profile has none",
            ));
        }
        let mut setup = Setup::new(run.model.clone(), defaults);
        let (mut pools, mut all) = (Vec::new(), Vec::new());
        let mut machines = Vec::new();
        for spec in specs {
            let (pool, resolved) = pool(run, spec, given, &mut setup)?;
            machines.push(machine(spec, &pool, &resolved)?);
            pools.push(pool);
            all.push(resolved);
        }
        let preset = preset(run.rules, specs, &mut all)?;
        scheduling::check_rules(given, run.rules, preset)?;
        tiers::check_rules(given, preset)?;
        let of_pools = pools.iter_mut().zip(specs).zip(&mut all);
        for (((pool, spec), resolved), machine) in of_pools.zip(&mut machines) {
            scheduling::configure(&mut pool.engine, &spec.engine, preset, resolved, given)?;
            ranks::configure(pool, &spec.engine, resolved)?;
            machine.kv_blocks = resolved.total_kv_blocks;
            profile::configure(&mut pool.engine, &spec.engine, resolved)?;
            let in_ticks = resolved.latency_kind == LatencyModelKind::Ticks;
            batching::configure(&mut pool.engine, &spec.engine)?;
            tiers::configure(pool, &spec.engine, preset, resolved, &setup.defaults)?;
            if in_ticks {
                ticks::configure(pool, run, &spec.engine);
                batching::refuse_chunk_in_ticks(&spec.engine)?;
            }
            if resolved.device_memory.is_some() {
                xpusim::configure(pool, spec);
            }
        }
        xpusim::check_lengths(run, &all)?;
        // What is short in real time is nothing in ticks.
        let age_us = if run.is_in_ticks() { 0 } else { 50_000 };
        let units = match run.is_in_ticks() {
            true => ticks::TRANSFER_UNITS,
            false => TransferUnits::real(),
        };
        let mut transfer = disaggregation::transfer(&run.disaggregation, preset, units)?;
        if run.is_as_xpusim() {
            transfer = xpusim::transfer(transfer);
        }
        let front = &run.front;
        let (model, canonical) = (all[0].model.clone(), all[0].canonical.clone());
        let short = canonical.rsplit('/').next().unwrap_or_default().to_owned();
        let predictor = front.output_predictor.as_deref();
        let (scaling, initial) = autoscale::scaling(run, given, &mut pools, &machines)?;
        let mut schedule = scale::schedule(run, &mut pools)?;
        for ((k, pool), machine) in pools.iter().enumerate().zip(&mut machines) {
            let initial = schedule.initial.get(k).copied();
            machine.instances = schedule.most(k, initial.unwrap_or(pool.instances));
        }
        let events = events::events(run, given, &pools)?;
        if scaling.is_on() {
            schedule.initial = initial;
        }
        let config = ClusterConfig {
            pools,
            schedule,
            scaling,
            events,
            transfer,
            lockstep: run.disaggregation.lockstep,
            front: FrontEndConfig {
                admission_latency_us: front.admission_latency_us.unwrap_or(0).into(),
                routing_latency_us: front.routing_latency_us.unwrap_or(0).into(),
                snapshot_refresh_us: front.snapshot_refresh_interval_us.unwrap_or(age_us).into(),
                cache_signal_delay_us: front.cache_signal_delay_us.unwrap_or(age_us).into(),
                model_names: vec![model, canonical, short],
                trace: TraceConfig::default(),
                predictor: predictor.map(str::parse::<Predictor>).transpose()?,
                estimate_error: front
                    .estimate_error
                    .as_deref()
                    .map(estimate_error)
                    .transpose()?,
                flow_control: flow_control::gateway(run, given, preset)?,
                policy_salt: 0,
            },
            seed: 0,
            horizon_us: i64::MAX,
        };
        config.check()?;
        check_nodes(&config)?;
        disaggregation::check(run, given, &config, preset)?;
        tiers::check_split(&config)?;
        ranks::check_number(&config, MOST_INSTANCES)?;
        if config.instances() > MOST_INSTANCES {
            return Err(InputError::new(format!(
                "`num_instances` must be at most {MOST_INSTANCES}, found {}",
                config.instances()
            )));
        }
        // Where a policy scales, only the run knows.
        if !config.scaling.is_on() {
            let schedule = &config.schedule;
            for ((k, initial), machine) in schedule.initial.iter().enumerate().zip(&mut machines) {
                machine.lives_us = schedule.lives(k, *initial);
            }
        }
        Ok(Self {
            resolved: all,
            machines,
            preset,
            as_blis: run.rules == RulesSpec::Blis,
            end: xpusim::end(run)?,
            config,
        })
    }

    /// A deployment of parts that are known already: for tests, and step times of one's own.
    #[must_use]
    pub fn of_parts(config: ClusterConfig, preset: Preset) -> Self {
        Self {
            resolved: Vec::new(),
            machines: Vec::new(),
            preset,
            as_blis: false,
            end: None,
            config,
        }
    }

    /// What was found out about the model and its GPUs, pool by pool; none for a deployment
    /// [of parts](Self::of_parts).
    #[must_use]
    pub fn resolved(&self) -> &[Resolved] {
        &self.resolved
    }

    /// What the instances run on, pool by pool; none for a deployment [of parts](Self::of_parts).
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// What was chosen unlike for the pools: notes, with settings in backticks.
    pub(crate) fn differences(&self) -> Vec<String> {
        let labelled = self.machines.iter();
        let labelled: Vec<(Vec<String>, &Machine)> = labelled
            .map(|m| (vec![format!("pool {}", m.pool)], m))
            .collect();
        differences(&labelled)
    }

    /// Refuses KV events where there are none.
    pub(crate) fn check_kv_events(&self, given: &Given) -> Result<(), InputError> {
        given.reject_unless(
            &["kv_events"],
            self.preset != Preset::Blis,
            "under blis rules, whose simulator publishes none; give `rules` vllm",
        )?;
        let mut pools = self.config.pools.iter();
        given.reject_unless(
            &["kv_events"],
            pools.any(|pool| pool.engine.scheduling.enable_prefix_caching),
            "without prefix caching (`enable_prefix_caching`)",
        )
    }

    /// The rules by name.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// Are KV blocks shared whatever their adapter, as in the reference simulator?
    #[must_use]
    pub fn shares_across_adapters(&self) -> bool {
        self.as_blis
    }

    /// Pools and front end, without a run's seed and horizon.
    #[must_use]
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Tokens per KV block, the same in all pools.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.config.pools[0].engine.block_size
    }

    /// The cluster, with `policies` in its hooks, about to serve the requests of `source`; and what
    /// reads what their scripts use.
    ///
    /// # Errors
    /// When a policy cannot be made.
    pub fn cluster<'s>(
        &self,
        policies: &PolicySpec,
        play: Play,
        source: &'s mut dyn Source,
    ) -> Result<(Cluster<'s>, UsageMonitor), InputError> {
        let mut config = self.config.clone();
        config.seed = play.seed;
        config.horizon_us = play.horizon_us;
        config.front.trace = play.trace;
        config.scaling.targets_us = play.slo_targets_us;
        if play.salted {
            config.front.policy_salt = policies.salt();
        }
        let (front, hooks, meter) = make_policies(policies, &config, source.symbols_mut())?;
        let cluster = Cluster::new(config, front, hooks, source)?;
        let cluster = if self.as_blis {
            cluster.sharing_across_adapters()
        } else {
            cluster
        };
        let cluster = match self.end {
            Some(end) => cluster.ending(end),
            None => cluster,
        };
        Ok((cluster, meter))
    }
}

/// The error of estimates as it is written.
fn estimate_error(text: &str) -> Result<ForecastError, InputError> {
    let wrong = |e: InputError| InputError::new(format!("`estimate_error`: {}", e.message()));
    text.parse().map_err(wrong)
}

/// A pool, with what was found out about its model and GPUs. Its rules are not decided yet.
fn pool(
    run: &RunSpec,
    spec: &PoolSpec,
    given: &Given,
    setup: &mut Setup,
) -> Result<(PoolConfig, Resolved), InputError> {
    check_numbers(spec)?;
    let (engine, latency) = (&spec.engine, &spec.latency);
    setup.gpu.clone_from(&spec.hardware);
    setup.tp = spec.parallel.tensor;
    setup.dp = spec.parallel.data.unwrap_or(1);
    wide::set_up(setup, &spec.parallel);
    setup.expert_parallel = spec.parallel.experts;
    setup.vllm_version.clone_from(&latency.vllm_version);
    setup.latency = match latency.model.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(name.parse::<LatencyModelKind>()?),
    };
    setup.profile.clone_from(&latency.profile);
    setup.kernel_tables.clone_from(&latency.kernel_tables);
    let calibration = latency.calibration.as_deref();
    setup.calibration = calibration.map(Calibration::load).transpose()?;
    setup.extrapolation = match latency.extrapolation.as_deref() {
        None => Extrapolation::default(),
        Some(name) => name.parse()?,
    };
    setup.ticks = match setup.latency {
        Some(LatencyModelKind::Ticks) => Some(ticks::model(latency, run.disaggregation.lockstep)?),
        _ => None,
    };
    setup.alpha.clone_from(&latency.alpha_coeffs);
    setup.beta.clone_from(&latency.beta_coeffs);
    setup
        .model_config_folder
        .clone_from(&run.model_config_folder);
    setup.hardware_config.clone_from(&run.hardware_config);
    setup.total_kv_blocks = engine.total_kv_blocks;
    setup.block_size = engine.block_size.unwrap_or(16);
    setup.gpu_memory_utilization = engine.gpu_memory_utilization.unwrap_or(0.9);
    setup.kv_cache_dtype.clone_from(&engine.kv_cache_dtype);
    setup.max_model_len = engine.max_model_len;
    setup.as_blis = run.rules == RulesSpec::Blis;
    setup.as_xpusim = run.is_as_xpusim();
    setup
        .moe_comm_backend
        .clone_from(&spec.parallel.moe_comm_backend);
    let adapters = tiers::adapters(engine, &setup.defaults)?;
    setup.reserved_bytes = adapters.map_or(0.0, |(_, bytes)| bytes);
    let resolved = resolve(setup)?;
    check_effects(given, &resolved)?;
    wide::check_effects(spec, given, &resolved)?;
    let measured = resolved.profile.as_ref().map(|p| p.measured().limits);
    let measured = measured.unwrap_or_default();
    let config = PoolConfig {
        name: spec.name.clone(),
        role: match spec.role {
            RoleSpec::Serve => Role::Serve,
            RoleSpec::Prefill => Role::Prefill,
            RoleSpec::Decode => Role::Decode,
            RoleSpec::Encode => Role::Encode,
            RoleSpec::Idle => Role::Idle,
        },
        instances: spec.count.unwrap_or(1),
        ranks: Ranks::default(),
        engine: EngineConfig {
            total_kv_blocks: resolved.total_kv_blocks,
            block_size: engine.block_size.or(measured.block_size).unwrap_or(16),
            // Depend on the rules; `scheduling` sets them.
            max_num_seqs: 0,
            max_num_batched_tokens: 0,
            long_prefill_token_threshold: engine.long_prefill_token_threshold.unwrap_or(0),
            max_model_len: resolved.max_model_len,
            horizon_us: i64::MAX,
            rules: Preset::Vllm.rules(),
            token_events: false,
            scheduling: SchedulingConfig::default(),
            plain: engine.plain_steps,
        },
        queue_limits: QueueLimits {
            requests: engine.max_num_queued_reqs,
            prompt_tokens: engine.max_num_queued_tokens,
        },
        latency: Arc::clone(&resolved.latency),
        gpus_per_instance: resolved.gpus_per_instance(),
        gpu: resolved.gpu.clone(),
        kv_tiers: None,
        adapters: None,
        kv_bytes_per_token: resolved.memory.map_or(0.0, |memory| memory.token),
    };
    Ok((config, resolved))
}

/// What the instances of a pool run on, and what of it nobody gave.
///
/// # Errors
/// When power or price of a GPU cannot be.
fn machine(spec: &PoolSpec, pool: &PoolConfig, resolved: &Resolved) -> Result<Machine, InputError> {
    Ok(Machine {
        pool: pool.name.clone(),
        gpu: resolved.gpu.clone(),
        tensor: Choice {
            value: resolved.tp,
            chosen: spec.parallel.tensor.is_none(),
        },
        data: resolved.dp,
        stages: resolved.pp,
        instances: pool.instances,
        latency_model: Choice {
            value: resolved.latency_kind.name().to_owned(),
            chosen: is_model_left_open(spec),
        },
        kv_blocks: resolved.total_kv_blocks,
        kv_blocks_source: Choice {
            value: resolved.kv_blocks_source.name().to_owned(),
            chosen: spec.engine.total_kv_blocks.is_none(),
        },
        capex_usd_per_gpu: resolved.capex_usd,
        upkeep: given_upkeep(spec)?.or(resolved.upkeep),
        lives_us: Vec::new(),
    })
}

/// What a run says of power and price of a pool's GPUs.
fn given_upkeep(spec: &PoolSpec) -> Result<Upkeep, InputError> {
    let (tdp_w, idle_w) = match spec.gpu_power.as_deref() {
        None => (None, None),
        Some([tdp]) => (Some(*tdp), None),
        Some([tdp, idle]) => (Some(*tdp), Some(*idle)),
        Some(numbers) => {
            return Err(InputError::new(format!(
                "`gpu_power` has {} numbers; expected watts under load, and behind them, if known, watts without work",
                numbers.len()
            )));
        }
    };
    let upkeep = Upkeep {
        tdp_w,
        idle_w,
        usd_per_hour: spec.gpu_price.map(|price| [price; 2]),
    };
    upkeep.check().map(|()| upkeep).map_err(|wrong| {
        let name = match wrong.what {
            "price" => "gpu_price",
            _ => "gpu_power",
        };
        InputError::new(format!("`{name}`: {wrong}"))
    })
}

/// The rules of all pools: those chosen, or those under which the latency models were fitted. Where
/// these differ and nobody chose the models, vLLM's, and a note.
fn preset(
    rules: RulesSpec,
    specs: &[PoolSpec],
    resolved: &mut [Resolved],
) -> Result<Preset, InputError> {
    match rules {
        RulesSpec::Blis => return Ok(Preset::Blis),
        RulesSpec::Vllm => return Ok(Preset::Vllm),
        RulesSpec::Auto => {}
    }
    let first = resolved[0].latency.fitted_under();
    let mut other = resolved.iter().map(|r| r.latency.fitted_under());
    let Some(at) = other.position(|preset| preset != first) else {
        return Ok(first);
    };
    let preset = resolved[at].latency.fitted_under();
    let (this, pool) = (&specs[0].name, &specs[at].name);
    if specs.iter().all(is_model_left_open) {
        resolved[at].notes.push(format!(
            "the latency model of pool \"{pool}\" was fitted under {preset} rules, that of pool \"{this}\" under \
             {first}: the run has vllm rules"
        ));
        return Ok(Preset::Vllm);
    }
    Err(InputError::new(format!(
        "the latency model of pool \"{pool}\" was fitted under {preset} rules, that of pool \"{this}\" under {first}; \
         choose `rules`"
    )))
}

/// Does nobody say what a pool's step times come from?
fn is_model_left_open(spec: &PoolSpec) -> bool {
    let latency = &spec.latency;
    let named = latency.model.as_deref().is_some_and(|name| name != "auto");
    !named && latency.alpha_coeffs.is_none() && latency.vllm_version.is_none()
}

fn check_numbers(pool: &PoolSpec) -> Result<(), InputError> {
    let engine = &pool.engine;
    let at_least_one = [
        ("num_instances", pool.count),
        ("max_num_running_reqs", engine.max_num_seqs),
        ("max_num_scheduled_tokens", engine.max_num_batched_tokens),
        ("tp", pool.parallel.tensor),
        ("dp", pool.parallel.data),
        ("pp", pool.parallel.pipeline),
        ("gpus_per_node", pool.parallel.gpus_per_node),
        ("block_size_in_tokens", engine.block_size),
    ];
    match at_least_one.iter().find(|(_, n)| *n == Some(0)) {
        Some((name, _)) => Err(InputError::new(format!(
            "`{name}` must be at least 1, found 0"
        ))),
        None => Ok(()),
    }
}

/// Refuses what changes nothing about this deployment.
fn check_effects(given: &Given, resolved: &Resolved) -> Result<(), InputError> {
    let kind = resolved.latency_kind;
    let kv_computed = resolved.kv_blocks_source == KvBlocksSource::Computed;
    given.reject_unless(
        &["vllm_version"],
        kind == LatencyModelKind::Blackbox,
        &if given.has("latency_model") {
            format!(
                "with latency model {kind}; it selects fitted coefficients (`latency_model` blackbox)"
            )
        } else {
            format!(
                "because {} has no fitted coefficients for this version, GPU and tensor parallelism; \
                 \"windtunnel models {}\" lists those it has",
                resolved.canonical, resolved.canonical
            )
        },
    )?;
    given.reject_unless(
        &["profile", "extrapolation"],
        kind == LatencyModelKind::Profile,
        "without `latency_model` profile",
    )?;
    given.reject_unless(
        &["kernel_tables", "calibration"],
        kind == LatencyModelKind::KernelTables,
        &format!("with latency model {kind}; kernel-tables reads it"),
    )?;
    given.reject_unless(
        &["moe_comm_backend"],
        resolved.is_moe && resolved.dp > 1,
        "without data parallelism (`dp`) of a mixture-of-experts model",
    )?;
    given.reject_unless(
        &["enable_expert_parallel"],
        resolved.is_moe && resolved.gpus_per_instance() > 1,
        "without several GPUs per instance (`tp`, `dp`) and a mixture-of-experts model",
    )?;
    given.reject_unless(
        &["gpu_memory_utilization", "kv_cache_dtype"],
        kv_computed,
        match resolved.kv_blocks_source {
            KvBlocksSource::Flag => "because `total_kv_blocks` sets the KV cache",
            KvBlocksSource::FittedRow => {
                "because the number of KV blocks is that of the fitted deployment; `total_kv_blocks` changes it"
            }
            _ => "because the KV cache cannot be computed; `total_kv_blocks` sets it",
        },
    )
}
