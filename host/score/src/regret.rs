//! Regret: what other routing choices would have brought, found out by making them.
//!
//! At a decision the whole simulation is copied (`fork`) and goes on from there with another
//! choice; all later requests go where they went before, so that the difference is this decision's
//! alone. What counts is the request-time of the next seconds: every request's time in the system,
//! and once more its time until its first token, so that a choice that helps one request and harms
//! its neighbours is charged for both.

use super::feedback::facts::Served;
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
use windtunnel_engine::latency::Estimator;
use windtunnel_policy::PolicySpec;

/// A copy runs until so many requests have come ...
const ARRIVALS: i64 = 100;
/// ... but for no less and no more than this, microseconds.
const WINDOW_US: [i64; 2] = [2_000_000, 10_000_000];

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Decisions, spread over the run, of which the alternatives are tried.
    pub spread: u32,
    /// Requests with the longest times to first token whose decisions are kept, with their
    /// alternatives.
    pub worst: u32,
    /// Alternatives that are tried at each.
    pub others: u32,
}

/// What other choices would have brought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Regret {
    /// How far ahead was looked, seconds.
    pub window_s: f64,
    /// The decisions whose alternatives were tried, in the order of their requests.
    pub forks: Vec<Fork>,
    /// Those of them that are spread over the run: the others are the worst requests'.
    pub sampled: u32,
    /// Mean regret of the sampled decisions, request-milliseconds.
    pub mean_ms: f64,
    /// 90th percentile of these.
    pub p90_ms: f64,
    /// Share of the sampled decisions whose request would have had its first token in half the time
    /// elsewhere.
    pub twice: f64,
    /// Why nothing was tried.
    pub none: Option<String>,
}

/// A decision and its alternatives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fork {
    /// The request's number in order of arrival.
    pub serial: u64,
    /// Its name.
    pub id: String,
    /// When it was routed, seconds.
    pub at_s: f64,
    /// Its prompt, tokens.
    pub prompt_tokens: u32,
    /// What was chosen.
    pub chosen: Way,
    /// What else was tried.
    pub others: Vec<Way>,
    /// Request-time lost against the best alternative, milliseconds; 0 if none is better.
    pub regret_ms: f64,
    /// It is one of those that are spread over the run.
    pub sampled: bool,
}

/// One choice and what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// Instance.
    pub instance: u32,
    /// Tokens of the prompt in its cache.
    pub cached_tokens: u32,
    /// Requests in its queue.
    pub waiting: u32,
    /// Time to first token of the request, milliseconds; none if it is not there when the window
    /// ends.
    pub ttft_ms: Option<f64>,
    /// Request-time within the window above that of the choice that was made, milliseconds; below 0
    /// it is better.
    pub extra_ms: f64,
}

/// What is tried at one decision.
struct Point {
    serial: u64,
    at_us: i64,
    prompt_tokens: u32,
    chosen: Way,
    others: Vec<Way>,
    sampled: bool,
}

/// Tries alternatives at some decisions of a run, and at those about its `worst` requests. `record`
/// is that run, watched.
///
/// # Errors
/// When a policy cannot be made.
#[allow(clippy::too_many_arguments, reason = "a run and what is known of it")]
pub fn of(
    spec: &PolicySpec,
    scenario: &Scenario,
    traffic: &Arc<Traffic>,
    seed: u64,
    record: &RunRecord,
    estimator: &Estimator,
    look: Look,
    worst: &[Served],
) -> Result<Regret, InputError> {
    let window_us = window_us(traffic);
    let mut regret = Regret {
        window_s: window_us as f64 / 1e6,
        ..Regret::default()
    };
    let deployment = scenario.deployment();
    let block_size = deployment.block_size();
    let choices = choices(record);
    let mut points = points(record, estimator, block_size, look, worst);
    if deployment.config().instances() < 2 {
        regret.none = Some("there is one instance".into());
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
            for way in &mut point.others {
                let otherwise = with(&choices, serial, way.instance);
                match other_way(&mut cluster, otherwise, serial, point.at_us, end_us) {
                    Ok(Some((cost, ttft_ms))) => {
                        way.extra_ms = cost;
                        way.ttft_ms = ttft_ms;
                    }
                    Ok(None) => way.extra_ms = f64::NAN,
                    Err(e) => {
                        regret.none = Some(e.to_string());
                        return Ok(regret);
                    }
                }
            }
            regret.add(point, record, end_us);
        }
        if !cluster.advance() {
            break;
        }
    }
    regret.sum_up();
    Ok(regret)
}

