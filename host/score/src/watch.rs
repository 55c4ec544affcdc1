//! A run that is watched closely: what the router saw, what was true, and what other choices would
//! have brought. Made once or twice per candidate, for those who write the next one.

use super::feedback::facts::{Served, worst};
use super::regret::{Fork, Look, Regret};
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
const MOST_UNREAD: usize = 8;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Why the run broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Routing decisions.
    pub decisions: u64,
    /// Of these, with half of the prompt in some prefix cache.
    pub with_prefix: u64,
    /// Prefixes that were not used.
    pub thrown_away: ThrownAway,
    /// Long queues that were joined without need.
    pub crowding: Crowding,
    /// What the router reads, and how good it is.
    pub signals: Signals,
    /// Calls into scripts.
    pub calls: u64,
    /// Units spent in them.
    pub units: i64,
    /// What other choices would have brought.
    pub regret: Regret,
    /// The decisions about the worst requests.
    pub log: Vec<Logged>,
}

/// Requests that were sent away from an instance with their prefix while its queue was short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThrownAway {
    /// How many.
    pub requests: u64,
    /// Time of the prefills that were done again, seconds.
    pub prefill_s: f64,
    /// The share of the prompt that the holders had, mean.
    pub held: f64,
}

/// Requests that joined a long queue while another instance had none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Crowding {
    /// How many.
    pub requests: u64,
    /// Requests in the queues that they joined, mean.
    pub queue: f64,
    /// Of these requests, those that found more of their prefix there than on any instance without
    /// a queue.
    pub for_prefix: u64,
}

/// What a router reads, and how good it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// Median age of the scraped fields at decision time, milliseconds; none if nobody reads any.
    pub scraped_age_ms: Option<f64>,
    /// How far `queue_depth` was from the truth, mean of the difference in requests; none if nobody
    /// reads it.
    pub queue_error: Option<f64>,
    /// Share of decisions at which the precise prefix signal was not what the caches held; none if
    /// nobody reads it.
    pub prefix_error: Option<f64>,
    /// Fields that vary here, but are not read.
    pub unread: Vec<String>,
    /// Fields that are read, but do not vary here.
    pub constant: Vec<String>,
}

/// A decision about a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logged {
    /// The request and how it was served.
    pub request: Served,
    /// When it was routed, seconds.
    pub routed_s: f64,
    /// Where to.
    pub chosen: u32,
    /// The instances at that moment.
    pub instances: Vec<Seen>,
    /// What other choices would have brought, if that is known.
    pub fork: Option<Fork>,
}

/// An instance at a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Which.
    pub id: u32,
    /// Requests in its wait queue, in truth.
    pub waiting: u32,
    /// Requests in its batch, in truth.
    pub running: u32,
    /// Requests in flight, by the router's own count.
    pub in_flight: u32,
    /// Share of KV blocks in use, in truth.
    pub kv: f64,
    /// Tokens of the prompt in its prefix cache, in truth.
    pub cached_tokens: u32,
    /// Age of the scraped fields, milliseconds; none if nobody reads any.
    pub age_ms: Option<f64>,
    /// The fields that the policy reads, as it saw them.
    pub saw: BTreeMap<String, f64>,
    /// The policy's score of it, if it scores.
    pub score: Option<f64>,
}

/// Lets `spec` work on `traffic` and looks on.
///
/// # Errors
/// When a policy cannot be made.
pub fn watch(
    spec: &PolicySpec,
    scenario: &Scenario,
    traffic: &Arc<Traffic>,
    seed: u64,
    look: Look,
) -> Result<Watched, InputError> {
    let deployment = scenario.deployment();
    let estimator = deployment.config().pools[0].estimator();
    let block_size = deployment.block_size();
    let mut source = traffic.replay();
    let play = scenario.play(traffic, seed, true);
    let (cluster, meter) = deployment.cluster(spec, play, &mut source)?;
    let before = meter.used();
    let record = cluster.run(&mut |_| {});
    let used = meter.used() - before;
    let worst = worst(&record, scenario, traffic.horizon_us, look.worst as usize);
    let regret = super::regret::of(
        spec, scenario, traffic, seed, &record, &estimator, look, &worst,
    )?;
    let mentioned = mentioned(spec);
    let mut watched = Watched {
        signals: signals(&record, mentioned.as_ref()),
        calls: used.calls,
        units: used.units,
        log: log(&record, &worst, mentioned.as_ref(), &regret, block_size),
        regret,
        fault: record.fault.as_ref().map(ToString::to_string),
        ..Watched::default()
    };
    for (observation, snapshots) in record.observations.iter() {
        watched.decisions += 1;
        watched.prefixes(observation, snapshots, &estimator, block_size);
        watched.queues(observation, snapshots);
    }
    let mean = |sum: f64, n: u64| sum / n.max(1) as f64;
    watched.thrown_away.held = mean(watched.thrown_away.held, watched.thrown_away.requests);
    watched.crowding.queue = mean(watched.crowding.queue, watched.crowding.requests);
    Ok(watched)
}

/// What the scripts of the front end mention; `None` when something other than a script chooses
/// instances.
fn mentioned(spec: &PolicySpec) -> Option<Mentioned> {
    let script = |wanted: Hook| {
        spec.external().find_map(|(hook, policy)| match policy {
            External::Script(program) if hook == wanted => Some(program.mentioned()),
            _ => None,
        })
    };
    let mut all = script(Hook::Routing)?;
    if let Some(more) = script(Hook::Admission) {
        all.add(more);
    }
    Some(all)
}

