//! The keys of a suite file.

use super::split::Split;
use crate::objective::Objective;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::InputError;
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_engine::instance::Preset;
use windtunnel_policy::bundle::Bundle;
use windtunnel_results::metrics::slo::{Dimension, SloTargets};
use windtunnel_sim::EventSpec;
use windtunnel_workload::TimeUnit;
use windtunnel_workload::spec::Changes;

/// The file of a suite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// Its name.
    pub name: String,
    /// Goes up whenever scores of the old content cannot be compared with those of the new.
    pub version: u32,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Hooks that a candidate may fill, by name.
    pub hooks: Vec<String>,
    /// Requests offered in each scenario.
    #[serde(default = "five_thousand")]
    pub requests: u64,
    /// Random seeds per scenario.
    #[serde(default = "two")]
    pub seeds: u32,
    /// Random seeds per scenario of val and holdout, which have fewer scenarios and are scored
    /// seldom; as `seeds`, if not given.
    #[serde(default)]
    pub unseen_seeds: Option<u32>,
    /// Most seeds per scenario when seeds are added until a score is certain.
    #[serde(default = "eight")]
    pub max_seeds: u32,
    /// The hash of the salt that the holdout is drawn with, if a judge keeps one for this suite.
    #[serde(default)]
    pub holdout_salt_hash: Option<String>,
    /// Units of work that a candidate's script may spend in one run, in whichever split.
    #[serde(default = "a_billion")]
    pub fuel: i64,
    /// The cluster, unless a scenario says otherwise.
    #[serde(default)]
    pub cluster: ClusterKeys,
    /// How its pools are scaled, unless a scenario says otherwise; who says how many instances
    /// there are is a policy of the hook `scale`.
    #[serde(default)]
    pub autoscale: AutoscaleSpec,
    /// What fills the hooks that a candidate leaves open.
    #[serde(default)]
    pub policies: Bundle,
    /// Latency targets, unless a scenario says otherwise.
    #[serde(default)]
    pub slo: SloKeys,
    /// What counts.
    pub objectives: Vec<Objective>,
    /// How much more a loss counts than a gain: a scenario's loss beyond 1 point is counted this
    /// much again.
    #[serde(default = "half")]
    pub regression_weight: f64,
    /// The tuned policies that candidates are measured against.
    pub references: BTreeMap<String, Bundle>,
    /// The scenarios.
    pub scenarios: Splits,
}

impl SuiteFile {
    /// Seeds per scenario of a split.
    #[must_use]
    pub fn seeds_of(&self, split: Split) -> u32 {
        match split {
            Split::Train => self.seeds,
            Split::Val | Split::Holdout => self.unseen_seeds.unwrap_or(self.seeds),
        }
    }

    /// How the pools of a scenario are scaled.
    #[must_use]
    pub fn autoscale_of(&self, scenario: &ScenarioKeys) -> AutoscaleSpec {
        scenario.autoscale.over(&self.autoscale)
    }

    /// Does a policy scale pools in any scenario?
    #[must_use]
    pub fn scales(&self) -> bool {
        let splits = [
            &self.scenarios.train,
            &self.scenarios.val,
            &self.scenarios.holdout,
        ];
        let mut all = splits.into_iter().flatten();
        all.any(|scenario| self.autoscale_of(scenario).is_on())
    }
}

fn five_thousand() -> u64 {
    5000
}
fn two() -> u32 {
    2
}
fn eight() -> u32 {
    8
}
/// 200,000 for each of 5,000 requests. A run that spends it takes less processor time than the time
/// limit of a run, so that the verdict is the same on slower machines.
fn a_billion() -> i64 {
    1_000_000_000
}
fn half() -> f64 {
    0.5
}
fn one() -> f64 {
    1.0
}
fn half_a_minute() -> f64 {
    30.0
}

