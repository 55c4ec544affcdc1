//! What a script may spend. Work and memory are counted, so the verdict is the same on every
//! machine. A limit on processor time stands behind that, far above what the counted limits allow;
//! how busy the machine is does not matter.
//!
//! The interpreter calls in at loops, calls and returns only, so a unit is priced by what can
//! happen between two of them: by the longest straight piece of the file's code
//! ([`Weights`](super::weights::Weights)), by the longest text there has been, since operators take
//! time by the length of texts, and by the largest table, since looking for an entry may pass all
//! empty ones.

use super::usage::ScriptUsage;
use super::weights::Weights;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Units a script may spend in one call. A unit is a loop iteration, a function call or a return,
/// of a file whose functions are short.
pub const CALL_UNITS: i64 = 2_000_000;
/// Units that each call takes off the run's, for the host's work around it.
const UNITS_OF_A_CALL: i64 = 50;
/// Units a script may spend in one run, over all its calls, unless it is loaded with fewer.
pub const RUN_UNITS: i64 = 4_000_000_000;
/// Memory a script may hold, bytes: that of the closed script engine is not counted.
pub const MEMORY: usize = 32 << 20;
/// Memory that the engine's allocator refuses to go beyond. Counting ends the script before, except
/// where it takes more than the difference at once.
pub(super) const MOST_MEMORY: usize = MEMORY + (8 << 20);
/// Longest call, processor time. The units of a call are used up long before.
pub const LONGEST_CALL: Duration = Duration::from_secs(10);
/// Longest text, bytes. Functions that put texts together take up to half as much again while they
/// do.
pub const LONGEST_TEXT: usize = 64 << 10;
/// Longest block that a text may have, bytes.
const LONGEST_BLOCK: usize = LONGEST_TEXT + LONGEST_TEXT / 2;
/// Bytes a script may take from memory in one call, most of them to give them back: joining long
/// texts is work that the interpreter does not count.
const CALL_BYTES: usize = 100_000_000;
/// Texts up to this length, bytes, do not raise the price of a unit; longer ones raise it by one
/// for each so many bytes.
const FREE_TEXT: usize = 24;
const TEXT_STEP: usize = 12;
/// Bytes of the largest table part that raise the price of a unit by one.
const PART_STEP: usize = 32 << 10;
/// Most tables that stand behind one another as `__index`, and how many raise the price by one.
const MOST_CHAINED: usize = 100;
const CHAIN_STEP: usize = 6;
/// Texts longer than this end a straight piece of code that cannot be paid, bytes. Shorter ones
/// make little difference, and are made where no error is expected.
const RAISING_TEXT: usize = 1024;
/// Bytes taken between two collections, at least.
const LEAST_COLLECTED: usize = 1 << 20;
/// Bytes held that cost a unit when they are looked through by the collector.
const COLLECTED_PER_UNIT: usize = 256;
/// Calls between two looks for weak tables.
const CALLS_BETWEEN_LOOKS: u64 = 64;
/// Units between two readings of the clock, as a power of two.
const CLOCK_EVERY: u32 = 12;

const TOO_MUCH_MEMORY: &str = "the policy exceeded its 32 MiB of memory";

/// What is left of a script's budget.
pub(super) struct Budget {
    limited: bool,
    left: Cell<i64>,
    run_left: Cell<i64>,
    run_units: i64,
    weights: Weights,
    /// Weight of what runs: the file itself, or its functions.
    weight: Cell<i64>,
    /// Price of a unit.
    price: Cell<i64>,
    /// Longest text so far, bytes.
    longest: Cell<usize>,
    /// Largest part of a table so far, bytes.
    largest: Cell<usize>,
    /// Metatables so far: that many tables may stand behind one another.
    chained: Cell<usize>,
    /// Bytes of the engine's own, before the script ran.
    base: Cell<usize>,
    /// Memory taken in the running call, bytes.
    taken: Cell<usize>,
    /// Memory taken since the last collection, bytes, and from when on that is looked at.
    fresh: Cell<usize>,
    look_at: Cell<usize>,
    /// Memory taken since the last collection at which the next one is due, bytes.
    collect_at: Cell<usize>,
    collection: Cell<Collection>,
    calls: Cell<u64>,
    /// Most units that one call spent.
    largest_call: Cell<i64>,
    /// When the running call is to be over: by the clock, which is cheap to read, and by processor
    /// time, which counts.
    deadline: Cell<Option<(Instant, Duration)>>,
    tripped: Cell<Option<&'static str>>,
}

