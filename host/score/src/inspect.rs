//! Inspection of a run: what the router observed, the actual state, and what other choices would
//! have brought. Made once or twice per candidate, for the feedback on it.

use super::feedback::facts::{ServedRequest, worst};
use super::feedback::splits::SplitFacts;
use super::regret::{self, Counterfactual, InspectionPlan, Regret};
use super::scenario::{Scenario, Traffic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::record::{InstanceSnapshot, RoutingObservation, RunRecord};
use windtunnel_engine::latency::Estimator;
use windtunnel_plugin_api::{InstanceView, Interests, RequestView, Table};
use windtunnel_policy::lua::{Mentioned, fields};
use windtunnel_policy::{External, Hook, PolicySpec};
use windtunnel_results::metrics::stats::{Ints, percentile};

/// A prefix counts as held when an instance has this share of the prompt.
const HELD: f64 = 0.5;
/// A wait queue up to this is short, requests.
const SHORT_QUEUE: u32 = 2;
/// A wait queue from this on is long.
const LONG_QUEUE: u32 = 4;

/// Most fields that are named as never read.
const MOST_UNREAD: usize = 4;

/// What the inspection of a run shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// Why the run was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Where some instances prefill for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<SplitFacts>,
    /// Routing decisions.
    pub decisions: u64,
    /// Of these, with half of the prompt in some prefix cache.
    pub with_prefix: u64,
    /// Prefix hits that were given up.
    #[serde(rename = "thrown_away")]
    pub lost_prefix_hits: LostPrefixHits,
    /// Long queues that were joined although there were empty ones.
    #[serde(rename = "crowding")]
    pub avoidable_queueing: AvoidableQueueing,
    /// The signals that the router reads, and their errors.
    pub signals: Signals,
    /// Calls into scripts.
    pub calls: u64,
    /// Fuel spent in them, units.
    pub units: i64,
    /// What other choices would have brought.
    pub regret: Regret,
    /// The decisions about the worst requests.
    pub log: Vec<LoggedDecision>,
}

/// Requests that were not sent to an instance with their prefix although its queue was short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LostPrefixHits {
    /// How many.
    pub requests: u64,
    /// Time of the repeated prefills, seconds.
    pub prefill_s: f64,
    /// Mean share of the prompt that those instances had cached.
    pub held: f64,
}

/// Requests that joined a long queue while another instance had none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AvoidableQueueing {
    /// How many.
    pub requests: u64,
    /// Mean length of the queues that they joined, requests.
    pub queue: f64,
    /// Of these requests, those with more of their prefix cached there than on any instance without
    /// a queue.
    pub for_prefix: u64,
}

/// The signals that a router reads, and their errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// Median age of the scraped fields at decision time, milliseconds; none if the router reads
    /// none.
    pub scraped_age_ms: Option<f64>,
    /// Mean absolute error of `queue_depth`, requests; none if the router
    /// does not read it.
    pub queue_error: Option<f64>,
    /// Share of decisions at which the precise prefix signal was not what the caches held; none if
    /// the router does not read it.
    pub prefix_error: Option<f64>,
    /// Fields that vary here, but are not read.
    pub unread: Vec<String>,
    /// Fields that are read, but do not vary here.
    pub constant: Vec<String>,
}

/// A routing decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedDecision {
    /// The request and how it was served.
    pub request: ServedRequest,
    /// When it was routed, seconds.
    pub routed_s: f64,
    /// The instance.
    pub chosen: u32,
    /// The instances at that time.
    pub instances: Vec<ObservedInstance>,
    /// What other choices would have brought, if they were tried.
    #[serde(rename = "fork")]
    pub counterfactual: Option<Counterfactual>,
}

/// An instance at the time of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservedInstance {
    /// Its index.
    pub id: u32,
    /// Requests in its wait queue.
    pub waiting: u32,
    /// Requests in its batch.
    pub running: u32,
    /// Requests in flight, by the router's own count.
    pub in_flight: u32,
    /// Share of KV blocks in use.
    pub kv: f64,
    /// Tokens of the prompt in its prefix cache.
    pub cached_tokens: u32,
    /// Age of the scraped fields, milliseconds; none if the router reads none.
    pub age_ms: Option<f64>,
    /// The fields that the policy reads, with the values that it read.
    #[serde(rename = "saw")]
    pub observed: BTreeMap<String, f64>,
    /// Its score, if the policy scores instances.
    pub score: Option<f64>,
}

