//! The fuel that scripts use, against what they may.

use super::suite::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use windtunnel_policy::lua::{CALL_UNITS, ScriptUsage};

/// How many times longer a run may be expected to get: with more requests, more load, or more
/// instances.
const LONGER: i64 = 3;

/// The largest use of fuel, units, and its limits. Scripts that fail have none of it in the run in
/// which they fail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fuel {
    /// Most that one call took.
    pub largest_call: i64,
    /// Limit of a call.
    pub call_limit: i64,
    /// Most that a script took of its limit for a run.
    pub largest_run: i64,
    /// Limit of a run: the suite's `fuel`.
    pub run_limit: i64,
    /// Runs that are three times as long would not end: with more requests, under more load, or
    /// with more instances it fails.
    pub fails_if_3_times_longer: bool,
}

impl Fuel {
    /// What scripts have used in a run; none without scripts.
    #[must_use]
    pub fn of(used: ScriptUsage) -> Option<Self> {
        let limit = used.run_limit;
        (limit > 0).then(|| Self::new(used.largest_call, used.largest_run, limit))
    }

    fn new(largest_call: i64, largest_run: i64, run_limit: i64) -> Self {
        Self {
            largest_call,
            call_limit: CALL_UNITS,
            largest_run,
            run_limit,
            fails_if_3_times_longer: largest_run.saturating_mul(LONGER) > run_limit,
        }
    }

    /// The largest of several runs, which have the same limits.
    #[must_use]
    pub fn largest(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().reduce(|a, b| {
            let call = a.largest_call.max(b.largest_call);
            Self::new(call, a.largest_run.max(b.largest_run), a.run_limit)
        })
    }

    /// As a report on a split may have it: outside of train with one digit, rounded up, since a
    /// candidate chooses what it spends by what it sees.
    #[must_use]
    pub fn told(self, split: Split) -> Self {
        if split == Split::Train {
            return self;
        }
        let one_digit = |units: i64, limit: i64| {
            let unit = 10_i64.pow(units.max(1).ilog10());
            ((units.max(0) + unit - 1) / unit * unit).min(limit)
        };
        Self {
            largest_call: one_digit(self.largest_call, self.call_limit),
            largest_run: one_digit(self.largest_run, self.run_limit),
            ..self
        }
    }

    /// The line of a report.
    #[must_use]
    pub fn text(&self) -> String {
        let share = |units: i64, limit: i64| 100.0 * units as f64 / limit as f64;
        let mut text = format!(
            "Fuel: the largest call took {} of {} units ({:.1} %), the largest run {} of {} ({:.1} %)",
            grouped(self.largest_call),
            grouped(self.call_limit),
            share(self.largest_call, self.call_limit),
            grouped(self.largest_run),
            grouped(self.run_limit),
            share(self.largest_run, self.run_limit)
        );
        if self.fails_if_3_times_longer {
            text += ": it would fail if a run were 3 times longer";
        }
        text
    }
}

/// A number with commas between thousands.
#[must_use]
pub fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::new();
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_call_and_run_count_and_what_would_fail_is_said() {
        let used = |largest_call, largest_run| ScriptUsage {
            largest_call,
            largest_run,
            run_limit: 1_000_000,
            ..ScriptUsage::default()
        };
        assert_eq!(Fuel::of(ScriptUsage::default()), None);
        let runs = [used(700, 300_000), used(900, 200_000)];
        let fuel = Fuel::largest(runs.map(|u| Fuel::of(u).unwrap())).unwrap();
        insta::assert_snapshot!(fuel.text(), @"Fuel: the largest call took 900 of 2,000,000 units (0.0 %), the largest run 300,000 of 1,000,000 (30.0 %)");
        let near = Fuel::of(used(1_234_567, 333_334)).unwrap();
        insta::assert_snapshot!(near.text(), @"Fuel: the largest call took 1,234,567 of 2,000,000 units (61.7 %), the largest run 333,334 of 1,000,000 (33.3 %): it would fail if a run were 3 times longer");
        let told = near.told(Split::Holdout);
        assert_eq!((told.largest_call, told.largest_run), (2_000_000, 400_000));
        assert!(told.fails_if_3_times_longer);
        assert_eq!(near.told(Split::Train), near);
        assert_eq!(
            Fuel::of(used(0, 0)).unwrap().told(Split::Val).largest_call,
            0
        );
    }
}
