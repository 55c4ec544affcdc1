//! One run of policies on a scenario, and its summary.

use super::feedback::facts::Facts;
use super::fuel::Fuel;
use super::objective::{self, Objective, good, served};
use super::scenario::{Scenario, Traffic};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use windtunnel_base::input::{InputError, is_default};
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord};
use windtunnel_policy::PolicySpec;
use windtunnel_policy::lua::ScriptUsage;
use windtunnel_results::metrics::stats::{Floats, Ints, Sample, percentile};

/// Percentiles of a latency over the requests that have it, milliseconds; null of none, since 0
/// would look like the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Latencies {
    /// Mean.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

impl Latencies {
    fn of(sample: &impl Sample) -> Self {
        if sample.count() == 0 {
            return Self::default();
        }
        let ms = |p| Some(percentile(sample, p) / 1000.0);
        Self {
            mean: Some(sample.sum() / sample.count() as f64 / 1000.0),
            p50: ms(50.0),
            p95: ms(95.0),
            p99: ms(99.0),
        }
    }

    /// Means over those of several runs that have any.
    #[must_use]
    pub fn mean_of(all: &[Self]) -> Self {
        let mean = |f: fn(&Self) -> Option<f64>| mean_of_some(all.iter().map(f));
        Self {
            mean: mean(|l| l.mean),
            p50: mean(|l| l.p50),
            p95: mean(|l| l.p95),
            p99: mean(|l| l.p99),
        }
    }
}

/// The mean of the figures that there are, added in order.
fn mean_of_some(all: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (n, sum) = all.flatten().fold((0, 0.0), |(n, sum), x| (n + 1, sum + x));
    (n > 0).then(|| sum / f64::from(n))
}

