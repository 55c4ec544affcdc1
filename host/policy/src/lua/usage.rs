//! What the scripts of a run use of their budgets.

use std::ops::Sub;

/// What scripts have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptUsage {
    /// Calls into scripts.
    pub calls: u64,
    /// Units spent in them: loop iterations, function calls, and work in standard functions.
    pub units: i64,
    /// Most units that one call spent; at most [`CALL_UNITS`](super::CALL_UNITS) unless it failed.
    pub largest_call: i64,
    /// What the script nearest to its limit for a run took of it: its units, and those that every
    /// call takes for the host's work.
    pub largest_run: i64,
    /// That script's limit for a run; 0 without scripts.
    pub run_limit: i64,
}

impl ScriptUsage {
    /// What two scripts, or two runs, have used together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // Which share of its limit is larger, in whole numbers.
        let share = |usage: Self, limit: i64| i128::from(usage.largest_run) * i128::from(limit);
        let nearest = if share(other, self.run_limit.max(1)) > share(self, other.run_limit.max(1))
            || self.run_limit == 0
        {
            other
        } else {
            self
        };
        Self {
            calls: self.calls + other.calls,
            units: self.units + other.units,
            largest_call: self.largest_call.max(other.largest_call),
            largest_run: nearest.largest_run,
            run_limit: nearest.run_limit,
        }
    }
}

/// What was used since; the largest call and run stay those of both.
impl Sub for ScriptUsage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            calls: self.calls - earlier.calls,
            units: self.units - earlier.units,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_run_is_the_one_nearest_to_its_limit() {
        let of = |largest_call, largest_run, run_limit| ScriptUsage {
            calls: 2,
            units: 10,
            largest_call,
            largest_run,
            run_limit,
        };
        let near = of(5, 50, 100);
        let far = of(7, 60, 1000);
        for both in [near.and(far), far.and(near)] {
            assert_eq!((both.calls, both.units, both.largest_call), (4, 20, 7));
            assert_eq!((both.largest_run, both.run_limit), (50, 100));
        }
        assert_eq!(ScriptUsage::default().and(near), near);
        assert_eq!(near.and(ScriptUsage::default()), near);
    }
}
