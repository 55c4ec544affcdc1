//! What a run's instances and front end are, before any policy or request is known.

use crate::settings::Given;
use crate::spec::{PoolSpec, RoleSpec, RulesSpec, RunSpec};
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Source;
use windtunnel_config::Defaults;
use windtunnel_engine::cluster::{Cluster, ClusterConfig, Predictor, TraceConfig};
use windtunnel_engine::instance::{EngineConfig, Preset};
use windtunnel_engine::latency::{Backend, KvBlocksSource, LatencyModel, Resolved, Setup, resolve};
use windtunnel_policy::PolicySpec;
use windtunnel_policy::lua::Meter;

/// Far beyond any cluster; each instance takes about a kilobyte before its first request.
const MOST_INSTANCES: u32 = 100_000;

/// Instances and front end, complete.
#[derive(Clone)]
pub struct Deployment {
    /// What was found out about the model and its GPUs; `None` = it was put together by hand.
    resolved: Option<Resolved>,
    latency: Arc<dyn LatencyModel>,
    preset: Preset,
    config: ClusterConfig,
}

/// How a deployment is played once.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    /// Seed of the random numbers that policies draw, and of the output predictor's errors.
    pub seed: u64,
    /// When the run ends, microseconds; `i64::MAX` = when all is done.
    pub horizon_us: i64,
    /// What to remember of the front end's decisions.
    pub trace: TraceConfig,
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
        Self::with(run, &Given::of(run), defaults)
    }

    pub(crate) fn with(
        run: &RunSpec,
        given: &Given,
        defaults: Defaults,
    ) -> Result<Self, InputError> {
        let pool = match &run.pools[..] {
            [] => &PoolSpec::default(),
            [pool] => pool,
            [..] => {
                return Err(InputError::new(format!(
                    "{} pools; expected one",
                    run.pools.len()
                )));
            }
        };
        if pool.role != RoleSpec::Serve {
            return Err(InputError::new(
                "prefill and decode pools are not simulated yet; expected the role \"serve\"",
            ));
        }
        check_numbers(pool)?;
        let resolved = resolve(&setup(run, pool, defaults)?)?;
        check_effects(given, &resolved)?;
        let preset = match run.rules {
            RulesSpec::Auto => fitted_under(resolved.backend),
            RulesSpec::Blis => Preset::Blis,
            RulesSpec::Vllm => Preset::Vllm,
        };
        let (engine, front) = (&pool.engine, &run.front);
        let predictor = front.output_predictor.as_deref();
        let short = resolved.canonical.rsplit('/').next().unwrap_or_default();
        let config = ClusterConfig {
            instances: pool.count.unwrap_or(1),
            engine: EngineConfig {
                total_kv_blocks: resolved.total_kv_blocks,
                block_size: engine.block_size.unwrap_or(16),
                max_running: engine.max_num_seqs.unwrap_or(256),
                max_batched_tokens: engine.max_num_batched_tokens.unwrap_or(2048),
                long_prefill_threshold: engine.long_prefill_token_threshold.unwrap_or(0),
                max_model_len: resolved.max_model_len,
                horizon_us: i64::MAX,
                rules: preset.rules(),
                token_events: false,
                plain: engine.plain_steps,
            },
            admission_latency_us: front.admission_latency_us.unwrap_or(0).into(),
            routing_latency_us: front.routing_latency_us.unwrap_or(0).into(),
            snapshot_refresh_us: front.snapshot_refresh_interval_us.unwrap_or(50_000).into(),
            cache_signal_delay_us: front.cache_signal_delay_us.unwrap_or(50_000).into(),
            model_names: vec![
                resolved.model.clone(),
                resolved.canonical.clone(),
                short.to_owned(),
            ],
            trace: TraceConfig::default(),
            seed: 0,
            predictor: predictor.map(str::parse::<Predictor>).transpose()?,
        };
        Ok(Self {
            latency: Arc::clone(&resolved.latency),
            resolved: Some(resolved),
            preset,
            config,
        })
    }

    /// A deployment of parts that are known already: for tests, and step times of one's own.
    #[must_use]
    pub fn of_parts(config: ClusterConfig, latency: Arc<dyn LatencyModel>, preset: Preset) -> Self {
        Self {
            resolved: None,
            latency,
            preset,
            config,
        }
    }

    /// What was found out about the model and its GPUs; `None` for a deployment
    /// [of parts](Self::of_parts).
    #[must_use]
    pub fn resolved(&self) -> Option<&Resolved> {
        self.resolved.as_ref()
    }

    /// The step-time model.
    #[must_use]
    pub fn latency(&self) -> &Arc<dyn LatencyModel> {
        &self.latency
    }

    /// The rules by name.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// Limits of instances and front end, without a run's seed and horizon.
    #[must_use]
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Instances in all pools.
    #[must_use]
    pub fn instances(&self) -> u32 {
        self.config.instances
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
    ) -> Result<(Cluster<'s>, Meter), InputError> {
        let mut config = self.config.clone();
        config.seed = play.seed;
        config.engine.horizon_us = play.horizon_us;
        config.trace = play.trace;
        let (instances, max_running) = (config.instances, config.engine.max_running);
        let (front, hooks, meter) = crate::policies::metered_policies(
            policies,
            instances,
            max_running,
            source.symbols_mut(),
        )?;
        let cluster = Cluster::new(config, &self.latency, front, hooks, source);
        Ok((cluster, meter))
    }
}