/// Scenarios by split.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Splits {
    /// Everything is told.
    pub train: Vec<ScenarioKeys>,
    /// Only scores are told.
    pub val: Vec<ScenarioKeys>,
    /// Only the total is told.
    pub holdout: Vec<ScenarioKeys>,
}

/// A scenario as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioKeys {
    /// Its name, unique in the suite.
    pub id: String,
    /// What kind of traffic it is.
    pub family: String,
    /// Workload spec, relative to the suite.
    #[serde(default)]
    pub workload: Option<PathBuf>,
    /// Aggregate rate in place of the spec's, requests per second.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Factor on the spec's rates, those of single windows included.
    #[serde(default)]
    pub rate_scale: Option<f64>,
    /// A trace file in place of a spec; the scenario is there when its folder is given.
    #[serde(default)]
    pub trace: Option<TraceKeys>,
    /// First of its seeds.
    pub seed: u64,
    /// Its weight in the score.
    #[serde(default = "one")]
    pub weight: f64,
    /// How long the cluster may go on after the last arrival, seconds.
    #[serde(default = "half_a_minute")]
    pub drain_s: f64,
    /// Do requests carry a name of the prefix that they share with others, as clients can send one
    /// (`prompt_cache_key` of OpenAI's API)? Otherwise policies see neither its name nor its
    /// length, as a real router would not.
    #[serde(default)]
    pub names_prefixes: bool,
    /// Changes of the cluster.
    #[serde(default)]
    pub cluster: ClusterKeys,
    /// Changes of how pools are scaled.
    #[serde(default)]
    pub autoscale: AutoscaleSpec,
    /// Instances that fail, slow down and are replaced, as in a run's file.
    #[serde(default)]
    pub events: Vec<EventSpec>,
    /// How often clients send a request again that was lost on an instance; never if not given.
    #[serde(default)]
    pub retries: Option<u32>,
    /// Seconds after which they do; 1 if not given.
    #[serde(default)]
    pub retry_after: Option<f64>,
    /// Changes of the targets.
    #[serde(default)]
    pub slo: SloKeys,
}

impl ScenarioKeys {
    /// What it changes in its workload's spec.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes {
            rate: self.rate,
            rate_scale: self.rate_scale,
        }
    }

    /// What is wrong with it, on its own.
    pub(super) fn check(&self) -> Result<(), String> {
        let fine = |x: f64| x.is_finite() && x > 0.0;
        match (&self.workload, &self.trace) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err("expected either a workload or a trace".into()),
        }
        if self.trace.is_some() && self.rate.is_some() {
            return Err("a trace has no rate; trace.rate_scale makes it faster".into());
        }
        if let Some(rate) = self.rate.filter(|r| !fine(*r)) {
            return Err(format!(
                "the rate is {rate}; expected requests per second above 0"
            ));
        }
        match self.rate_scale {
            Some(_) if self.trace.is_some() => {
                return Err("rate_scale is for a workload; a trace has trace.rate_scale".into());
            }
            Some(_) if self.rate.is_some() => {
                return Err("expected either a rate or a rate_scale".into());
            }
            Some(factor) if !fine(factor) => {
                return Err(format!("rate_scale is {factor}; expected a factor above 0"));
            }
            _ => {}
        }
        if !fine(self.weight) {
            return Err(format!(
                "the weight is {}; expected a number above 0",
                self.weight
            ));
        }
        if !(0.0..=3600.0).contains(&self.drain_s) {
            return Err(format!(
                "drain_s is {}; expected 0 to 3600 seconds",
                self.drain_s
            ));
        }
        Ok(())
    }
}

/// A trace file of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceKeys {
    /// Its name in the folder of traces.
    pub file: PathBuf,
    /// Other names that it goes by.
    #[serde(default)]
    pub also_called: Vec<PathBuf>,
    /// Factor on the arrival rate.
    #[serde(default = "one")]
    pub rate_scale: f64,
    /// Start of the part that is replayed, seconds of the trace.
    #[serde(default)]
    pub from_s: f64,
    /// Unit of its time stamps, where its format leaves it open.
    #[serde(default)]
    pub time_unit: Option<TimeUnit>,
    /// Tokens of the blocks that its `hash_ids` name.
    #[serde(default)]
    pub block_size: Option<u32>,
}

