//! What a simulation of a measured run is compared by.
//!
//! Single requests cannot be compared: where in a step a request arrives is chance, and moves its
//! time to first token by a whole step. So requests that are alike are put into cells, by prompt
//! length or by how many others ran meanwhile, and a cell counts with the centre (Huber's) of the
//! logarithms of simulated over measured times.

use super::errors::{LoadErrors, MetricErrors};
use super::simulate::Simulated;
use std::ops::Range;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;
use windtunnel_workload::measured::Replay;

/// Fewest answered requests of a run.
const FEWEST: usize = 30;
/// Share of the requests of a run, its last, that the fit does not see.
const HELD_OUT: f64 = 0.3;
/// Share, the first, that no cell has: a server that was just started is slower.
const WARM_UP: f64 = 0.05;
/// Cells of a metric, and the fewest requests of one.
const CELLS: usize = 4;
const FEWEST_OF_CELL: usize = 15;
/// What a model of steps is off in any case, as a share: repeated measurements differ by as much.
const FLOOR_TTFT: f64 = 0.03;
const FLOOR_TPOT: f64 = 0.01;
const FLOOR_GAP: f64 = 0.015;
/// Parts of a cell in the order of time: their spread says how well its centre is known.
const PARTS: usize = 8;
/// Deviations beyond this many standard ones count less.
const HUBER: f64 = 1.345;

/// What a cell compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Ttft,
    Tpot,
}

/// Requests that are compared together, by their numbers, ascending.
#[derive(Clone, Debug)]
struct Cell {
    metric: Metric,
    requests: Vec<usize>,
}

/// A measured run, with what a simulation of it is compared by.
#[derive(Clone, Debug)]
pub struct Load {
    /// The file.
    pub name: String,
    measured: Vec<MeasuredRequest>,
    cells: Vec<Cell>,
    median_gap_us: Option<f64>,
    /// Others that run when a request gets its first token; mean.
    mean_running: f64,
    rate_rps: f64,
    /// The server was behind its load.
    is_saturated: bool,
    trained: usize,
}

/// How a simulation of a run compares: of each cell the centre of ln(simulated / measured), and its
/// standard error.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) residuals: Vec<f64>,
    pub(super) errors: Vec<f64>,
    /// The simulation is behind a load that the server carried.
    pub(super) is_behind: bool,
}

impl Load {
    /// Puts the requests of a run into cells.
    ///
    /// # Errors
    /// When there are too few.
    pub(super) fn new(replay: &Replay) -> Result<Self, InputError> {
        let measured = replay.requests.clone();
        let n = measured.len();
        if n < FEWEST {
            let what = format!("it has {n} answered requests; expected {FEWEST} or more");
            return Err(InputError::in_file(&replay.name, what));
        }
        let trained = n - (n as f64 * HELD_OUT).round() as usize;
        let seen = (n as f64 * WARM_UP).round() as usize..trained;
        let running = running(&measured);
        let is_saturated = is_growing(&measured);
        let mut cells = Vec::new();
        let ttft = |k: &usize| f64::from(measured[*k].prompt_tokens.unwrap_or(0));
        if !is_saturated {
            cells.extend(cells_by(Metric::Ttft, seen.clone().collect(), ttft));
        }
        let with_tpot: Vec<usize> = seen
            .clone()
            .filter(|k| measured[*k].tpot_us().is_some_and(|us| us > 0.0))
            .collect();
        cells.extend(cells_by(Metric::Tpot, with_tpot, |k| running[*k]));
        let mut gaps: Vec<f64> = measured[..trained]
            .iter()
            .flat_map(|r| r.gaps_us.iter().copied())
            .collect();
        gaps.sort_unstable_by(f64::total_cmp);
        let median_gap_us = gaps.get(gaps.len() / 2).copied().filter(|us| *us > 0.0);
        let arrival = |k: usize| measured[k].arrival_us.unwrap_or_default();
        let seconds = (arrival(n - 1) - arrival(0)) / 1e6;
        Ok(Self {
            name: replay.name.clone(),
            cells,
            median_gap_us,
            mean_running: running.iter().sum::<f64>() / n as f64,
            rate_rps: (n - 1) as f64 / seconds.max(1e-6),
            is_saturated,
            trained,
            measured,
        })
    }

