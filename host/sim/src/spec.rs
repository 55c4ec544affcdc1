//! A run as plain data: everything that its results depend on, in one YAML file.

use crate::disaggregation_spec::DisaggregationSpec;
use crate::event_spec::{EventSpec, RetrySpec};
use crate::scale_spec::ScaleSpec;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use windtunnel_base::input::{InputError, is_default};
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_config::flow_control::FlowControlSpec;
use windtunnel_config::pool::PoolSpec;
use windtunnel_workload::TimeUnit;

/// Seed of everything random where none is given.
pub const DEFAULT_SEED: u64 = 42;

/// A run, whole. `None` and absent keys mean the default; a key that would change nothing is an
/// error, so that nobody believes in it.
///
/// ```
/// use windtunnel_sim::{PoolSpec, RunSpec, WorkloadSpec};
///
/// let spec = RunSpec {
///     pools: vec![PoolSpec { count: Some(2), ..PoolSpec::default() }],
///     workload: WorkloadSpec {
///         rate: Some(20.0),
///         num_requests: Some(50),
///         ..WorkloadSpec::default()
///     },
///     ..RunSpec::of_model("llama-3.1-8b-instruct")
/// };
/// let result = spec.resolve()?.run(&mut |_| ())?;
/// assert_eq!(result.record.requests.len(), 50);
/// # Ok::<(), windtunnel_sim::InputError>(())
/// ```
///
/// It is read and written as YAML, the same file that the command takes; what is not said is
/// not written:
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("windtunnel-run-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("run.yaml");
/// use windtunnel_sim::RunSpec;
///
/// std::fs::write(&path, "model: qwen3-14b\npools: [{ count: 2 }]\nworkload: { rate: 5.0 }\n")?;
/// let spec = RunSpec::load(&path)?;
/// assert_eq!(spec.workload.rate, Some(5.0));
/// assert_eq!(spec.to_yaml()?.lines().next(), Some("model: qwen3-14b"));
///
/// std::fs::write(&path, "model: qwen3-14b\nworkload: { rat: 5.0 }\n")?;
/// let error = RunSpec::load(&path).expect_err("there is no such key");
/// assert!(error.to_string().contains("rat"));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Model, by full or short name; none where time is abstract or a profile says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Folder with the model's Hugging Face `config.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_config_folder: Option<PathBuf>,
    /// Hardware figures in BLIS's JSON layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_config: Option<PathBuf>,
    /// Models, coefficients, hardware and presets in place of the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults_filepath: Option<PathBuf>,
    /// The instances, pool by pool; none = one pool of one instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolSpec>,
    /// Instances that come and go while the run goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<ScaleSpec>,
    /// Instances that come and go by a policy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub autoscale: AutoscaleSpec,
    /// Instances that fail, slow down and are replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventSpec>,
    /// What clients do whose request was lost on an instance that failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client: RetrySpec,
    /// Prefill and decode on instances of their own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disaggregation: DisaggregationSpec,
    /// A gateway before them that holds requests back while they are saturated.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flow_control: FlowControlSpec,
    /// The front end before them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub front: FrontSpec,
    /// What fills the hooks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policies: PoliciesSpec,
    /// What is sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub workload: WorkloadSpec,
    /// Whose behaviour the engine follows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rules: RulesSpec,
    /// Seed of everything random; 42 if not given, the file's in a workload spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Simulated time at which the run stops, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon_us: Option<i64>,
    /// Where time is abstract: the ticks from which on no step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<f64>,
    /// What to find out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outputs: OutputSpec,
}

/// Rules by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RulesSpec {
    /// Those that the latency model was fitted under.
    #[default]
    Auto,
    /// What vLLM V1 does.
    Vllm,
    /// What the simulator BLIS does, to the microsecond.
    Blis,
}

/// The front end: what its decisions cost, and how old its signals are; microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrontSpec {
    /// Arrival to admission decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission_latency_us: Option<u32>,
    /// Admission to routing decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_latency_us: Option<u32>,
    /// Age at which scraped signals are scraped again; 50,000 if not given, 0 = always fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_refresh_interval_us: Option<u32>,
    /// Age at which the precise prefix signal is refreshed; 50,000 if not given, 0 = always fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_signal_delay_us: Option<u32>,
    /// Predictor of output lengths: `exact`, or `lognormal:SIGMA[:BIAS]`, by class where that
    /// stands before it: `lognormal:0.4,batch=lognormal:0.6:0.8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_predictor: Option<String>,
    /// How wrong the durations are that policies ask for: `exact`, or `lognormal:SIGMA[:BIAS]`;
    /// exact if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate_error: Option<String>,
}

