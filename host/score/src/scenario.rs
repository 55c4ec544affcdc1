//! A scenario that is ready to run: its cluster, its targets, and its requests.
//!
//! Requests depend on (scenario, seed) alone and arrive whatever the policies do, so that all
//! candidates get the same traffic (common random numbers), and a slow one does not get less of it.

mod scaling;

use super::objective::GpuTime;
use super::suite::{ClusterKeys, RulesKey, ScenarioKeys, Split, Suite};
use scaling::Scaled;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use windtunnel_base::input::{InputError, nearest};
use windtunnel_base::record::{RunRecord, ScalingRecord};
use windtunnel_base::request::{Request, Source, Sym, Symbols};
use windtunnel_engine::frontend::{Predictor, TraceConfig};
use windtunnel_engine::instance::Preset;
use windtunnel_results::metrics::slo::{DEFAULT_CLASS, SloTargets};
use windtunnel_results::report::machines::{Machine, differences};
use windtunnel_sim::{
    Deployment, DisaggregationSpec, EngineSpec, FrontSpec, LatencySpec, ParallelSpec, Play,
    PoolSpec, RoleSpec, RulesSpec, RunSpec, TargetTeller, Untargeted, settings, told_of_all,
    unused_name,
};
use windtunnel_workload::spec::{Bounds, Pauses};
use windtunnel_workload::{OpenOptions, Selection, spec};

/// A scenario, resolved: what does not depend on seeds and policies.
pub struct Scenario {
    /// Its name.
    pub id: String,
    /// Latency targets.
    pub targets: SloTargets,
    /// What its instances take of GPUs.
    pub(super) scaled: Scaled,
    deployment: Deployment,
    keys: ScenarioKeys,
    /// Traffic by (seed, requests).
    traffic: HashMap<(u64, u64), Arc<Traffic>>,
}

/// The requests of one seed, in order of arrival.
#[derive(Debug)]
pub struct Traffic {
    requests: Vec<Request>,
    symbols: Symbols,
    /// Horizon of the run, microseconds: a fixed time after the last arrival.
    pub horizon_us: i64,
}

/// Gives the requests of a [`Traffic`].
pub struct Replay {
    traffic: Arc<Traffic>,
    next: usize,
    symbols: Symbols,
}

impl Traffic {
    /// A source of the requests.
    #[must_use]
    pub fn replay(self: &Arc<Self>) -> Replay {
        Replay {
            traffic: Arc::clone(self),
            next: 0,
            symbols: self.symbols.clone(),
        }
    }

    /// The requests.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// When the last one arrives, microseconds, at least 1.
    #[must_use]
    pub fn span_us(&self) -> i64 {
        self.requests.last().map_or(1, |r| r.arrival_us.max(1))
    }
}

impl Source for Replay {
    fn next_request(&mut self) -> Option<Request> {
        let request = self.traffic.requests.get(self.next).cloned();
        self.next += 1;
        request
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.traffic.requests.len() as u64)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

impl Scenario {
    /// Resolves the scenario `id` of `suite`; with `exact`, all signals are fresh, output lengths
    /// predicted exactly, and instances that are started take requests at once: a policy that knew
    /// the load so long before would have started them then, which is paid for.
    ///
    /// # Errors
    /// When there is none, or its model, cluster or targets make no sense.
    pub fn open(suite: &Suite, id: &str, exact: bool) -> Result<Self, InputError> {
        let Some((_, keys)) = suite.scenario(id) else {
            return Err(InputError::new(format!(
                "suite {} has no scenario \"{id}\"",
                suite.label()
            )));
        };
        let mut cluster = keys.cluster.over(&suite.file.cluster);
        if exact {
            cluster.snapshot_refresh_interval_us = Some(0);
            cluster.cache_signal_delay_us = Some(0);
            cluster.output_predictor = Some("exact".into());
            cluster.estimate_error = Some("exact".into());
        }
        let wrong = |e: InputError| InputError::new(format!("scenario {id}: {}", e.message()));
        let mut run = run_of(&cluster).map_err(wrong)?;
        let scaled = Scaled::add(&mut run, &suite.file, keys, &cluster, exact);
        let deployment = Deployment::resolve(&run).map_err(|e| {
            let message = settings::spelled(e.message(), suite_key);
            InputError::new(format!("scenario {id}: {message}"))
        })?;
        if let (Some(said), Some(fitted)) = (cluster.fitted_under, fitted_under(&deployment))
            && fitted != said.into()
        {
            return Err(InputError::new(format!(
                "scenario {id}: fitted_under is {}, but its step-time model was fitted under \
                 {fitted} rules",
                Preset::from(said)
            )));
        }
        Ok(Self {
            id: id.to_owned(),
            targets: keys.slo.targets(&suite.file.slo)?,
            scaled,
            deployment,
            keys: keys.clone(),
            traffic: HashMap::new(),
        })
    }

