//! Regret: what other routing choices would have brought, found by trying them.
//!
//! At a decision the whole simulation is forked (`fork`) and continues with another choice. All
//! later requests go where they went before, so that the difference is due to this decision alone.
//! The cost is the request-time of the next seconds: every request's time in the system, plus its
//! time until its first token. A choice that helps one request and harms its neighbours is charged
//! for both.

use super::feedback::facts::ServedRequest;
use super::fork;
use super::scenario::{Scenario, Traffic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::record::{
    InstanceSnapshot, Outcome, RequestRecord, RoutingObservation, RunRecord,
};
use windtunnel_engine::cluster::Cluster;
use windtunnel_engine::instance::Preset;
use windtunnel_engine::latency::Estimator;
use windtunnel_policy::PolicySpec;

/// A fork runs until this many requests have arrived ...
const ARRIVALS: i64 = 100;
/// ... but at least and at most this long, microseconds.
const WINDOW_US: [i64; 2] = [2_000_000, 10_000_000];

/// Which decisions of a run are inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectionPlan {
    /// Decisions, evenly spaced over the run, whose alternatives are tried.
    pub sampled_decisions: u32,
    /// Requests with the longest times to first token whose decisions are logged, with their
    /// alternatives.
    pub worst_requests: u32,
    /// Alternatives that are tried at each decision.
    pub alternatives: u32,
}

/// What other choices would have brought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Regret {
    /// How long the forks run, seconds.
    pub window_s: f64,
    /// The decisions whose alternatives were tried, in the order of their requests.
    #[serde(rename = "forks")]
    pub counterfactuals: Vec<Counterfactual>,
    /// Number of those that are evenly spaced over the run; the others are of the worst requests.
    pub sampled: u32,
    /// Mean regret of the sampled decisions, request-milliseconds.
    pub mean_ms: f64,
    /// 90th percentile of these.
    pub p90_ms: f64,
    /// Share of the sampled decisions whose request would have had its first token in half the time
    /// elsewhere.
    #[serde(rename = "twice")]
    pub half_ttft_elsewhere: f64,
    /// Why no alternatives were tried.
    #[serde(rename = "none")]
    pub unavailable: Option<String>,
}

/// A decision and its alternatives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    /// Serial number of the request, in order of arrival.
    pub serial: u64,
    /// Its name.
    pub id: String,
    /// When it was routed, seconds.
    pub at_s: f64,
    /// Its prompt, tokens.
    pub prompt_tokens: u32,
    /// The choice that was made.
    pub chosen: Alternative,
    /// The choices that were tried instead.
    #[serde(rename = "others")]
    pub alternatives: Vec<Alternative>,
    /// Request-time lost against the best alternative, milliseconds; 0 if none is better.
    pub regret_ms: f64,
    /// It is one of those that are evenly spaced over the run.
    pub sampled: bool,
}

/// A choice and its consequences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Instance.
    pub instance: u32,
    /// Tokens of the prompt in its cache.
    pub cached_tokens: u32,
    /// Requests in its queue.
    pub waiting: u32,
    /// Time to first token of the request, milliseconds; none if it has none when the window ends.
    pub ttft_ms: Option<f64>,
    /// Request-time within the window minus that of the choice that was made, milliseconds; below 0
    /// it is better.
    pub extra_ms: f64,
}

/// A decision at which alternatives are tried.
struct DecisionPoint {
    serial: u64,
    at_us: i64,
    prompt_tokens: u32,
    chosen: Alternative,
    alternatives: Vec<Alternative>,
    sampled: bool,
}

