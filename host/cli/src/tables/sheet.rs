//! Reading tables of comma-separated values, with the place of every mistake.

use super::packages::in_file;
use csv::{ErrorKind, StringRecord};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, plain, read_bytes, unknown};

/// No profile has as many bytes.
const MOST_BYTES: u64 = 1 << 30;

/// A file of rows under a header.
pub struct Sheet {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<StringRecord>,
    /// Of the whole file.
    hash: blake3::Hash,
}

/// A column: its place and its name.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    at: usize,
    name: &'a str,
}

/// A row in its file.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    sheet: &'a Sheet,
    record: &'a StringRecord,
}

impl Sheet {
    /// Reads a file, all of it.
    ///
    /// # Errors
    /// When it cannot be read, has rows of another length than its header, or none.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let bytes = read_bytes(path, MOST_BYTES).map_err(|error| in_file(path, &plain(&error)))?;
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let refuse = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            let why = match error.kind() {
                ErrorKind::UnequalLengths {
                    expected_len, len, ..
                } => format!("found {len} fields, expected {expected_len} as in the header"),
                ErrorKind::Utf8 { .. } => "found bytes that are no text, expected UTF-8".to_owned(),
                _ => error.to_string(),
            };
            in_file(path, &format!("line {line}: {why}"))
        };
        let header = reader.headers().map_err(refuse)?;
        let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let rows: Vec<StringRecord> = reader.records().collect::<Result<_, _>>().map_err(refuse)?;
        if rows.is_empty() {
            return Err(in_file(path, "line 2: found no row, expected measurements"));
        }
        Ok(Self {
            path: path.to_owned(),
            header,
            rows,
            hash: blake3::hash(&bytes),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn hash(&self) -> blake3::Hash {
        self.hash
    }

    /// The column of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn column<'n>(&self, name: &'n str) -> Result<Column<'n>, InputError> {
        self.optional(name).ok_or_else(|| {
            let there: Vec<&str> = self.header.iter().map(String::as_str).collect();
            let there: Vec<&str> = there.into_iter().filter(|name| !name.is_empty()).collect();
            in_file(
                &self.path,
                &format!("line 1: {}", unknown("column", name, &there)),
            )
        })
    }

    /// The column of that name, if there is one.
    pub fn optional<'n>(&self, name: &'n str) -> Option<Column<'n>> {
        let at = self.header.iter().position(|there| there == name)?;
        Some(Column { at, name })
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let sheet = self;
        self.rows.iter().map(move |record| Row { sheet, record })
    }
}

impl<'a> Row<'a> {
    /// The text in a column.
    pub fn text(self, column: Column<'_>) -> &'a str {
        self.record.get(column.at).unwrap_or_default().trim()
    }

    /// What is wrong in a column of this row.
    pub fn wrong(self, column: Column<'_>, expected: &str) -> InputError {
        let line = self.record.position().map_or(0, csv::Position::line);
        let found = self.text(column);
        let message = format!(
            "line {line}, column {}: found \"{found}\", expected {expected}",
            column.name
        );
        in_file(&self.sheet.path, &message)
    }

    /// A whole number, which programs may write with a point.
    ///
    /// # Errors
    /// When it is none.
    pub fn whole(self, column: Column<'_>) -> Result<u32, InputError> {
        let number = self.text(column).parse::<f64>().ok();
        let whole = number.filter(|x| x.fract() == 0.0 && (0.0..4e9).contains(x));
        whole
            .map(|x| x as u32)
            .ok_or_else(|| self.wrong(column, "a whole number of at least 0"))
    }

    /// A whole number above 0.
    ///
    /// # Errors
    /// When it is none.
    pub fn count(self, column: Column<'_>) -> Result<u32, InputError> {
        match self.whole(column) {
            Ok(0) | Err(_) => Err(self.wrong(column, "a whole number above 0")),
            Ok(count) => Ok(count),
        }
    }

    /// A switch as Python writes it.
    ///
    /// # Errors
    /// When it is none.
    pub fn switch(self, column: Column<'_>) -> Result<bool, InputError> {
        match self.text(column) {
            "True" | "true" => Ok(true),
            "False" | "false" => Ok(false),
            _ => Err(self.wrong(column, "True or False")),
        }
    }

    /// A time in microseconds, of a column in `unit_us` of them; `None` where nothing was measured.
    ///
    /// # Errors
    /// When it is no time.
    pub fn us(self, column: Column<'_>, unit_us: f64) -> Result<Option<f64>, InputError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let time = text.parse::<f64>().ok();
        let time = time.filter(|x| x.is_finite() && *x > 0.0);
        let time = time.ok_or_else(|| self.wrong(column, "a time above 0"))?;
        Ok(Some(time * unit_us))
    }
}
