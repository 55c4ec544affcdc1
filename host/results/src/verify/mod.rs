//! How far a simulation is from what was measured, request by request.

mod steps;

pub use steps::{StepComparison, StepParting, TokensDiffer, compare_steps};

use crate::metrics::stats::{Floats, percentile};
use crate::report::table::styled;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write;
use windtunnel_base::measured::MeasuredRequest;

/// Takes a metric of a request, microseconds.
type Figure = fn(&MeasuredRequest) -> Option<f64>;

/// The times that are compared: name and place.
const METRICS: [(&str, Figure); 4] = [
    ("queue_time", |t| t.queue_us),
    ("ttft", |t| t.ttft_us),
    ("itl", |t| t.itl_us),
    ("e2e", |t| t.e2e_us),
];

/// The name of the time of a step.
const METRIC_STEP: &str = "step_time";

/// The columns of a table of differences.
const COLUMNS: [&str; 6] = ["", "requests", "median", "p90", "max", "max, ms"];

/// Differences of one metric over all requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differences {
    /// Which one.
    pub metric: &'static str,
    /// Requests, or steps, that have it in both files.
    pub compared: usize,
    /// Those whose real value is 0 and whose simulated one is not: they have no relative error.
    pub without_relative_error: usize,
    /// |simulated - real| / real: median, 90th percentile, largest; `None` of nothing.
    pub relative_error_median: Option<f64>,
    /// 90th percentile.
    pub relative_error_p90: Option<f64>,
    /// Largest.
    pub relative_error_max: Option<f64>,
    /// |simulated - real|, largest, microseconds.
    pub error_us_max: Option<f64>,
}

/// A request that both files have, and that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parting {
    /// Its name, or its number in the order of arrival.
    pub request: String,
    /// What differs.
    pub metric: &'static str,
    /// Microseconds.
    pub real_us: f64,
    /// Microseconds.
    pub simulated_us: f64,
}

/// Two files compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// How requests were matched: `id` or `order`.
    pub matched_by: &'static str,
    /// Requests in both.
    pub matched: usize,
    /// Requests that only the real file has.
    pub only_real: usize,
    /// Requests that only the simulation has.
    pub only_simulated: usize,
    /// By metric; those that a file lacks are absent.
    pub differences: Vec<Differences>,
    /// The first request, in order of arrival, that differs by more than the tolerance.
    pub first_difference: Option<Parting>,
    /// Largest relative error that is fine.
    pub tolerance: f64,
    /// Is everything within the tolerance, and every request in both?
    pub within_tolerance: bool,
}

/// Compares a simulation with what was measured. Values that differ by a microsecond at most are
/// equal: that is how finely a simulation counts.
#[must_use]
pub fn compare(
    real: &[MeasuredRequest],
    simulated: &[MeasuredRequest],
    tolerance: f64,
) -> Comparison {
    let (real, simulated) = (in_order(real), in_order(simulated));
    let by_id: HashMap<&str, &MeasuredRequest> = simulated
        .iter()
        .filter_map(|t| Some((t.id.as_deref()?, *t)))
        .collect();
    let has_twin = |t: &&&MeasuredRequest| t.id.as_deref().is_some_and(|id| by_id.contains_key(id));
    let matches_ids = !real.is_empty() && real.iter().any(|t| has_twin(&t));
    let pairs: Vec<(usize, &MeasuredRequest, &MeasuredRequest)> = if matches_ids {
        let twins = real.iter().enumerate().filter(|(_, t)| has_twin(t));
        let twin = |t: &MeasuredRequest| t.id.as_deref().and_then(|id| by_id.get(id).copied());
        twins.filter_map(|(k, t)| Some((k, *t, twin(t)?))).collect()
    } else {
        let both = real.iter().zip(&simulated).enumerate();
        both.map(|(k, (a, b))| (k, *a, *b)).collect()
    };
    let mut first_difference = None;
    let mut worst: f64 = 0.0;
    let mut differences = Vec::new();
    for (metric, of) in METRICS {
        let both = pairs.iter().filter_map(|(_, a, b)| of(a).zip(of(b)));
        let Some(found) = difference(metric, &both.collect::<Vec<_>>()) else {
            continue;
        };
        worst = worst.max(found.relative_error_max.unwrap_or(0.0));
        differences.push(found);
    }
    'requests: for (k, a, b) in &pairs {
        for (metric, of) in METRICS {
            if let Some((real_us, simulated_us)) = of(a).zip(of(b))
                && error(real_us, simulated_us).is_none_or(|e| e > tolerance)
            {
                first_difference = Some(Parting {
                    request: a.id.clone().unwrap_or_else(|| format!("number {}", k + 1)),
                    metric,
                    real_us,
                    simulated_us,
                });
                break 'requests;
            }
        }
    }
    let (only_real, only_simulated) = (real.len() - pairs.len(), simulated.len() - pairs.len());
    Comparison {
        matched_by: if matches_ids { "id" } else { "order" },
        matched: pairs.len(),
        only_real,
        only_simulated,
        within_tolerance: first_difference.is_none()
            && only_real == 0
            && only_simulated == 0
            && !differences.is_empty()
            && worst <= tolerance.max(0.0),
        differences,
        first_difference,
        tolerance,
    }
}