/// What people look at. Latencies are over the requests served; the costs that count are over those
/// offered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Metrics {
    /// Requests that arrived.
    pub offered: u64,
    /// Served in full.
    pub completed: u64,
    /// Refused by the admission policy, or no instance could ever serve them.
    pub rejected: u64,
    /// Their clients gave up.
    pub timed_out: u64,
    /// Not done with at the horizon.
    pub unfinished: u64,
    /// Lost on an instance that failed; absent where none was.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed: u64,
    /// Share of the offered requests that were served within their targets.
    pub goodput: f64,
    /// Time to first token.
    pub ttft_ms: Latencies,
    /// Time per output token.
    pub tpot_ms: Latencies,
    /// End-to-end latency.
    pub e2e_ms: Latencies,
    /// Share of the looked-up prompt tokens that were in the prefix caches; null if none
    /// were looked up.
    pub hit_rate: Option<f64>,
    /// Preemptions.
    pub preemptions: u64,
    /// Answers that put a request off (`delay` of admission, `hold` of the router): each is one
    /// more look at it.
    #[serde(default)]
    pub put_off: u64,
    /// Mean share of the time up to the last arrival that instances were computing; above 1 when
    /// they went on after it. Where pools are scaled, share of the time that instances were there.
    pub utilization: f64,
    /// Where pools are scaled: hours of GPUs that instances took, those in which they start and
    /// finish what they have included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_hours: Option<f64>,
    /// What these cost, US dollars, where the price of the GPUs is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl Metrics {
    fn of(record: &RunRecord, scenario: &Scenario, traffic: &Traffic) -> Self {
        let requests = &record.requests;
        let count =
            |f: &dyn Fn(&RequestRecord) -> bool| requests.iter().filter(|r| f(r)).count() as u64;
        let outcome = |wanted: &[Outcome]| count(&|r| wanted.contains(&r.outcome));
        let good = count(&|r| good(r, record.symbols.name(r.slo_class), &scenario.targets));
        let of = |value: fn(&RequestRecord) -> Option<i64>| {
            let served = requests.iter().filter(|r| served(r));
            Latencies::of(&Ints::new(served.filter_map(value).collect()))
        };
        let tpot = requests.iter().filter(|r| served(r));
        let tpot = Floats::new(tpot.filter_map(|r| r.mean_itl_us).collect());
        let sum = |f: fn(&windtunnel_base::record::InstanceTotals) -> u64| -> u64 {
            record.instances.iter().map(f).sum()
        };
        let (hits, lookups) = (sum(|i| i.prefix_hits), sum(|i| i.prefix_queries));
        let busy: i64 = record.instances.iter().map(|i| i.busy_us).sum();
        let span = traffic.span_us();
        let scaling = record.scaling.as_ref();
        let scaled = scaling.filter(|s| s.pools.iter().any(|pool| pool.by_policy));
        let there = scaled.map(|s| s.pools.iter().map(|p| p.instance_us as f64).sum::<f64>());
        let gpus = scaled.map(|_| scenario.gpus(record, traffic));
        Self {
            offered: requests.len() as u64,
            completed: count(&served),
            rejected: outcome(&[
                Outcome::Rejected,
                Outcome::Unroutable,
                Outcome::RequestsQueued,
                Outcome::TokensQueued,
                Outcome::GatewayFull,
                Outcome::Shed,
                Outcome::Expired,
                Outcome::Evicted,
                Outcome::Dropped,
            ]),
            timed_out: outcome(&[Outcome::TimedOut]),
            unfinished: outcome(&[
                Outcome::Running,
                Outcome::Queued,
                Outcome::InTransit,
                Outcome::Held,
            ]),
            failed: outcome(&[Outcome::Failed]),
            goodput: good as f64 / requests.len().max(1) as f64,
            ttft_ms: of(|r| r.ttft_us),
            tpot_ms: Latencies::of(&tpot),
            e2e_ms: of(|r| r.e2e_us),
            hit_rate: (lookups > 0).then(|| hits as f64 / lookups as f64),
            preemptions: sum(|i| i.preemptions),
            put_off: record.put_off.delays + record.put_off.holds,
            utilization: match there {
                Some(us) => busy as f64 / us.max(1.0),
                None => busy as f64 / (span as f64 * record.instances.len() as f64),
            },
            gpu_hours: gpus.map(|gpus| gpus.hours),
            cost_usd: scaled.and_then(|scaling| scenario.cost_usd(scaling)),
        }
    }

    /// Means over several seeds; counts are sums.
    #[must_use]
    pub fn of_seeds(all: &[&Self]) -> Self {
        let sum = |f: fn(&Self) -> u64| all.iter().map(|m| f(m)).sum();
        let mean =
            |f: fn(&Self) -> f64| all.iter().map(|m| f(m)).sum::<f64>() / all.len().max(1) as f64;
        let latencies = |f: fn(&Self) -> Latencies| {
            Latencies::mean_of(&all.iter().map(|m| f(m)).collect::<Vec<_>>())
        };
        Self {
            offered: sum(|m| m.offered),
            completed: sum(|m| m.completed),
            rejected: sum(|m| m.rejected),
            timed_out: sum(|m| m.timed_out),
            unfinished: sum(|m| m.unfinished),
            failed: sum(|m| m.failed),
            goodput: mean(|m| m.goodput),
            ttft_ms: latencies(|m| m.ttft_ms),
            tpot_ms: latencies(|m| m.tpot_ms),
            e2e_ms: latencies(|m| m.e2e_ms),
            hit_rate: mean_of_some(all.iter().map(|m| m.hit_rate)),
            preemptions: sum(|m| m.preemptions),
            put_off: sum(|m| m.put_off),
            utilization: mean(|m| m.utilization),
            gpu_hours: mean_of_some(all.iter().map(|m| m.gpu_hours)),
            cost_usd: mean_of_some(all.iter().map(|m| m.cost_usd)),
        }
    }
}

/// An instance's part in a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InstanceShare {
    /// Which.
    pub id: u32,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Share of the time up to the last arrival that it was computing.
    pub busy: f64,
}

/// Summary of a run: what scores and feedback need of its records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Logarithms of the objectives' values, in the suite's order.
    pub logs: Vec<f64>,
    /// Metrics for people.
    pub metrics: Metrics,
    /// Requests and load by instance.
    pub instances: Vec<InstanceShare>,
    /// Fingerprint of what was decided on every request and of what came of it: equal runs have
    /// equal ones.
    pub digest: String,
    /// What its scripts used of their limits; none without scripts.
    #[serde(default)]
    pub fuel: Option<Fuel>,
    /// What feedback says of the run.
    pub facts: Facts,
}