/// How far a collection is.
#[derive(Clone, Copy, PartialEq)]
enum Collection {
    Idle,
    Wanted,
    Begun,
}

impl Budget {
    pub(super) fn new(limited: bool, run_units: i64, weights: Weights) -> Self {
        let budget = Self {
            limited,
            left: Cell::new(0),
            run_left: Cell::new(run_units),
            run_units,
            weights,
            weight: Cell::new(weights.functions),
            price: Cell::new(1),
            longest: Cell::new(weights.number_text),
            largest: Cell::new(0),
            chained: Cell::new(0),
            base: Cell::new(0),
            taken: Cell::new(0),
            fresh: Cell::new(0),
            look_at: Cell::new(LEAST_COLLECTED),
            collect_at: Cell::new(LEAST_COLLECTED),
            collection: Cell::new(Collection::Idle),
            calls: Cell::new(0),
            largest_call: Cell::new(0),
            deadline: Cell::new(None),
            tripped: Cell::new(None),
        };
        budget.set_price();
        budget
    }

    /// The engine holds `bytes` before the script runs.
    pub(super) fn starts_with(&self, bytes: usize) {
        self.base.set(bytes);
    }

    /// Begins a call; the file itself is called `while_loading`.
    pub(super) fn begin(&self, while_loading: bool) {
        self.run_left
            .set((self.run_left.get() - UNITS_OF_A_CALL).max(0));
        self.left.set(CALL_UNITS.min(self.run_left.get()));
        self.deadline.set(None);
        self.taken.set(0);
        self.calls.set(self.calls.get() + 1);
        let weight = if while_loading {
            self.weights.file
        } else {
            self.weights.functions
        };
        if weight != self.weight.replace(weight) {
            self.set_price();
        }
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

    fn set_price(&self) {
        let text = self.longest.get().saturating_sub(FREE_TEXT) / TEXT_STEP;
        let part = self.largest.get() / PART_STEP;
        let chain = self.chained.get().min(MOST_CHAINED) / CHAIN_STEP;
        let factor = (1 + text + part + chain) as i64;
        self.price.set(self.weight.get().saturating_mul(factor));
    }

    /// Takes one unit, at its price.
    ///
    /// # Errors
    /// The limit that is reached; from then on, always.
    pub(super) fn take_unit(&self) -> Result<(), &'static str> {
        self.take(self.price.get())
    }

