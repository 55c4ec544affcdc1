//! `run` and `replay`: resolve, simulate, report.

use super::args::{CommonArgs, LatencyName, RulesName, TraceLevel};
use super::effects::Explicit;
use super::output::Finished;
use super::progress::Bar;
use super::workload_args::{ReplayArgs, RunArgs};
use super::workloads::{self, Opened, Traces};
use super::{legacy, output, policies, say};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windtunnel_base::input::{InputError, Staging, read_text};
use windtunnel_base::record::RunRecord;
use windtunnel_config::Defaults;
use windtunnel_engine::cluster::{Cluster, ClusterConfig, PoolConfig, Progress, Role};
use windtunnel_engine::frontend::{FrontEndConfig, Predictor, TraceConfig};
use windtunnel_engine::instance::{EngineConfig, Preset};
use windtunnel_engine::latency::{Backend, KvBlocksSource, Resolved, Setup, resolve};
use windtunnel_policy::PolicySpec;
use windtunnel_results::metrics::digest::Digest;
use windtunnel_results::metrics::fitness::Weights;
use windtunnel_results::metrics::saturation::Detectors;
use windtunnel_results::metrics::slo::{Dimension, SloTargets};
use windtunnel_results::metrics::summary::RunSummary;
use windtunnel_results::report::{ReportInputs, generator};
use windtunnel_workload::Bounded;

/// `windtunnel run`.
pub fn run(args: &RunArgs, explicit: &Explicit) -> anyhow::Result<()> {
    prepare(args, explicit, &[], None)?.carry_out(&args.common)
}

/// `windtunnel replay`.
pub fn replay(args: &ReplayArgs, explicit: &Explicit) -> anyhow::Result<()> {
    prepare_replay(args, explicit)?.carry_out(&args.common)
}

/// Works out a replay.
///
/// # Errors
/// On anything wrong with flags and files.
pub fn prepare_replay(args: &ReplayArgs, explicit: &Explicit) -> Result<Prepared, InputError> {
    let inputs = [&args.trace, &args.trace_data, &args.trace_header].map(|p| p.as_deref());
    let plan = Plan::of(&args.common, explicit, &inputs, &[])?;
    let as_the_reference = args.common.engine.rules == RulesName::Blis;
    let mut opened = workloads::for_replay(args, explicit, as_the_reference)?;
    if as_the_reference && args.common.horizon.is_none() {
        opened.notes.push(format!(
            "under --rules blis a replay stops at the reference's default horizon, {:.3} s; --horizon changes it",
            opened.horizon_us as f64 / 1e6
        ));
    }
    Ok(Prepared {
        plan,
        opened,
        generator: None,
    })
}

/// Works out a run. `patches` change keys of its policy bundle: path of keys and value. `traces`
/// keeps what was parsed for the next run.
///
/// # Errors
/// On anything wrong with flags and files.
pub fn prepare(
    args: &RunArgs,
    explicit: &Explicit,
    patches: &[(String, String)],
    traces: Option<&Traces>,
) -> Result<Prepared, InputError> {
    let common = legacy::with_coefficients(&args.common, &args.workload.legacy)?;
    let plan = Plan::of(&common, explicit, &trace_files(args), patches)?;
    let opened = workloads::for_run(args, explicit, &plan.defaults, traces)?;
    let generator = legacy::metrics(args, explicit, opened.generator_rate)?;
    Ok(Prepared {
        plan,
        opened,
        generator,
    })
}

/// The files that a run reads, those that exist.
pub fn files_of(args: &RunArgs) -> Vec<PathBuf> {
    let model = args.common.model.model_config_folder.as_deref();
    let model = model.map(|folder| {
        if folder.is_file() {
            folder.to_owned()
        } else {
            folder.join("config.json")
        }
    });
    let traces = trace_files(args).into_iter().flatten();
    figures(&args.common)
        .into_iter()
        .chain(traces)
        .map(Path::to_owned)
        .chain(model)
        .filter(|path| path.is_file())
        .collect()
}

fn trace_files(args: &RunArgs) -> [Option<&Path>; 4] {
    let w = &args.workload;
    [
        w.legacy.reqgen_config_path.as_deref(),
        w.workload_spec.as_deref(),
        Some(Path::new(&w.workload)),
        w.workload_traces_filepath.as_deref(),
    ]
}

