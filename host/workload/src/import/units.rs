//! Time stamps of traces: in which unit they are, and whether they look like another one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Unit of time stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeUnit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        })
    }
}

/// From the longest to the shortest.
const UNITS: [TimeUnit; 4] = [
    TimeUnit::Seconds,
    TimeUnit::Milliseconds,
    TimeUnit::Microseconds,
    TimeUnit::Nanoseconds,
];
/// Unix times of the years 2001 to 2039, seconds.
const EPOCH_S: std::ops::Range<f64> = 1e9..2.2e9;
/// Requests per second that no recorded trace has on average.
const ABSURD_RATE: f64 = 500.0;
/// The same where something else is odd, too.
const DOUBTFUL_RATE: f64 = 20.0;
/// Seconds between requests, on average, that nobody records.
const ABSURD_GAP_S: f64 = 300.0;

impl TimeUnit {
    /// As the setting writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
        }
    }

    /// How many of it a second has.
    fn per_second(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 1e3,
            Self::Microseconds => 1e6,
            Self::Nanoseconds => 1e9,
        }
    }

    /// The unit in which this would be a Unix time of today.
    fn of_epoch(value: f64) -> Option<Self> {
        let fits = |unit: &&Self| EPOCH_S.contains(&(value / unit.per_second()));
        UNITS.iter().find(fits).copied()
    }

    /// A length of time in units of 100 ns; `None` = below 0, or more than makes sense.
    pub(super) fn ticks(self, value: Stamp) -> Option<i64> {
        const MOST: f64 = 9e16;
        let ticks = match (value, self) {
            (Stamp::Whole(n), Self::Nanoseconds) => n.checked_add(50)? / 100,
            (Stamp::Whole(n), _) => n.checked_mul((1e7 / self.per_second()) as i64)?,
            (Stamp::Fraction(x), _) => {
                let ticks = (x * (1e7 / self.per_second())).round();
                if !(0.0..=MOST).contains(&ticks) {
                    return None;
                }
                ticks as i64
            }
        };
        (ticks >= 0 && ticks as f64 <= MOST).then_some(ticks)
    }
}

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stamp {
    /// Without a fraction; exact.
    Whole(i64),
    /// Any other.
    Fraction(f64),
}

impl Stamp {
    /// Reads a field of a table.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.parse::<i64>() {
            Ok(n) => Some(Self::Whole(n)),
            Err(_) => Self::of(text.parse().ok()?),
        }
    }

    /// Reads a number of a JSON text.
    pub(super) fn of_json(number: &serde_json::Number) -> Option<Self> {
        match number.as_i64() {
            Some(n) => Some(Self::Whole(n)),
            None => Self::of(number.as_f64()?),
        }
    }

    fn of(x: f64) -> Option<Self> {
        if !x.is_finite() {
            return None;
        }
        // Tools that know only decimals write 3000.0.
        Some(if x.fract() == 0.0 && x.abs() < 9e15 {
            Self::Whole(x as i64)
        } else {
            Self::Fraction(x)
        })
    }

    fn value(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Fraction(x) => x,
        }
    }
}

/// Reads the time stamps of a trace, all in one unit.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    given: Option<TimeUnit>,
    usual: TimeUnit,
    /// Decided by the first time stamp.
    unit: Option<TimeUnit>,
    rows: u64,
    first: i64,
    latest: i64,
    fractions: bool,
}

impl Clock {
    /// A clock of a format whose time stamps are in `usual`, if `given` does not say otherwise.
    pub(super) fn new(given: Option<TimeUnit>, usual: TimeUnit) -> Self {
        Self {
            given,
            usual,
            unit: given,
            rows: 0,
            first: i64::MAX,
            latest: i64::MIN,
            fractions: false,
        }
    }

    /// The unit of the time stamps.
    pub(super) fn unit(&self) -> TimeUnit {
        self.unit.unwrap_or(self.usual)
    }

    /// A time stamp in units of 100 ns; `None` = it makes no sense.
    pub(super) fn ticks(&mut self, stamp: Stamp) -> Option<i64> {
        let usual = self.usual;
        // A Unix time is known by its size, so its unit is no guess.
        let unit = *self
            .unit
            .get_or_insert_with(|| TimeUnit::of_epoch(stamp.value()).unwrap_or(usual));
        let ticks = unit.ticks(stamp)?;
        self.rows += 1;
        self.first = self.first.min(ticks);
        self.latest = self.latest.max(ticks);
        self.fractions |= matches!(stamp, Stamp::Fraction(_));
        Some(ticks)
    }

    /// Are the time stamps Unix times?
    pub(super) fn is_of_epoch(&self) -> bool {
        EPOCH_S.contains(&(self.first as f64 / 1e7))
    }

    /// What a person should know of the unit.
    pub(super) fn note(&self) -> Option<String> {
        if self.given.is_some() || self.rows == 0 {
            return None;
        }
        let (unit, usual) = (self.unit(), self.usual);
        if unit != usual {
            return Some(format!(
                "the time stamps are Unix times in {unit}, not {usual}, and read so; time 0 is the first request"
            ));
        }
        if self.rows < 2 || self.latest == self.first {
            return None;
        }
        let span_s = (self.latest - self.first) as f64 / 1e7;
        let gaps = (self.rows - 1) as f64;
        let other = self.looks_like(span_s, gaps)?;
        Some(format!(
            "read in {usual}, {} requests arrive within {} ({} per second); are the time stamps in {other}? \
             `time_unit` {} reads them so, `time_unit` {} leaves this note out",
            self.rows,
            duration(span_s),
            short(gaps / span_s),
            other.name(),
            usual.name()
        ))
    }