    /// Takes units for operations of which each looks through whole texts.
    ///
    /// # Errors
    /// As [`take_unit`](Self::take_unit).
    pub(super) fn take_comparisons(&self, units: i64) -> Result<(), &'static str> {
        self.take(units.saturating_mul(1 + (self.longest.get() / TEXT_STEP) as i64))
    }

    /// Takes units for an operation that may look through the largest table, empty places included.
    ///
    /// # Errors
    /// As [`take_unit`](Self::take_unit).
    pub(super) fn take_table(&self) -> Result<(), &'static str> {
        self.take((self.largest.get() / 1024) as i64)
    }

    /// Takes units.
    ///
    /// # Errors
    /// As [`take_unit`](Self::take_unit).
    pub(super) fn take(&self, units: i64) -> Result<(), &'static str> {
        if !self.limited {
            return Ok(());
        }
        let before = self.left.get();
        let left = before.saturating_sub(units);
        self.left.set(left);
        if left < 0 {
            return Err(self.exceeded());
        }
        if before >> CLOCK_EVERY != left >> CLOCK_EVERY {
            self.look_at_clock()?;
        }
        Ok(())
    }

    #[cold]
    fn exceeded(&self) -> &'static str {
        if let Some(why) = self.tripped.get() {
            return why;
        }
        self.trip(if self.run_left.get() < CALL_UNITS {
            "the policy exceeded its budget of instructions for a run"
        } else {
            "the policy exceeded its budget of instructions for a call"
        })
    }

    #[cold]
    fn look_at_clock(&self) -> Result<(), &'static str> {
        match self.deadline.get() {
            None => self.deadline.set(Some((
                Instant::now() + LONGEST_CALL,
                processor_time() + LONGEST_CALL,
            ))),
            Some((clock, processor)) if Instant::now() > clock && processor_time() > processor => {
                return Err(self.trip("the policy exceeded its time for a call"));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Notes that `bytes` were taken from memory. True when what the engine holds is to be looked
    /// at.
    pub(super) fn grows(&self, bytes: usize) -> bool {
        self.taken.set(self.taken.get() + bytes);
        if self.taken.get() > CALL_BYTES {
            self.trip("the policy exceeded its 100 MB taken from memory in a call");
        }
        let fresh = self.fresh.get() + bytes;
        self.fresh.set(fresh);
        fresh >= self.look_at.get()
    }

    /// Looks at what the engine holds: is it time to collect what is not used any more?
    pub(super) fn wants_collection(&self, total: usize) -> bool {
        let held = total.saturating_sub(self.base.get());
        if held > MEMORY {
            self.out_of_memory();
        }
        // Near the limit, it is looked at more often.
        let room = MEMORY.saturating_sub(held).max(LEAST_COLLECTED / 16);
        self.look_at
            .set(self.fresh.get() + room.min(LEAST_COLLECTED));
        let due = self.fresh.get() >= self.collect_at.get();
        if due && self.collection.get() == Collection::Idle {
            self.collection.set(Collection::Wanted);
            return true;
        }
        false
    }

    /// A step of the collector begins or ends: does it begin?
    pub(super) fn collection_begins(&self) -> bool {
        let begins = self.collection.get() != Collection::Begun;
        self.collection.set(Collection::Begun);
        begins
    }

    /// Is a collection still to come?
    pub(super) fn collection_wanted(&self) -> bool {
        self.collection.get() == Collection::Wanted
    }

    /// A collection has left `total` bytes.
    pub(super) fn collected(&self, total: usize) {
        self.collection.set(Collection::Idle);
        let held = total.saturating_sub(self.base.get());
        let room = MEMORY.saturating_sub(held);
        self.fresh.set(0);
        self.look_at.set(room.min(LEAST_COLLECTED));
        self.collect_at
            .set(total.min(room / 2).max(LEAST_COLLECTED));
        // An error may not be raised here: the next unit is refused.
        self.left
            .set(self.left.get() - (total / COLLECTED_PER_UNIT) as i64);
    }

    /// A weak table was found.
    pub(super) fn refuse_weak_tables(&self) {
        self.trip(
            "weak tables (__mode) are not allowed: what they lose, and when, depends on the garbage collector",
        );
    }

    /// Memory is used up.
    pub(super) fn out_of_memory(&self) {
        self.trip(TOO_MUCH_MEMORY);
    }

    /// Notes a text of `bytes`.
    ///
    /// # Errors
    /// When it is too long, or the straight piece of code in which it was made cannot be paid with
    /// texts of this length. Then the script must be stopped at once.
    pub(super) fn text(&self, bytes: usize) -> Result<(), &'static str> {
        if bytes <= self.longest.get() {
            return Ok(());
        }
        if bytes > LONGEST_BLOCK {
            return Err(self.trip("the policy made a text longer than 64 KiB"));
        }
        self.longest.set(bytes);
        self.set_price();
        if bytes <= RAISING_TEXT {
            return Ok(());
        }
        self.left.set(self.left.get() - self.price.get());
        if self.left.get() < 0 {
            return Err(self.exceeded());
        }
        Ok(())
    }

    /// Notes that something of `bytes` is looked through like a text.
    pub(super) fn long(&self, bytes: usize) {
        if bytes > self.longest.get() {
            self.longest.set(bytes);
            self.set_price();
        }
    }

    /// Notes a part of a table of `bytes`.
    pub(super) fn part(&self, bytes: usize) {
        if bytes > self.largest.get() {
            self.largest.set(bytes);
            self.set_price();
        }
    }

    /// Is it time to look for weak tables? None may work unseen, and looking at each call takes
    /// long.
    pub(super) fn looks_for_weak_tables(&self, while_loading: bool) -> bool {
        self.limited
            && self.chained.get() > 0
            && (while_loading || self.calls.get().is_multiple_of(CALLS_BETWEEN_LOOKS))
    }

    /// Notes one more metatable.
    pub(super) fn chain(&self) {
        self.chained.set(self.chained.get() + 1);
        self.set_price();
    }

    /// Notes that a limit is reached; the first one counts, and no unit is granted any more.
    pub(super) fn trip(&self, why: &'static str) -> &'static str {
        let why = self.tripped.get().unwrap_or(why);
        self.tripped.set(Some(why));
        self.left.set(self.left.get().min(-1));
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

    fn budget(run_units: i64) -> Budget {
        Budget::new(true, run_units, Weights::LEAST)
    }

    #[test]
    fn calls_and_runs_have_budgets_that_do_not_come_back() {
        let budget = budget(RUN_UNITS);
        budget.begin(false);
        assert_eq!(budget.take(CALL_UNITS), Ok(()));
        budget.end();
        let used = budget.used();
        assert_eq!((used.calls, used.units), (1, CALL_UNITS));
        assert_eq!(used.largest_call, CALL_UNITS);
        assert_eq!(used.largest_run, CALL_UNITS + UNITS_OF_A_CALL);
        assert_eq!(used.run_limit, RUN_UNITS);
        budget.begin(false);
        assert_eq!(budget.take(CALL_UNITS), Ok(()), "a new call, a new budget");
        let error = budget.take(1).expect_err("one too many");
        assert!(error.ends_with("for a call"));
        assert_eq!(budget.take(1), Err(error));
        budget.end();

        let budget = self::budget(RUN_UNITS);
        for _ in 0..RUN_UNITS / (CALL_UNITS + UNITS_OF_A_CALL) {
            budget.begin(false);
            assert_eq!(budget.take(CALL_UNITS), Ok(()));
            budget.end();
        }
        budget.begin(false);
        let error = budget.take(CALL_UNITS).expect_err("the rest is less");
        assert!(error.ends_with("for a run"));
        let unlimited = Budget::new(false, RUN_UNITS, Weights::LEAST);
        assert_eq!(unlimited.take(i64::MAX), Ok(()));
    }

    #[test]
    fn memory_taken_in_a_call_is_bounded_even_if_it_is_given_back() {
        let budget = budget(RUN_UNITS);
        for _ in 0..3 {
            budget.begin(false);
            budget.grows(CALL_BYTES);
            assert_eq!(budget.take(1), Ok(()));
            budget.end();
        }
        budget.begin(false);
        budget.grows(CALL_BYTES);
        budget.grows(1);
        let error = budget.take(1).expect_err("too much");
        assert!(error.ends_with("in a call"));
        assert_eq!(budget.take(1), Err(error));
    }

    #[test]
    fn a_unit_is_priced_by_what_can_happen_in_it() {
        let budget = budget(RUN_UNITS);
        budget.begin(false);
        let price = |budget: &Budget| {
            let before = budget.left.get();
            assert_eq!(budget.take_unit(), Ok(()));
            before - budget.left.get()
        };
        assert_eq!(price(&budget), 1);
        assert_eq!(budget.text(FREE_TEXT), Ok(()));
        assert_eq!(price(&budget), 1);
        assert_eq!(budget.text(FREE_TEXT + 10 * TEXT_STEP), Ok(()));
        assert_eq!(price(&budget), 11);
        budget.part(2 * PART_STEP);
        assert_eq!(price(&budget), 13);
        (0..1000).for_each(|_| budget.chain());
        assert_eq!(price(&budget), 13 + (MOST_CHAINED / CHAIN_STEP) as i64);
        let error = budget.text(LONGEST_BLOCK + 1).expect_err("too long");
        assert!(error.contains("64 KiB"));
        assert_eq!(budget.take_unit(), Err(error));
    }

    #[test]
    fn collections_are_due_by_bytes() {
        let budget = budget(RUN_UNITS);
        budget.starts_with(1000);
        budget.begin(false);
        assert!(!budget.grows(LEAST_COLLECTED - 1));
        assert!(budget.grows(1) && budget.wants_collection(LEAST_COLLECTED));
        assert!(!budget.wants_collection(LEAST_COLLECTED), "once");
        assert!(budget.collection_begins() && !budget.collection_begins());
        budget.collected(8 << 20);
        assert!(budget.grows(LEAST_COLLECTED));
        assert!(
            !budget.wants_collection(9 << 20),
            "what is held is doubled first"
        );
        budget.grows(7 << 20);
        assert!(budget.wants_collection(16 << 20));
        budget.wants_collection(MEMORY + 1000);
        assert_eq!(budget.tripped(), None);
        budget.wants_collection(MEMORY + 1001);
        assert_eq!(budget.take(1), Err(TOO_MUCH_MEMORY));
    }
}
