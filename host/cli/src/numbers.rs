//! Numbers and times of flags as people write them: `10k`, `2.5M`, `1e6`; `200ms`, `2s`, `1m30s`.

use clap::builder::{StringValueParser, TypedValueParser, ValueParser};
use clap::{Arg, Command, value_parser};
use windtunnel_base::input::{InputError, amount};
use windtunnel_results::metrics::slo::parse_duration_us;

/// Largest whole number that a fraction or a power of ten says exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The unit of a flag that takes a time, by what the help calls its value.
fn unit_us(arg: &Arg) -> Option<(f64, &'static str)> {
    match arg.get_value_names()?.first()?.as_str() {
        "SECONDS" => Some((1e6, "seconds")),
        "MS" => Some((1e3, "milliseconds")),
        "US" => Some((1.0, "microseconds")),
        _ => None,
    }
}

/// How a flag reads its numbers.
#[derive(Clone)]
struct Reading {
    /// A time: microseconds of one, and its name.
    unit: Option<(f64, &'static str)>,
    /// `--rate`, and the command that it is a flag of.
    flag: String,
    command: String,
}

impl Reading {
    /// The value as a fraction.
    fn real(&self, text: &str) -> Result<f64, InputError> {
        if let Some(value) = amount(text).filter(|_| self.unit.is_none()) {
            return Ok(value);
        }
        let Some((us, _)) = self.unit else {
            return Err(self.wrong(text, "a number, such as 0.5, 10k or 1e6"));
        };
        match text.trim().parse() {
            Ok(plain) => Ok(plain),
            Err(_) => parse_duration_us(text.trim())
                .map(|duration| duration / us)
                .ok_or_else(|| self.wrong(text, "a time, such as 200ms, 2s or 1m30s")),
        }
    }

    /// The value as a whole number.
    fn whole<T: TryFrom<i128>>(&self, text: &str) -> Result<T, InputError> {
        let value = match text.trim().parse::<i128>() {
            Ok(plain) => plain,
            Err(_) => {
                let value = match self.unit {
                    Some(_) => self.real(text)?,
                    None => amount(text).ok_or_else(|| {
                        self.wrong(text, "a whole number, such as 500, 10k or 1e6")
                    })?,
                };
                // 1.1k is 1100.0000000000002.
                let nearest = value.round();
                if (value - nearest).abs() > nearest.abs() * 1e-12 {
                    let whole = match self.unit {
                        Some((_, name)) => format!("whole {name}"),
                        None => "a whole number".to_owned(),
                    };
                    return Err(InputError::new(format!("{value} is not {whole}")));
                }
                if nearest.abs() > EXACT {
                    return Err(InputError::new("number too large to fit in its type"));
                }
                nearest as i128
            }
        };
        let size = if value < 0 { "small" } else { "large" };
        T::try_from(value)
            .map_err(|_| InputError::new(format!("number too {size}: {value} is out of range")))
    }

    fn wrong(&self, text: &str, expected: &str) -> InputError {
        let several = text.contains(',') && text.split(',').all(|one| amount(one).is_some());
        let range = text.contains(':') && text.split(':').all(|one| amount(one).is_some());
        let name = self.flag.trim_start_matches('-');
        let message = match self.command.as_str() {
            "sweep" | "plan" if several || range => {
                format!("all runs share it; to vary it, write --grid {name}={text}")
            }
            "run" if several || range => format!(
                "a run has one; `windtunnel sweep --grid {name}={text}` simulates all of them"
            ),
            _ => format!("expected {expected}"),
        };
        InputError::new(message)
    }
}

/// The command, whose flags take their numbers so.
pub fn with_numbers(command: Command) -> Command {
    let name = command.get_name().to_owned();
    command.mut_args(|arg| of_arg(arg, &name))
}

fn of_arg(arg: Arg, command: &str) -> Arg {
    if !arg.get_action().takes_values() {
        return arg;
    }
    let reading = Reading {
        unit: unit_us(&arg),
        flag: arg.get_long().unwrap_or_default().to_owned(),
        command: command.to_owned(),
    };
    let taken = arg.get_value_parser().type_id();
    let text = StringValueParser::new;
    let is = |parser: ValueParser| parser.type_id() == taken;
    let parser: ValueParser = if is(value_parser!(u32).into()) {
        text().try_map(move |t| reading.whole::<u32>(&t)).into()
    } else if is(value_parser!(u64).into()) {
        text().try_map(move |t| reading.whole::<u64>(&t)).into()
    } else if is(value_parser!(i64).into()) {
        text().try_map(move |t| reading.whole::<i64>(&t)).into()
    } else if is(value_parser!(usize).into()) {
        text().try_map(move |t| reading.whole::<usize>(&t)).into()
    } else if is(value_parser!(f64).into()) {
        text().try_map(move |t| reading.real(&t)).into()
    } else {
        return arg;
    };
    arg.value_parser(parser)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(unit: Option<(f64, &'static str)>, command: &str) -> Reading {
        Reading {
            unit,
            flag: "rate".to_owned(),
            command: command.to_owned(),
        }
    }

    #[test]
    fn counts_have_letters_powers_and_fractions() {
        let count = reading(None, "run");
        for (text, value) in [
            ("0", 0),
            ("10k", 10_000),
            ("2.5K", 2_500),
            ("1e6", 1_000_000),
            ("1.1k", 1_100),
            ("3M", 3_000_000),
            ("4b", 4_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(count.whole::<u64>(text).unwrap(), value, "{text}");
        }
        for (text, why) in [
            ("ten", "expected a whole number, such as 500, 10k or 1e6"),
            ("k", "expected a whole number"),
            ("infk", "expected a whole number"),
            ("10kk", "expected a whole number"),
            ("1.5", "1.5 is not a whole number"),
            ("1e300", "too large"),
            ("5G", "number too large: 5000000000 is out of range"),
            ("-1", "number too small: -1 is out of range"),
        ] {
            let error = count.whole::<u32>(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn times_have_units_and_bare_numbers_are_in_the_flags_own() {
        let ms = reading(Some((1e3, "milliseconds")), "run");
        for (text, value) in [
            ("200", 200),
            ("200ms", 200),
            ("2s", 2_000),
            ("1m30s", 90_000),
        ] {
            assert_eq!(ms.whole::<u64>(text).unwrap(), value, "{text}");
        }
        let error = ms.whole::<u64>("10us").unwrap_err().to_string();
        assert_eq!(error, "0.01 is not whole milliseconds");
        let seconds = reading(Some((1e6, "seconds")), "run");
        assert_eq!(seconds.real("250ms").unwrap(), 0.25);
        assert_eq!(seconds.real("-1").unwrap(), -1.0);
        let error = seconds.real("10k").unwrap_err().to_string();
        assert_eq!(error, "expected a time, such as 200ms, 2s or 1m30s");
    }

    #[test]
    fn lists_of_numbers_are_sent_to_the_grid() {
        let error = |command: &str| {
            reading(None, command)
                .real("10,20")
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("sweep"),
            "all runs share it; to vary it, write --grid rate=10,20"
        );
        assert_eq!(
            error("run"),
            "a run has one; `windtunnel sweep --grid rate=10,20` simulates all of them"
        );
        assert_eq!(
            error("observe"),
            "expected a number, such as 0.5, 10k or 1e6"
        );
    }
}