    /// The unit that makes more sense, if another one does.
    fn looks_like(&self, span_s: f64, gaps: f64) -> Option<TimeUnit> {
        let rate = gaps / span_s;
        let at = UNITS.iter().position(|u| *u == self.usual)?;
        // Whole milliseconds are usual, and a trace of a second is short.
        let odd = u8::from(self.fractions) + u8::from(span_s < 1.0);
        let doubtful =
            self.usual != TimeUnit::Seconds && (odd == 2 || (odd == 1 && rate > DOUBTFUL_RATE));
        // Of longer units the nearest that slows it down enough, of shorter ones the nearest that
        // speeds it up enough.
        let slower = |unit: &&TimeUnit| {
            rate * unit.per_second() / self.usual.per_second() <= DOUBTFUL_RATE * 10.0
        };
        if rate > ABSURD_RATE || doubtful {
            return UNITS[..at].iter().rev().find(slower).copied();
        }
        let faster =
            |unit: &&TimeUnit| self.usual.per_second() / unit.per_second() / rate < ABSURD_GAP_S;
        if 1.0 / rate >= ABSURD_GAP_S {
            return UNITS[at + 1..].iter().find(faster).copied();
        }
        None
    }
}

/// A number with three significant digits.
fn short(x: f64) -> String {
    let digits = 2 - x.abs().log10().floor().clamp(-6.0, 2.0) as i32;
    format!("{x:.*}", usize::try_from(digits).unwrap_or(0))
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{} ms", short(s * 1e3)),
        s if s < 172_800.0 => format!("{} s", short(s)),
        s => format!("{} days", short(s / 86_400.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(given: Option<TimeUnit>, usual: TimeUnit, stamps: &[&str]) -> (Clock, Vec<i64>) {
        let mut clock = Clock::new(given, usual);
        let ticks = stamps.iter().map(|text| {
            let stamp = Stamp::of_text(text).expect("a number");
            clock.ticks(stamp).expect("a time")
        });
        let ticks = ticks.collect();
        (clock, ticks)
    }

    fn note(usual: TimeUnit, stamps: &[&str]) -> String {
        clock(None, usual, stamps).0.note().unwrap_or_default()
    }

    #[test]
    fn every_unit_is_exact_in_ticks() {
        use TimeUnit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
        for (unit, text, ticks) in [
            (Seconds, "61.9", 619_000_000),
            (Milliseconds, "0.25", 2500),
            (Microseconds, "7", 70),
            (Nanoseconds, "1760000000123456789", 17_600_000_001_234_568),
            (Milliseconds, "1760000000000", 17_600_000_000_000_000),
            (Seconds, "3.0", 30_000_000),
        ] {
            assert_eq!(clock(Some(unit), Milliseconds, &[text]).1, [ticks]);
        }
        for text in ["-1", "-0.5", "9000000000000000000", "1e300"] {
            let stamp = Stamp::of_text(text).expect("a number");
            assert_eq!(Clock::new(None, Milliseconds).ticks(stamp), None, "{text}");
        }
        assert_eq!(Stamp::of_text("NaN"), None);
    }

    #[test]
    fn unix_times_tell_their_unit() {
        for (stamps, unit) in [
            (["1760000000", "1760000001"], "seconds"),
            (["1760000000000000", "1760000001000000"], "microseconds"),
            (
                ["1760000000000000000", "1760000001000000000"],
                "nanoseconds",
            ),
        ] {
            let (clock, ticks) = clock(None, TimeUnit::Milliseconds, &stamps);
            assert_eq!(ticks[1] - ticks[0], 10_000_000);
            let note = clock.note().expect("a note");
            assert!(note.starts_with(&format!("the time stamps are Unix times in {unit}, not")));
        }
        let stamps = ["1760000000000", "1760000001000"];
        assert_eq!(note(TimeUnit::Milliseconds, &stamps), "");
    }

    #[test]
    fn values_of_another_unit_are_doubted_and_honest_ones_not() {
        let ms = TimeUnit::Milliseconds;
        for (usual, stamps, other) in [
            (ms, &["0.0", "0.2", "30.4", "61.9"][..], "in seconds?"),
            (ms, &["0", "1", "3", "4"], "in seconds?"),
            (ms, &["0", "10", "20", "30"], "in seconds?"),
            (
                ms,
                &["0", "900000", "1800000", "4000000"],
                "in microseconds?",
            ),
            (
                TimeUnit::Seconds,
                &["0", "120000", "360000"],
                "in milliseconds?",
            ),
        ] {
            let note = note(usual, stamps);
            assert!(note.contains(other), "{stamps:?}: {note}");
        }
        for (usual, stamps) in [
            (ms, &["0", "100", "200", "300"][..]),
            (ms, &["0", "0", "3000", "27000"]),
            (ms, &["5"]),
            (ms, &["0.5", "812.25", "1900.125"]),
            (TimeUnit::Seconds, &["5", "45", "118"]),
            (TimeUnit::Seconds, &["0.001", "0.002", "1.5"]),
        ] {
            assert_eq!(note(usual, stamps), "", "{stamps:?}");
        }
        let (clock, _) = clock(Some(ms), ms, &["0.0", "0.2", "61.9"]);
        assert_eq!(clock.note(), None);
    }
}
