//! The same run on a clock with other units.

use super::{InstanceTotals, RequestRecord, RunRecord, SplitRecord};

impl RunRecord {
    /// The same run on a clock of which a unit is `units` of this one. Times are rounded; what was
    /// kept of steps and of memory, which would lose its order, is dropped.
    #[must_use]
    pub fn on_coarser_clock(mut self, units: i64) -> Self {
        self.requests.iter_mut().for_each(|r| coarser(r, units));
        self.sub_requests.iter_mut().for_each(|r| coarser(r, units));
        for totals in &mut self.instances {
            coarser_totals(totals, units);
        }
        self
    }
}

/// A time in larger units, to the nearest.
fn rounded(time: i64, units: i64) -> i64 {
    (time + units / 2).div_euclid(units)
}

fn coarser(record: &mut RequestRecord, units: i64) {
    let or_none = |time: Option<i64>| time.map(|time| rounded(time, units));
    record.arrival_us = rounded(record.arrival_us, units);
    record.scheduling_delay_us = or_none(record.scheduling_delay_us);
    record.ttft_us = or_none(record.ttft_us);
    record.e2e_us = or_none(record.e2e_us);
    record.itl_sum_us = rounded(record.itl_sum_us, units);
    record.mean_itl_us = record.mean_itl_us.map(|us| us / units as f64);
    if let Some(split) = &mut record.split {
        **split = SplitRecord {
            prefill_enqueue_us: or_none(split.prefill_enqueue_us),
            prefill_end_us: or_none(split.prefill_end_us),
            transfer_start_us: or_none(split.transfer_start_us),
            transfer_end_us: or_none(split.transfer_end_us),
            decode_start_us: or_none(split.decode_start_us),
            prefill_instance: split.prefill_instance,
            decode_instance: split.decode_instance,
            encode_instance: split.encode_instance,
        };
    }
}

fn coarser_totals(totals: &mut InstanceTotals, units: i64) {
    totals.kv_block_time = (totals.kv_block_time + i128::from(units) / 2) / i128::from(units);
    totals.busy_us = rounded(totals.busy_us, units);
    totals.ended_us = rounded(totals.ended_us, units);
    let mut gaps: Vec<(i64, u64)> = Vec::new();
    for (gap, times) in totals.gaps.drain(..) {
        let gap = rounded(gap, units);
        match gaps.last_mut() {
            Some(last) if last.0 == gap => last.1 += times,
            _ => gaps.push((gap, times)),
        }
    }
    totals.gaps = gaps;
    totals.step_runs.clear();
    totals.logged_steps.clear();
    totals.memory_uses.clear();
    totals.series = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_the_nearest_and_equal_gaps_counted_together() {
        assert_eq!([-6, -5, 4, 5, 14].map(|t| rounded(t, 10)), [-1, 0, 0, 1, 1]);
        let mut totals = InstanceTotals {
            kv_block_time: 1_500,
            busy_us: 2_499_999,
            gaps: vec![(1_400_000, 2), (1_499_999, 3), (1_500_000, 4)],
            ..InstanceTotals::default()
        };
        coarser_totals(&mut totals, 1_000_000);
        assert_eq!((totals.kv_block_time, totals.busy_us), (0, 2));
        assert_eq!(totals.gaps, [(1, 5), (2, 4)]);
    }
}