/// What fills the hooks: a bundle, and what goes before its keys. A policy is a built-in's or a
/// shipped script's name, `FILE.lua`, or `FILE.so[:NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoliciesSpec {
    /// A policy bundle's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Changes of that bundle: path of keys, and value in YAML.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config_changes: Vec<(String, String)>,
    /// Admission policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<String>,
    /// Tokens that the bucket of `token-bucket` holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_bucket_capacity: Option<f64>,
    /// Tokens per second that it gains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_bucket_refill_rate: Option<f64>,
    /// Routing policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<String>,
    /// Scorers of `weighted`: `name:weight,...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_scorers: Option<String>,
    /// Weight of the scorer `lora-affinity`, behind those scorers or the default ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_scorer_weight: Option<f64>,
    /// Two-weight form of `weighted`: weight of free KV blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_cache_weight: Option<f64>,
    /// Two-weight form of `weighted`: weight of short queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_load_weight: Option<f64>,
    /// Routing policy for instances that prefill for others; `routing` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_routing: Option<String>,
    /// Scorers of that policy, if it is `weighted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_routing_scorers: Option<String>,
    /// Routing policy for instances that decode, where some do not; `routing` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_routing: Option<String>,
    /// Scorers of that policy, if it is `weighted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_routing_scorers: Option<String>,
    /// vLLM's scheduling policy: scheduler, priorities and preemption at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_policy: Option<SchedulingPolicySpec>,
    /// Scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Priority policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Preemption policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption: Option<String>,
    /// Disaggregation policy: which prompts an instance computes that prefills for others. `always`
    /// if not given, under blis rules `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disaggregation: Option<String>,
    /// Which of the requests goes next that a gateway holds: `fifo` (if not given), `priority`,
    /// `slo-deadline`, or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<String>,
    /// Parameters of policies from files: `name=value` or `hook.name=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<String>,
    /// Lift the limits of scripts.
    #[serde(skip_serializing_if = "is_default")]
    pub trusted: bool,
}

/// How vLLM orders the wait queue and whom it preempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulingPolicySpec {
    /// First come, first served; the request admitted last is preempted.
    Fcfs,
    /// By the priority that the client sends, then by arrival; the least urgent request is
    /// preempted.
    Priority,
}

/// How requests come at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalsSpec {
    /// Evenly spaced.
    Constant,
    /// At random, independent of each other.
    Poisson,
}

/// What is sent: synthetic traffic (`distribution` or a preset), a workload spec, a trace, a
/// replay, a closed loop, or a legacy generator's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadSpec {
    /// `distribution` (the default), a preset, `xpusim`, `traces`, or a trace file or folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The trace file of `traces`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_filepath: Option<PathBuf>,
    /// A workload spec's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<PathBuf>,
    /// Configuration of the GuideLLM-style generator of legacy BLIS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reqgen_config_path: Option<PathBuf>,
    /// A recorded trace, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplaySpec>,
    /// How requests come: all at once, or as `concurrency` or `rate` say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_generator: Option<LoadGeneratorSpec>,
    /// Users of a closed loop instead of a rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Pause of a user after an answer, and of a session's rounds in a closed-loop replay,
    /// milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time_ms: Option<u64>,
    /// Requests per second; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How requests come at that rate. If not given: at random under `vllm` rules, evenly spaced
    /// under `blis` ones, for `engine` xpusim and profilesim, and in ticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<ArrivalsSpec>,
    /// Shape of random gaps between them, as in `vllm bench serve`: 1 is a Poisson process, less is
    /// burstier, more is evener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burstiness: Option<f64>,
    /// Requests; 100 if not given, all of a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_requests: Option<u64>,
    /// Seconds in which requests come, after the warm-up, in place of their number; 60 for
    /// `xpusim`. What completes in it is reported apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Seconds before that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<f64>,
    /// Seconds after which a client gives up; negative = never. 300 for synthetic traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Tokens that all prompts share, in front of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_tokens: Option<u32>,
    /// Prompt lengths of `distribution`, tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub prompt_tokens: LengthSpec,
    /// Output lengths of `distribution`, tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub output_tokens: LengthSpec,
    /// Which part of a trace, and how fast.
    #[serde(skip_serializing_if = "is_default")]
    pub trace: TraceSpec,
}

/// How synthetic requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadGeneratorSpec {
    /// All `num_requests` at time 0.
    AllAtOnce,
    /// Always `concurrency` requests in the system: one that ends is replaced at once.
    ConstantConcurrency,
    /// `rate` requests per second, evenly spaced; per tick where time is abstract.
    ConstantRate,
    /// One request at the end of every step; where time is abstract.
    OnePerStep,
}

