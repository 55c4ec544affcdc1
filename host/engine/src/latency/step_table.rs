//! Whole steps between measured ones: prefills alone, decodes alone, and both together.

use super::extrapolation::Extrapolation;
use super::model::StepAggregates;
use windtunnel_config::{StepRow, StepTable};

/// A table that can be asked for any step.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    prefills: Curve,
    decodes: Curve,
    /// Share of the shorter part that a step with both takes beyond the longer one.
    overlap: f64,
}

/// Steps of one kind: by their size, and for each size by the KV tokens that they read.
#[derive(Clone, Debug)]
struct Curve {
    /// Sizes, ascending, each with KV tokens, ascending, and milliseconds.
    groups: Vec<(u64, Vec<(u64, f64)>)>,
    /// Milliseconds per KV token, for what lies beside the rows of a size.
    slope: f64,
    /// Most KV tokens of any row.
    most_kv: u64,
}

impl Steps {
    pub(super) fn new(table: &StepTable) -> Self {
        let of = |row: &StepRow| (row.prefill_tokens > 0, row.decode_seqs > 0);
        let alone = |kind| table.rows.iter().filter(move |row| of(row) == kind);
        let prefills = alone((true, false)).map(|row| (row.prefill_tokens, row.kv_tokens, row.ms));
        let decodes = alone((false, true)).map(|row| (row.decode_seqs, row.kv_tokens, row.ms));
        let mut steps = Self {
            prefills: Curve::new(prefills.collect()),
            decodes: Curve::new(decodes.collect()),
            overlap: 1.0,
        };
        // Least squares over the rows with both.
        let (mut beyond, mut weight) = (0.0, 0.0);
        for row in alone((true, true)) {
            let how = Extrapolation::Linear;
            let prefill = steps.prefills.ms(row.prefill_tokens, 0, how).0;
            let decode = steps.decodes.ms(row.decode_seqs, row.kv_tokens, how).0;
            let shorter = prefill.min(decode);
            beyond += (row.ms - prefill.max(decode)) * shorter;
            weight += shorter * shorter;
        }
        if weight > 0.0 {
            steps.overlap = (beyond / weight).clamp(0.0, 2.0);
        }
        steps.overlap = table.overlap.unwrap_or(steps.overlap);
        steps
    }

    /// Most prefill tokens and most decodes that were measured alone.
    pub(super) fn reach(&self) -> (u64, u64) {
        let last = |curve: &Curve| curve.groups.last().map_or(0, |(size, _)| *size);
        (last(&self.prefills), last(&self.decodes))
    }

    /// Milliseconds of a step, and whether it lies outside of what was measured.
    pub(super) fn ms(&self, step: &StepAggregates, how: Extrapolation) -> (f64, bool) {
        let (prefill, decode) = self.parts(step, how);
        let ms = prefill.0.max(decode.0) + self.overlap * prefill.0.min(decode.0);
        (ms, prefill.1 || decode.1)
    }

    /// Milliseconds of its prefills alone, and of its decodes alone.
    pub(super) fn parts_ms(&self, step: &StepAggregates) -> (f64, f64) {
        let (prefill, decode) = self.parts(step, Extrapolation::Linear);
        (prefill.0, decode.0)
    }

    fn parts(&self, step: &StepAggregates, how: Extrapolation) -> ((f64, bool), (f64, bool)) {
        let prefill = match step.prefill_tokens {
            0 => (0.0, false),
            tokens => self.prefills.ms(tokens, step.prefill_context, how),
        };
        let decode = match step.decode_tokens() {
            0 => (0.0, false),
            tokens => self.decodes.ms(tokens, step.decode_context, how),
        };
        (prefill, decode)
    }
}

impl Curve {
    fn new(mut rows: Vec<(u64, u64, f64)>) -> Self {
        rows.sort_by_key(|row| (row.0, row.1));
        let mut groups: Vec<(u64, Vec<(u64, f64)>)> = Vec::new();
        for (size, kv, ms) in rows {
            match groups.last_mut() {
                Some((last, points)) if *last == size => points.push((kv, ms)),
                _ => groups.push((size, vec![(kv, ms)])),
            }
        }
        // Least squares within the sizes.
        let (mut both, mut square) = (0.0, 0.0);
        for (_, points) in &groups {
            let n = points.len() as f64;
            let mean_kv = points.iter().map(|p| p.0 as f64).sum::<f64>() / n;
            let mean_ms = points.iter().map(|p| p.1).sum::<f64>() / n;
            for (kv, ms) in points {
                both += (*kv as f64 - mean_kv) * (ms - mean_ms);
                square += (*kv as f64 - mean_kv).powi(2);
            }
        }
        let slope = if square > 0.0 { both / square } else { 0.0 };
        let most_kv = groups
            .iter()
            .flat_map(|(_, points)| points.iter().map(|p| p.0));
        Self {
            most_kv: most_kv.max().unwrap_or(0),
            slope: slope.max(0.0),
            groups,
        }
    }

