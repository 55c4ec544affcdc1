//! Which instance weighted routing takes by its sums.

use super::scorers::first_highest;
use crate::builtin::policy::Values;
use windtunnel_plugin_api::ClusterView;

/// How an instance is taken when all have their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Picker {
    /// The first of the highest.
    #[default]
    FirstHighest,
    /// One of the highest, at random.
    Highest,
    /// Any, at random.
    Random,
    /// At random, as likely as its sum is high; any if all are 0.
    WeightedRandom,
}

impl Picker {
    pub(super) fn of(values: &Values) -> Self {
        match values.get("picker") {
            1.0 => Self::Highest,
            2.0 => Self::Random,
            3.0 => Self::WeightedRandom,
            _ => Self::FirstHighest,
        }
    }

    /// A place among the sums, of which there is at least one.
    pub(super) fn pick(self, sums: &[f64], cluster: &ClusterView<'_>) -> usize {
        let any = |n: usize| ((cluster.host.random_fraction() * n as f64) as usize).min(n - 1);
        let first = first_highest(sums);
        match self {
            Self::FirstHighest => first,
            Self::Highest => {
                let highest = |sum: &&f64| **sum == sums[first];
                let n = sums.iter().filter(highest).count();
                if n < 2 {
                    return first;
                }
                let places = (0..sums.len()).filter(|&i| sums[i] == sums[first]);
                places.clone().nth(any(n)).unwrap_or(first)
            }
            Self::Random => any(sums.len()),
            Self::WeightedRandom => {
                let all: f64 = sums.iter().sum();
                if all <= 0.0 {
                    return any(sums.len());
                }
                let mut left = cluster.host.random_fraction() * all;
                for (i, sum) in sums.iter().enumerate() {
                    left -= sum;
                    if left < 0.0 {
                        return i;
                    }
                }
                first
            }
        }
    }
}