/// The differences of a metric over pairs of a real and a simulated time, microseconds; `None` of
/// nothing.
fn difference(metric: &'static str, pairs: &[(f64, f64)]) -> Option<Differences> {
    let relative: Vec<f64> = pairs.iter().filter_map(|(a, b)| error(*a, *b)).collect();
    let largest = |all: &mut dyn Iterator<Item = f64>| all.reduce(f64::max);
    let max = largest(&mut relative.iter().copied());
    let error_us_max = largest(&mut pairs.iter().map(|(a, b)| (b - a).abs()))?;
    let without_relative_error = pairs.len() - relative.len();
    let relative = Floats::new(relative);
    let at = |p: f64| max.map(|_| percentile(&relative, p));
    Some(Differences {
        metric,
        compared: pairs.len(),
        without_relative_error,
        relative_error_median: at(50.0),
        relative_error_p90: at(90.0),
        relative_error_max: max,
        error_us_max: Some(error_us_max),
    })
}

/// |simulated - real| / real, 0 for what differs by a microsecond at most; `None` = real is 0.
fn error(real: f64, simulated: f64) -> Option<f64> {
    let difference = (simulated - real).abs();
    if difference <= 1.0 {
        return Some(0.0);
    }
    (real > 0.0).then(|| difference / real)
}

/// By arrival where all have one, else as they stand.
fn in_order(times: &[MeasuredRequest]) -> Vec<&MeasuredRequest> {
    let mut all: Vec<&MeasuredRequest> = times.iter().collect();
    if all.iter().all(|t| t.arrival_us.is_some()) {
        all.sort_by(|a, b| {
            let at = |t: &MeasuredRequest| t.arrival_us.unwrap_or_default();
            at(a).total_cmp(&at(b))
        });
    }
    all
}

impl Differences {
    /// As [`COLUMNS`] have it.
    fn cells(&self) -> [String; 6] {
        let percent = |e: Option<f64>| e.map_or("-".to_owned(), |e| format!("{:.2} %", e * 1e2));
        [
            self.metric.to_owned(),
            self.compared.to_string(),
            percent(self.relative_error_median),
            percent(self.relative_error_p90),
            percent(self.relative_error_max),
            self.error_us_max
                .map_or("-".into(), |us| format!("{:.3}", us / 1e3)),
        ]
    }
}

impl Comparison {
    /// The comparison for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = styled(&COLUMNS);
        for d in &self.differences {
            table.add_row(d.cells());
        }
        let mut text = format!(
            "relative errors of {} requests, matched by {}\n{table}\n",
            self.matched, self.matched_by
        );
        if self.only_real + self.only_simulated > 0 {
            let _ = writeln!(
                text,
                "only in the real file: {}, only in the simulation: {}",
                self.only_real, self.only_simulated
            );
        }
        for d in self
            .differences
            .iter()
            .filter(|d| d.without_relative_error > 0)
        {
            let _ = writeln!(
                text,
                "{}: {} requests have 0 in the real file and no relative error",
                d.metric, d.without_relative_error
            );
        }
        if let Some(first) = &self.first_difference {
            let _ = writeln!(
                text,
                "first difference: request {}, {}: real {:.3} ms, simulated {:.3} ms",
                first.request,
                first.metric,
                first.real_us / 1e3,
                first.simulated_us / 1e3
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(id: &str, arrival: f64, ttft: f64) -> MeasuredRequest {
        MeasuredRequest {
            id: Some(id.to_owned()),
            arrival_us: Some(arrival),
            ttft_us: Some(ttft),
            ..MeasuredRequest::default()
        }
    }

    #[test]
    fn requests_are_matched_by_name_and_the_first_that_differs_is_named() {
        let real = [times("b", 5.0, 100.0), times("a", 0.0, 200.0)];
        let simulated = [times("a", 0.0, 200.5), times("b", 5.0, 110.0)];
        let found = compare(&real, &simulated, 0.05);
        assert_eq!((found.matched_by, found.matched), ("id", 2));
        let first = found.first_difference.as_ref().expect("a difference");
        assert_eq!((first.request.as_str(), first.metric), ("b", "ttft"));
        assert_eq!(found.differences[0].relative_error_max, Some(0.1));
        assert!(!found.within_tolerance);
        assert!(compare(&real, &simulated, 0.1).within_tolerance);
    }

    #[test]
    fn without_common_names_the_order_of_arrival_decides() {
        let real = [times("x", 0.0, 100.0), times("y", 1.0, 0.0)];
        let simulated = [times("1", 9.0, 50.0), times("0", 2.0, 100.0)];
        let found = compare(&real, &simulated, 0.0);
        assert_eq!(found.matched_by, "order");
        // The real TTFT of the second one is 0: no relative error, and a difference all the same.
        assert_eq!(found.differences[0].without_relative_error, 1);
        assert_eq!(found.first_difference.expect("one").request, "y");
    }

    #[test]
    fn nothing_to_compare_is_never_within_a_tolerance() {
        let one = [times("a", 0.0, 1.0)];
        assert!(!compare(&one, &[], 1.0).within_tolerance);
        let bare = [MeasuredRequest::default()];
        let found = compare(&bare, &bare, 1.0);
        assert!(found.differences.is_empty() && !found.within_tolerance);
    }
}