impl Watched {
    fn prefixes(
        &mut self,
        observation: &RoutingObservation,
        snapshots: &[InstanceSnapshot],
        estimator: &Estimator,
        block_size: u32,
    ) {
        let chosen = &snapshots[observation.chosen as usize];
        let holder = snapshots
            .iter()
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
        self.thrown_away.requests += 1;
        self.thrown_away.prefill_s += again / 1e6;
        self.thrown_away.held += held;
    }

    fn queues(&mut self, observation: &RoutingObservation, snapshots: &[InstanceSnapshot]) {
        let chosen = &snapshots[observation.chosen as usize];
        let mut empty = snapshots
            .iter()
            .filter(|s| s.actual.queue_depth == 0)
            .peekable();
        if chosen.actual.queue_depth < LONG_QUEUE || empty.peek().is_none() {
            return;
        }
        self.crowding.requests += 1;
        self.crowding.queue += f64::from(chosen.actual.queue_depth);
        let more = empty.all(|s| s.cached_blocks < chosen.cached_blocks);
        self.crowding.for_prefix += u64::from(more);
    }
}

/// Fields that say something about load or affinity, with those that say much the same: reading one
/// is enough.
const INSTANCE_SIGNALS: &[&[&str]] = &[
    &["in_flight"],
    &["dispatched_tokens"],
    &["queue_depth"],
    &["batch_size", "decodes"],
    &["kv_utilization", "kv_used_blocks", "kv_free_blocks"],
    &["queued_prompt_tokens"],
    &["running_prefill_tokens"],
    &["decode_context_tokens"],
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
];

/// Fields that never vary in a run, or say nothing of the state.
const TOLD: &[&str] = &[
    "index",
    "scraped_us",
    "max_batch_size",
    "block_size",
    "max_step_tokens",
    "pool",
    "gpus",
    "kv_total_blocks",
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
        fields::reads(name).has(Interests::SNAPSHOTS) || fields::reads(name).has(Interests::WORK)
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
    let (sum, n) = seen(record).fold((0.0, 0u64), |(sum, n), s| (sum + error(s), n + 1));
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
    fn of<T: Table>(read: &[&str], told: &[&str], varies: impl Fn(&T::Get) -> bool) -> Vec<String> {
        let all = fields::of::<T>().into_iter();
        all.filter(|f| read.contains(&f.name) && !told.contains(&f.name) && !varies(&f.get))
            .map(|f| f.name.to_owned())
            .collect()
    }
    let mut all = of::<InstanceView>(&mentioned.instance, TOLD, |get| {
        varies(seen(record).map(|s| get(&s.seen)))
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
    let mut all: Vec<String> = Vec::new();
    let any_cached = seen(record).any(|s| s.cached_blocks > 0);
    if any_cached && !mentioned.precise_prefix && !mentioned.approximate_prefix {
        let blocks = ["precise_prefix_blocks", "approximate_prefix_blocks"];
        all.extend(blocks.map(str::to_owned));
    }
    let instances = of::<InstanceView>(INSTANCE_SIGNALS, &mentioned.instance, |get| {
        varies(seen(record).map(|s| get(&s.actual)))
    });
    all.extend(instances.into_iter().map(str::to_owned));
    let requests = of::<RequestView>(REQUEST_SIGNALS, &mentioned.request, |get| {
        varies(requests(record).map(get))
    });
    all.extend(requests.iter().map(|name| format!("req.{name}")));
    all.truncate(MOST_UNREAD);
    all
}

fn seen(record: &RunRecord) -> impl Iterator<Item = &InstanceSnapshot> {
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
    worst: &[Served],
    mentioned: Option<&Mentioned>,
    regret: &Regret,
    block_size: u32,
) -> Vec<Logged> {
    let of = |request: &Served| {
        let decided = |s: &RoutingObservation| s.request.serial == request.serial;
        let (observation, snapshots) = record.observations.iter().find(|(s, _)| decided(s))?;
        let seen = |(id, s): (usize, &InstanceSnapshot)| Seen {
            id: id as u32,
            waiting: s.actual.queue_depth,
            running: s.actual.batch_size,
            in_flight: s.actual.in_flight,
            kv: s.actual.kv_utilization,
            cached_tokens: s.cached_blocks * block_size,
            age_ms: (s.seen.scraped_us > 0)
                .then(|| s.seen.age_us(observation.clock_us) as f64 / 1000.0),
            saw: saw(s, mentioned),
            score: observation
                .scores
                .as_ref()
                .map(|scores| scores[id])
                .filter(|x| x.is_finite()),
        };
        Some(Logged {
            request: request.clone(),
            routed_s: observation.clock_us as f64 / 1e6,
            chosen: observation.chosen,
            instances: snapshots.iter().enumerate().map(seen).collect(),
            fork: regret
                .forks
                .iter()
                .find(|f| f.serial == request.serial)
                .cloned(),
        })
    };
    worst.iter().filter_map(of).collect()
}

fn saw(snapshot: &InstanceSnapshot, mentioned: Option<&Mentioned>) -> BTreeMap<String, f64> {
    let mut saw = BTreeMap::new();
    let Some(mentioned) = mentioned else {
        return saw;
    };
    for field in fields::of::<InstanceView>() {
        if mentioned.instance.contains(&field.name) {
            saw.insert(
                field.name.to_owned(),
                field.shown((field.get)(&snapshot.seen)),
            );
        }
    }
    if mentioned.precise_prefix {
        let blocks = f64::from(snapshot.signalled_blocks);
        saw.insert("precise_prefix_blocks".into(), blocks);
    }
    saw
}
