//! The least cluster that meets targets, or the most load that a cluster takes: a search over runs
//! with the same seeds everywhere.
//!
//! What is asked of each candidate is the least number of a row (instances; or, for loads, the step
//! of the ladder from which on targets are missed) at which a predicate on runs is true. It is
//! taken to stay true above: one look between the last number at which it was seen false and the
//! first at which it was seen true, again and again. Results do not depend on the number of
//! threads.

mod least;
mod search;

pub use search::{Candidate, Found, Plan, Problem, Verdict, interval, search};

use crate::RunResult;
use serde::{Deserialize, Serialize};
use windtunnel_base::record::RequestRecord;
use windtunnel_results::conditions::Condition;
use windtunnel_results::report::machines::Machine;
use windtunnel_results::report::{gpu_hours, sweep};

/// What a run says to a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The figures under conditions, in their order; `None` = of nothing, or not served.
    pub figures: Vec<Option<f64>>,
    /// Are all conditions met?
    pub met: bool,
    /// The largest share of a limit that a figure uses; above 1 = beyond it. `None` = not served.
    pub use_of_limits: Option<f64>,
    /// GPUs of all instances.
    pub gpus: u64,
    /// Of them those that only prefill, in instances.
    pub prefill_instances: u32,
    /// Price of all GPUs, US dollars per hour; `None` = not known.
    pub usd_per_hour: Option<f64>,
    /// Requests that arrived per second.
    pub arrivals_per_s: f64,
    /// Requests that completed per second of the run.
    pub completed_per_s: f64,
    /// Requests that arrived.
    pub arrivals: u64,
    /// Output tokens of requests that met every limit themselves, per second in which requests
    /// came.
    pub good_tokens_per_s: f64,
    /// Most energy per output token, joules; `None` = not known.
    pub joules_per_token: Option<f64>,
    /// Time at which most requests come, seconds.
    pub peak_s: f64,
    /// Hours that GPUs were there; `None` = neither their price nor their power is known.
    #[serde(default)]
    pub gpu_hours: Option<f64>,
    /// What they cost, US dollars; `None` = not known.
    #[serde(default)]
    pub usd: Option<f64>,
}

impl Trial {
    /// What a finished run says to these conditions.
    #[must_use]
    pub fn of(result: &RunResult, conditions: &[Condition]) -> Self {
        let results = result.results();
        let figures: Vec<Option<f64>> = conditions.iter().map(|c| c.figure(&results)).collect();
        let both = || conditions.iter().zip(&figures);
        let used = both().map(|(c, x)| x.filter(|x| x.is_finite()).map(|x| c.use_of_limit(x)));
        let used: Option<Vec<f64>> = used.collect();
        let machines = &result.inputs.machines;
        let price = |m: &Machine| Some(m.gpus() as f64 * m.upkeep.price()?);
        let requests = &result.record.requests;
        let arrivals_us = || requests.iter().map(|r| r.arrival_us);
        let first = arrivals_us().min().unwrap_or(0);
        let span_s = (arrivals_us().max().unwrap_or(0) - first) as f64 / 1e6;
        let per_s = |n: f64| if span_s > 0.0 { n / span_s } else { 0.0 };
        let good = |r: &&RequestRecord| {
            let class = result.record.symbols.name(r.slo_class);
            r.e2e_us.is_some() && conditions.iter().all(|c| c.met_by(r, class))
        };
        let good_tokens: u64 = requests
            .iter()
            .filter(good)
            .map(|r| u64::from(r.generated_tokens))
            .sum();
        Self {
            met: both().all(|(c, x)| c.holds(*x)),
            use_of_limits: used.map(|used| used.into_iter().fold(0.0, f64::max)),
            gpus: machines.iter().map(Machine::gpus).sum(),
            prefill_instances: 0,
            usd_per_hour: machines.iter().map(price).sum(),
            arrivals_per_s: per_s(requests.len() as f64),
            completed_per_s: result.summary.cluster.responses_per_sec(),
            arrivals: requests.len() as u64,
            good_tokens_per_s: per_s(good_tokens as f64),
            joules_per_token: sweep::figure(&results, "busy_joules_per_output_token"),
            peak_s: peak_s(arrivals_us().collect()),
            gpu_hours: gpu_hours(&results),
            usd: sweep::figure(&results, "cost_usd"),
            figures: figures
                .into_iter()
                .map(|x| x.filter(|x| x.is_finite()))
                .collect(),
        }
    }

    /// US dollars per million output tokens of requests within the limits.
    #[must_use]
    pub fn usd_per_million_good_tokens(&self) -> Option<f64> {
        let per_hour = self.good_tokens_per_s * 3600.0 / 1e6;
        (per_hour > 0.0).then_some(self.usd_per_hour? / per_hour)
    }
}

/// Where in time most requests come: the beginning of the fullest tenth of the time in which they
/// do, seconds.
fn peak_s(mut arrivals_us: Vec<i64>) -> f64 {
    arrivals_us.sort_unstable();
    let (Some(first), Some(last)) = (arrivals_us.first(), arrivals_us.last()) else {
        return 0.0;
    };
    let window = (last - first) / 10;
    let (mut from, mut most, mut at) = (0, 0, *first);
    for (k, now) in arrivals_us.iter().enumerate() {
        while arrivals_us[from] < now - window {
            from += 1;
        }
        if k - from > most {
            (most, at) = (k - from, arrivals_us[from]);
        }
    }
    at as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_where_most_requests_come() {
        let even = (0..100).map(|k| k * 1_000_000);
        let burst = (0..50).map(|k| 42_000_000 + k * 1_000);
        assert_eq!(peak_s(even.chain(burst).collect()), 33.0);
        assert_eq!(peak_s(Vec::new()), 0.0);
        assert_eq!(peak_s(vec![7_000_000]), 7.0);
    }
}