/// Files with figures and settings.
fn figures(common: &CommonArgs) -> Vec<&Path> {
    [
        &common.model.defaults_filepath,
        &common.model.hardware_config,
        &common.cluster.policy_config,
        &common.analysis.saturation_config,
    ]
    .into_iter()
    .filter_map(|path| path.as_deref())
    .collect()
}

/// A run that is known to make sense.
pub struct Prepared {
    plan: Plan,
    opened: Opened,
    generator: Option<generator::Inputs>,
}

impl Prepared {
    /// What a person should know about it.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        let plan = &self.plan;
        let notes = plan.resolved.notes.iter().chain(&plan.policy_notes);
        notes.chain(&self.opened.notes)
    }

    /// The policies it runs.
    pub fn policies(&self) -> &PolicySpec {
        &self.plan.policies
    }

    /// Simulates, with a progress bar, and delivers the results.
    fn carry_out(self, common: &CommonArgs) -> anyhow::Result<()> {
        // Not before all input is known to be good: an error comes alone.
        for note in self.notes() {
            say(&format!("note: {note}"));
        }
        tracing::info!(
            workload = self.opened.description,
            model = self.plan.resolved.canonical,
            "simulating"
        );
        let mut files = Staging::default();
        let bar = Bar::new(self.opened.source.size_hint(), common.output.quiet);
        let finished = self.complete(common, &mut files, &mut |progress| bar.show(progress))?;
        bar.done();
        output::deliver(finished, common, files)
    }

    /// Simulates.
    ///
    /// # Errors
    /// When rows that go to a file while the run goes on cannot be written.
    pub fn complete(
        mut self,
        common: &CommonArgs,
        files: &mut Staging,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Finished, InputError> {
        let plan = &self.plan;
        let (record, summary) = plan.simulate(common, &mut self.opened, files, progress)?;
        if let Some(fault) = &record.fault {
            return Err(InputError::new(fault.to_string()));
        }
        let mut slo_targets = plan.analysis.slo_targets.clone();
        if !common.output.summary_only {
            slo_targets = slo_targets.over(&self.opened.slo_targets);
        }
        let inputs = ReportInputs {
            scheduler_is_priority_fcfs: plan.policies.scheduler.name() == "priority-fcfs",
            slo_targets,
            fitness: plan.analysis.fitness.clone(),
            detectors: plan.analysis.detectors.clone(),
            trace_summary: common.analysis.summarize_trace,
            infinite_cache_hit_rate: self.opened.infinite_cache_hit_rate,
            generator: self.generator,
            header: plan.header(common, &self.opened.description),
            setup: plan.setup(common, &self.opened.description, self.opened.horizon_us),
        };
        Ok(Finished {
            record,
            summary,
            inputs,
        })
    }
}

/// Everything that is decided before the first event.
struct Plan {
    defaults: Defaults,
    resolved: Resolved,
    preset: Preset,
    policies: PolicySpec,
    predictor: Option<Predictor>,
    policy_notes: Vec<String>,
    analysis: Analysis,
}

/// What to find out.
struct Analysis {
    slo_targets: SloTargets,
    fitness: Option<Weights>,
    detectors: Option<Detectors>,
}

/// The models and figures of a run.
pub fn defaults(path: Option<&Path>) -> Result<Defaults, InputError> {
    path.map_or_else(|| Ok(Defaults::builtin().clone()), Defaults::load)
}

/// The step-time model by its flag; `None` = choose.
pub fn backend(name: LatencyName) -> Option<Backend> {
    match name {
        LatencyName::Auto => None,
        LatencyName::Blackbox => Some(Backend::Blackbox),
        LatencyName::Roofline => Some(Backend::Roofline),
        LatencyName::TrainedPhysics => Some(Backend::TrainedPhysics),
    }
}

/// The rules that a step-time model was fitted under.
pub fn fitted_under(backend: Backend) -> Preset {
    match backend {
        Backend::Blackbox | Backend::Roofline | Backend::TrainedPhysics => Preset::Blis,
    }
}