/// Runs the policies of `spec` on the traffic of a scenario and inspects the run.
///
/// # Errors
/// When a policy cannot be made.
pub fn inspect(
    spec: &PolicySpec,
    scenario: &Scenario,
    traffic: &Arc<Traffic>,
    seed: u64,
    plan: InspectionPlan,
) -> Result<Inspection, InputError> {
    let deployment = scenario.deployment();
    let estimator = deployment.config().pools[0].estimator();
    let block_size = deployment.block_size();
    let mut source = traffic.replay();
    let play = scenario.play(traffic, seed, true);
    let (cluster, meter) = deployment.cluster(spec, play, &mut source)?;
    let before = meter.used();
    let record = cluster.run(&mut |_| {});
    let used = meter.used() - before;
    let worst = worst(
        &record,
        scenario,
        traffic.horizon_us,
        plan.worst_requests as usize,
    );
    let regret = regret::of(
        spec, scenario, traffic, seed, &record, &estimator, plan, &worst,
    )?;
    let mentioned = mentioned(spec);
    let mut inspection = Inspection {
        signals: signals(&record, mentioned.as_ref()),
        calls: used.calls,
        units: used.units,
        log: log(&record, &worst, mentioned.as_ref(), &regret, block_size),
        regret,
        fault: record.fault.as_ref().map(ToString::to_string),
        splits: SplitFacts::of(&record),
        ..Inspection::default()
    };
    for (observation, snapshots) in record.observations.iter() {
        inspection.decisions += 1;
        inspection.count_lost_prefix_hit(observation, snapshots, &estimator, block_size);
        inspection.count_avoidable_queueing(observation, snapshots);
    }
    let mean = |sum: f64, n: u64| sum / n.max(1) as f64;
    inspection.lost_prefix_hits.held = mean(
        inspection.lost_prefix_hits.held,
        inspection.lost_prefix_hits.requests,
    );
    inspection.avoidable_queueing.queue = mean(
        inspection.avoidable_queueing.queue,
        inspection.avoidable_queueing.requests,
    );
    Ok(inspection)
}

/// The fields and methods that the scripts for routing, disaggregation and admission mention;
/// `None` if neither of the first two is a script.
fn mentioned(spec: &PolicySpec) -> Option<Mentioned> {
    let script = |wanted: Hook| {
        spec.external().find_map(|(hook, policy)| match policy {
            External::Script(program) if hook == wanted => Some(program.mentioned()),
            _ => None,
        })
    };
    let deciding = [Hook::Routing, Hook::Disaggregation];
    let mut deciding = deciding.into_iter().filter_map(script);
    let mut all = deciding.next()?;
    deciding.for_each(|more| all.add(more));
    if let Some(more) = script(Hook::Admission) {
        all.add(more);
    }
    Some(all)
}

impl Inspection {
    /// Counts a decision that gives up a prefix hit.
    fn count_lost_prefix_hit(
        &mut self,
        observation: &RoutingObservation,
        snapshots: &[InstanceSnapshot],
        estimator: &Estimator,
        block_size: u32,
    ) {
        let chosen = &snapshots[observation.chosen as usize];
        let holder = observation
            .among(snapshots)
            .max_by_key(|s| (s.cached_blocks, std::cmp::Reverse(s.actual.queue_depth)));
        let Some(holder) = holder else { return };
        let whole = f64::from(observation.prompt_blocks.max(1));
        let held = f64::from(holder.cached_blocks) / whole;
        if held < HELD {
            return;
        }
        self.with_prefix += 1;
        let lost = 2 * chosen.cached_blocks < holder.cached_blocks;
        if !lost || holder.actual.queue_depth > SHORT_QUEUE {
            return;
        }
        let prefill = |blocks: u32| {
            let cached = blocks * block_size;
            estimator.prefill_us(
                observation.request.prompt_tokens.saturating_sub(cached),
                cached,
            )
        };
        let again = prefill(chosen.cached_blocks) - prefill(holder.cached_blocks);
        self.lost_prefix_hits.requests += 1;
        self.lost_prefix_hits.prefill_s += again / 1e6;
        self.lost_prefix_hits.held += held;
    }

    /// Counts a decision that joins a long queue while another instance has none.
    fn count_avoidable_queueing(
        &mut self,
        observation: &RoutingObservation,
        snapshots: &[InstanceSnapshot],
    ) {
        let chosen = &snapshots[observation.chosen as usize];
        let mut empty = observation
            .among(snapshots)
            .filter(|s| s.actual.queue_depth == 0)
            .peekable();
        if chosen.actual.queue_depth < LONG_QUEUE || empty.peek().is_none() {
            return;
        }
        self.avoidable_queueing.requests += 1;
        self.avoidable_queueing.queue += f64::from(chosen.actual.queue_depth);
        let more = empty.all(|s| s.cached_blocks < chosen.cached_blocks);
        self.avoidable_queueing.for_prefix += u64::from(more);
    }
}

