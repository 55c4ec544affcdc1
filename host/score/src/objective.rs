//! Objectives, and the cost of a run.
//!
//! Every value is over the requests *offered*: one that was rejected, timed out, or did not finish
//! within the horizon is a miss and counts with the length of the whole horizon in latencies. So
//! nothing is gained by failing the hard ones. Of no requests at all, a value is the worst one.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord};
use windtunnel_results::metrics::slo::{Dimension, SloTargets, class_name};
use windtunnel_results::metrics::stats::{Floats, Sample, jain, percentile};

/// A metric of a run; lower is better.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of the requests that were not served within their targets: 1 - goodput.
    MissRate,
    /// Mean time to first token.
    TtftMean,
    /// Median time to first token.
    TtftP50,
    /// 95th percentile of the time to first token.
    TtftP95,
    /// 99th percentile of the time to first token.
    TtftP99,
    /// Mean over requests of the time per output token.
    TpotMean,
    /// 99th percentile over requests of the time per output token.
    TpotP99,
    /// Mean end-to-end latency.
    E2eMean,
    /// 99th percentile of the end-to-end latency.
    E2eP99,
    /// 1 - Jain's index of the tenants' mean end-to-end latencies per output token.
    Unfairness,
    /// Hours of GPUs that instances took from their start to their end, and what misses are charged
    /// with: see [`Objective::miss_weight`].
    GpuHours,
}

impl Metric {
    /// Its name in suites and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissRate => "miss_rate",
            Self::TtftMean => "ttft_mean",
            Self::TtftP50 => "ttft_p50",
            Self::TtftP95 => "ttft_p95",
            Self::TtftP99 => "ttft_p99",
            Self::TpotMean => "tpot_mean",
            Self::TpotP99 => "tpot_p99",
            Self::E2eMean => "e2e_mean",
            Self::E2eP99 => "e2e_p99",
            Self::Unfairness => "unfairness",
            Self::GpuHours => "gpu_hours",
        }
    }

    /// What its values are.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::MissRate | Self::Unfairness => Unit::Share,
            Self::GpuHours => Unit::GpuHours,
            _ => Unit::Ms,
        }
    }

    /// Added before the logarithm is taken, so that a perfect figure is finite and noise near zero
    /// stays small: half a percent of misses, a hundredth of unfairness, four seconds of a GPU, a
    /// millisecond.
    #[must_use]
    pub fn epsilon(self) -> f64 {
        match self {
            Self::MissRate => 0.005,
            Self::Unfairness => 0.01,
            Self::GpuHours => 0.001,
            _ => 1.0,
        }
    }
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of something.
    Share,
    /// Milliseconds.
    Ms,
    /// Hours of a GPU.
    GpuHours,
}

/// The GPUs of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuTime {
    /// Hours that instances took, those in which they start and finish what they have included.
    pub hours: f64,
    /// Hours that all instances which the pools may have would take up to the last arrival: the
    /// same whatever policies do.
    pub most_hours: f64,
}

/// What a request that missed its targets costs, where nothing is said: ten times its share of the
/// hours that all instances would take.
const MISS_WEIGHT: f64 = 10.0;