fn window_us(traffic: &Traffic) -> i64 {
    let requests = traffic.requests();
    let span = requests.last().map_or(0, |r| r.arrival_us);
    let [least, most] = WINDOW_US;
    (ARRIVALS * span / (requests.len() as i64).max(1)).clamp(least, most)
}

fn points(
    record: &RunRecord,
    estimator: &Estimator,
    block_size: u32,
    look: Look,
    worst: &[Served],
) -> BTreeMap<u64, Point> {
    let decisions = record.observations.iter().count();
    let spread = (look.spread as usize).min(decisions);
    let sampled = |k: usize| (0..spread).any(|j| (2 * j + 1) * decisions / (2 * spread) == k);
    let point =
        |(k, (observation, snapshots)): (usize, (&RoutingObservation, &[InstanceSnapshot]))| {
            let serial = observation.request.serial;
            let sampled = sampled(k);
            if !sampled && !worst.iter().any(|r| r.serial == serial) {
                return None;
            }
            let way = |instance: usize| Way {
                instance: instance as u32,
                cached_tokens: snapshots[instance].cached_blocks * block_size,
                waiting: snapshots[instance].actual.queue_depth,
                ttft_ms: None,
                extra_ms: 0.0,
            };
            let prompt_tokens = observation.request.prompt_tokens;
            let promises = |way: &Way| {
                let view = &snapshots[way.instance as usize].actual;
                estimator.ttft_on(view, prompt_tokens, way.cached_tokens)
            };
            let chosen = observation.chosen as usize;
            let others = (0..snapshots.len()).filter(|&i| i != chosen);
            let mut others: Vec<Way> = others.map(way).collect();
            others.sort_by(|a, b| promises(a).total_cmp(&promises(b)));
            others.truncate(look.others as usize);
            let point = Point {
                serial,
                at_us: observation.clock_us,
                prompt_tokens,
                chosen: way(chosen),
                others,
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

/// The same but for one request.
fn with(choices: &[u32], serial: u64, instance: u32) -> Vec<u32> {
    let mut choices = choices.to_vec();
    choices[serial as usize] = instance;
    choices
}

/// What comes of other choices from the decision at hand on: request-time until `end_us` and the
/// time to first token of request `serial`, milliseconds. `None` when the run breaks off there.
fn other_way(
    cluster: &mut Cluster<'_>,
    choices: Vec<u32>,
    serial: u64,
    from_us: i64,
    end_us: i64,
) -> std::io::Result<Option<(f64, Option<f64>)>> {
    let answer = fork::in_a_copy(|| {
        let (cost, ttft) = run_on(cluster, choices, serial, from_us, end_us);
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

/// Runs on with other choices; the run is over then.
fn run_on(
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
            Outcome::Dropped | Outcome::Rejected | Outcome::Unroutable => r.arrival_us,
            Outcome::Running | Outcome::Queued | Outcome::InTransit => end_us,
        };
        let first = r.ttft_us.map_or(left, |ttft| left.min(r.arrival_us + ttft));
        let within = |until: i64| (until.min(end_us) - r.arrival_us.max(from_us)).max(0);
        within(left) + within(first)
    };
    records.iter().map(of).sum::<i64>() as f64 / 1000.0
}

impl Regret {
    /// Takes a decision in whose alternatives were tried.
    fn add(&mut self, point: Point, record: &RunRecord, end_us: i64) {
        let cost = request_ms(&record.requests, point.at_us, end_us);
        let request = record.requests.get(point.serial as usize);
        let mut chosen = point.chosen;
        chosen.ttft_ms = first_token_ms(request, end_us);
        let mut others = point.others;
        others.retain(|way| way.extra_ms.is_finite());
        for way in &mut others {
            way.extra_ms -= cost;
        }
        let best = others.iter().map(|way| way.extra_ms).fold(0.0, f64::min);
        self.sampled += u32::from(point.sampled);
        self.forks.push(Fork {
            serial: point.serial,
            id: request.map_or(String::new(), |r| r.id.to_string()),
            at_s: point.at_us as f64 / 1e6,
            prompt_tokens: point.prompt_tokens,
            chosen,
            others,
            regret_ms: -best,
            sampled: point.sampled,
        });
    }

    fn sum_up(&mut self) {
        let sampled: Vec<&Fork> = self.forks.iter().filter(|f| f.sampled).collect();
        let n = sampled.len().max(1) as f64;
        let regrets = windtunnel_results::metrics::stats::Floats::new(
            sampled.iter().map(|f| f.regret_ms).collect(),
        );
        self.mean_ms = sampled.iter().map(|f| f.regret_ms).sum::<f64>() / n;
        self.p90_ms = windtunnel_results::metrics::stats::percentile(&regrets, 90.0);
        let half = |f: &&&Fork| {
            let own = f.chosen.ttft_ms.unwrap_or(f64::INFINITY);
            f.others
                .iter()
                .any(|way| way.ttft_ms.is_some_and(|ttft| 2.0 * ttft < own))
        };
        self.twice = sampled.iter().filter(half).count() as f64 / n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use crate::suite::{Origin, Suite};

    const SUITE: &str = r#"
name: small
version: 1
hooks: [routing]
requests: 400
cluster: {model: llama-3.1-8b-instruct, hardware: H100, tensor_parallelism: 2, instances: 3, total_kv_blocks: 4000}
objectives: [{metric: ttft_mean}]
references: {rr: {routing: {policy: round-robin}}}
scenarios:
  train: [{id: rag, family: rag, workload: workloads/rag.yaml, rate: 110, seed: 7}]
"#;

    /// Where `policy` sends a request in the middle of a run, and what each instance costs more.
    fn ways(policy: &str) -> (u32, Vec<f64>) {
        let origin = Origin::Shipped("routing-mixed".into());
        let suite = Suite::of_text(origin, SUITE.into(), None).expect("a suite");
        let mut scenario = Scenario::open(&suite, "rag", false).expect("a scenario");
        let traffic = scenario.traffic(&suite, 7, 400).expect("traffic");
        let opened = Candidate::open(policy).expect("a policy").resolve(&suite);
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
            let otherwise = with(&choices(&base), 200, instance);
            let (cost, ttft) = run_on(&mut cluster, otherwise, 200, from_us, end_us);
            if instance == chosen {
                let own = first_token_ms(base.requests.get(200), end_us);
                assert_eq!((cost, ttft), (before, own), "the same choice, the same run");
            }
            cost - before
        });
        (chosen, extra.collect())
    }

    #[test]
    fn the_choice_that_was_made_costs_nothing_extra_and_a_crowd_costs_much() {
        for policy in ["least-loaded", "round-robin", "always-busiest"] {
            let (chosen, extra) = ways(policy);
            assert_eq!(extra[chosen as usize], 0.0, "{policy}: {extra:?}");
            let best = extra.iter().copied().fold(0.0, f64::min);
            match policy {
                // Everybody waits at one place: elsewhere this request is served at once.
                "always-busiest" => assert!(best < -1_000.0, "{extra:?}"),
                _ => assert!(best > -1_000.0, "{policy}: {extra:?}"),
            }
        }
    }
}