    /// Answered requests.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.measured.len()
    }

    /// Requests that the fit does not see.
    #[must_use]
    pub fn held_out(&self) -> Range<usize> {
        self.trained..self.measured.len()
    }

    /// Requests per second.
    #[must_use]
    pub fn rate_rps(&self) -> f64 {
        self.rate_rps
    }

    /// Requests that run when one gets its first token.
    #[must_use]
    pub fn mean_running(&self) -> f64 {
        self.mean_running
    }

    /// Are there times of single tokens?
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        self.median_gap_us.is_some()
    }

    /// Requests from the first on that a fit simulates: those that arrive while others run that it
    /// looks at.
    pub(super) fn simulated(&self) -> usize {
        let ends = self.measured[..self.trained].iter();
        let end = ends.filter_map(|r| Some(r.arrival_us? + r.e2e_us?));
        let end = end.fold(0.0, f64::max);
        let before = |r: &&MeasuredRequest| r.arrival_us.is_some_and(|at| at <= end);
        self.trained
            + self.measured[self.trained..]
                .iter()
                .take_while(before)
                .count()
    }

    /// What a person should know of it.
    pub(super) fn note(&self) -> Option<String> {
        self.is_saturated.then(|| {
            format!(
                "{}: requests waited longer and longer, as the server was behind its load; their time to first token is \
                 not compared",
                self.name
            )
        })
    }

    /// Compares a simulation of its first requests.
    pub(super) fn compare(&self, simulated: &Simulated) -> Compared {
        let (mut residuals, mut errors) = (Vec::new(), Vec::new());
        for cell in &self.cells {
            let logs = cell.requests.iter().filter_map(|k| {
                let (real, times) = (&self.measured[*k], simulated.requests[*k]?);
                let ratio = match cell.metric {
                    Metric::Ttft => times.ttft_us / real.ttft_us?,
                    Metric::Tpot => times.tpot_us(real.output_tokens?) / real.tpot_us()?,
                };
                (ratio > 0.0).then(|| ratio.ln())
            });
            let logs: Vec<f64> = logs.collect();
            let floor = match cell.metric {
                Metric::Ttft => FLOOR_TTFT,
                Metric::Tpot => FLOOR_TPOT,
            };
            let (centre, error) = centre_and_error(&logs);
            residuals.push(centre);
            errors.push(error.hypot(floor));
        }
        if let (Some(real), Some(found)) = (self.median_gap_us, simulated.median_gap_us) {
            residuals.push((found / real).ln());
            errors.push(FLOOR_GAP);
        }
        Compared {
            residuals,
            errors,
            is_behind: !self.is_saturated && self.is_behind(simulated),
        }
    }

    /// Do its last requests take twice as long as they did, or are they not served?
    fn is_behind(&self, simulated: &Simulated) -> bool {
        let last = self.trained - self.trained / 5..self.trained;
        let mut real: Vec<f64> = Vec::new();
        let mut found: Vec<f64> = Vec::new();
        for k in last {
            real.extend(self.measured[k].e2e_us);
            found.push(simulated.requests[k].map_or(f64::INFINITY, |times| times.e2e_us));
        }
        median(&mut found) > 2.0 * median(&mut real)
    }
}

/// Cells of about equal size by a figure of their requests.
fn cells_by(metric: Metric, mut requests: Vec<usize>, by: impl Fn(&usize) -> f64) -> Vec<Cell> {
    requests.sort_by(|a, b| by(a).total_cmp(&by(b)).then(a.cmp(b)));
    let cells = (requests.len() / FEWEST_OF_CELL).clamp(1, CELLS);
    let size = requests.len().div_ceil(cells).max(1);
    let cells = requests.chunks(size).map(|part| {
        let mut requests = part.to_vec();
        requests.sort_unstable();
        Cell { metric, requests }
    });
    cells.collect()
}

/// How many requests have their first token and not their last when each gets its first token.
fn running(measured: &[MeasuredRequest]) -> Vec<f64> {
    let first = |r: &MeasuredRequest| r.arrival_us.unwrap_or(0.0) + r.ttft_us.unwrap_or(0.0);
    let last = |r: &MeasuredRequest| r.arrival_us.unwrap_or(0.0) + r.e2e_us.unwrap_or(0.0);
    let sorted = |of: &dyn Fn(&MeasuredRequest) -> f64| {
        let mut times: Vec<f64> = measured.iter().map(of).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    };
    let (firsts, lasts) = (sorted(&first), sorted(&last));
    let at = |r: &MeasuredRequest| {
        let time = first(r);
        let begun = firsts.partition_point(|t| *t <= time);
        (begun - lasts.partition_point(|t| *t < time).min(begun)) as f64
    };
    measured.iter().map(at).collect()
}