/// Tries alternatives at some decisions of a run, and at those about its `worst` requests. `record`
/// is of that run, with its routing decisions.
///
/// # Errors
/// When a policy cannot be made.
#[allow(
    clippy::too_many_arguments,
    reason = "they identify a run and its results"
)]
pub fn of(
    spec: &PolicySpec,
    scenario: &Scenario,
    traffic: &Arc<Traffic>,
    seed: u64,
    record: &RunRecord,
    estimator: &Estimator,
    plan: InspectionPlan,
    worst: &[ServedRequest],
) -> Result<Regret, InputError> {
    let window_us = window_us(traffic);
    let mut regret = Regret {
        window_s: window_us as f64 / 1e6,
        ..Regret::default()
    };
    let deployment = scenario.deployment();
    let block_size = deployment.block_size();
    let choices = choices(record);
    // BLIS's end-to-end latencies leave out part of the time until a request leaves, so only runs
    // that end at the same moment compare; otherwise the record has what the run's own choice cost.
    let rerun_own = deployment.preset() == Preset::Blis;
    let mut points = decision_points(record, estimator, block_size, plan, worst);
    if deployment.config().instances() < 2 {
        regret.unavailable = Some("there is one instance".into());
        return Ok(regret);
    }
    if deployment.config().splits() {
        let why = "where some instances prefill for others, other choices are not tried";
        regret.unavailable = Some(why.into());
        return Ok(regret);
    }
    if deployment.config().instances_change() {
        let why = "where instances come and go, other choices are not tried";
        regret.unavailable = Some(why.into());
        return Ok(regret);
    }
    let mut source = traffic.replay();
    let play = scenario.play(traffic, seed, false);
    let (mut cluster, _) = deployment.cluster(spec, play, &mut source)?;
    while !points.is_empty() {
        if let Some(serial) = cluster.about_to_route()
            && let Some(mut point) = points.remove(&serial)
        {
            let end_us = point.at_us + window_us;
            let tried = try_alternatives(&mut cluster, &choices, &mut point, end_us, rerun_own);
            let own_ms = match tried {
                Ok(own_ms) => own_ms,
                Err(e) => {
                    regret.unavailable = Some(e.to_string());
                    return Ok(regret);
                }
            };
            let own_ms =
                own_ms.unwrap_or_else(|| request_ms(&record.requests, point.at_us, end_us));
            regret.add(point, record, own_ms, end_us);
        }
        if !cluster.advance() {
            break;
        }
    }
    regret.sum_up();
    Ok(regret)
}

/// Tries the alternatives of the present decision; with `rerun_own` also what was chosen, whose
/// request-time until `end_us` it gives, milliseconds.
fn try_alternatives(
    cluster: &mut Cluster<'_>,
    choices: &[u32],
    point: &mut DecisionPoint,
    end_us: i64,
    rerun_own: bool,
) -> std::io::Result<Option<f64>> {
    let (serial, at_us) = (point.serial, point.at_us);
    let mut on = |instance| {
        let otherwise = with_choice(choices, serial, instance);
        try_alternative(cluster, otherwise, serial, at_us, end_us)
    };
    let own = match rerun_own {
        true => on(point.chosen.instance)?,
        false => None,
    };
    for alternative in &mut point.alternatives {
        let tried = on(alternative.instance)?;
        alternative.extra_ms = tried.map_or(f64::NAN, |(cost, _)| cost);
        alternative.ttft_ms = tried.and_then(|(_, ttft_ms)| ttft_ms);
    }
    Ok(own.map(|(cost, _)| cost))
}

fn window_us(traffic: &Traffic) -> i64 {
    let requests = traffic.requests();
    let span = requests.last().map_or(0, |r| r.arrival_us);
    let [least, most] = WINDOW_US;
    (ARRIVALS * span / (requests.len() as i64).max(1)).clamp(least, most)
}

fn decision_points(
    record: &RunRecord,
    estimator: &Estimator,
    block_size: u32,
    plan: InspectionPlan,
    worst: &[ServedRequest],
) -> BTreeMap<u64, DecisionPoint> {
    let decisions = record.observations.iter().count();
    let spread = (plan.sampled_decisions as usize).min(decisions);
    let sampled = |k: usize| (0..spread).any(|j| (2 * j + 1) * decisions / (2 * spread) == k);
    let point =
        |(k, (observation, snapshots)): (usize, (&RoutingObservation, &[InstanceSnapshot]))| {
            let serial = observation.request.serial;
            let sampled = sampled(k);
            if !sampled && !worst.iter().any(|r| r.serial == serial) {
                return None;
            }
            let alternative = |instance: usize| Alternative {
                instance: instance as u32,
                cached_tokens: snapshots[instance].cached_blocks * block_size,
                waiting: snapshots[instance].actual.queue_depth,
                ttft_ms: None,
                extra_ms: 0.0,
            };
            let prompt_tokens = observation.request.prompt_tokens;
            let expected_ttft = |choice: &Alternative| {
                let view = &snapshots[choice.instance as usize].actual;
                estimator.ttft_on(view, prompt_tokens, choice.cached_tokens)
            };
            let chosen = observation.chosen as usize;
            let alternatives = (0..snapshots.len()).filter(|&i| i != chosen);
            let mut alternatives: Vec<Alternative> = alternatives.map(alternative).collect();
            alternatives.sort_by(|a, b| expected_ttft(a).total_cmp(&expected_ttft(b)));
            alternatives.truncate(plan.alternatives as usize);
            let point = DecisionPoint {
                serial,
                at_us: observation.clock_us,
                prompt_tokens,
                chosen: alternative(chosen),
                alternatives,
                sampled,
            };
            Some((serial, point))
        };
    record
        .observations
        .iter()
        .enumerate()
        .filter_map(point)
        .collect()
}

