//! Facts about a run that feedback needs, from its records. Cheap enough for every run.

use super::scaling::ScaleFacts;
use super::splits::{PrefilledElsewhere, SplitFacts};
use crate::objective::good;
use crate::scenario::{Scenario, Traffic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord};
use windtunnel_base::request::Sym;
use windtunnel_results::metrics::slo::{Dimension, class_name};
use windtunnel_results::metrics::stats::{Ints, percentile};

/// Worst requests that are kept per run.
const WORST_REQUESTS: usize = 3;
/// Slices of time into which a run's arrivals are divided.
const SLICES: usize = 24;
/// Waits up to this do not make a hotspot, milliseconds.
const SHORT_MS: f64 = 20.0;

/// Facts about a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Load by instance.
    pub instances: Vec<InstanceLoad>,
    /// The worst interval in which requests waited on one instance longer than elsewhere.
    pub hotspot: Option<Hotspot>,
    /// (good, offered) by SLO class; empty when there is only one.
    pub classes: BTreeMap<String, (u64, u64)>,
    /// The requests with the longest times to first token, among those that were sent to an
    /// instance.
    pub worst: Vec<ServedRequest>,
    /// Where some instances prefill for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<SplitFacts>,
    /// Where pools are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScaleFacts>,
}

/// Load of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceLoad {
    /// Requests sent there.
    pub requests: u64,
    /// 99th percentile of their waits, milliseconds.
    pub wait_p99_ms: f64,
    /// Preemptions.
    pub preemptions: u64,
}

/// An interval in which requests waited on one instance longer than elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hotspot {
    /// The instance.
    pub instance: u32,
    /// Start, seconds.
    pub from_s: f64,
    /// End, seconds.
    pub to_s: f64,
    /// Its share of the requests that arrived in the interval.
    pub share: f64,
    /// Mean wait of its requests, milliseconds.
    pub wait_ms: f64,
    /// Mean wait of the requests on other instances, milliseconds.
    pub elsewhere_ms: f64,
}

/// A request and how it was served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServedRequest {
    /// Serial number, in order of arrival.
    pub serial: u64,
    /// Id.
    pub id: String,
    /// SLO class.
    pub class: String,
    /// Time of arrival, seconds.
    pub arrival_s: f64,
    /// Length of the prompt, tokens.
    pub prompt_tokens: u32,
    /// Time to first token, milliseconds; none without a first token.
    pub ttft_ms: Option<f64>,
    /// Target of the time to first token, milliseconds.
    pub target_ms: Option<f64>,
    /// The instance.
    pub instance: u32,
    /// Time in the wait queue, milliseconds; none if it was never scheduled.
    pub wait_ms: Option<f64>,
    /// If another instance computed its prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefilled: Option<PrefilledElsewhere>,
}

impl Facts {
    /// The facts of a run.
    #[must_use]
    pub fn of(record: &RunRecord, scenario: &Scenario, traffic: &Traffic) -> Self {
        // There are few classes, so a linear search is fast.
        let mut by_symbol: Vec<(Sym, u64, u64)> = Vec::new();
        for r in &record.requests {
            let name = record.symbols.name(r.slo_class);
            let met = u64::from(good(r, name, &scenario.targets));
            match by_symbol.iter_mut().find(|(sym, ..)| *sym == r.slo_class) {
                Some((_, good, offered)) => {
                    *good += met;
                    *offered += 1;
                }
                None => by_symbol.push((r.slo_class, met, 1)),
            }
        }
        let mut classes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (sym, good, offered) in by_symbol {
            let name = class_name(record.symbols.name(sym)).to_owned();
            let sum = classes.entry(name).or_default();
            *sum = (sum.0 + good, sum.1 + offered);
        }
        if classes.len() < 2 {
            classes.clear();
        }
        Self {
            instances: loads(record, traffic.horizon_us),
            hotspot: hotspot(record, traffic.horizon_us),
            classes,
            worst: worst(record, scenario, traffic.horizon_us, WORST_REQUESTS),
            splits: SplitFacts::of(record),
            scaling: ScaleFacts::of(record, scenario, traffic),
        }
    }

    /// The instance with most requests, and its share of them.
    #[must_use]
    pub fn busiest(&self) -> Option<(usize, f64)> {
        let all: u64 = self.instances.iter().map(|i| i.requests).sum();
        let most = (0..self.instances.len()).max_by_key(|&i| {
            let requests = self.instances[i].requests;
            (requests, std::cmp::Reverse(i))
        })?;
        (all > 0).then(|| (most, self.instances[most].requests as f64 / all as f64))
    }
}

/// Time of a request in the wait queue; until the horizon if it was never scheduled.
fn wait_us(r: &RequestRecord, horizon_us: i64) -> i64 {
    r.scheduling_delay_us.unwrap_or(horizon_us - r.arrival_us)
}