    /// Milliseconds of a step of this size, and whether it is larger, or reads more, than any that
    /// was measured. One that is smaller than all takes what the smallest does.
    fn ms(&self, size: u64, kv: u64, how: Extrapolation) -> (f64, bool) {
        let last = self.groups.len() - 1;
        let outside = size > self.groups[last].0 || kv > self.most_kv;
        let (size, kv) = match how {
            Extrapolation::Linear => (size, kv),
            Extrapolation::Error | Extrapolation::Clamp => {
                (size.min(self.groups[last].0), kv.min(self.most_kv))
            }
        };
        let after = self.groups.partition_point(|(s, _)| *s < size);
        // Beyond the last size, the line through the last two goes on.
        let right = after.min(last);
        let left = match self.groups[right].0 == size {
            true => right,
            false => right.saturating_sub(1),
        };
        let (a, b) = (&self.groups[left], &self.groups[right]);
        let (from, to) = (self.at(&a.1, kv), self.at(&b.1, kv));
        if left == right {
            return (from, outside);
        }
        let share = (size as f64 - a.0 as f64) / (b.0 - a.0) as f64;
        ((from + (to - from) * share).max(0.0), outside)
    }

    /// Milliseconds with so many KV tokens, of the rows of one size.
    fn at(&self, points: &[(u64, f64)], kv: u64) -> f64 {
        let after = points.partition_point(|(k, _)| *k < kv);
        let beside = |(k, ms): (u64, f64)| (ms + self.slope * (kv as f64 - k as f64)).max(0.0);
        match (after.checked_sub(1).map(|k| points[k]), points.get(after)) {
            (Some((k0, m0)), Some(&(k1, m1))) => {
                m0 + (m1 - m0) * (kv - k0) as f64 / (k1 - k0) as f64
            }
            (Some(before), None) => beside(before),
            (None, Some(&next)) => beside(next),
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u64, u64, u64, f64)]) -> Steps {
        let rows = rows
            .iter()
            .map(|&(prefill_tokens, decode_seqs, kv_tokens, ms)| StepRow {
                prefill_tokens,
                decode_seqs,
                kv_tokens,
                ms,
                spread_ms: None,
                samples: None,
            });
        Steps::new(&StepTable {
            rows: rows.collect(),
            overlap: None,
        })
    }

    fn step(prefill: u64, decodes: u64, kv: u64) -> StepAggregates {
        StepAggregates {
            requests: 1,
            prefill_tokens: prefill,
            decodes,
            decode_context: kv,
            ..StepAggregates::default()
        }
    }

    #[test]
    fn between_rows_times_are_on_lines_and_beside_them_kv_tokens_cost_what_they_do_elsewhere() {
        let steps = table(&[
            (100, 0, 0, 10.0),
            (200, 0, 0, 30.0),
            (0, 4, 1000, 5.0),
            (0, 4, 3000, 7.0),
            (0, 8, 2000, 8.0),
        ]);
        let ms = |p, d, k| steps.ms(&step(p, d, k), Extrapolation::Error);
        assert_eq!(ms(150, 0, 0), (20.0, false));
        assert_eq!(ms(3, 0, 0), (10.0, false));
        assert_eq!(ms(0, 4, 2000), (6.0, false));
        // 0.001 ms per KV token, from the rows of 4.
        assert_eq!(ms(0, 8, 3000), (9.0, false));
        assert_eq!(ms(0, 6, 2000), (7.0, false));
        // Nothing with both was measured: one after the other.
        assert_eq!(ms(100, 4, 1000), (15.0, false));
        assert_eq!(steps.reach(), (200, 8));
    }

    #[test]
    fn outside_it_is_clamped_or_goes_on_and_is_always_told() {
        let steps = table(&[(100, 0, 0, 10.0), (200, 0, 0, 30.0), (0, 4, 1000, 5.0)]);
        let ms = |p, d, k, how| steps.ms(&step(p, d, k), how);
        assert_eq!(ms(300, 0, 0, Extrapolation::Clamp), (30.0, true));
        assert_eq!(ms(300, 0, 0, Extrapolation::Linear), (50.0, true));
        assert_eq!(ms(0, 4, 1001, Extrapolation::Error), (5.0, true));
        assert_eq!(ms(0, 5, 900, Extrapolation::Linear), (5.0, true));
    }

    #[test]
    fn rows_with_both_say_how_far_they_overlap() {
        let steps = table(&[(100, 0, 0, 10.0), (0, 4, 1000, 4.0), (100, 4, 1000, 12.0)]);
        assert_eq!(steps.ms(&step(100, 4, 1000), Extrapolation::Error).0, 12.0);
    }
}