/// Where each request went, by serial number.
fn choices(record: &RunRecord) -> Vec<u32> {
    let mut choices = vec![u32::MAX; record.requests.len()];
    for (observation, _) in record.observations.iter() {
        choices[observation.request.serial as usize] = observation.chosen;
    }
    choices
}

/// The choices with another one for one request.
fn with_choice(choices: &[u32], serial: u64, instance: u32) -> Vec<u32> {
    let mut choices = choices.to_vec();
    choices[serial as usize] = instance;
    choices
}

/// Runs a fork with other choices from the present decision on: the request-time until `end_us` and
/// the time to first token of request `serial`, milliseconds. `None` if the fork dies.
fn try_alternative(
    cluster: &mut Cluster<'_>,
    choices: Vec<u32>,
    serial: u64,
    from_us: i64,
    end_us: i64,
) -> std::io::Result<Option<(f64, Option<f64>)>> {
    let answer = fork::in_fork(|| {
        let (cost, ttft) = run_with_choices(cluster, choices, serial, from_us, end_us);
        let mut answer = cost.to_le_bytes().to_vec();
        answer.extend(ttft.unwrap_or(-1.0).to_le_bytes());
        answer
    })?;
    let number = |at: usize| {
        let bytes = answer.get(at..at + 8)?.try_into().ok()?;
        Some(f64::from_le_bytes(bytes))
    };
    Ok(number(0)
        .zip(number(8))
        .map(|(cost, ttft)| (cost, (ttft >= 0.0).then_some(ttft))))
}

/// Continues the run with other choices until `end_us`, which ends it.
fn run_with_choices(
    cluster: &mut Cluster<'_>,
    choices: Vec<u32>,
    serial: u64,
    from_us: i64,
    end_us: i64,
) -> (f64, Option<f64>) {
    cluster.replay_choices(choices);
    cluster.end_at(end_us);
    while cluster.advance() {}
    let mut records: Vec<RequestRecord> = Vec::new();
    cluster.break_off(&mut records);
    let own = records.iter().find(|r| r.serial == serial);
    (
        request_ms(&records, from_us, end_us),
        first_token_ms(own, end_us),
    )
}

/// Time to first token, if that comes before `end_us`, milliseconds.
fn first_token_ms(record: Option<&RequestRecord>, end_us: i64) -> Option<f64> {
    let r = record?;
    let ttft = r.ttft_us.filter(|ttft| r.arrival_us + ttft <= end_us)?;
    Some(ttft as f64 / 1000.0)
}

/// Request-time between two moments, milliseconds: each request's time in the system, and its time
/// until its first token.
fn request_ms(records: &[RequestRecord], from_us: i64, end_us: i64) -> f64 {
    let of = |r: &RequestRecord| {
        let left = match r.outcome {
            Outcome::Completed | Outcome::LengthCapped => r.completion_us().unwrap_or(end_us),
            Outcome::TimedOut => r.deadline_us,
            Outcome::Dropped
            | Outcome::Rejected
            | Outcome::Unroutable
            | Outcome::RequestsQueued
            | Outcome::TokensQueued
            | Outcome::GatewayFull
            | Outcome::Shed
            | Outcome::Expired
            | Outcome::Evicted => r.arrival_us,
            Outcome::Running
            | Outcome::Queued
            | Outcome::InTransit
            | Outcome::Held
            | Outcome::Failed => end_us,
        };
        let first = r.ttft_us.map_or(left, |ttft| left.min(r.arrival_us + ttft));
        let within = |until: i64| (until.min(end_us) - r.arrival_us.max(from_us)).max(0);
        within(left) + within(first)
    };
    records.iter().map(of).sum::<i64>() as f64 / 1000.0
}

impl Regret {
    /// Adds a decision whose alternatives were tried.
    /// Its run took `own_ms` of request-time up to `end_us`.
    fn add(&mut self, point: DecisionPoint, record: &RunRecord, own_ms: f64, end_us: i64) {
        let request = record.requests.get(point.serial as usize);
        let mut chosen = point.chosen;
        chosen.ttft_ms = first_token_ms(request, end_us);
        let mut alternatives = point.alternatives;
        alternatives.retain(|a| a.extra_ms.is_finite());
        for alternative in &mut alternatives {
            alternative.extra_ms -= own_ms;
        }
        let best = alternatives.iter().map(|a| a.extra_ms).fold(0.0, f64::min);
        self.sampled += u32::from(point.sampled);
        self.counterfactuals.push(Counterfactual {
            serial: point.serial,
            id: request.map_or(String::new(), |r| r.id.to_string()),
            at_s: point.at_us as f64 / 1e6,
            prompt_tokens: point.prompt_tokens,
            chosen,
            alternatives,
            regret_ms: -best,
            sampled: point.sampled,
        });
    }

