//! Settings by name: one flat name for each key of a run with one pool, as the command line and
//! Python spell them. Messages name settings in backticks (`` `rate` ``), so that each door can
//! write them its own way.

use crate::event_spec;
use crate::nodes;
use crate::scale_spec;
use crate::spec::RunSpec;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use windtunnel_base::input::InputError;
use windtunnel_config::pool::PoolSpec;

/// Flat name and place in the spec; `pool` is the only pool.
const SETTINGS: &[(&str, &str)] = &[
    ("model", "model"),
    ("model_config_folder", "model_config_folder"),
    ("hardware_config", "hardware_config"),
    ("defaults_filepath", "defaults_filepath"),
    ("rules", "rules"),
    ("seed", "seed"),
    ("horizon", "horizon_us"),
    ("time_limit", "time_limit"),
    ("num_instances", "pool.count"),
    ("scale", "scale"),
    ("autoscale", "autoscale.policy"),
    ("autoscale_params", "autoscale.params"),
    ("autoscale_min", "autoscale.min"),
    ("autoscale_max", "autoscale.max"),
    ("autoscale_interval", "autoscale.interval"),
    ("autoscale_startup", "autoscale.startup.mean"),
    ("autoscale_startup_stddev", "autoscale.startup.stddev"),
    ("autoscale_drain", "autoscale.drain"),
    ("node_pool", "autoscale.node_pools"),
    ("event", "events"),
    ("retries", "client.retries"),
    ("retry_after", "client.after"),
    ("hardware", "pool.hardware"),
    ("gpu_power", "pool.gpu_power"),
    ("gpu_price", "pool.gpu_price"),
    ("tp", "pool.parallel.tensor"),
    ("dp", "pool.parallel.data"),
    ("pp", "pool.parallel.pipeline"),
    ("gpus_per_node", "pool.parallel.gpus_per_node"),
    ("inter_node_bandwidth", "pool.parallel.inter_node_bandwidth"),
    ("inter_node_latency", "pool.parallel.inter_node_latency_us"),
    ("intra_node_bandwidth", "pool.parallel.intra_node_bandwidth"),
    ("enable_expert_parallel", "pool.parallel.experts"),
    ("moe_comm_backend", "pool.parallel.moe_comm_backend"),
    ("engine", "pool.engine.engine"),
    ("max_num_running_reqs", "pool.engine.max_num_seqs"),
    (
        "max_num_scheduled_tokens",
        "pool.engine.max_num_batched_tokens",
    ),
    (
        "long_prefill_token_threshold",
        "pool.engine.long_prefill_token_threshold",
    ),
    (
        "long_prefill_token_threshold_adaptive",
        "pool.engine.long_prefill_token_threshold_adaptive",
    ),
    ("async_scheduling", "pool.engine.async_scheduling"),
    ("enable_prefix_caching", "pool.engine.enable_prefix_caching"),
    (
        "enable_chunked_prefill",
        "pool.engine.enable_chunked_prefill",
    ),
    (
        "scheduler_reserve_full_isl",
        "pool.engine.scheduler_reserve_full_isl",
    ),
    ("watermark", "pool.engine.watermark"),
    ("batching_strategy", "pool.engine.batching_strategy"),
    ("max_num_active_seqs", "pool.engine.max_num_active_seqs"),
    ("max_num_queued_reqs", "pool.engine.max_num_queued_reqs"),
    ("max_num_queued_tokens", "pool.engine.max_num_queued_tokens"),
    ("max_loras", "pool.engine.max_loras"),
    ("lora_load_time", "pool.engine.lora_load_time_us"),
    ("core_schedule_us", "pool.engine.core_schedule_us"),
    ("core_update_us", "pool.engine.core_update_us"),
    ("api_server_count", "pool.engine.api_server_count"),
    ("api_server_us", "pool.engine.api_server_us"),
    (
        "num_speculative_tokens",
        "pool.engine.num_speculative_tokens",
    ),
    ("speculative_method", "pool.engine.speculative_method"),
    ("acceptance_rate", "pool.engine.acceptance_rate"),
    ("block_size_in_tokens", "pool.engine.block_size"),
    ("total_kv_blocks", "pool.engine.total_kv_blocks"),
    (
        "gpu_memory_utilization",
        "pool.engine.gpu_memory_utilization",
    ),
    ("kv_cache_dtype", "pool.engine.kv_cache_dtype"),
    ("max_model_len", "pool.engine.max_model_len"),
    ("kv_cpu_blocks", "pool.engine.kv_cpu_blocks"),
    ("kv_cpu_bandwidth", "pool.engine.kv_cpu_bandwidth"),
    ("kv_transfer_bandwidth", "pool.engine.kv_transfer_bandwidth"),
    (
        "kv_transfer_base_latency",
        "pool.engine.kv_transfer_base_latency",
    ),
    ("kv_offload_threshold", "pool.engine.kv_offload_threshold"),
    ("kv_offload_config", "pool.engine.kv_offload_config"),
    ("lora_config", "pool.engine.lora_config"),
    ("lora_adapter_capacity", "pool.engine.lora_adapter_capacity"),
    (
        "lora_load_base_latency_us",
        "pool.engine.lora_load_base_latency_us",
    ),
    (
        "lora_load_bandwidth_bytes_us",
        "pool.engine.lora_load_bandwidth_bytes_us",
    ),
    (
        "lora_footprint_bytes_per_rank",
        "pool.engine.lora_footprint_bytes_per_rank",
    ),
    ("plain_steps", "pool.engine.plain_steps"),
    ("latency_model", "pool.latency.model"),
    ("vllm_version", "pool.latency.vllm_version"),
    ("profile", "pool.latency.profile"),
    ("kernel_tables", "pool.latency.kernel_tables"),
    ("calibration", "pool.latency.calibration"),
    ("extrapolation", "pool.latency.extrapolation"),
    ("alpha_coeffs", "pool.latency.alpha_coeffs"),
    ("beta_coeffs", "pool.latency.beta_coeffs"),
    ("prefill_instances", "disaggregation.prefill_instances"),
    ("decode_instances", "disaggregation.decode_instances"),
    (
        "prefill_decode_instances",
        "disaggregation.prefill_decode_instances",
    ),
    ("encode_instances", "disaggregation.encode_instances"),
    ("prefill_tp", "disaggregation.prefill_tp"),
    ("prefill_hardware", "disaggregation.prefill_hardware"),
    (
        "prefill_latency_model",
        "disaggregation.prefill_latency_model",
    ),
    (
        "prefill_max_model_len",
        "disaggregation.prefill_max_model_len",
    ),
    ("decode_tp", "disaggregation.decode_tp"),
    ("decode_hardware", "disaggregation.decode_hardware"),
    (
        "decode_latency_model",
        "disaggregation.decode_latency_model",
    ),
    (
        "decode_max_model_len",
        "disaggregation.decode_max_model_len",
    ),
    ("lockstep", "disaggregation.lockstep"),
    ("pd_prefix_threshold", "disaggregation.prefix_threshold"),
    ("encode_decider", "disaggregation.encode_decider"),
    ("pd_transfer_bandwidth", "disaggregation.transfer_bandwidth"),
    (
        "pd_transfer_base_latency",
        "disaggregation.transfer_base_latency",
    ),
    (
        "pd_transfer_contention",
        "disaggregation.transfer_contention",
    ),
    (
        "pd_transfer_descriptor_time",
        "disaggregation.transfer_descriptor_time",
    ),
    (
        "pd_transfer_descriptor_blocks",
        "disaggregation.transfer_descriptor_blocks",
    ),
    ("pd_hop_latency", "disaggregation.hop_latency"),
    ("prefill_time", "pool.latency.prefill_time"),
    ("itl", "pool.latency.itl"),
    ("total_prefill_chunks", "pool.latency.total_prefill_chunks"),
    ("admission_latency", "front.admission_latency_us"),
    ("routing_latency", "front.routing_latency_us"),
    (
        "snapshot_refresh_interval",
        "front.snapshot_refresh_interval_us",
    ),
    ("cache_signal_delay", "front.cache_signal_delay_us"),
    ("output_predictor", "front.output_predictor"),
    ("estimate_error", "front.estimate_error"),
    ("flow_control", "flow_control.enabled"),
    ("saturation_detector", "flow_control.saturation_detector"),
    (
        "queue_depth_threshold",
        "flow_control.queue_depth_threshold",
    ),
    (
        "kv_cache_util_threshold",
        "flow_control.kv_cache_util_threshold",
    ),
    ("max_concurrency", "flow_control.max_concurrency"),
    (
        "usage_limit_threshold",
        "flow_control.usage_limit_threshold",
    ),
    ("fairness_policy", "flow_control.fairness_policy"),
    ("slo_targets", "flow_control.slo_targets"),
    (
        "max_gateway_queue_depth",
        "flow_control.max_gateway_queue_depth",
    ),
    ("per_band_capacity", "flow_control.per_band_capacity"),
    ("queue_shedding", "flow_control.queue_shedding"),
    ("request_ttl", "flow_control.request_ttl_us"),
    (
        "dispatch_tick_interval",
        "flow_control.dispatch_tick_interval_us",
    ),
    ("in_flight_eviction", "flow_control.in_flight_eviction"),
    ("policy_config", "policies.config"),
    ("admission_policy", "policies.admission"),
    ("token_bucket_capacity", "policies.token_bucket_capacity"),
    (
        "token_bucket_refill_rate",
        "policies.token_bucket_refill_rate",
    ),
    ("routing_policy", "policies.routing"),
    ("routing_scorers", "policies.routing_scorers"),
    ("lora_scorer_weight", "policies.lora_scorer_weight"),
    ("routing_cache_weight", "policies.routing_cache_weight"),
    ("routing_load_weight", "policies.routing_load_weight"),
    ("pd_decider", "policies.disaggregation"),
    ("dispatch_order", "policies.dispatch"),
    ("prefill_routing_policy", "policies.prefill_routing"),
    (
        "prefill_routing_scorers",
        "policies.prefill_routing_scorers",
    ),
    ("decode_routing_policy", "policies.decode_routing"),
    ("decode_routing_scorers", "policies.decode_routing_scorers"),
    ("scheduling_policy", "policies.scheduling_policy"),
    ("scheduler", "policies.scheduler"),
    ("priority_policy", "policies.priority"),
    ("preemption_policy", "policies.preemption"),
    ("policy_param", "policies.params"),
    ("trusted", "policies.trusted"),
    ("workload", "workload.name"),
    ("workload_traces_filepath", "workload.traces_filepath"),
    ("workload_spec", "workload.spec"),
    ("reqgen_config_path", "workload.reqgen_config_path"),
    ("trace", "workload.replay.trace"),
    ("trace_header", "workload.replay.header"),
    ("session_mode", "workload.replay.session_mode"),
    ("think_time_dist", "workload.replay.think_time_dist"),
    ("load_generator", "workload.load_generator"),
    ("concurrency", "workload.concurrency"),
    ("think_time_ms", "workload.think_time_ms"),
    ("rate", "workload.rate"),
    ("arrivals", "workload.arrivals"),
    ("burstiness", "workload.burstiness"),
    ("max_prompts", "workload.num_requests"),
    ("duration", "workload.duration"),
    ("warm_up", "workload.warm_up"),
    ("timeout", "workload.timeout"),
    ("prefix_tokens", "workload.prefix_tokens"),
    ("prompt_tokens", "workload.prompt_tokens.mean"),
    ("prompt_tokens_stdev", "workload.prompt_tokens.stdev"),
    ("prompt_tokens_min", "workload.prompt_tokens.min"),
    ("prompt_tokens_max", "workload.prompt_tokens.max"),
    ("output_tokens", "workload.output_tokens.mean"),
    ("output_tokens_stdev", "workload.output_tokens.stdev"),
    ("output_tokens_min", "workload.output_tokens.min"),
    ("output_tokens_max", "workload.output_tokens.max"),
    ("trace_from", "workload.trace.from"),
    ("trace_to", "workload.trace.to"),
    ("trace_sample", "workload.trace.sample"),
    ("trace_loops", "workload.trace.loops"),
    ("rate_scale", "workload.trace.rate_scale"),
    ("spread_ties", "workload.trace.spread_ties"),
    ("trace_run", "workload.trace.run"),
    ("time_unit", "workload.trace.time_unit"),
    ("map", "workload.trace.map"),
    ("trace_block_size", "workload.trace.block_size"),
    ("strict", "workload.trace.strict"),
    ("summary_only", "outputs.summary_only"),
    ("decisions", "outputs.decisions"),
    ("kv_events", "outputs.kv_events"),
    ("steps", "outputs.steps"),
    ("script_log", "outputs.script_log"),
    ("series", "outputs.series"),
    ("time_series_interval", "outputs.time_series_interval"),
    ("counterfactual_k", "outputs.counterfactual_k"),
    ("summarize_trace", "outputs.summarize_trace"),
    ("slo_ttft", "outputs.slo_ttft"),
    ("slo_itl", "outputs.slo_itl"),
    ("slo_e2e", "outputs.slo_e2e"),
    ("fitness_weights", "outputs.fitness_weights"),
    ("detectors", "outputs.detectors"),
    ("saturation_config", "outputs.saturation_config"),
    ("saturation_final_window", "outputs.saturation_final_window"),
    ("finished_coeffs", "outputs.finished_coeffs"),
];

