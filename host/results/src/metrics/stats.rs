//! Means and percentiles, with the reference's rounding.
//!
//! Percentile `p` of `n` sorted values is the linear interpolation at rank `p / 100 * (n - 1)`.
//! There are two forms that differ in the last bit: [`Spread`] converts to milliseconds inside the
//! interpolation, [`Distribution`] stays in microseconds.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Sorted values that can be asked for their k-th smallest.
pub trait Sample {
    /// How many values.
    fn count(&self) -> u64;
    /// The value with `rank` smaller-or-equal ones before it; `rank` is below
    /// [`count`](Self::count).
    fn at(&self, rank: u64) -> f64;
    /// The sum, added in ascending order.
    fn sum(&self) -> f64;
}

/// Sorted integers.
#[derive(Clone, Debug, Default)]
pub struct Ints(Vec<i64>);

impl Ints {
    /// Sorts `values`.
    #[must_use]
    pub fn new(mut values: Vec<i64>) -> Self {
        values.sort_unstable();
        Self(values)
    }
}

impl Sample for Ints {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn at(&self, rank: u64) -> f64 {
        self.0[rank as usize] as f64
    }

    /// Exact while below 2^53; the running sum in binary64 is, too, so both agree.
    fn sum(&self) -> f64 {
        self.0.iter().map(|&v| i128::from(v)).sum::<i128>() as f64
    }
}

/// Sorted floats.
#[derive(Clone, Debug, Default)]
pub struct Floats(Vec<f64>);

impl Floats {
    /// Sorts `values`.
    #[must_use]
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }
}

impl Sample for Floats {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn at(&self, rank: u64) -> f64 {
        self.0[rank as usize]
    }

    fn sum(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// Integers with multiplicities, as if each were written out that many times.
#[derive(Clone, Debug, Default)]
pub struct Weighted {
    values: Vec<i64>,
    /// How many values come up to and including the one at the same place.
    ends: Vec<u64>,
    sum: i128,
}

impl Weighted {
    /// From (value, how many) pairs in any order; values may repeat.
    #[must_use]
    pub fn new(mut pairs: Vec<(i64, u64)>) -> Self {
        // Mostly a few ascending lists one after the other: the stable sort merges those instead of
        // starting anew.
        pairs.sort();
        let mut weighted = Self::default();
        let mut end = 0;
        for (value, weight) in pairs {
            if weight == 0 {
                continue;
            }
            end += weight;
            weighted.sum += i128::from(value) * i128::from(weight);
            if weighted.values.last() == Some(&value) {
                *weighted.ends.last_mut().expect("as long as the values") = end;
            } else {
                weighted.values.push(value);
                weighted.ends.push(end);
            }
        }
        weighted
    }
}

impl Sample for Weighted {
    fn count(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn at(&self, rank: u64) -> f64 {
        self.values[self.ends.partition_point(|&end| end <= rank)] as f64
    }

    fn sum(&self) -> f64 {
        self.sum as f64
    }
}

/// The two neighbours of percentile `p` and how far it is from the first to the second; `None` of
/// nothing.
fn neighbours(sample: &impl Sample, p: f64) -> Option<(f64, f64, f64)> {
    let n = sample.count();
    if n == 0 {
        return None;
    }
    let rank = p / 100.0 * (n - 1) as f64;
    let low = rank.floor();
    let high = (rank.ceil() as u64).min(n - 1);
    Some((sample.at(low as u64), sample.at(high), rank - low))
}

/// Percentile `p` (0..=100) of microseconds, in milliseconds. 0 of nothing.
#[must_use]
pub fn percentile_ms(sample: &impl Sample, p: f64) -> f64 {
    neighbours(sample, p).map_or(0.0, |(low, high, part)| {
        if part == 0.0 {
            low / 1000.0
        } else {
            low / 1000.0 + (high - low) * part / 1000.0
        }
    })
}

/// Percentile `p` (0..=100) in the unit of the values. 0 of nothing.
#[must_use]
pub fn percentile(sample: &impl Sample, p: f64) -> f64 {
    neighbours(sample, p).map_or(0.0, |(low, high, part)| between(low, high, part))
}

fn between(low: f64, high: f64, part: f64) -> f64 {
    if part == 0.0 {
        low
    } else {
        low + part * (high - low)
    }
}

/// The same percentiles of many values, of which nobody asks for others, without sorting them all;
/// `None` of nothing.
#[must_use]
pub fn percentiles<const N: usize>(mut values: Vec<f64>, ps: [f64; N]) -> Option<[f64; N]> {
    let last = values.len().checked_sub(1)?;
    // From the highest on: what is below one holds the others.
    let mut order: [usize; N] = std::array::from_fn(|k| k);
    order.sort_unstable_by(|a, b| ps[*b].total_cmp(&ps[*a]));
    let mut found = [0.0; N];
    let mut left = values.as_mut_slice();
    let mut above = f64::INFINITY;
    for k in order {
        let rank = ps[k] / 100.0 * last as f64;
        let at = rank as usize;
        let (_, low, larger) = left.select_nth_unstable_by(at, f64::total_cmp);
        above = larger.iter().copied().fold(above, f64::min);
        let (low, high) = (*low, if at == last { *low } else { above });
        left = &mut left[..=at];
        found[k] = between(low, high, rank.fract());
    }
    Some(found)
}

/// Arithmetic mean in the unit of the values. 0 of nothing.
#[must_use]
pub fn mean(sample: &impl Sample) -> f64 {
    match sample.count() {
        0 => 0.0,
        n => sample.sum() / n as f64,
    }
}

/// Writes figures by name and how many values they are of; figures of nothing are null, since a
/// latency of 0 would look like the best.
fn serialize_figures<S: Serializer>(
    serializer: S,
    figures: &[(&str, f64)],
    count: u64,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(figures.len() + 1))?;
    for (name, value) in figures {
        map.serialize_entry(name, &(count > 0).then_some(value))?;
    }
    map.serialize_entry("count", &count)?;
    map.end()
}

/// Mean, percentiles and maximum of a latency, milliseconds. All 0 of nothing, which
/// [`figure`](Self::figure) and JSON show as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// How many values.
    pub count: u64,
}

impl Spread {
    /// Of microseconds.
    #[must_use]
    pub fn of_us(sample: &impl Sample) -> Self {
        let p = |p| percentile_ms(sample, p);
        Self {
            mean: mean(sample) / 1000.0,
            p50: p(50.0),
            p90: p(90.0),
            p95: p(95.0),
            p99: p(99.0),
            max: p(100.0),
            count: sample.count(),
        }
    }

