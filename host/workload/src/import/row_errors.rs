//! Errors in rows of a trace: such a row is skipped and counted, or ends the import.

use std::collections::BTreeMap;
use windtunnel_base::input::InputError;

/// Most reasons in a note.
const MOST_REASONS: usize = 3;

/// Counts the rows of a file that were skipped, by reason.
#[derive(Clone, Debug, Default)]
pub struct RowErrors {
    strict: bool,
    rows: u64,
    skipped: u64,
    reasons: BTreeMap<String, u64>,
    first: Option<InputError>,
}

impl RowErrors {
    /// No errors yet. If `strict`, the first one ends the import.
    #[must_use]
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    /// Counts a row, and its error if it has one: then it is skipped.
    ///
    /// # Errors
    /// The error of the row, if strict.
    pub fn take<T>(&mut self, row: Result<T, InputError>) -> Result<Option<T>, InputError> {
        self.rows += 1;
        match row {
            Ok(row) => Ok(Some(row)),
            Err(error) if self.strict => Err(error),
            Err(error) => {
                self.skipped += 1;
                // What was expected is the reason; what was found differs from row to row.
                let reason = error.message().split(", found").next().unwrap_or_default();
                *self.reasons.entry(reason.to_owned()).or_default() += 1;
                self.first.get_or_insert(error);
                Ok(None)
            }
        }
    }

    /// A note on the rows that were skipped, if any.
    ///
    /// # Errors
    /// The first error, if all rows were skipped.
    pub fn note(&self) -> Result<Option<String>, InputError> {
        let Some(first) = &self.first else {
            return Ok(None);
        };
        if self.skipped == self.rows {
            return Err(first.clone());
        }
        let mut reasons: Vec<(&String, u64)> = self.reasons.iter().map(|(r, n)| (r, *n)).collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let shown = reasons.iter().take(MOST_REASONS);
        let shown: Vec<String> = shown.map(|(reason, n)| format!("{n} x {reason}")).collect();
        let more = match reasons.len().saturating_sub(MOST_REASONS) {
            0 => String::new(),
            n => format!("; {n} other reasons"),
        };
        Ok(Some(format!(
            "skipped {} of {} rows ({}{more}); the first: {first}; `strict` stops there",
            self.skipped,
            self.rows,
            shown.join("; "),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_reason_and_end_a_strict_import() {
        let bad = |found: &str| {
            Err::<u8, _>(InputError::at(
                "t",
                7,
                0,
                format!("expected a number, found {found}"),
            ))
        };
        let mut errors = RowErrors::new(false);
        for row in [
            Ok(1),
            bad("x"),
            bad("y"),
            Err(InputError::at("t", 9, 0, "too short")),
        ] {
            let _ = errors.take(row).unwrap();
        }
        assert_eq!(
            errors.note().unwrap().unwrap(),
            "skipped 3 of 4 rows (2 x expected a number; 1 x too short); the first: t:7: expected a number, found x; `strict` stops there"
        );
        assert!(RowErrors::new(true).take(bad("x")).is_err());
        let mut all_bad = RowErrors::new(false);
        let _ = all_bad.take(bad("x")).unwrap();
        assert!(all_bad.note().is_err());
        assert_eq!(RowErrors::new(false).note(), Ok(None));
    }
}