/// Other names of settings: vLLM's and short ones.
const ALIASES: &[(&str, &str)] = &[
    ("num_requests", "max_prompts"),
    ("max_num_seqs", "max_num_running_reqs"),
    ("max_num_batched_tokens", "max_num_scheduled_tokens"),
    ("block_size", "block_size_in_tokens"),
];

/// Names of all settings, aliases left out.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|(name, _)| *name)
}

/// Names of the settings of a run's workload.
pub(crate) fn of_workload() -> Vec<&'static str> {
    below("workload.")
}

/// Names of the settings of a run's pools.
pub(crate) fn of_pools() -> Vec<&'static str> {
    below("pool.")
}

pub(crate) fn below(place: &str) -> Vec<&'static str> {
    let all = SETTINGS.iter();
    let found = all.filter(|(_, key)| key.starts_with(place));
    found.map(|(name, _)| *name).collect()
}

/// The key of a setting in a run's file; `None` = there is no such setting.
#[must_use]
pub fn key(name: &str) -> Option<&'static str> {
    let name = ALIASES
        .iter()
        .find(|(a, _)| *a == name)
        .map_or(name, |a| a.1);
    SETTINGS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, key)| *key)
}

/// `message` with the names in backticks written as `spell` does it; `None` = it is no name of a
/// setting there, and stays as it is.
#[must_use]
pub fn spelled(message: &str, spell: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = message.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let Some(inside) = parts.next() {
        let after = parts.next();
        match spell(inside).filter(|_| after.is_some()) {
            Some(name) => text.push_str(&name),
            None => {
                text.push('`');
                text.push_str(inside);
                if after.is_some() {
                    text.push('`');
                }
            }
        }
        text.push_str(after.unwrap_or_default());
    }
    text
}