fn setup(run: &RunSpec, pool: &PoolSpec, defaults: Defaults) -> Result<Setup, InputError> {
    let (engine, latency) = (&pool.engine, &pool.latency);
    let backend = match latency.model.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(name.parse::<Backend>()?),
    };
    let usual = Setup::new(run.model.clone(), defaults);
    Ok(Setup {
        gpu: pool.hardware.clone(),
        tp: pool.parallel.tensor,
        dp: pool.parallel.data.unwrap_or(1),
        vllm_version: latency.vllm_version.clone(),
        latency: backend,
        alpha: latency.alpha_coeffs.clone(),
        beta: latency.beta_coeffs.clone(),
        model_config_folder: run.model_config_folder.clone(),
        hardware_config: run.hardware_config.clone(),
        total_kv_blocks: engine.total_kv_blocks,
        block_size: engine.block_size.unwrap_or(usual.block_size),
        gpu_memory_utilization: engine
            .gpu_memory_utilization
            .unwrap_or(usual.gpu_memory_utilization),
        max_model_len: engine.max_model_len,
        moe_comm_backend: pool.parallel.moe_comm_backend.clone(),
        ..usual
    })
}

fn check_numbers(pool: &PoolSpec) -> Result<(), InputError> {
    let engine = &pool.engine;
    let at_least_one = [
        ("num_instances", pool.count),
        ("max_num_running_reqs", engine.max_num_seqs),
        ("max_num_scheduled_tokens", engine.max_num_batched_tokens),
        ("tp", pool.parallel.tensor),
        ("dp", pool.parallel.data),
        ("block_size_in_tokens", engine.block_size),
    ];
    match at_least_one.iter().find(|(_, n)| *n == Some(0)) {
        Some((name, _)) => Err(InputError::new(format!(
            "`{name}` must be at least 1, found 0"
        ))),
        None if pool.count > Some(MOST_INSTANCES) => Err(InputError::new(format!(
            "`num_instances` must be at most {MOST_INSTANCES}, found {}",
            pool.count.unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

/// Refuses what changes nothing about this deployment.
fn check_effects(given: &Given, resolved: &Resolved) -> Result<(), InputError> {
    let backend = resolved.backend;
    let kv_computed = resolved.kv_blocks_source == KvBlocksSource::Computed;
    given.reject_unless(
        &["vllm_version"],
        backend == Backend::Blackbox,
        &if given.has("latency_model") {
            format!(
                "with latency model {backend}; it selects fitted coefficients (`latency_model` blackbox)"
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
        &["moe_comm_backend"],
        resolved.is_moe && resolved.dp > 1,
        "without data parallelism (`dp`) of a mixture-of-experts model",
    )?;
    given.reject_unless(
        &["enable_expert_parallel"],
        resolved.is_moe && resolved.tp * resolved.dp > 1,
        "without several GPUs per instance (`tp`, `dp`) and a mixture-of-experts model",
    )?;
    given.reject_unless(
        &["gpu_memory_utilization"],
        kv_computed,
        match resolved.kv_blocks_source {
            KvBlocksSource::Flag => "because `total_kv_blocks` sets the KV cache",
            KvBlocksSource::FittedRow => {
                "because the number of KV blocks was measured with the coefficients; `total_kv_blocks` changes it"
            }
            _ => "because the KV cache cannot be computed; `total_kv_blocks` sets it",
        },
    )
}

/// The rules that a step-time model was fitted under.
#[must_use]
pub fn fitted_under(backend: Backend) -> Preset {
    match backend {
        Backend::Blackbox | Backend::Roofline | Backend::TrainedPhysics => Preset::Blis,
    }
}