impl Plan {
    /// `trace` are the files of the workload, if any.
    fn of(
        common: &CommonArgs,
        explicit: &Explicit,
        trace: &[Option<&Path>],
        patches: &[(String, String)],
    ) -> Result<Self, InputError> {
        check_numbers(common)?;
        let m = &common.model;
        let defaults = defaults(m.defaults_filepath.as_deref())?;
        let setup = Setup {
            gpu: m.hardware.clone(),
            tp: m.tp,
            dp: m.dp,
            vllm_version: m.vllm_version.clone(),
            latency: backend(m.latency_model),
            alpha: m.alpha_coeffs.clone(),
            beta: m.beta_coeffs.clone(),
            model_config_folder: m.model_config_folder.clone(),
            hardware_config: m.hardware_config.clone(),
            total_kv_blocks: m.total_kv_blocks,
            block_size: m.block_size_in_tokens,
            gpu_memory_utilization: m.gpu_memory_utilization,
            max_model_len: m.max_model_len,
            moe_comm_backend: m.moe_comm_backend.clone(),
            ..Setup::new(m.model.clone(), defaults.clone())
        };
        let resolved = resolve(&setup)?;
        check_model_flags(explicit, &resolved)?;
        let preset = match common.engine.rules {
            RulesName::Auto => fitted_under(resolved.backend),
            RulesName::Blis => Preset::Blis,
            RulesName::Vllm => Preset::Vllm,
        };
        let bundle = policies::bundle(&common.cluster, patches)?;
        let chosen = policies::choose(&common.cluster, &common.engine, &bundle, explicit, preset)?;
        let analysis = Analysis::of(common, explicit)?;
        explicit.reject_unless(
            &[
                "metrics_path",
                "trace_output",
                "slo_ttft",
                "slo_itl",
                "slo_e2e",
                "detectors",
            ],
            !common.output.summary_only,
            "with --summary-only, which keeps no request's record",
        )?;
        let inputs: Vec<&Path> = figures(common)
            .into_iter()
            .chain(trace.iter().copied().flatten())
            .collect();
        output::check_paths(&common.output, &common.analysis, &inputs)?;
        Ok(Self {
            defaults,
            resolved,
            preset,
            policies: chosen.spec,
            predictor: chosen.predictor,
            policy_notes: chosen.notes,
            analysis,
        })
    }

    fn engine(&self, common: &CommonArgs, horizon_us: i64) -> EngineConfig {
        EngineConfig {
            total_kv_blocks: self.resolved.total_kv_blocks,
            block_size: common.model.block_size_in_tokens,
            max_running: common.engine.max_num_running_reqs,
            max_batched_tokens: common.engine.max_num_scheduled_tokens,
            long_prefill_threshold: common.engine.long_prefill_token_threshold,
            max_model_len: self.resolved.max_model_len,
            horizon_us,
            rules: self.preset.rules(),
            token_events: false,
            plain: common.engine.plain_steps,
        }
    }

