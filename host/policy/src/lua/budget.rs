//! What a script may spend. Instructions are counted, so the verdict is the same on every machine.
//! A limit on processor time stands behind that, for calls of standard functions that count for
//! little and take long; how busy the machine is does not matter.

use super::usage::ScriptUsage;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Units a script may spend in one call. A unit is a loop iteration or a function call.
pub const CALL_UNITS: i64 = 2_000_000;
/// Units that each call takes off the run's, for the host's work around it.
const UNITS_OF_A_CALL: i64 = 50;
/// Units a script may spend in one run, over all its calls, unless it is loaded with fewer.
pub const RUN_UNITS: i64 = 4_000_000_000;
/// Memory a script engine may hold, bytes.
pub const MEMORY: usize = 32 << 20;
/// Longest call, processor time.
pub const LONGEST_CALL: Duration = Duration::from_secs(2);
/// Bytes a script may take from memory in one call, most of them to give them back: joining long
/// texts is work that the interpreter does not count. Far above what a policy needs, since when the
/// garbage collector looks is not the same every time.
const CALL_BYTES: usize = 100_000_000;
/// Units between two readings of the clock.
const CLOCK_EVERY: i64 = 256;

/// What is left of a script's budget.
pub(super) struct Budget {
    limited: bool,
    left: Cell<i64>,
    run_left: Cell<i64>,
    run_units: i64,
    /// Memory in use when it was last read, bytes.
    held: Cell<usize>,
    /// Memory taken in the running call, as far as it was seen, bytes.
    taken: Cell<usize>,
    calls: Cell<u64>,
    /// Most units that one call spent.
    largest_call: Cell<i64>,
    /// When the running call is to be over: by the clock, which is cheap to read, and by processor
    /// time, which counts.
    deadline: Cell<Option<(Instant, Duration)>>,
    tripped: Cell<Option<&'static str>>,
}

impl Budget {
    pub(super) fn new(limited: bool, run_units: i64) -> Self {
        Self {
            limited,
            left: Cell::new(0),
            run_left: Cell::new(run_units),
            run_units,
            held: Cell::new(0),
            taken: Cell::new(0),
            calls: Cell::new(0),
            largest_call: Cell::new(0),
            deadline: Cell::new(None),
            tripped: Cell::new(None),
        }
    }

    /// Begins a call.
    pub(super) fn begin(&self) {
        self.run_left
            .set((self.run_left.get() - UNITS_OF_A_CALL).max(0));
        self.left.set(CALL_UNITS.min(self.run_left.get()));
        self.deadline.set(None);
        self.taken.set(0);
        self.calls.set(self.calls.get() + 1);
    }

    /// What was spent so far, between calls.
    pub(super) fn used(&self) -> ScriptUsage {
        let calls = self.calls.get();
        let around = calls as i64 * UNITS_OF_A_CALL;
        let of_run = self.run_units - self.run_left.get();
        ScriptUsage {
            calls,
            units: (of_run - around).max(0),
            largest_call: self.largest_call.get(),
            largest_run: of_run,
            run_limit: self.run_units,
        }
    }

    /// Ends a call.
    pub(super) fn end(&self) {
        let granted = CALL_UNITS.min(self.run_left.get());
        let spent = granted - self.left.get();
        self.run_left.set(self.run_left.get() - spent);
        self.largest_call.set(self.largest_call.get().max(spent));
    }

    /// Takes units.
    ///
    /// # Errors
    /// The limit that is reached; from then on, always.
    pub(super) fn take(&self, units: i64) -> Result<(), &'static str> {
        if !self.limited {
            return Ok(());
        }
        let before = self.left.get();
        let left = before.saturating_sub(units);
        self.left.set(left);
        if left < 0 {
            if let Some(why) = self.tripped.get() {
                return Err(why);
            }
            return Err(self.trip(if self.run_left.get() < CALL_UNITS {
                "the policy exceeded its budget of instructions for a run"
            } else {
                "the policy exceeded its budget of instructions for a call"
            }));
        }
        if before / CLOCK_EVERY != left / CLOCK_EVERY {
            match self.deadline.get() {
                None => {
                    let deadline = (
                        Instant::now() + LONGEST_CALL,
                        processor_time() + LONGEST_CALL,
                    );
                    self.deadline.set(Some(deadline));
                }
                Some((clock, processor))
                    if Instant::now() > clock && processor_time() > processor =>
                {
                    self.left.set(-1);
                    return Err(self.trip("the policy exceeded its time for a call"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Notes that `held` bytes of memory are in use. If too much was taken since the call began,
    /// its next unit is refused.
    pub(super) fn memory(&self, held: usize) {
        let grown = held.saturating_sub(self.held.replace(held));
        self.taken.set(self.taken.get() + grown);
        if self.limited && self.taken.get() > CALL_BYTES {
            self.trip("the policy exceeded its 100 MB taken from memory in a call");
            self.left.set(-1);
        }
    }

    /// Notes that a limit is reached; the first one counts.
    pub(super) fn trip(&self, why: &'static str) -> &'static str {
        let why = self.tripped.get().unwrap_or(why);
        self.tripped.set(Some(why));
        why
    }

    /// The limit that was reached, even if the script caught the error.
    pub(super) fn tripped(&self) -> Option<&'static str> {
        self.tripped.get()
    }
}

/// Processor time that this thread has taken.
#[cfg(unix)]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Where a thread's own time is not known, the clock's.
#[cfg(not(unix))]
fn processor_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_runs_have_budgets_that_do_not_come_back() {
        let budget = Budget::new(true, RUN_UNITS);
        budget.begin();
        assert_eq!(budget.take(CALL_UNITS), Ok(()));
        budget.end();
        let used = budget.used();
        assert_eq!((used.calls, used.units), (1, CALL_UNITS));
        assert_eq!(used.largest_call, CALL_UNITS);
        assert_eq!(used.largest_run, CALL_UNITS + UNITS_OF_A_CALL);
        assert_eq!(used.run_limit, RUN_UNITS);
        budget.begin();
        assert_eq!(budget.take(CALL_UNITS), Ok(()), "a new call, a new budget");
        let error = budget.take(1).expect_err("one too many");
        assert!(error.ends_with("for a call"));
        assert_eq!(budget.take(1), Err(error));
        budget.end();

        let budget = Budget::new(true, RUN_UNITS);
        for _ in 0..RUN_UNITS / (CALL_UNITS + UNITS_OF_A_CALL) {
            budget.begin();
            assert_eq!(budget.take(CALL_UNITS), Ok(()));
            budget.end();
        }
        budget.begin();
        let error = budget.take(CALL_UNITS).expect_err("the rest is less");
        assert!(error.ends_with("for a run"));
        assert_eq!(Budget::new(false, RUN_UNITS).take(i64::MAX), Ok(()));

        // Memory that grows and shrinks and grows.
        let budget = Budget::new(true, RUN_UNITS);
        for _ in 0..3 {
            budget.begin();
            for held in [0, CALL_BYTES / 2, 0, CALL_BYTES / 2] {
                budget.memory(held);
            }
            assert_eq!(budget.take(1), Ok(()));
            budget.memory(0);
            budget.end();
        }
        budget.begin();
        for held in [0, CALL_BYTES, 0, 1] {
            budget.memory(held);
        }
        let error = budget.take(1).expect_err("too much");
        assert!(error.ends_with("in a call"));
        assert_eq!(budget.take(1), Err(error));
    }
}