impl TraceKeys {
    /// Where it is in a folder.
    #[must_use]
    pub fn place(&self, folder: &Path) -> Option<PathBuf> {
        let names = std::iter::once(&self.file).chain(&self.also_called);
        names
            .map(|name| folder.join(name))
            .find(|path| path.is_file())
    }
}

/// Rules of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RulesKey {
    /// As the reference simulator.
    Blis,
    /// As vLLM V1.
    Vllm,
}

impl From<RulesKey> for Preset {
    fn from(rules: RulesKey) -> Self {
        match rules {
            RulesKey::Blis => Self::Blis,
            RulesKey::Vllm => Self::Vllm,
        }
    }
}

/// The cluster of a scenario; what is left out is taken from the suite, then from the defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterKeys {
    /// Model, by full or short name.
    pub model: Option<String>,
    /// GPU.
    pub hardware: Option<String>,
    /// GPUs that split each layer.
    pub tensor_parallelism: Option<u32>,
    /// Instances.
    pub instances: Option<u32>,
    /// Instances that only prefill, for those that decode; then `instances` is not given.
    pub prefill_instances: Option<u32>,
    /// Instances that decode.
    pub decode_instances: Option<u32>,
    /// Instances that do both.
    pub prefill_decode_instances: Option<u32>,
    /// GPU of instances that prefill, if not `hardware`.
    pub prefill_hardware: Option<String>,
    /// GPU of instances that decode or do both, if not `hardware`.
    pub decode_hardware: Option<String>,
    /// GPUs that split each layer where prompts are computed, if not `tensor_parallelism`.
    pub prefill_tensor_parallelism: Option<u32>,
    /// The same of instances that decode or do both.
    pub decode_tensor_parallelism: Option<u32>,
    /// KV blocks of instances that prefill, if not `total_kv_blocks`.
    pub prefill_total_kv_blocks: Option<u64>,
    /// KV blocks of instances that decode or do both, if not `total_kv_blocks`.
    pub decode_total_kv_blocks: Option<u64>,
    /// Bandwidth of an instance's link, GB/s; 0 = without limit.
    pub transfer_bandwidth: Option<f64>,
    /// Time of a transfer besides that of its bytes, milliseconds.
    pub transfer_base_latency: Option<f64>,
    /// Rules of the engine; by default those that the step-time model was fitted under.
    pub rules: Option<RulesKey>,
    /// The rules that the step-time model was fitted under, where they are not `rules`: that the
    /// two differ is said, not overlooked.
    pub fitted_under: Option<RulesKey>,
    /// Step-time model: auto, blackbox, roofline or trained-physics.
    pub latency_model: Option<String>,
    /// KV blocks per instance.
    pub total_kv_blocks: Option<u64>,
    /// Tokens per KV block.
    pub block_size: Option<u32>,
    /// Most requests in a batch.
    pub max_num_running_reqs: Option<u32>,
    /// Most tokens in a step.
    pub max_num_scheduled_tokens: Option<u32>,
    /// Longest part of a prompt in one step, tokens; 0 = no limit.
    pub long_prefill_token_threshold: Option<u32>,
    /// The threshold is at least an equal share of the step's tokens.
    pub long_prefill_token_threshold_adaptive: Option<bool>,
    /// Choose the batch of a step while the step before it runs.
    pub async_scheduling: Option<bool>,
    /// Look up prompts in the prefix cache.
    pub enable_prefix_caching: Option<bool>,
    /// A prompt may be computed in several steps.
    pub enable_chunked_prefill: Option<bool>,
    /// Admit a request only if its whole prompt has KV blocks.
    pub scheduler_reserve_full_isl: Option<bool>,
    /// Share of the KV blocks that an admission leaves free.
    pub watermark: Option<f64>,
    /// Most requests admitted to the running batch.
    pub max_num_active_seqs: Option<u32>,
    /// Most requests that the server of an instance has.
    pub max_num_queued_reqs: Option<u32>,
    /// Prompt tokens to compute at which the server refuses requests.
    pub max_num_queued_tokens: Option<u64>,
    /// Most LoRA adapters in one step.
    pub max_loras: Option<u32>,
    /// Time to load an adapter, microseconds.
    pub lora_load_time_us: Option<u32>,
    /// Processes of the API server of an instance.
    pub api_server_count: Option<u32>,
    /// Time of such a process per request, prompt token and output, microseconds.
    pub api_server_us: Option<Vec<f64>>,
    /// Share of the GPU memory that may be used.
    pub gpu_memory_utilization: Option<f64>,
    /// Age at which scraped signals are scraped again, microseconds.
    pub snapshot_refresh_interval_us: Option<u32>,
    /// Age at which the precise prefix signal is refreshed, microseconds.
    pub cache_signal_delay_us: Option<u32>,
    /// Arrival to admission decision, microseconds.
    pub admission_latency_us: Option<u32>,
    /// Admission to routing decision, microseconds.
    pub routing_latency_us: Option<u32>,
    /// Predictor of output lengths: `exact` or `lognormal:SIGMA[:BIAS]`, by class as a run has it.
    pub output_predictor: Option<String>,
    /// How wrong the durations are that policies ask for: `exact` or `lognormal:SIGMA[:BIAS]`.
    pub estimate_error: Option<String>,
}