/// A metric, the requests that it is over, and its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The metric.
    pub metric: Metric,
    /// Only requests of this SLO class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Relative weight, above 0.
    #[serde(default = "one")]
    pub weight: f64,
    /// Of `gpu_hours`: a request that was not served within its targets costs so many times its
    /// share, among all requests, of the hours that all instances which the pools may have would
    /// take; 10 if not given. It is at least 1: who serves nobody then never pays less than who has
    /// all instances all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miss_weight: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl Objective {
    /// Its name: that of the metric, and the class in brackets.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.class {
            Some(class) => format!("{}[{class}]", self.metric.name()),
            None => self.metric.name().to_owned(),
        }
    }

    /// How much more a miss costs than its share of the hours that all instances would take; `None`
    /// where it is not charged for in hours.
    #[must_use]
    pub fn charged(&self) -> Option<f64> {
        (self.metric == Metric::GpuHours).then(|| self.miss_weight.unwrap_or(MISS_WEIGHT))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(format!(
                "the weight is {}; expected a number above 0",
                self.weight
            ));
        }
        if self.metric == Metric::Unfairness && self.class.is_some() {
            return Err("unfairness is among tenants; it has no class".into());
        }
        if self.metric == Metric::GpuHours && self.class.is_some() {
            return Err("gpu_hours are of all requests; they have no class".into());
        }
        if let Some(weight) = self.miss_weight {
            if self.metric != Metric::GpuHours {
                return Err("miss_weight belongs to gpu_hours; it has no effect here".into());
            }
            if !(1.0..=1000.0).contains(&weight) {
                return Err(format!("miss_weight is {weight}; expected 1 to 1000"));
            }
        }
        Ok(())
    }

    /// The value in a run, in the [unit](Metric::unit) of the metric. `horizon_us` is the latency
    /// of an unserved request, `gpus` what the instances took.
    #[must_use]
    pub fn of(
        &self,
        record: &RunRecord,
        targets: &SloTargets,
        horizon_us: i64,
        gpus: GpuTime,
    ) -> f64 {
        // Misses are charged for by what all instances would take, not by what they took: otherwise
        // nothing would cost anything where there are none.
        let charged =
            |missed: f64| gpus.hours + self.charged().unwrap_or(0.0) * missed * gpus.most_hours;
        let symbol = self.class.as_ref().map(|class| record.symbols.get(class));
        let mut of_class = record
            .requests
            .iter()
            .filter(|r| symbol.is_none_or(|class| class == Some(r.slo_class)))
            .peekable();
        let ms = |us: f64| us / 1000.0;
        let worst = horizon_us as f64;
        if of_class.peek().is_none() {
            return match self.metric {
                Metric::MissRate | Metric::Unfairness => 1.0,
                Metric::GpuHours => charged(1.0),
                _ => ms(worst),
            };
        }
        let ttft = |r: &RequestRecord| served(r).then_some(r.ttft_us).flatten();
        let values = |value: &dyn Fn(&RequestRecord) -> Option<f64>| -> Floats {
            Floats::new(
                of_class
                    .clone()
                    .map(|r| value(r).unwrap_or(worst))
                    .collect(),
            )
        };
        let ttfts = || values(&|r| ttft(r).map(|v| v as f64));
        // A request of one output token has no time per token after the first. Its policy can do
        // nothing about that, so it takes no part; one that was not served is as bad as any.
        let tpots = || {
            let counts = of_class
                .clone()
                .filter(|r| !served(r) || r.mean_itl_us.is_some());
            let values: Vec<f64> = counts
                .map(|r| r.mean_itl_us.filter(|_| served(r)).unwrap_or(worst))
                .collect();
            Floats::new(if values.is_empty() {
                vec![worst]
            } else {
                values
            })
        };
        let e2es = || values(&|r| served(r).then_some(r.e2e_us).flatten().map(|v| v as f64));
        let average = |values: Floats| values.sum() / values.count() as f64;
        let miss_rate = || {
            let (n, missed) = of_class.clone().fold((0u64, 0u64), |(n, missed), r| {
                let class = record.symbols.name(r.slo_class);
                (n + 1, missed + u64::from(!good(r, class, targets)))
            });
            missed as f64 / n as f64
        };
        match self.metric {
            Metric::MissRate => miss_rate(),
            Metric::GpuHours => charged(miss_rate()),
            Metric::TtftMean => ms(average(ttfts())),
            Metric::TtftP50 => ms(percentile(&ttfts(), 50.0)),
            Metric::TtftP95 => ms(percentile(&ttfts(), 95.0)),
            Metric::TtftP99 => ms(percentile(&ttfts(), 99.0)),
            Metric::TpotMean => ms(average(tpots())),
            Metric::TpotP99 => ms(percentile(&tpots(), 99.0)),
            Metric::E2eMean => ms(average(e2es())),
            Metric::E2eP99 => ms(percentile(&e2es(), 99.0)),
            Metric::Unfairness => unfairness(record, worst),
        }
    }
}

/// Whether a request was served in full.
#[must_use]
pub fn served(r: &RequestRecord) -> bool {
    matches!(r.outcome, Outcome::Completed | Outcome::LengthCapped)
}

/// Whether a request was served in full, within the targets of its class.
#[must_use]
pub fn good(r: &RequestRecord, class: &str, targets: &SloTargets) -> bool {
    let class = class_name(class);
    let values = [
        (Dimension::Ttft, r.ttft_us.map(|v| v as f64)),
        // Without a gap there is none that is too long.
        (Dimension::Itl, Some(r.mean_itl_us.unwrap_or(0.0))),
        (Dimension::E2e, r.e2e_us.map(|v| v as f64)),
    ];
    served(r)
        && values.into_iter().all(|(dimension, value)| {
            let target = targets.target_us(class, dimension);
            target.is_none_or(|target| value.is_some_and(|v| v <= target))
        })
}

fn unfairness(record: &RunRecord, worst: f64) -> f64 {
    let mut tenants: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for r in &record.requests {
        let latency = if served(r) {
            r.e2e_us.map_or(worst, |v| v as f64)
        } else {
            worst
        };
        let tenant = tenants.entry(record.symbols.name(r.tenant)).or_default();
        tenant.0 += latency / f64::from(r.output_tokens.max(1));
        tenant.1 += 1.0;
    }
    1.0 - jain(tenants.values().map(|(sum, n)| sum / n))
}

/// Logarithms of the objectives' values, in their order.
#[must_use]
pub fn logs(
    objectives: &[Objective],
    record: &RunRecord,
    targets: &SloTargets,
    horizon_us: i64,
    gpus: GpuTime,
) -> Vec<f64> {
    let log = |o: &Objective| (o.of(record, targets, horizon_us, gpus) + o.metric.epsilon()).ln();
    objectives.iter().map(log).collect()
}