/// Fields about load or affinity. Those of a group say much the same, so reading one is enough.
const INSTANCE_SIGNALS: &[&[&str]] = &[
    &["in_flight"],
    &["dispatched_tokens"],
    &["queue_depth"],
    &["batch_size", "decodes"],
    &["kv_utilization", "kv_used_blocks", "kv_free_blocks"],
    &["queued_prompt_tokens"],
    &["running_prefill_tokens"],
    &["decode_context_tokens"],
    &[
        "loaded_lora_adapters",
        "running_lora_adapters",
        "waiting_lora_adapters",
    ],
];
const REQUEST_SIGNALS: &[&[&str]] = &[
    &["prompt_tokens"],
    &["predicted_output_tokens"],
    &["slo_class", "class_priority"],
    &["slo_ttft_us"],
    &["deadline_us"],
    &["tenant"],
    &["session"],
    &["prefix_group", "prompt_key"],
    &["adapter"],
];

/// Fields that never vary in a run, or say nothing of the state.
const UNINFORMATIVE: &[&str] = &[
    "index",
    "scraped_us",
    "max_batch_size",
    "block_size",
    "max_step_tokens",
    "pool",
    "gpus",
    "role",
    "kv_total_blocks",
    "max_loras",
];

fn signals(record: &RunRecord, mentioned: Option<&Mentioned>) -> Signals {
    let Some(mentioned) = mentioned else {
        return Signals::default();
    };
    Signals {
        scraped_age_ms: scraped_age_ms(record, mentioned),
        queue_error: queue_error(record, mentioned),
        prefix_error: prefix_error(record, mentioned),
        unread: unread(record, mentioned),
        constant: constant(record, mentioned),
    }
}

fn scraped_age_ms(record: &RunRecord, mentioned: &Mentioned) -> Option<f64> {
    let scraped = |name: &&str| {
        let kinds = [Interests::SNAPSHOTS, Interests::WORK, Interests::ADAPTERS];
        kinds.iter().any(|kind| fields::reads(name).has(*kind))
    };
    if !mentioned.instance.iter().any(scraped) {
        return None;
    }
    let age = |(observation, snapshots): (&RoutingObservation, &[InstanceSnapshot])| {
        snapshots[0].seen.age_us(observation.clock_us)
    };
    let ages = Ints::new(record.observations.iter().map(age).collect());
    Some(percentile(&ages, 50.0) / 1000.0)
}

fn queue_error(record: &RunRecord, mentioned: &Mentioned) -> Option<f64> {
    if !mentioned.instance.contains(&"queue_depth") {
        return None;
    }
    let error = |s: &InstanceSnapshot| f64::from(s.seen.queue_depth.abs_diff(s.actual.queue_depth));
    let (sum, n) = snapshots(record).fold((0.0, 0u64), |(sum, n), s| (sum + error(s), n + 1));
    Some(sum / n.max(1) as f64)
}

fn prefix_error(record: &RunRecord, mentioned: &Mentioned) -> Option<f64> {
    if !mentioned.precise_prefix {
        return None;
    }
    let wrong = |s: &[InstanceSnapshot]| s.iter().any(|s| s.cached_blocks != s.signalled_blocks);
    let wrong = record.observations.iter().filter(|(_, s)| wrong(s)).count();
    Some(wrong as f64 / record.observations.iter().count().max(1) as f64)
}

/// Fields that are read, but do not vary.
fn constant(record: &RunRecord, mentioned: &Mentioned) -> Vec<String> {
    fn of<T: Table>(
        read: &[&str],
        ignored: &[&str],
        varies: impl Fn(&T::Get) -> bool,
    ) -> Vec<String> {
        let all = fields::of::<T>().into_iter();
        all.filter(|f| read.contains(&f.name) && !ignored.contains(&f.name) && !varies(&f.get))
            .map(|f| f.name.to_owned())
            .collect()
    }
    let mut all = of::<InstanceView>(&mentioned.instance, UNINFORMATIVE, |get| {
        varies(snapshots(record).map(|s| get(&s.seen)))
    });
    let requests = of::<RequestView>(&mentioned.request, &["attempts"], |get| {
        varies(requests(record).map(get))
    });
    all.extend(requests.iter().map(|name| format!("req.{name}")));
    all
}