impl RunSpec {
    /// The run with these settings, each by its flat name; at most one pool.
    ///
    /// # Errors
    /// An unknown name, or a value of the wrong type.
    pub fn from_settings(settings: Map<String, Value>) -> Result<Self, InputError> {
        Self::of_tree(settings.clone()).map_err(|error| {
            // One that is wrong alone is what is wrong.
            let alone = settings.into_iter().find_map(|(name, value)| {
                let only = Map::from_iter([(name.clone(), value)]);
                Some((name, Self::of_tree(only).err()?))
            });
            match alone {
                Some((name, error)) if key(&name).is_some() => {
                    InputError::new(format!("`{name}`: {error}"))
                }
                _ => error,
            }
        })
    }

    fn of_tree(settings: Map<String, Value>) -> Result<Self, InputError> {
        let mut tree = Value::Object(Map::new());
        let mut pool = Value::Object(Map::new());
        for (name, value) in settings {
            let Some(key) = key(&name) else {
                let names: Vec<&str> = names().collect();
                return Err(InputError::unknown("setting", &name, &names));
            };
            let value = match key {
                "scale" => scale_spec::of_texts(value)?,
                "events" => event_spec::of_texts(value)?,
                "autoscale.node_pools" => nodes::of_texts(value)?,
                _ => value,
            };
            let (tree, path) = match key.strip_prefix("pool.") {
                Some(path) => (&mut pool, path),
                None => (&mut tree, key),
            };
            let mut at = tree;
            for part in path.split('.') {
                if at.is_null() {
                    *at = Value::Object(Map::new());
                }
                at = &mut at[part];
            }
            *at = value;
        }
        let wrong = |e: serde_json::Error| InputError::new(e.to_string());
        // The kind of traffic is checked before the model is known.
        if tree.get("model").is_none() {
            tree["model"] = Value::String(String::new());
        }
        let mut spec: Self = serde_json::from_value(tree).map_err(wrong)?;
        let pool: PoolSpec = serde_json::from_value(pool).map_err(wrong)?;
        if pool != PoolSpec::default() {
            spec.pools.push(pool);
        }
        Ok(spec)
    }
}