    /// One of the figures; `None` of nothing.
    #[must_use]
    pub fn figure(&self, of: fn(&Self) -> f64) -> Option<f64> {
        (self.count > 0).then(|| of(self))
    }
}

impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let figures = [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p95", self.p95),
            ("p99", self.p99),
            ("max", self.max),
        ];
        serialize_figures(serializer, &figures, self.count)
    }
}

/// Mean and percentiles in the unit of the values. All 0 of nothing, which
/// [`figure`](Self::figure) and JSON show as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// How many values.
    pub count: u64,
}

impl Distribution {
    /// Of `sample`.
    #[must_use]
    pub fn of(sample: &impl Sample) -> Self {
        Self {
            mean: mean(sample),
            p50: percentile(sample, 50.0),
            p95: percentile(sample, 95.0),
            p99: percentile(sample, 99.0),
            count: sample.count(),
        }
    }

    /// One of the figures; `None` of nothing.
    #[must_use]
    pub fn figure(&self, of: fn(&Self) -> f64) -> Option<f64> {
        (self.count > 0).then(|| of(self))
    }

    /// The same with every figure divided by `divisor`.
    #[must_use]
    pub fn divided_by(self, divisor: f64) -> Self {
        Self {
            mean: self.mean / divisor,
            p50: self.p50 / divisor,
            p95: self.p95 / divisor,
            p99: self.p99 / divisor,
            count: self.count,
        }
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let figures = [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p95", self.p95),
            ("p99", self.p99),
        ];
        serialize_figures(serializer, &figures, self.count)
    }
}

/// Spearman's rank correlation of two equally long lists: Pearson's of their ranks, equal values
/// sharing the mean of theirs. `None` when one of them has a single value only.
#[must_use]
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(&a), mean(&b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(&b).map(|(x, y)| f(x - ma, y - mb)).sum()
    };
    let (ab, aa, bb) = (sum(&|x, y| x * y), sum(&|x, _| x * x), sum(&|_, y| y * y));
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

fn ranks(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|v| {
            let less = values.iter().filter(|w| *w < v).count();
            let equal = values.iter().filter(|w| *w == v).count();
            less as f64 + (equal as f64 + 1.0) / 2.0
        })
        .collect()
}

/// Jain's fairness index (sum x)^2 / (n sum x^2): 1 when all are equal (all zero and none
/// included: callers ask first whether there is anything to share), 1/n when one has all.
#[must_use]
pub fn jain(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for x in values {
        n += 1.0;
        sum += x;
        squares += x * x;
    }
    if squares == 0.0 {
        1.0
    } else {
        sum * sum / (n * squares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_interpolate_between_ranks() {
        let s = Ints::new(vec![4000, 1000, 3000, 2000]);
        assert_eq!(percentile_ms(&s, 50.0), 2.5);
        assert_eq!(percentile(&s, 90.0), 3700.0);
        assert_eq!(percentile_ms(&s, 100.0), 4.0);
        assert_eq!(mean(&s), 2500.0);
        assert_eq!(Spread::of_us(&Ints::default()), Spread::default());
        assert_eq!(percentile_ms(&Ints::new(vec![7]), 99.0), 0.007);
    }

    #[test]
    fn figures_of_nothing_are_null() {
        let spread = |s: Spread| serde_json::to_value(s).unwrap();
        let distribution = serde_json::to_value(Distribution::default()).unwrap();
        assert_eq!(spread(Spread::default())["p99"], serde_json::Value::Null);
        assert_eq!(distribution["mean"], serde_json::Value::Null);
        assert_eq!(distribution["count"], 0);
        let one = Spread::of_us(&Ints::new(vec![7]));
        assert_eq!(spread(one)["p99"], 0.007);
        assert_eq!(
            (one.figure(|s| s.p50), Spread::default().figure(|s| s.p50)),
            (Some(0.007), None)
        );
    }

    #[test]
    fn jain_is_one_when_equal_and_one_nth_when_one_has_all() {
        assert_eq!(jain([3.0, 3.0, 3.0]), 1.0);
        assert_eq!(jain([5.0, 0.0]), 0.5);
        assert_eq!(jain([0.0, 0.0]), 1.0);
        assert_eq!(jain([]), 1.0);
    }

    proptest! {
        #[test]
        fn weighted_pairs_are_the_list_written_out(pairs in prop::collection::vec((0i64..5000, 0u64..6), 0..40)) {
            let list: Vec<i64> = pairs.iter().flat_map(|&(v, w)| (0..w).map(move |_| v)).collect();
            let (a, b) = (Weighted::new(pairs), Ints::new(list));
            prop_assert_eq!(Spread::of_us(&a), Spread::of_us(&b));
            prop_assert_eq!(Distribution::of(&a), Distribution::of(&b));
        }
    }
}