    fn sum_up(&mut self) {
        let sampled: Vec<&Counterfactual> =
            self.counterfactuals.iter().filter(|f| f.sampled).collect();
        let n = sampled.len().max(1) as f64;
        let regrets = windtunnel_results::metrics::stats::Floats::new(
            sampled.iter().map(|f| f.regret_ms).collect(),
        );
        self.mean_ms = sampled.iter().map(|f| f.regret_ms).sum::<f64>() / n;
        self.p90_ms = windtunnel_results::metrics::stats::percentile(&regrets, 90.0);
        let half = |f: &&&Counterfactual| {
            let own = f.chosen.ttft_ms.unwrap_or(f64::INFINITY);
            f.alternatives
                .iter()
                .any(|a| a.ttft_ms.is_some_and(|ttft| 2.0 * ttft < own))
        };
        self.half_ttft_elsewhere = sampled.iter().filter(half).count() as f64 / n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use crate::suite::{Suite, SuiteSource};

    const SUITE: &str = r#"
name: small
version: 1
hooks: [routing]
requests: 400
cluster: {model: llama-3.1-8b-instruct, hardware: H100, tensor_parallelism: 2, instances: 3, rules: vllm, total_kv_blocks: 4000}
objectives: [{metric: ttft_mean}]
references: {rr: {routing: {policy: round-robin}}}
scenarios:
  train: [{id: rag, family: rag, workload: workloads/rag.yaml, rate: 110, seed: 7}]
"#;

    /// Where `policy` sends a request in the middle of a run, and what each instance costs more.
    fn alternatives(policy: &str) -> (u32, Vec<f64>) {
        let source = SuiteSource::Shipped("routing-mixed".into());
        let suite = Suite::of_text(source, SUITE.into(), None).expect("a suite");
        let mut scenario = Scenario::open(&suite, "rag", false).expect("a scenario");
        let traffic = scenario.traffic(&suite, 7, 400).expect("traffic");
        let opened = Candidate::open(policy)
            .expect("a policy")
            .resolve(&suite, |_| Ok(()));
        let Ok(opened) = opened else {
            panic!("{policy} opens")
        };
        let deployment = scenario.deployment();
        let play = |observations| scenario.play(&traffic, 7, observations);
        let mut source = traffic.replay();
        let base = deployment.cluster(&opened.spec, play(true), &mut source);
        let base = base.expect("a cluster").0.run(&mut |_| {});
        let mut observations = base.observations.iter();
        let observation = observations.find(|(s, _)| s.request.serial == 200);
        let (chosen, from_us) = observation
            .map(|(s, _)| (s.chosen, s.clock_us))
            .expect("routed");
        let end_us = from_us + 2_000_000;
        let before = request_ms(&base.requests, from_us, end_us);
        let extra = (0..3).map(|instance| {
            let mut source = traffic.replay();
            let cluster = deployment.cluster(&opened.spec, play(false), &mut source);
            let (mut cluster, _) = cluster.expect("a cluster");
            while cluster.about_to_route() != Some(200) {
                assert!(cluster.advance(), "request 200 is routed");
            }
            let otherwise = with_choice(&choices(&base), 200, instance);
            let (cost, ttft) = run_with_choices(&mut cluster, otherwise, 200, from_us, end_us);
            if instance == chosen {
                let own = first_token_ms(base.requests.get(200), end_us);
                assert_eq!((cost, ttft), (before, own), "the same choice, the same run");
            }
            cost - before
        });
        (chosen, extra.collect())
    }

    #[test]
    fn the_choice_that_was_made_has_no_extra_cost_and_an_overloaded_instance_has_much() {
        for policy in ["least-loaded", "round-robin", "always-busiest"] {
            let (chosen, extra) = alternatives(policy);
            assert_eq!(extra[chosen as usize], 0.0, "{policy}: {extra:?}");
            let best = extra.iter().copied().fold(0.0, f64::min);
            match policy {
                // All requests wait on one instance: elsewhere this one is served at once.
                "always-busiest" => assert!(best < -1_000.0, "{extra:?}"),
                _ => assert!(best > -1_000.0, "{policy}: {extra:?}"),
            }
        }
    }
}
