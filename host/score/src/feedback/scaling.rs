//! Facts of runs in which a policy scales pools.

use crate::objective::good;
use crate::scenario::{Scenario, Traffic};
use serde::{Deserialize, Serialize};
use windtunnel_base::record::{PoolCounts, RunRecord, ScalingRecord};

/// Slices of time into which the arrivals of a run are divided.
pub const SLICES: usize = 48;
/// Microseconds of an hour.
const HOUR_US: f64 = 3.6e9;

/// Facts of a run in which a policy scales pools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaleFacts {
    /// Hours of GPUs that all instances took.
    pub gpu_hours: f64,
    /// Of these, those in which instances started.
    pub loading_gpu_hours: f64,
    /// Of these, those in which they finished what they had.
    pub draining_gpu_hours: f64,
    /// Decisions for more instances than there were.
    pub ups: u64,
    /// Decisions for fewer.
    pub downs: u64,
    /// Instances that were started.
    pub started: u64,
    /// Requests that waited because no instance took any.
    pub held: u64,
    /// Instances that failed.
    pub failures: u64,
    /// Requests that were on them and were lost for good.
    pub lost: u64,
    /// How long a slice is, seconds.
    pub slice_s: f64,
    /// The time of arrivals, slice by slice.
    pub slices: Vec<Slice>,
}

/// What was so in a slice of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Mean number of instances that took requests.
    pub ready: f64,
    /// Mean number of those that were started.
    pub loading: f64,
    /// Requests that arrived.
    pub offered: u64,
    /// Of these, those that were not served within their targets.
    pub missed: u64,
}

impl ScaleFacts {
    /// The facts of a run; none where no policy scales.
    #[must_use]
    pub fn of(record: &RunRecord, scenario: &Scenario, traffic: &Traffic) -> Option<Self> {
        let scaling = record.scaling.as_ref()?;
        if !scaling.pools.iter().any(|pool| pool.by_policy) {
            return None;
        }
        let span_us = traffic.span_us();
        let mut facts = Self {
            slice_s: span_us as f64 / 1e6 / SLICES as f64,
            slices: vec![Slice::default(); SLICES],
            held: scaling.held,
            failures: scaling.failures,
            lost: scaling.lost,
            ..Self::default()
        };
        for pool in &scaling.pools {
            facts.ups += pool.ups;
            facts.downs += pool.downs;
            facts.started += pool.started;
            let gpus = f64::from(pool.gpus_per_instance) / HOUR_US;
            facts.gpu_hours += pool.instance_us as f64 * gpus;
            let counts = stretches(scaling, pool.pool);
            for (counts, from, until) in counts {
                let us = (until - from) as f64;
                facts.loading_gpu_hours += us * f64::from(counts.loading) * gpus;
                facts.draining_gpu_hours += us * f64::from(counts.draining) * gpus;
                facts.add(counts, from, until.min(span_us), span_us);
            }
        }
        for r in &record.requests {
            let k = r.arrival_us as i128 * SLICES as i128 / (i128::from(span_us) + 1);
            let slice = &mut facts.slices[k as usize];
            let class = record.symbols.name(r.slo_class);
            slice.offered += 1;
            slice.missed += u64::from(!good(r, class, &scenario.targets));
        }
        Some(facts)
    }

    /// Adds instances that were there in a stretch of time.
    fn add(&mut self, counts: PoolCounts, from: i64, until: i64, span_us: i64) {
        let long = span_us as f64 / SLICES as f64;
        for (k, slice) in self.slices.iter_mut().enumerate() {
            let (begin, end) = (k as f64 * long, (k + 1) as f64 * long);
            let share = ((until as f64).min(end) - (from as f64).max(begin)).max(0.0) / long;
            slice.ready += share * f64::from(counts.ready);
            slice.loading += share * f64::from(counts.loading);
        }
    }

    /// The stretch of slices, one behind the other, in which most requests missed their targets.
    #[must_use]
    pub fn worst(&self) -> Option<(usize, usize)> {
        let mut worst: Option<(u64, usize, usize)> = None;
        let mut from = 0;
        for k in 0..=self.slices.len() {
            let misses = |s: &Slice| 20 * s.missed > s.offered;
            if self.slices.get(k).is_some_and(misses) {
                continue;
            }
            let missed: u64 = self.slices[from..k].iter().map(|s| s.missed).sum();
            if missed > worst.map_or(0, |(most, ..)| most) {
                worst = Some((missed, from, k));
            }
            from = k + 1;
        }
        worst.map(|(_, from, to)| (from, to))
    }
}

/// The numbers of instances of a pool, with from when until when they were so.
fn stretches(
    scaling: &ScalingRecord,
    pool: u32,
) -> impl Iterator<Item = (PoolCounts, i64, i64)> + '_ {
    let own: Vec<PoolCounts> = scaling
        .timeline
        .iter()
        .filter(|counts| counts.pool == pool)
        .copied()
        .collect();
    let ends: Vec<i64> = own.iter().skip(1).map(|counts| counts.at_us).collect();
    let ended_us = scaling.ended_us;
    own.into_iter().enumerate().map(move |(k, counts)| {
        (
            counts,
            counts.at_us,
            ends.get(k).copied().unwrap_or(ended_us),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_stretch_is_that_with_most_misses() {
        let slice = |missed| Slice {
            offered: 100,
            missed,
            ..Slice::default()
        };
        let facts = |missed: &[u64]| ScaleFacts {
            slices: missed.iter().map(|m| slice(*m)).collect(),
            ..ScaleFacts::default()
        };
        assert_eq!(facts(&[0, 5, 0]).worst(), None);
        assert_eq!(facts(&[50, 0, 20, 40, 3, 90]).worst(), Some((5, 6)));
        assert_eq!(facts(&[50, 0, 60, 40, 3, 90]).worst(), Some((2, 4)));
    }

    #[test]
    fn instances_are_counted_for_the_time_that_they_were_there() {
        let counts = |at_us, ready, loading| PoolCounts {
            at_us,
            pool: 0,
            ready,
            loading,
            draining: 0,
            pending: 0,
        };
        let scaling = ScalingRecord {
            timeline: vec![counts(0, 1, 0), counts(480, 1, 2), counts(720, 3, 0)],
            ended_us: 1000,
            ..ScalingRecord::default()
        };
        let all: Vec<(i64, i64)> = stretches(&scaling, 0).map(|(_, a, b)| (a, b)).collect();
        assert_eq!(all, [(0, 480), (480, 720), (720, 1000)]);
        let mut facts = ScaleFacts {
            slices: vec![Slice::default(); SLICES],
            ..ScaleFacts::default()
        };
        for (counts, from, until) in stretches(&scaling, 0) {
            facts.add(counts, from, until.min(960), 960);
        }
        // Slices of 20 us: three instances from the 36th on, two that start from the 24th on.
        let ready: Vec<f64> = [0, 23, 24, 35, 36, 47]
            .map(|k: usize| facts.slices[k].ready)
            .into();
        assert_eq!(ready, [1.0, 1.0, 1.0, 1.0, 3.0, 3.0]);
        let loading: Vec<f64> = [23, 24, 35, 36]
            .map(|k: usize| facts.slices[k].loading)
            .into();
        assert_eq!(loading, [0.0, 2.0, 2.0, 0.0]);
    }
}