    fn simulate(
        &self,
        common: &CommonArgs,
        opened: &mut Opened,
        files: &mut Staging,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(RunRecord, RunSummary), InputError> {
        let c = &common.cluster;
        let resolved = &self.resolved;
        let short = resolved.canonical.rsplit('/').next().unwrap_or_default();
        let config = ClusterConfig {
            pools: vec![PoolConfig {
                name: String::new(),
                role: Role::Serve,
                instances: c.num_instances,
                engine: self.engine(common, opened.horizon_us),
                latency: Arc::clone(&resolved.latency),
                gpus_per_instance: resolved.tp * resolved.dp,
                gpu: resolved.gpu.clone(),
            }],
            front: FrontEndConfig {
                admission_latency_us: c.admission_latency.into(),
                routing_latency_us: c.routing_latency.into(),
                snapshot_refresh_us: c.snapshot_refresh_interval.into(),
                cache_signal_delay_us: c.cache_signal_delay.into(),
                model_names: vec![
                    resolved.model.clone(),
                    resolved.canonical.clone(),
                    short.to_owned(),
                ],
                trace: TraceConfig {
                    decisions: common.analysis.trace_level == TraceLevel::Decisions,
                    counterfactual_k: common.analysis.counterfactual_k,
                    observations: false,
                },
                predictor: self.predictor,
            },
            seed: common.seed,
            horizon_us: opened.horizon_us,
        };
        let (front, hooks) = windtunnel_sim::policies(
            &self.policies,
            c.num_instances,
            common.engine.max_num_running_reqs,
            opened.source.symbols_mut(),
        )?;
        let mut source = Bounded::new(opened.source.as_mut(), common.model.block_size_in_tokens);
        let cluster = Cluster::new(config, front, hooks, &mut source)?;
        let (record, summary) = if common.output.summary_only {
            let mut digest = Digest::default();
            let record = output::stream(cluster, &common.output, &mut digest, files, progress)?;
            let summary = RunSummary::of_digest(digest, &record);
            (record, summary)
        } else {
            let record = cluster.run(progress);
            let summary = RunSummary::of(&record);
            (record, summary)
        };
        opened.infinite_cache_hit_rate = Some(source.hit_rate());
        Ok((record, summary))
    }

    fn header(&self, common: &CommonArgs, workload: &str) -> Vec<String> {
        let r = &self.resolved;
        let version = r
            .vllm_version
            .as_deref()
            .map_or(String::new(), |v| format!(" ({v})"));
        let n = common.cluster.num_instances;
        vec![
            format!(
                "{} on {n} x {} {}, latency model {}{version}, rules {}",
                r.canonical, r.tp, r.gpu, r.backend, self.preset
            ),
            format!("workload: {workload}"),
            format!(
                "policies: admission {}, routing {}, scheduler {}, priority {}, preemption {}",
                self.policies.admission.name(),
                self.policies.routing.name(),
                self.policies.scheduler.name(),
                self.policies.priority.name(),
                self.policies.preemption.name()
            ),
        ]
    }

    /// The parameters of the policies that declare any, by hook.
    fn policy_params(&self) -> serde_json::Value {
        let declaring = self.policies.external();
        let by_hook = declaring.map(|(hook, policy)| {
            let values = policy.params().iter().map(|(n, v)| (n.clone(), json!(v)));
            (
                hook.name().to_owned(),
                serde_json::Value::Object(values.collect()),
            )
        });
        serde_json::Value::Object(by_hook.collect())
    }

    fn setup(&self, common: &CommonArgs, workload: &str, horizon_us: i64) -> serde_json::Value {
        let r = &self.resolved;
        json!({
            "windtunnel_version": env!("CARGO_PKG_VERSION"),
            "model": r.canonical,
            "hardware": r.gpu,
            "tensor_parallelism": r.tp,
            "data_parallelism": r.dp,
            "vllm_version": r.vllm_version,
            "latency_model": r.backend.name(),
            "rules": self.preset.to_string(),
            "num_instances": common.cluster.num_instances,
            "total_kv_blocks": r.total_kv_blocks,
            "block_size_tokens": common.model.block_size_in_tokens,
            "max_model_len_tokens": r.max_model_len,
            "max_num_running_reqs": common.engine.max_num_running_reqs,
            "max_num_scheduled_tokens": common.engine.max_num_scheduled_tokens,
            "long_prefill_token_threshold": common.engine.long_prefill_token_threshold,
            "admission_policy": self.policies.admission.name(),
            "routing_policy": self.policies.routing.name(),
            "scheduler": self.policies.scheduler.name(),
            "priority_policy": self.policies.priority.name(),
            "preemption_policy": self.policies.preemption.name(),
            "policy_params": self.policy_params(),
            "output_predictor": common.cluster.output_predictor,
            "snapshot_refresh_interval_us": common.cluster.snapshot_refresh_interval,
            "cache_signal_delay_us": common.cluster.cache_signal_delay,
            "workload": workload,
            "seed": common.seed,
            "horizon_us": (horizon_us != i64::MAX).then_some(horizon_us),
            "notes": r.notes,
        })
    }
}

/// Far beyond any cluster; each instance takes about a kilobyte before its first request.
const MOST_INSTANCES: u32 = 100_000;

fn check_numbers(common: &CommonArgs) -> Result<(), InputError> {
    let at_least_one = [
        ("--num-instances", common.cluster.num_instances),
        ("--max-num-running-reqs", common.engine.max_num_running_reqs),
        (
            "--max-num-scheduled-tokens",
            common.engine.max_num_scheduled_tokens,
        ),
        ("--tp", common.model.tp.unwrap_or(1)),
        ("--dp", common.model.dp),
        ("--block-size-in-tokens", common.model.block_size_in_tokens),
    ];
    match at_least_one.iter().find(|(_, n)| *n == 0) {
        Some((flag, _)) => Err(InputError::new(format!(
            "{flag} must be at least 1, found 0"
        ))),
        None if common.cluster.num_instances > MOST_INSTANCES => Err(InputError::new(format!(
            "--num-instances must be at most {MOST_INSTANCES}, found {}",
            common.cluster.num_instances
        ))),
        None => Ok(()),
    }
}

fn check_model_flags(explicit: &Explicit, resolved: &Resolved) -> Result<(), InputError> {
    let backend = resolved.backend;
    let fitted = backend == Backend::Blackbox;
    let kv_computed = resolved.kv_blocks_source == KvBlocksSource::Computed;
    explicit.reject_unless(
        &["vllm_version"],
        fitted,
        &if explicit.has("latency_model") {
            format!(
                "with latency model {backend}; it selects fitted coefficients (--latency-model blackbox)"
            )
        } else {
            format!(
                "because {} has no fitted coefficients for this version, GPU and tensor parallelism; \
                 \"windtunnel models {}\" lists those it has",
                resolved.canonical, resolved.canonical
            )
        },
    )?;
    explicit.reject_unless(
        &["moe_comm_backend"],
        resolved.is_moe && resolved.dp > 1,
        "without data parallelism (--dp) of a mixture-of-experts model",
    )?;
    explicit.reject_unless(
        &["enable_expert_parallel"],
        resolved.is_moe && resolved.tp * resolved.dp > 1,
        "without several GPUs per instance (--tp, --dp) and a mixture-of-experts model",
    )?;
    explicit.reject_unless(
        &["gpu_memory_utilization"],
        kv_computed,
        match resolved.kv_blocks_source {
            KvBlocksSource::Flag => "because --total-kv-blocks sets the KV cache",
            KvBlocksSource::FittedRow => {
                "because the number of KV blocks was measured with the coefficients; --total-kv-blocks changes it"
            }
            _ => "because the KV cache cannot be computed; --total-kv-blocks sets it",
        },
    )
}

impl Analysis {
    fn of(common: &CommonArgs, explicit: &Explicit) -> Result<Self, InputError> {
        let a = &common.analysis;
        let traced = a.trace_level == TraceLevel::Decisions;
        explicit.reject_unless(
            &["counterfactual_k", "summarize_trace", "decisions_path"],
            traced,
            "without --trace-level decisions",
        )?;
        explicit.reject_unless(
            &[
                "saturation_report",
                "saturation_final_window",
                "saturation_config",
            ],
            a.detectors.is_some(),
            "without --detectors",
        )?;
        let mut slo_targets = SloTargets::default();
        let given = [
            (Dimension::Ttft, "--slo-ttft", &a.slo_ttft),
            (Dimension::Itl, "--slo-itl", &a.slo_itl),
            (Dimension::E2e, "--slo-e2e", &a.slo_e2e),
        ];
        for (dimension, flag, text) in given {
            if let Some(text) = text {
                slo_targets.parse(dimension, flag, text)?;
            }
        }
        let mut detectors = a
            .detectors
            .as_deref()
            .map(|names| Detectors::parse("--detectors", names))
            .transpose()?;
        if let Some(detectors) = &mut detectors {
            if let Some(path) = &a.saturation_config {
                detectors.configure(&path.display().to_string(), &read_text(path)?)?;
            }
            if let Some(seconds) = a.saturation_final_window {
                if !(seconds.is_finite() && seconds > 0.0) {
                    return Err(InputError::new(format!(
                        "--saturation-final-window {seconds} must be above 0 seconds"
                    )));
                }
                detectors.final_window_us = (seconds * 1e6) as i64;
            }
        }
        let fitness = a
            .fitness_weights
            .as_deref()
            .map(|text| Weights::parse("--fitness-weights", text))
            .transpose()?;
        Ok(Self {
            slo_targets,
            fitness,
            detectors,
        })
    }
}