    /// Instances and front end.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// What the instances of a run took of GPUs.
    #[must_use]
    pub fn gpus(&self, record: &RunRecord, traffic: &Traffic) -> GpuTime {
        self.scaled
            .gpus(record, &self.deployment, traffic.span_us())
    }

    /// What they cost, US dollars; `None` where the price of a GPU is not known.
    #[must_use]
    pub fn cost_usd(&self, scaling: &ScalingRecord) -> Option<f64> {
        scaling::cost_usd(scaling, &self.deployment)
    }

    /// How a run of `traffic`, drawn with `seed`, is played; with `observations`, what routing
    /// looked like is kept.
    #[must_use]
    pub fn play(&self, traffic: &Traffic, seed: u64, observations: bool) -> Play {
        Play {
            seed,
            horizon_us: traffic.horizon_us,
            trace: TraceConfig {
                observations,
                ..TraceConfig::default()
            },
            salted: true,
            slo_targets_us: told_of_all(&self.targets),
        }
    }

    /// The first `requests` requests of the traffic of `seed`; kept in memory for the next run.
    ///
    /// # Errors
    /// When the workload is wrong, or its requests wait for answers.
    pub fn traffic(
        &mut self,
        suite: &Suite,
        seed: u64,
        requests: u64,
    ) -> Result<Arc<Traffic>, InputError> {
        if let Some(known) = self.traffic.get(&(seed, requests)) {
            return Ok(Arc::clone(known));
        }
        let traffic = Arc::new(self.generate(suite, seed, requests)?);
        self.traffic.insert((seed, requests), Arc::clone(&traffic));
        Ok(traffic)
    }