/// Simulates the policies of `spec` on the traffic of a scenario. Tells, too, what their scripts
/// used.
///
/// # Errors
/// When a policy cannot be made.
pub fn simulate(
    spec: &PolicySpec,
    scenario: &Scenario,
    traffic: &Arc<Traffic>,
    seed: u64,
) -> Result<(RunRecord, ScriptUsage), InputError> {
    let mut source = traffic.replay();
    let play = scenario.play(traffic, seed, false);
    let (cluster, meter) = scenario.deployment().cluster(spec, play, &mut source)?;
    let record = cluster.run(&mut |_| {});
    Ok((record, meter.used()))
}

impl RunSummary {
    /// Summarises the records of a run, and what its scripts used.
    #[must_use]
    pub fn of(
        record: &RunRecord,
        used: ScriptUsage,
        traffic: &Traffic,
        scenario: &Scenario,
        objectives: &[Objective],
    ) -> Self {
        let span = traffic.span_us() as f64;
        let mut sent = vec![0u64; record.instances.len()];
        for r in &record.requests {
            if let Some(i) = r.instance {
                sent[i as usize] += 1;
            }
        }
        let instances = record.instances.iter().zip(&sent).enumerate();
        Self {
            logs: objective::logs(
                objectives,
                record,
                &scenario.targets,
                traffic.horizon_us,
                scenario.gpus(record, traffic),
            ),
            metrics: Metrics::of(record, scenario, traffic),
            instances: instances
                .map(|(id, (totals, &requests))| InstanceShare {
                    id: id as u32,
                    requests,
                    busy: totals.busy_us as f64 / span,
                })
                .collect(),
            digest: digest(record),
            fuel: Fuel::of(used),
            facts: Facts::of(record, scenario, traffic),
        }
    }
}

/// Fingerprint of what was decided on every request, and of what came of it.
fn digest(record: &RunRecord) -> String {
    let mut hasher = blake3::Hasher::new();
    for r in &record.requests {
        let outcome = [
            r.serial as i64,
            r.outcome as i64,
            r.instance.map_or(-1, i64::from),
            r.cached_tokens.map_or(-1, i64::from),
            r.scheduling_delay_us.unwrap_or(-1),
            r.ttft_us.unwrap_or(-1),
            r.e2e_us.unwrap_or(-1),
            r.itl_sum_us,
            i64::from(r.preemptions),
        ];
        for number in outcome {
            hasher.update(&number.to_le_bytes());
        }
    }
    for pool in record.scaling.iter().flat_map(|scaling| &scaling.pools) {
        hasher.update(&pool.instance_us.to_le_bytes());
        for number in [pool.ups, pool.downs, pool.started, pool.stopped] {
            hasher.update(&number.to_le_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// A broken invariant of a run.
pub struct Violation {
    /// What is wrong.
    pub message: String,
    /// Name of the request that shows it, if it is one.
    pub request: Option<String>,
}

/// Checks the invariants of a complete run: every request has exactly one outcome, and no event
/// precedes its cause.
///
/// # Errors
/// The first invariant that is broken.
pub fn check_invariants(record: &RunRecord, traffic: &Traffic) -> Result<(), Violation> {
    let (offered, ended) = (traffic.requests().len(), record.requests.len());
    if offered != ended {
        return Err(Violation {
            message: format!("{offered} requests were offered, {ended} came to an end"),
            request: None,
        });
    }
    let too_early = record.requests.iter().find(|r| {
        r.ttft_us.is_some_and(|v| v < 0)
            || r.e2e_us
                .is_some_and(|e2e| r.ttft_us.is_some_and(|ttft| e2e < ttft))
    });
    match too_early {
        Some(r) => Err(Violation {
            message: format!("{} was served before it arrived", r.id),
            request: Some(r.id.to_string()),
        }),
        None => Ok(()),
    }
}