/// The logarithm of a run's cost: the weighted mean of the logarithms of its values.
#[must_use]
pub fn log_cost(objectives: &[Objective], logs: &[f64]) -> f64 {
    let weights: f64 = objectives.iter().map(|o| o.weight).sum();
    let sum: f64 = objectives.iter().zip(logs).map(|(o, x)| o.weight * x).sum();
    sum / weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::record::{InstanceTotals, PutOff, RoutingObservations, State};
    use windtunnel_base::request::{Request, RequestId, Symbols, TokenSeq};

    /// Requests by outcome, time to first token and mean inter-token latency, of the class `a`.
    fn record(requests: &[(Outcome, i64, Option<f64>)]) -> RunRecord {
        let mut symbols = Symbols::default();
        let class = symbols.intern("a");
        let one = |(serial, &(outcome, ttft, itl)): (u64, &(Outcome, i64, Option<f64>))| {
            let (prompt, output) = (TokenSeq::of(1, 10), TokenSeq::of(2, 2));
            let request = Request {
                slo_class: class,
                ..Request::new(RequestId::Number(serial), 0, prompt, output)
            };
            let state = match outcome {
                Outcome::Completed => State::Completed,
                _ => State::Queued,
            };
            let mut r = RequestRecord::unserved(serial, &request, state, outcome);
            if state == State::Completed {
                (r.ttft_us, r.e2e_us, r.mean_itl_us) = (Some(ttft), Some(2 * ttft), itl);
            }
            r
        };
        RunRecord {
            requests: (0..).zip(requests).map(one).collect(),
            pools: Vec::new(),
            instances: vec![InstanceTotals::default()],
            rejected_by_admission: 0,
            rejected_by_routing: 0,
            put_off: PutOff::default(),
            gateway: None,
            scaling: None,
            shed_by_class: Vec::new(),
            decisions: Vec::new(),
            observations: RoutingObservations::default(),
            kv_events: Vec::new(),
            transfers: None,
            sub_requests: Vec::new(),
            fault: None,
            symbols,
        }
    }

    fn value(metric: Metric, class: &str, record: &RunRecord) -> f64 {
        let objective = Objective {
            metric,
            class: Some(class.to_owned()),
            weight: 1.0,
            miss_weight: None,
        };
        let gpus = GpuTime::default();
        objective.of(record, &SloTargets::default(), 5_000_000, gpus)
    }

    #[test]
    fn of_no_requests_every_value_is_the_worst() {
        let served = record(&[(Outcome::Completed, 1000, Some(10.0))]);
        assert_eq!(value(Metric::MissRate, "a", &served), 0.0);
        assert_eq!(value(Metric::TtftP99, "a", &served), 1.0);
        assert_eq!(value(Metric::MissRate, "b", &served), 1.0);
        assert_eq!(value(Metric::TtftP99, "b", &served), 5000.0);
        assert_eq!(value(Metric::E2eMean, "b", &served), 5000.0);
        let refused = record(&[(Outcome::Rejected, 0, None)]);
        assert_eq!(value(Metric::MissRate, "a", &refused), 1.0);
        assert_eq!(value(Metric::TpotMean, "a", &refused), 5000.0);
    }

    #[test]
    fn hours_of_gpus_are_charged_for_with_misses_so_that_refusing_never_pays() {
        let value = |weight: Option<f64>, hours: f64, record: &RunRecord| {
            let objective = Objective {
                metric: Metric::GpuHours,
                class: None,
                weight: 1.0,
                miss_weight: weight,
            };
            let most_hours = 8.0;
            let gpus = GpuTime { hours, most_hours };
            objective.of(record, &SloTargets::default(), 5_000_000, gpus)
        };
        let one = |outcome| (outcome, 1000, Some(10.0));
        let all = record(&[one(Outcome::Completed), one(Outcome::Completed)]);
        let half = record(&[one(Outcome::Completed), one(Outcome::Failed)]);
        let none = record(&[one(Outcome::Held), one(Outcome::Rejected)]);
        assert_eq!(value(None, 3.0, &all), 3.0);
        // Half of the requests, ten times, of eight hours.
        assert_eq!(value(None, 2.0, &half), 2.0 + 40.0);
        assert_eq!(value(Some(1.0), 2.0, &half), 2.0 + 4.0);
        // No GPU at all is no better than all of them all the time.
        assert_eq!(value(Some(1.0), 0.0, &none), value(Some(1.0), 8.0, &all));
        assert_eq!(value(None, 0.0, &record(&[])), 80.0);
    }

    #[test]
    fn a_request_of_one_token_has_no_time_per_token_and_misses_no_target_on_it() {
        let mixed = record(&[
            (Outcome::Completed, 1000, Some(8000.0)),
            (Outcome::Completed, 1000, None),
        ]);
        assert_eq!(value(Metric::TpotMean, "a", &mixed), 8.0);
        let mut targets = SloTargets::default();
        targets.set("a", Dimension::Itl, 9000.0);
        assert!(mixed.requests.iter().all(|r| good(r, "a", &targets)));
        let short = record(&[(Outcome::Completed, 1000, None)]);
        assert_eq!(value(Metric::TpotP99, "a", &short), 5000.0);
    }
}