    fn generate(&self, suite: &Suite, seed: u64, requests: u64) -> Result<Traffic, InputError> {
        let mut source: Box<dyn Source> = match (&self.keys.workload, &self.keys.trace) {
            (Some(workload), _) => {
                let (path, text) = suite.source.workload(workload)?;
                let opened = spec::parse(&path, &text, self.keys.changes())?;
                Box::new(opened.source(Bounds {
                    seed,
                    horizon_us: i64::MAX,
                    num_requests: Some(requests),
                    timeout_us: None,
                    pauses: Pauses::Drawn,
                })?)
            }
            (None, Some(trace)) => {
                let place = suite
                    .traces
                    .as_deref()
                    .and_then(|folder| trace.place(folder));
                let place = place.unwrap_or_else(|| trace.file.clone());
                let selection = Selection {
                    rate_scale: trace.rate_scale,
                    from_us: (trace.from_s > 0.0).then_some((trace.from_s * 1e6) as i64),
                    max_requests: Some(requests),
                    ..Selection::default()
                };
                let options = OpenOptions {
                    seed,
                    selection,
                    time_unit: trace.time_unit,
                    block_size: trace.block_size,
                    ..OpenOptions::default()
                };
                Box::new(windtunnel_workload::open(&place, None, &options)?)
            }
            (None, None) => unreachable!("a suite is checked when it is opened"),
        };
        if source.has_follow_ups() {
            return Err(InputError::new(format!(
                "scenario {}: its sessions wait for answers, so the offered load would hang on the policy; use open-loop sessions",
                self.id
            )));
        }
        let mut teller = TargetTeller::new(&self.targets, Untargeted::Nothing);
        let mut all = Vec::new();
        while let Some(mut request) = source.next_request() {
            if !self.keys.names_prefixes {
                (request.prefix_group, request.prefix_tokens) = (Sym::NONE, 0);
            }
            teller.tell(&mut request, source.symbols());
            all.push(request);
        }
        let last = all.last().map_or(0, |r| r.arrival_us);
        Ok(Traffic {
            requests: all,
            symbols: source.symbols().clone(),
            horizon_us: last + (self.keys.drain_s * 1e6) as i64,
        })
    }
}

/// The cluster of a scenario as a run has it.
fn run_of(keys: &ClusterKeys) -> Result<RunSpec, InputError> {
    let model = keys.model.as_deref().unwrap_or("llama-3.1-8b-instruct");
    let (pools, disaggregation) = pools_of(keys)?;
    Ok(RunSpec {
        pools,
        disaggregation,
        front: FrontSpec {
            admission_latency_us: keys.admission_latency_us,
            routing_latency_us: keys.routing_latency_us,
            snapshot_refresh_interval_us: keys.snapshot_refresh_interval_us,
            cache_signal_delay_us: keys.cache_signal_delay_us,
            output_predictor: keys.output_predictor.clone(),
            estimate_error: keys.estimate_error.clone(),
        },
        rules: match keys.rules {
            Some(RulesKey::Blis) => RulesSpec::Blis,
            Some(RulesKey::Vllm) => RulesSpec::Vllm,
            None => RulesSpec::Auto,
        },
        ..RunSpec::of_model(model)
    })
}

/// Its pools: one whose instances serve whole requests, or one for each role.
fn pools_of(keys: &ClusterKeys) -> Result<(Vec<PoolSpec>, DisaggregationSpec), InputError> {
    let prefill = keys.prefill_instances.unwrap_or(0);
    let decode = keys.decode_instances.unwrap_or(0);
    let both = keys.prefill_decode_instances.unwrap_or(0);
    let of_splits = [
        ("prefill_hardware", keys.prefill_hardware.is_some()),
        ("decode_hardware", keys.decode_hardware.is_some()),
        (
            "prefill_tensor_parallelism",
            keys.prefill_tensor_parallelism.is_some(),
        ),
        (
            "decode_tensor_parallelism",
            keys.decode_tensor_parallelism.is_some(),
        ),
        (
            "prefill_total_kv_blocks",
            keys.prefill_total_kv_blocks.is_some(),
        ),
        (
            "decode_total_kv_blocks",
            keys.decode_total_kv_blocks.is_some(),
        ),
        ("transfer_bandwidth", keys.transfer_bandwidth.is_some()),
        (
            "transfer_base_latency",
            keys.transfer_base_latency.is_some(),
        ),
    ];
    let splits = prefill.saturating_add(decode).saturating_add(both) > 0;
    if !splits {
        if let Some((key, _)) = of_splits.iter().find(|(_, given)| *given) {
            return Err(InputError::new(format!(
                "cluster.{key} has no effect without prefill_instances and decode_instances"
            )));
        }
        let count = keys.instances.unwrap_or(4);
        return Ok((vec![pool_of(keys, count)], DisaggregationSpec::default()));
    }
    if keys.instances.is_some() {
        return Err(InputError::new(
            "cluster.instances has no effect beside prefill_instances and decode_instances",
        ));
    }
    let whole = |name: &str, role, count| PoolSpec {
        name: name.to_owned(),
        role,
        ..pool_of(keys, count)
    };
    let mut pools = vec![
        whole("prefill", RoleSpec::Prefill, prefill),
        whole("decode", RoleSpec::Decode, decode),
        whole("prefill-decode", RoleSpec::Serve, both),
    ];
    for pool in &mut pools {
        let (hardware, tensor, blocks) = match pool.role {
            RoleSpec::Prefill => (
                &keys.prefill_hardware,
                keys.prefill_tensor_parallelism,
                keys.prefill_total_kv_blocks,
            ),
            _ => (
                &keys.decode_hardware,
                keys.decode_tensor_parallelism,
                keys.decode_total_kv_blocks,
            ),
        };
        if hardware.is_some() {
            pool.hardware.clone_from(hardware);
        }
        pool.parallel.tensor = tensor.or(pool.parallel.tensor);
        pool.engine.total_kv_blocks = blocks.or(pool.engine.total_kv_blocks);
    }
    pools.retain(|pool| pool.count != Some(0));
    let moves = DisaggregationSpec {
        transfer_bandwidth: keys.transfer_bandwidth,
        transfer_base_latency: keys.transfer_base_latency,
        ..DisaggregationSpec::default()
    };
    Ok((pools, moves))
}

/// So many instances that serve.
fn pool_of(keys: &ClusterKeys, count: u32) -> PoolSpec {
    PoolSpec {
        count: Some(count),
        hardware: keys.hardware.clone(),
        parallel: ParallelSpec {
            tensor: keys.tensor_parallelism,
            ..ParallelSpec::default()
        },
        engine: EngineSpec {
            // A suite's defaults are its own, the same on every GPU.
            max_num_seqs: Some(keys.max_num_running_reqs.unwrap_or(256)),
            max_num_batched_tokens: Some(keys.max_num_scheduled_tokens.unwrap_or(2048)),
            long_prefill_token_threshold: keys.long_prefill_token_threshold,
            long_prefill_token_threshold_adaptive: keys.long_prefill_token_threshold_adaptive,
            async_scheduling: keys.async_scheduling,
            enable_prefix_caching: keys.enable_prefix_caching,
            enable_chunked_prefill: keys.enable_chunked_prefill,
            scheduler_reserve_full_isl: keys.scheduler_reserve_full_isl,
            watermark: keys.watermark,
            max_num_active_seqs: keys.max_num_active_seqs,
            max_num_queued_reqs: keys.max_num_queued_reqs,
            max_num_queued_tokens: keys.max_num_queued_tokens,
            max_loras: keys.max_loras,
            lora_load_time_us: keys.lora_load_time_us,
            api_server_count: keys.api_server_count,
            api_server_us: keys.api_server_us.clone(),
            block_size: keys.block_size,
            total_kv_blocks: keys.total_kv_blocks,
            gpu_memory_utilization: keys.gpu_memory_utilization,
            ..EngineSpec::default()
        },
        latency: LatencySpec {
            model: keys.latency_model.clone(),
            ..LatencySpec::default()
        },
        ..PoolSpec::default()
    }
}

fn fitted_under(deployment: &Deployment) -> Option<Preset> {
    let model = deployment.resolved().first()?;
    Some(model.latency.fitted_under())
}

/// What to know of a suite before its scores are read: scenarios whose step times were fitted under
/// other rules than they are run under, where the suite does not say so, and what was chosen for
/// scenarios unlike, as a total over them compares.
///
/// # Errors
/// When a scenario cannot be opened.
pub fn notes(suite: &Suite) -> Result<Vec<String>, InputError> {
    let mut found: Vec<(Preset, Preset, Vec<&str>)> = Vec::new();
    let mut machines = Vec::new();
    for split in Split::ALL {
        for keys in suite.scenarios(split) {
            let cluster = keys.cluster.over(&suite.file.cluster);
            let scenario = Scenario::open(suite, &keys.id, false)?;
            let of_scenario = scenario.deployment.machines().iter();
            machines
                .extend(of_scenario.map(|m| (vec![format!("scenario {}", keys.id)], m.clone())));
            // Without rules they are the model's; where the pair is said, nothing need be.
            let (Some(rules), None) = (cluster.rules, cluster.fitted_under) else {
                continue;
            };
            let rules = rules.into();
            let Some(fitted) = fitted_under(&scenario.deployment).filter(|f| *f != rules) else {
                continue;
            };
            match found
                .iter_mut()
                .find(|(r, f, _)| (*r, *f) == (rules, fitted))
            {
                Some((_, _, ids)) => ids.push(&keys.id),
                None => found.push((rules, fitted, vec![&keys.id])),
            }
        }
    }
    let mut names = unused_names(suite)?;
    let note = |(rules, fitted, ids): (Preset, Preset, Vec<&str>)| {
        let where_ = match ids.len() {
            1 => format!("scenario {}", ids[0]),
            n => format!("{n} scenarios"),
        };
        format!(
            "{where_} of {}: step times fitted under {fitted} rules, run under {rules} rules; if \
             that is meant, the suite can say `fitted_under: {fitted}`",
            suite.label()
        )
    };
    let machines: Vec<(Vec<String>, &Machine)> =
        machines.iter().map(|(l, m)| (l.clone(), m)).collect();
    let unlike = differences(&machines).into_iter();
    let unlike = unlike.map(|note| {
        let note = settings::spelled(&note, |name| Some(format!("`{}`", suite_key(name)?)));
        format!("{}: {note}", suite.label())
    });
    names.extend(found.into_iter().map(note).chain(unlike));
    Ok(names)
}

/// Notes on classes and tenants that a suite is told something about and no scenario's requests
/// have. What is in a trace is not known before a run: beside one, only a name that is like another
/// is noted.
fn unused_names(suite: &Suite) -> Result<Vec<String>, InputError> {
    let (mut classes, mut tenants) = (BTreeSet::new(), BTreeSet::new());
    let (mut targets, mut traces) = (BTreeSet::new(), false);
    for keys in Split::ALL.into_iter().flat_map(|s| suite.scenarios(s)) {
        for (class, dimension) in keys.slo.targets(&suite.file.slo)?.named() {
            targets.insert((format!("slo.{}", dimension.name()), class.to_owned()));
        }
        let Some(workload) = &keys.workload else {
            traces = true;
            continue;
        };
        let (path, text) = suite.source.workload(workload)?;
        let opened = spec::parse(&path, &text, keys.changes())?;
        classes.extend(opened.classes());
        tenants.extend(opened.tenants());
    }
    let under = &suite.file.cluster;
    for keys in Split::ALL.into_iter().flat_map(|s| suite.scenarios(s)) {
        let predictor = keys.cluster.over(under).output_predictor;
        // One that cannot be read is an error of its scenario.
        let predictor = predictor.and_then(|text| text.parse::<Predictor>().ok());
        for (class, _) in predictor.iter().flat_map(|p| &p.by_class) {
            targets.insert(("output_predictor".to_owned(), class.clone()));
        }
    }
    let without_class = classes.remove("");
    tenants.remove("");
    let objectives = suite.file.objectives.iter();
    let objectives = objectives.filter_map(|o| Some(("objectives".to_owned(), o.class.clone()?)));
    let named = objectives.chain(targets);
    let unused = |name: &str, there: &BTreeSet<String>| {
        let like = || nearest(name, there.iter().map(String::as_str)).is_some();
        !there.contains(name) && (!traces || like())
    };
    let classes_unused = named.filter(|(_, class)| {
        let default = without_class && class == DEFAULT_CLASS;
        !default && unused(class, &classes)
    });
    let words = ["class", "no request of its scenarios", "their classes"];
    let label = suite.label();
    let note = |(place, class): (String, String)| {
        unused_name(&format!("{place} of {label}"), words, &class, &classes)
    };
    let mut notes: Vec<String> = classes_unused.map(note).collect();
    let words = ["tenant", "no request of its scenarios", "their tenants"];
    let references = suite.file.references.iter();
    let bundles = references.map(|(name, bundle)| (format!("tenant_budgets of {name}"), bundle));
    let own = (
        "tenant_budgets of policies".to_owned(),
        &suite.file.policies,
    );
    for (place, bundle) in std::iter::once(own).chain(bundles) {
        for tenant in bundle
            .tenant_budgets
            .keys()
            .filter(|t| !tenants.contains(*t))
        {
            notes.push(unused_name(
                &format!("{place} in {label}"),
                words,
                tenant,
                &tenants,
            ));
        }
    }
    Ok(notes)
}

/// A setting by the name that it has in a suite.
fn suite_key(setting: &str) -> Option<String> {
    settings::key(setting)?;
    let key = match setting {
        "num_instances" => "instances",
        "tp" => "tensor_parallelism",
        "block_size_in_tokens" => "block_size",
        "lora_load_time" => "lora_load_time_us",
        "admission_latency" => "admission_latency_us",
        "routing_latency" => "routing_latency_us",
        "snapshot_refresh_interval" => "snapshot_refresh_interval_us",
        "cache_signal_delay" => "cache_signal_delay_us",
        "event" => "events",
        "autoscale_startup" => "autoscale.startup.mean",
        other => match other.strip_prefix("autoscale_") {
            Some(key) => return Some(format!("autoscale.{}", key.replace('_', "."))),
            None => other,
        },
    };
    Some(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped;

    /// So that nobody has to look when one is scored.
    #[test]
    fn there_is_nothing_to_note_of_the_shipped_suites() {
        for name in shipped::suite_names() {
            let suite = Suite::open(name, None).unwrap();
            assert!(suite.is_shipped());
            assert_eq!(notes(&suite).unwrap(), [""; 0], "{name}");
        }
    }
}