fn loads(record: &RunRecord, horizon_us: i64) -> Vec<InstanceLoad> {
    let mut waits: Vec<Vec<i64>> = vec![Vec::new(); record.instances.len()];
    for r in &record.requests {
        if let Some(i) = r.instance {
            waits[i as usize].push(wait_us(r, horizon_us));
        }
    }
    let of = waits.into_iter().zip(&record.instances);
    of.map(|(waits, totals)| InstanceLoad {
        requests: waits.len() as u64,
        wait_p99_ms: percentile(&Ints::new(waits), 99.0) / 1000.0,
        preemptions: totals.preemptions,
    })
    .collect()
}

/// A number of requests and the sum of their waits.
#[derive(Clone, Copy, Default)]
struct Sum {
    requests: u64,
    wait_us: i64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.wait_us += other.wait_us;
    }

    fn mean_ms(self) -> f64 {
        self.wait_us as f64 / self.requests.max(1) as f64 / 1000.0
    }
}

/// The interval with the longest total wait in which the mean wait on one instance is long, and
/// more than twice that elsewhere.
fn hotspot(record: &RunRecord, horizon_us: i64) -> Option<Hotspot> {
    let n = record.instances.len();
    let last = record.requests.iter().map(|r| r.arrival_us).max()?.max(1);
    let mut slices = vec![Sum::default(); SLICES * n];
    for r in &record.requests {
        if let Some(i) = r.instance {
            let slice = (r.arrival_us as i128 * SLICES as i128 / (i128::from(last) + 1)) as usize;
            slices[slice * n + i as usize].add(Sum {
                requests: 1,
                wait_us: wait_us(r, horizon_us),
            });
        }
    }
    let sums = |instance: usize, from: usize, to: usize| {
        let (mut here, mut elsewhere) = (Sum::default(), Sum::default());
        for (k, sum) in slices[from * n..to * n].iter().enumerate() {
            let side = if k % n == instance {
                &mut here
            } else {
                &mut elsewhere
            };
            side.add(*sum);
        }
        (here, elsewhere)
    };
    let is_hot = |instance: usize, slice: usize| {
        let (here, elsewhere) = sums(instance, slice, slice + 1);
        here.requests > 0 && here.mean_ms() > SHORT_MS && here.mean_ms() > 2.0 * elsewhere.mean_ms()
    };
    let mut longest: Option<(i64, usize, usize, usize)> = None;
    for instance in 0..n {
        let mut from = 0;
        for slice in 0..=SLICES {
            if slice < SLICES && is_hot(instance, slice) {
                continue;
            }
            if slice > from {
                // The longest by the sum of waits, not by the clock.
                let waited = sums(instance, from, slice).0.wait_us;
                if longest.is_none_or(|(most, ..)| waited > most) {
                    longest = Some((waited, instance, from, slice));
                }
            }
            from = slice + 1;
        }
    }
    let (_, instance, from, to) = longest?;
    let (here, elsewhere) = sums(instance, from, to);
    let at = |slice: usize| last as f64 / 1e6 * slice as f64 / SLICES as f64;
    Some(Hotspot {
        instance: instance as u32,
        from_s: at(from),
        to_s: at(to),
        share: here.requests as f64 / (here.requests + elsewhere.requests).max(1) as f64,
        wait_ms: here.mean_ms(),
        elsewhere_ms: elsewhere.mean_ms(),
    })
}

/// The `most` requests with the longest times to first token, the worst first.
#[must_use]
pub fn worst(
    record: &RunRecord,
    scenario: &Scenario,
    horizon_us: i64,
    most: usize,
) -> Vec<ServedRequest> {
    let ttft = |r: &RequestRecord| r.ttft_us.unwrap_or(horizon_us - r.arrival_us);
    // A dropped request did not wait until the horizon.
    let sent = record.requests.iter().filter(|r| r.instance.is_some());
    let mut sent: Vec<&RequestRecord> = sent.filter(|r| r.outcome != Outcome::Dropped).collect();
    let by = |a: &&RequestRecord, b: &&RequestRecord| {
        ttft(b).cmp(&ttft(a)).then(a.serial.cmp(&b.serial))
    };
    if sent.len() > most {
        sent.select_nth_unstable_by(most, by);
        sent.truncate(most);
    }
    sent.sort_unstable_by(by);
    let ms = |us: i64| us as f64 / 1000.0;
    let served = |r: &RequestRecord| {
        let class = class_name(record.symbols.name(r.slo_class));
        ServedRequest {
            serial: r.serial,
            id: r.id.to_string(),
            class: class.to_owned(),
            arrival_s: r.arrival_us as f64 / 1e6,
            prompt_tokens: r.prompt_tokens,
            ttft_ms: r.ttft_us.map(ms),
            target_ms: scenario
                .targets
                .target_us(class, Dimension::Ttft)
                .map(|us| us / 1000.0),
            instance: r.instance.unwrap_or_default(),
            wait_ms: r.scheduling_delay_us.map(ms),
            prefilled: PrefilledElsewhere::of(r),
        }
    };
    sent.into_iter().map(served).collect()
}