macro_rules! first_given {
    ($over:ident, $under:ident: $($field:ident)*) => {
        ClusterKeys { $($field: $over.$field.clone().or_else(|| $under.$field.clone()),)* }
    };
}

impl ClusterKeys {
    /// These keys where they are given, `under`'s elsewhere.
    #[must_use]
    pub fn over(&self, under: &Self) -> Self {
        let over = self;
        first_given!(over, under: model hardware tensor_parallelism instances prefill_instances decode_instances prefill_decode_instances
            prefill_hardware decode_hardware prefill_tensor_parallelism decode_tensor_parallelism prefill_total_kv_blocks
            decode_total_kv_blocks transfer_bandwidth transfer_base_latency rules fitted_under latency_model total_kv_blocks block_size
            max_num_running_reqs max_num_scheduled_tokens long_prefill_token_threshold gpu_memory_utilization
            long_prefill_token_threshold_adaptive async_scheduling enable_prefix_caching enable_chunked_prefill
            scheduler_reserve_full_isl watermark max_num_active_seqs max_num_queued_reqs max_num_queued_tokens max_loras lora_load_time_us
            api_server_count api_server_us snapshot_refresh_interval_us cache_signal_delay_us admission_latency_us routing_latency_us output_predictor
            estimate_error)
    }
}

/// Latency targets, each as a run's `slo_ttft` and the like take them: `critical=200ms,2s`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SloKeys {
    /// Time to first token.
    pub ttft: Option<String>,
    /// Mean inter-token latency.
    pub itl: Option<String>,
    /// End-to-end latency.
    pub e2e: Option<String>,
}

impl SloKeys {
    /// The targets; these where they are given, `under`'s elsewhere.
    ///
    /// # Errors
    /// A malformed target.
    pub fn targets(&self, under: &Self) -> Result<SloTargets, InputError> {
        let mut targets = SloTargets::default();
        let given = [
            (Dimension::Ttft, "slo.ttft", &self.ttft, &under.ttft),
            (Dimension::Itl, "slo.itl", &self.itl, &under.itl),
            (Dimension::E2e, "slo.e2e", &self.e2e, &under.e2e),
        ];
        for (dimension, key, over, under) in given {
            if let Some(text) = over.as_ref().or(under.as_ref()) {
                targets.parse(dimension, key, text)?;
            }
        }
        Ok(targets)
    }
}
