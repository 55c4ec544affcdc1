//! Things that should make one look twice: inverted priorities, blocked queues, lost requests.

use super::summary::RunSummary;
use std::collections::BTreeMap;
use windtunnel_base::record::{GatewayTotals, RunRecord};
use windtunnel_base::request::Sym;

/// Counters of unusual events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Pairs of completed requests of one instance and SLO class where the earlier arrival took
    /// more than twice as long as the later one. Always 0 unless the scheduler is `priority-fcfs`.
    pub priority_inversions: u64,
    /// Instances whose mean wait queue is more than twice the mean of all instances' (head-of-line
    /// blocking).
    pub hol_blocked: Vec<u32>,
    /// Refused by the admission policy.
    pub rejected_by_admission: u64,
    /// Refused by the admission policy, by SLO class (`standard` when none was given).
    pub shed_by_class: Vec<(String, u64)>,
    /// Refused because no instance serves the model.
    pub rejected_by_routing: u64,
    /// Never servable.
    pub dropped: u64,
    /// Given up by their client.
    pub timed_out: u64,
    /// Completed at the length limit.
    pub length_capped: u64,
    /// What the gateway did, if there is one.
    pub gateway: Option<GatewayTotals>,
}

impl Anomalies {
    /// Of a run.
    #[must_use]
    pub fn of(record: &RunRecord, summary: &RunSummary, scheduler_is_priority_fcfs: bool) -> Self {
        Self {
            priority_inversions: if scheduler_is_priority_fcfs {
                priority_inversions(record)
            } else {
                0
            },
            hol_blocked: hol_blocked(summary),
            rejected_by_admission: record.rejected_by_admission,
            shed_by_class: record.shed_by_class.clone(),
            rejected_by_routing: record.rejected_by_routing,
            dropped: summary.cluster.dropped,
            timed_out: summary.cluster.timed_out,
            length_capped: summary.cluster.length_capped,
            gateway: record.gateway.clone(),
        }
    }

    /// Did anything happen?
    #[must_use]
    pub fn any(&self) -> bool {
        !self.hol_blocked.is_empty()
            || [
                self.priority_inversions,
                self.rejected_by_admission,
                self.rejected_by_routing,
                self.dropped,
                self.timed_out,
                self.length_capped,
            ]
            .iter()
            .any(|&n| n > 0)
            || self.gateway.as_ref().is_some_and(|gateway| {
                gateway.held + gateway.all.rejected + gateway.all.lost_place() > 0
            })
    }

    /// What the reference calls shed, by SLO class: refused by the admission policy, or with a
    /// place at the gateway or on an instance that was taken from it.
    #[must_use]
    pub fn reference_shed_by_class(&self) -> Vec<(String, u64)> {
        let mut shed: BTreeMap<&str, u64> = BTreeMap::new();
        for (class, n) in &self.shed_by_class {
            *shed.entry(class).or_default() += n;
        }
        for (class, turned_away) in self.gateway.iter().flat_map(|g| &g.by_class) {
            let n = turned_away.lost_place();
            if n > 0 {
                *shed.entry(class).or_default() += n;
            }
        }
        let shed = shed.into_iter();
        shed.map(|(class, n)| (class.to_owned(), n)).collect()
    }
}

/// Instances with more than twice the mean queue length; none of fewer than two instances.
fn hol_blocked(summary: &RunSummary) -> Vec<u32> {
    let queues: Vec<f64> = summary
        .instances
        .iter()
        .map(|s| s.mean_queue_length.unwrap_or(0.0))
        .collect();
    if queues.len() < 2 {
        return Vec::new();
    }
    let mean = queues.iter().sum::<f64>() / queues.len() as f64;
    (0u32..)
        .zip(queues)
        .filter(|&(_, q)| q > 2.0 * mean)
        .map(|(k, _)| k)
        .collect()
}

/// Arrival, serial and end-to-end latency: sorts by arrival.
type Completed = (i64, u64, i64);

fn priority_inversions(record: &RunRecord) -> u64 {
    let mut groups: BTreeMap<(u32, Sym), Vec<Completed>> = BTreeMap::new();
    // A class given as `default` and none given are one class.
    let default = record.symbols.get("default");
    for r in &record.requests {
        if let (Some(instance), Some(e2e)) = (r.instance, r.e2e_us) {
            let class = if Some(r.slo_class) == default {
                Sym::NONE
            } else {
                r.slo_class
            };
            groups
                .entry((instance, class))
                .or_default()
                .push((r.arrival_us, r.serial, e2e));
        }
    }
    groups
        .into_values()
        .map(|mut group| {
            group.sort_unstable();
            count_inversions(&mut group.into_iter().map(|(_, _, e2e)| e2e).collect::<Vec<_>>())
        })
        .sum()
}

/// Pairs i < j with `values[i] > 2 * values[j]`, by merge sort; leaves `values` sorted.
fn count_inversions(values: &mut [i64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut count = count_inversions(left) + count_inversions(right);
    let mut small = 0; // how many on the left are at most twice the current one on the right
    for &r in right.iter() {
        while small < left.len() && left[small] <= 2 * r {
            small += 1;
        }
        count += (left.len() - small) as u64;
    }
    values.sort(); // two runs: merged in linear time
    count
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{done, run};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn inversions_count_within_an_instance_and_class_and_only_under_priority_fcfs() {
        let mut record = run(
            vec![
                done(0, 10, 1, 1000, 0),
                done(1, 20, 1, 499, 0),
                done(2, 30, 1, 500, 0),
                done(3, 40, 1, 100, 1),
                done(4, 50, 1, 100, 0),
            ],
            2,
        );
        record.requests[4].slo_class = record.symbols.intern("batch");
        let summary = RunSummary::of(&record);
        assert_eq!(
            Anomalies::of(&record, &summary, true).priority_inversions,
            1
        );
        let none = Anomalies::of(&record, &summary, false);
        assert_eq!(none.priority_inversions, 0);
        assert!(!none.any());
        record.requests[4].slo_class = record.symbols.intern("default");
        assert_eq!(
            Anomalies::of(&record, &summary, true).priority_inversions,
            4
        );
    }

    #[test]
    fn a_queue_twice_the_mean_is_blocked() {
        let mut record = run(vec![], 3);
        for (t, q) in record.instances.iter_mut().zip([0, 1, 9]) {
            t.steps = 2;
            t.queue_length_sum = q;
        }
        let summary = RunSummary::of(&record);
        assert_eq!(Anomalies::of(&record, &summary, false).hol_blocked, vec![2]);
        record.instances.truncate(1);
        let summary = RunSummary::of(&record);
        assert!(!Anomalies::of(&record, &summary, false).any());
    }

    proptest! {
        #[test]
        fn counting_by_merging_agrees_with_counting_pairs(mut values in prop::collection::vec(0i64..200, 0..80)) {
            let mut pairs = 0;
            for i in 0..values.len() {
                pairs += values[i + 1..].iter().filter(|&&v| values[i] > 2 * v).count() as u64;
            }
            prop_assert_eq!(count_inversions(&mut values), pairs);
        }
    }
}