/// Does the time to first token grow from the first fifth to the last, beyond what is chance?
fn is_growing(measured: &[MeasuredRequest]) -> bool {
    let fifth = measured.len() / 5;
    let typical = |part: &[MeasuredRequest]| {
        let mut times: Vec<f64> = part.iter().filter_map(|r| r.ttft_us).collect();
        median(&mut times)
    };
    let (before, after) = (
        typical(&measured[fifth..2 * fifth]),
        typical(&measured[measured.len() - fifth..]),
    );
    after > 1e6 && after > 3.0 * before
}

/// The median; NaN of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Huber's centre of some values in the order of time, and its standard error by the spread of that
/// of their parts: neighbours share steps, and are not independent.
fn centre_and_error(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 1.0);
    }
    let whole = centre(values);
    let parts = PARTS.min(values.len() / 4).max(1);
    if parts < 3 {
        return (whole, 0.1);
    }
    let size = values.len().div_ceil(parts);
    let centres: Vec<f64> = values.chunks(size).map(centre).collect();
    let n = centres.len() as f64;
    let squares: f64 = centres.iter().map(|c| (c - whole).powi(2)).sum();
    (whole, (squares / (n - 1.0) / n).sqrt())
}

fn centre(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    let mut centre = median(&mut sorted);
    let mut deviations: Vec<f64> = values.iter().map(|v| (v - centre).abs()).collect();
    let scale = (1.4826 * median(&mut deviations)).max(0.002);
    for _ in 0..20 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for value in values {
            let weight = (HUBER * scale / (value - centre).abs().max(1e-12)).min(1.0);
            sum += weight * value;
            weights += weight;
        }
        centre = sum / weights;
    }
    centre
}

/// Errors of a simulation on the requests that were held out.
pub(super) fn errors_of_means(load: &Load, simulated: &Simulated) -> LoadErrors {
    let (mut ttft, mut tpot, mut e2e) = (Vec::new(), Vec::new(), Vec::new());
    for k in load.held_out() {
        let real = &load.measured[k];
        let (Some(times), Some(real_ttft), Some(real_e2e)) =
            (simulated.requests[k], real.ttft_us, real.e2e_us)
        else {
            continue;
        };
        ttft.push((times.ttft_us, real_ttft));
        e2e.push((times.e2e_us, real_e2e));
        if let (Some(us), Some(tokens)) =
            (real.tpot_us().filter(|us| *us > 0.0), real.output_tokens)
        {
            tpot.push((times.tpot_us(tokens), us));
        }
    }
    LoadErrors {
        ttft: metric_errors(&ttft),
        tpot: (!tpot.is_empty()).then(|| metric_errors(&tpot)),
        e2e: metric_errors(&e2e),
    }
}

fn metric_errors(pairs: &[(f64, f64)]) -> MetricErrors {
    let sums = pairs
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let mut single: Vec<f64> = pairs
        .iter()
        .map(|(found, real)| 100.0 * (found / real - 1.0).abs())
        .collect();
    let mean = single.iter().sum::<f64>() / single.len() as f64;
    MetricErrors {
        of_mean: 100.0 * (sums.0 / sums.1 - 1.0),
        median: median(&mut single),
        mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_centre_does_not_follow_what_lies_far_away() {
        let mut values = vec![0.01, 0.02, 0.03, 0.02, 0.01, 0.03, 0.02];
        let without = centre(&values);
        values.push(5.0);
        assert!((centre(&values) - without).abs() < 0.01);
        let alike: Vec<f64> = (0..80).map(|k| f64::from(k % 3) * 0.01).collect();
        let (middle, error) = centre_and_error(&alike);
        assert!(
            (middle - 0.01).abs() < 0.001 && error < 0.001,
            "{middle} {error}"
        );
        // What drifts is known less well than its spread says.
        let drifting: Vec<f64> = (0..80).map(|k| f64::from(k) * 0.001).collect();
        assert!(centre_and_error(&drifting).1 > 0.005);
    }

    #[test]
    fn requests_that_run_are_counted_at_first_tokens() {
        let request = |arrival: f64, ttft: f64, e2e: f64| MeasuredRequest {
            arrival_us: Some(arrival),
            ttft_us: Some(ttft),
            e2e_us: Some(e2e),
            ..MeasuredRequest::default()
        };
        let all = [
            request(0.0, 10.0, 100.0),
            request(20.0, 10.0, 30.0),
            request(60.0, 10.0, 20.0),
        ];
        assert_eq!(running(&all), [1.0, 2.0, 2.0]);
    }
}
