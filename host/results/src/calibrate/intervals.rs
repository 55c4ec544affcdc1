//! Intervals of figures of requests that follow each other.

use serde::Serialize;
use windtunnel_base::rng::Stream;

/// Samples that an interval is made of.
pub const DRAWS: usize = 1000;
/// With fewer requests, nobody can say how sure a figure is.
const FEWEST: usize = 10;
/// Seed of the samples: the same requests have the same intervals.
const SEED: u64 = 42;

/// Where a figure is, with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

impl Interval {
    /// Of figures of samples; `None` of too few.
    fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.retain(|f| f.is_finite());
        if figures.len() < DRAWS / 2 {
            return None;
        }
        figures.sort_by(f64::total_cmp);
        let at = |share: f64| figures[(share * (figures.len() - 1) as f64).round() as usize];
        Some(Self {
            low: at(0.025),
            high: at(0.975),
        })
    }
}

/// The `draw`-th sample of `n` requests in the order of time: runs of neighbours, as those are
/// alike (a queue takes its time), of the cube root of their number each, drawn with replacement.
fn sample(n: usize, label: &str, draw: u64) -> Vec<usize> {
    let numbers = Stream::new(SEED, label, draw, 0);
    let run = (n as f64).cbrt().ceil() as usize;
    let mut places = Vec::with_capacity(n + run);
    while places.len() < n {
        let from = (numbers.next() % n as u64) as usize;
        places.extend((from..from + run).map(|k| k % n));
    }
    places.truncate(n);
    places
}

/// Intervals of `N` figures of `n` requests, by the bootstrap over runs of neighbours: `figures`
/// gives them for the requests at these places. `None` where there are too few.
pub(super) fn intervals<const N: usize>(
    n: usize,
    figures: impl Fn(&[usize]) -> [f64; N],
) -> [Option<Interval>; N] {
    joint(&[n], |places| figures(&places[0]))
}

/// The same of several lists of requests, each sampled by itself.
pub(super) fn joint<const N: usize>(
    sizes: &[usize],
    figures: impl Fn(&[Vec<usize>]) -> [f64; N],
) -> [Option<Interval>; N] {
    if sizes.iter().any(|n| *n < FEWEST) {
        return [None; N];
    }
    let mut drawn: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(DRAWS));
    for draw in 0..DRAWS as u64 {
        let samples = sizes.iter().enumerate();
        let samples = samples.map(|(k, n)| sample(*n, &format!("calibrate {k}"), draw));
        let samples: Vec<Vec<usize>> = samples.collect();
        for (all, figure) in drawn.iter_mut().zip(figures(&samples)) {
            all.push(figure);
        }
    }
    drawn.map(Interval::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_has_the_width_that_it_must_have() {
        // Independent values, so runs of neighbours change nothing: 1.96 standard errors.
        let numbers = Stream::new(1, "values", 0, 0);
        let values: Vec<f64> = (0..1000).map(|_| (numbers.next() % 1000) as f64).collect();
        let mean = |of: &[usize]| of.iter().map(|k| values[*k]).sum::<f64>() / of.len() as f64;
        let [found] = intervals(values.len(), |places| [mean(places)]);
        let found = found.expect("enough values");
        let whole = mean(&(0..1000).collect::<Vec<_>>());
        assert!(found.low < whole && whole < found.high);
        let expected = 2.0 * 1.96 * 288.7 / 1000_f64.sqrt();
        let width = found.high - found.low;
        assert!((width / expected - 1.0).abs() < 0.2, "{width} {expected}");
        assert_eq!(intervals(9, |_| [1.0]), [None]);
    }
}