/// Clipped Gaussian lengths, tokens; mean 512, standard deviation 256, 2 to 7000 if not given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LengthSpec {
    /// Mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<u32>,
    /// Standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdev: Option<u32>,
    /// Least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// Which part of a trace is replayed, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceSpec {
    /// Leave out what comes before, seconds; it becomes time 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// Leave out what comes from here on, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// Share of the requests to keep, drawn; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
    /// So many times, one after the other; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loops: Option<u32>,
    /// Factor on the arrival rate; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_scale: Option<f64>,
    /// Spread requests of equal time evenly up to the next time.
    #[serde(skip_serializing_if = "is_default")]
    pub spread_ties: bool,
    /// Which run of a file with several, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<usize>,
    /// Unit of the time stamps (`s`, `ms`, `us`, `ns`); the format's usual one if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_unit: Option<TimeUnit>,
    /// Which column of a CSV file of no known format is what:
    /// `arrival=COLUMN,prompt=COLUMN,output=COLUMN`, and `session`, `tenant`, `client`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// Tokens of the blocks that the `hash_ids` of a Mooncake trace name; 512 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// A damaged row is an error instead of being skipped and counted.
    #[serde(skip_serializing_if = "is_default")]
    pub strict: bool,
}

/// A recorded trace, as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplaySpec {
    /// The trace.
    pub trace: PathBuf,
    /// Header of a TraceV2 trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<PathBuf>,
    /// How sessions are replayed; as recorded if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_mode: Option<SessionModeSpec>,
    /// Think times, drawn: `constant:value=T` or `lognormal:mu=M,sigma=S`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think_time_dist: Option<String>,
}

/// How sessions are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionModeSpec {
    /// Every request arrives when it was recorded.
    Fixed,
    /// A follow-up arrives its think time after the answer before it.
    ClosedLoop,
}

/// What to find out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSpec {
    /// Keep no request's record, only sums and counts.
    #[serde(skip_serializing_if = "is_default")]
    pub summary_only: bool,
    /// Record the front end's decisions.
    #[serde(skip_serializing_if = "is_default")]
    pub decisions: bool,
    /// Keep what happens in the prefix caches: blocks stored and removed.
    #[serde(skip_serializing_if = "is_default")]
    pub kv_events: bool,
    /// Keep every step of the instances with the requests in it.
    #[serde(skip_serializing_if = "is_default")]
    pub steps: bool,
    /// Keep what scripts print.
    #[serde(skip_serializing_if = "is_default")]
    pub script_log: bool,
    /// Keep what instances do over time: queue, batch, KV blocks, tokens.
    #[serde(skip_serializing_if = "is_default")]
    pub series: bool,
    /// Length of its intervals, seconds; if not given, so long that there are 500 to 1000 of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_series_interval: Option<f64>,
    /// Alternatives to keep per routing decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counterfactual_k: Option<usize>,
    /// Sum up the decisions.
    #[serde(skip_serializing_if = "is_default")]
    pub summarize_trace: bool,
    /// Goodput targets for time to first token: `200ms`, or `class=200ms,class=1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_ttft: Option<String>,
    /// Goodput targets for a request's mean inter-token latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_itl: Option<String>,
    /// Goodput targets for end-to-end latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_e2e: Option<String>,
    /// Weigh the run into one number: `throughput:1,p99_ttft:2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitness_weights: Option<String>,
    /// Saturation detectors by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detectors: Option<String>,
    /// Their settings, a YAML file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_config: Option<PathBuf>,
    /// Window at the end of the run that decides their labels, seconds; 30 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_final_window: Option<f64>,
    /// Microseconds per prompt token, and microseconds, until a completed request of the legacy
    /// generator has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_coeffs: Option<[f64; 2]>,
}

impl RunSpec {
    /// A run in which only the model is said.
    #[must_use]
    pub fn of_model(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            ..Self::default()
        }
    }

    /// The run as YAML that [`load`](Self::load) reads: what was said, and no defaults.
    ///
    /// # Errors
    /// When a path is no Unicode.
    pub fn to_yaml(&self) -> Result<String, InputError> {
        serde_yaml::to_string(self).map_err(|e| InputError::new(format!("no YAML: {e}")))
    }

    /// Seed of everything random.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(DEFAULT_SEED)
    }

    /// The files that the run reads, besides its policies'.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let w = &self.workload;
        let replay = w.replay.as_ref();
        let config = self.model_config_folder.as_deref().map(|folder| {
            if folder.is_file() {
                folder.to_owned()
            } else {
                folder.join("config.json")
            }
        });
        let named = [
            &self.defaults_filepath,
            &self.hardware_config,
            &self.policies.config,
            &self.outputs.saturation_config,
            &w.reqgen_config_path,
            &w.spec,
            &w.name.as_ref().map(PathBuf::from),
            &w.traces_filepath,
            &replay.map(|r| r.trace.clone()),
            &replay.and_then(|r| r.header.clone()),
            &config,
        ];
        let of_pools = self.pools.iter().map(|pool| &pool.latency);
        let of_pools = of_pools.flat_map(|l| [&l.profile, &l.kernel_tables, &l.calibration]);
        let of_engines = self.pools.iter().map(|pool| &pool.engine);
        let of_engines = of_engines.flat_map(|e| [&e.kv_offload_config, &e.lora_config]);
        let named = named.into_iter().chain(of_pools).chain(of_engines);
        let named = named.flatten().cloned();
        named.filter(|path| path.is_file()).collect()
    }
}
