//! Values of JSON rows: what a key holds, or what was expected of it.

use super::lines::Lines;
use super::row_errors::RowErrors;
use crate::json::without_place;
use crate::limits::MAX_TOKENS;
use crate::table::shown;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::InputError;

/// Keys that nobody reads, by `#[serde(flatten)]`.
pub(super) type Others = BTreeMap<String, IgnoredAny>;

/// How often each key occurred that is not read.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<String, u64>);

impl Unread {
    pub(super) fn add(&mut self, others: &Others) {
        for key in others.keys() {
            *self.0.entry(key.clone()).or_default() += 1;
        }
    }

    /// A note that names them, if there are any.
    pub(super) fn note(&self) -> Option<String> {
        const MOST: usize = 8;
        if self.0.is_empty() {
            return None;
        }
        let names: Vec<String> = self.0.keys().take(MOST).map(|k| format!("{k:?}")).collect();
        let more = match self.0.len().saturating_sub(MOST) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(format!(
            "keys that have no effect here: {}{more}",
            names.join(", ")
        ))
    }
}

/// A whole number of tokens.
///
/// # Errors
/// What was expected, if it is none.
pub(super) fn tokens(key: &str, found: Option<f64>) -> Result<u32, String> {
    let most = MAX_TOKENS / 2;
    match found {
        Some(n) if n.fract() == 0.0 && (0.0..=most as f64).contains(&n) => Ok(n as u32),
        Some(n) => Err(format!(
            "{key}: expected a whole number from 0 to {most}, found {n}"
        )),
        None => Err(format!(
            "{key}: expected a whole number from 0 to {most}, found nothing"
        )),
    }
}

/// A time or a pause as nanoseconds; `unit_ns` is the unit that the file counts in.
///
/// # Errors
/// What was expected, if it is none.
pub(super) fn time_ns(key: &str, found: Option<f64>, unit_ns: f64) -> Result<i64, String> {
    let unit = match unit_ns {
        1e9 => "seconds",
        1e6 => "milliseconds",
        _ => "nanoseconds",
    };
    match found {
        Some(t) if t >= 0.0 && t * unit_ns < 9e18 => Ok((t * unit_ns).round() as i64),
        Some(t) => Err(format!("{key}: expected {unit} of 0 or more, found {t}")),
        None => Err(format!(
            "{key}: expected {unit} of 0 or more, found nothing"
        )),
    }
}

/// Reads a row as an object.
///
/// # Errors
/// What it is instead.
pub(super) fn object<T: DeserializeOwned>(text: &[u8], expected: &str) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|e| {
        format!(
            "{}; expected {expected}, found {}",
            without_place(&e),
            shown(&String::from_utf8_lossy(text))
        )
    })
}

/// Reads a file with an object per line.
///
/// # Errors
/// When it cannot be read, or a row is in error and `errors` is strict.
pub(super) fn each_line<T: DeserializeOwned>(
    path: &Path,
    expected: &str,
    errors: &mut RowErrors,
    mut take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), InputError> {
    let mut lines = Lines::open(path)?;
    while let Some((_, text)) = lines.next()? {
        let row = object(text, expected).and_then(&mut take);
        errors.take(row.map_err(|what| lines.error(what)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_what_is_wrong_with_them() {
        assert_eq!(tokens("in", Some(512.0)), Ok(512));
        for (found, message) in [
            (
                None,
                "in: expected a whole number from 0 to 1073741823, found nothing",
            ),
            (
                Some(1.5),
                "in: expected a whole number from 0 to 1073741823, found 1.5",
            ),
            (
                Some(-1.0),
                "in: expected a whole number from 0 to 1073741823, found -1",
            ),
        ] {
            assert_eq!(tokens("in", found).unwrap_err(), message);
        }
        assert_eq!(time_ns("t", Some(1.25), 1e9), Ok(1_250_000_000));
        assert_eq!(
            time_ns("t", Some(-1.0), 1e6).unwrap_err(),
            "t: expected milliseconds of 0 or more, found -1"
        );
        assert!(time_ns("t", Some(1e300), 1.0).is_err());
        assert!(
            time_ns("t", None, 1.0)
                .unwrap_err()
                .ends_with("found nothing")
        );
    }

    #[test]
    fn keys_without_effect_are_named_once() {
        let mut unread = Unread::default();
        assert_eq!(unread.note(), None);
        for text in ["{\"b\": 1, \"a\": null}", "{\"a\": 2}"] {
            unread.add(&serde_json::from_str(text).unwrap());
        }
        assert_eq!(
            unread.note().unwrap(),
            "keys that have no effect here: \"a\", \"b\""
        );
    }
}