/// The settings that were given, and what becomes of those that would change nothing.
#[derive(Debug, Default)]
pub struct Given {
    names: BTreeSet<String>,
    /// Settings that may be without effect, as the runs of a sweep share them and some other run
    /// needs them.
    excused: BTreeSet<String>,
    /// The excused settings that turned out to be without effect, and why.
    idle: Mutex<BTreeMap<String, InputError>>,
}

impl Given {
    /// The settings that a spec gives. Of several pools, those that any gives.
    #[must_use]
    pub fn of(spec: &RunSpec) -> Self {
        let tree = serde_json::to_value(spec).unwrap_or_default();
        let pools: Vec<&Value> = tree["pools"].as_array().into_iter().flatten().collect();
        let at = |tree: &Value, path: &str| {
            let found = path.split('.').try_fold(tree, |at, part| at.get(part));
            found.is_some_and(|value| !value.is_null())
        };
        let given = SETTINGS.iter().filter(|(_, key)| {
            key.strip_prefix("pool.").map_or_else(
                || at(&tree, key),
                |path| pools.iter().any(|pool| at(pool, path)),
            )
        });
        Self {
            names: given.map(|(name, _)| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Lets these settings be without effect; [`idle`](Self::idle) tells.
    #[must_use]
    pub fn excusing(self, names: impl IntoIterator<Item = String>) -> Self {
        Self {
            excused: names.into_iter().collect(),
            ..self
        }
    }

    /// The message that would have refused this excused setting; `None` = it has an effect.
    #[must_use]
    pub fn idle(&self, name: &str) -> Option<InputError> {
        self.found_idle().get(name).cloned()
    }

    fn found_idle(&self) -> MutexGuard<'_, BTreeMap<String, InputError>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Was this setting given?
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Refuses every given setting of `names` unless it has an effect; `because` completes "has no
    /// effect ...".
    ///
    /// # Errors
    /// The first such setting that is not excused.
    pub fn reject_unless(
        &self,
        names: &[&str],
        effective: bool,
        because: &str,
    ) -> Result<(), InputError> {
        for name in names.iter().filter(|name| !effective && self.has(name)) {
            let error = InputError::new(format!("`{name}` has no effect {because}"));
            if !self.excused.contains(*name) {
                return Err(error);
            }
            self.found_idle().insert((*name).to_owned(), error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn every_setting_has_a_place_in_the_spec() {
        for (name, key) in SETTINGS {
            // A value of some type fits.
            let values = [
                json!("blis"),
                json!("fixed"),
                json!("fcfs"),
                json!("all-at-once"),
                json!("poisson"),
                json!("s"),
                json!(1),
                json!(true),
                json!([1.0, 2.0]),
                json!(["a=1"]),
                json!([{ "at": 3.0, "instances": 2 }]),
                json!({ "target": 2.0 }),
                json!(["3:fail:0"]),
                json!(["a:H100:8:1-2"]),
            ];
            let fits = |value: &Value| {
                let mut given = settings(json!({ "model": "m", "trace": "t" }));
                given.insert((*name).to_owned(), value.clone());
                let spec = RunSpec::from_settings(given).ok()?;
                Given::of(&spec).has(name).then_some(())
            };
            assert!(values.iter().any(|v| fits(v).is_some()), "{name} -> {key}");
        }
    }

    #[test]
    fn a_spec_says_which_settings_it_gives() {
        let given = settings(json!({ "model": "m", "rate": 2.0, "max_num_seqs": 4 }));
        let spec = RunSpec::from_settings(given).expect("a run");
        assert_eq!(spec.pools[0].engine.max_num_seqs, Some(4));
        let given = Given::of(&spec);
        assert!(given.has("rate") && given.has("max_num_running_reqs"));
        assert!(!given.has("timeout"));
        let error = given
            .reject_unless(&["rate"], false, "here")
            .expect_err("refused");
        assert_eq!(error.to_string(), "`rate` has no effect here");
        let given = Given::of(&spec).excusing(["rate".to_owned()]);
        given
            .reject_unless(&["rate"], false, "here")
            .expect("excused");
        assert!(given.idle("rate").is_some());
    }

    #[test]
    fn settings_in_messages_are_spelled_by_each_door() {
        let flag = |name: &str| Some(format!("--{}", key(name).map(|_| name.replace('_', "-"))?));
        assert_eq!(
            spelled("`num_instances` is 0, not `this` or that`", flag),
            "--num-instances is 0, not `this` or that`"
        );
    }

    #[test]
    fn unknown_settings_are_refused_with_the_nearest_name() {
        let error = RunSpec::from_settings(settings(json!({ "model": "m", "rat": 1 })));
        let error = error.expect_err("refused").to_string();
        assert!(
            error.starts_with("unknown setting \"rat\"; did you mean \"rate\"?"),
            "{error}"
        );
    }
}