/// Fields that vary, but are not read, nor any that say much the same.
fn unread(record: &RunRecord, mentioned: &Mentioned) -> Vec<String> {
    fn of<T: Table>(
        groups: &[&[&'static str]],
        read: &[&str],
        varies: impl Fn(&T::Get) -> bool,
    ) -> Vec<&'static str> {
        let all = fields::of::<T>();
        let varies = |name: &str| {
            let field = all.iter().find(|f| f.name == name);
            field.is_some_and(|f| varies(&f.get))
        };
        let unread =
            |group: &&&[&'static str]| varies(group[0]) && !group.iter().any(|f| read.contains(f));
        groups.iter().filter(unread).map(|group| group[0]).collect()
    }
    // Who looks at nothing, as round-robin does, is not told all there is.
    let looks = !mentioned.instance.is_empty() || !mentioned.request.is_empty();
    if !looks && !mentioned.precise_prefix && !mentioned.approximate_prefix {
        return Vec::new();
    }
    let mut all: Vec<String> = Vec::new();
    let any_cached = snapshots(record).any(|s| s.cached_blocks > 0);
    if any_cached && !mentioned.precise_prefix && !mentioned.approximate_prefix {
        let blocks = ["precise_prefix_blocks", "approximate_prefix_blocks"];
        all.extend(blocks.map(str::to_owned));
    }
    let instances = of::<InstanceView>(INSTANCE_SIGNALS, &mentioned.instance, |get| {
        varies(snapshots(record).map(|s| get(&s.actual)))
    });
    all.extend(instances.into_iter().map(str::to_owned));
    let requests = of::<RequestView>(REQUEST_SIGNALS, &mentioned.request, |get| {
        varies(requests(record).map(get))
    });
    all.extend(requests.iter().map(|name| format!("req.{name}")));
    all.truncate(MOST_UNREAD);
    all
}

fn snapshots(record: &RunRecord) -> impl Iterator<Item = &InstanceSnapshot> {
    record
        .observations
        .iter()
        .flat_map(|(_, snapshots)| snapshots)
}

fn requests(record: &RunRecord) -> impl Iterator<Item = &RequestView> {
    record
        .observations
        .iter()
        .map(|(observation, _)| &observation.request)
}

fn varies(mut values: impl Iterator<Item = f64>) -> bool {
    let first = values.next();
    first.is_some_and(|first| values.any(|v| v != first))
}

/// The decisions about the worst requests.
fn log(
    record: &RunRecord,
    worst: &[ServedRequest],
    mentioned: Option<&Mentioned>,
    regret: &Regret,
    block_size: u32,
) -> Vec<LoggedDecision> {
    let of = |request: &ServedRequest| {
        let decided = |s: &RoutingObservation| s.request.serial == request.serial;
        let (observation, snapshots) = record.observations.iter().find(|(s, _)| decided(s))?;
        let instance = |(id, s): (usize, &InstanceSnapshot)| ObservedInstance {
            id: id as u32,
            waiting: s.actual.queue_depth,
            running: s.actual.batch_size,
            in_flight: s.actual.in_flight,
            kv: s.actual.kv_utilization,
            cached_tokens: s.cached_blocks * block_size,
            age_ms: (s.seen.scraped_us > 0)
                .then(|| s.seen.age_us(observation.clock_us) as f64 / 1000.0),
            observed: observed(s, mentioned),
            score: observation
                .scores
                .as_ref()
                .map(|scores| scores[id])
                .filter(|x| x.is_finite()),
        };
        let among = |(_, s): &(usize, &InstanceSnapshot)| observation.is_among(s);
        Some(LoggedDecision {
            request: request.clone(),
            routed_s: observation.clock_us as f64 / 1e6,
            chosen: observation.chosen,
            instances: snapshots
                .iter()
                .enumerate()
                .filter(among)
                .map(instance)
                .collect(),
            counterfactual: regret
                .counterfactuals
                .iter()
                .find(|f| f.serial == request.serial)
                .cloned(),
        })
    };
    worst.iter().filter_map(of).collect()
}

fn observed(snapshot: &InstanceSnapshot, mentioned: Option<&Mentioned>) -> BTreeMap<String, f64> {
    let mut observed = BTreeMap::new();
    let Some(mentioned) = mentioned else {
        return observed;
    };
    for field in fields::of::<InstanceView>() {
        if mentioned.instance.contains(&field.name) {
            observed.insert(
                field.name.to_owned(),
                field.shown((field.get)(&snapshot.seen)),
            );
        }
    }
    if mentioned.precise_prefix {
        let blocks = f64::from(snapshot.signalled_blocks);
        observed.insert("precise_prefix_blocks".into(), blocks);
    }
    observed
}
