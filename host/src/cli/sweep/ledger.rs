//! The rows of a sweep on disk: appended as runs finish, put in order at the end.

use crate::input::{InputError, write_whole};
use crate::report::sweep::{Row, write_csv};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rows found, and where new ones go.
pub struct Ledger {
    out: Option<PathBuf>,
    columns: Vec<String>,
    found: BTreeMap<String, Row>,
    part: Option<File>,
}

/// The file of an unfinished sweep.
fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

impl Ledger {
    /// Reads what an earlier sweep left at `out`, unless `fresh`, and opens the file for new rows.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds another sweep.
    pub fn open(out: Option<&Path>, columns: &[String], fresh: bool) -> Result<Self, InputError> {
        let mut ledger = Self {
            out: out.map(Path::to_owned),
            columns: columns.to_vec(),
            found: BTreeMap::new(),
            part: None,
        };
        let Some(out) = out else { return Ok(ledger) };
        if out.extension().is_none_or(|e| e != "csv") {
            return Err(InputError::in_file(
                out.display(),
                "the file's name must end in .csv",
            ));
        }
        let part = part_of(out);
        if !fresh {
            for path in [out, &part] {
                if path.exists() {
                    ledger.read(path)?;
                }
            }
        }
        // What was read is written again at once, so that a torn last line is gone.
        let rows: Vec<Row> = ledger.found.values().cloned().collect();
        write_whole(&part, |w| write_csv(columns, &rows, w))?;
        let file = File::options().append(true).open(&part);
        ledger.part = Some(
            file.map_err(|e| InputError::in_file(part.display(), format!("cannot write: {e}")))?,
        );
        Ok(ledger)
    }

    fn read(&mut self, path: &Path) -> Result<(), InputError> {
        let refuse = |why: &str| {
            Err(InputError::in_file(
                path.display(),
                format!("{why}; give --fresh to start over, or another --out"),
            ))
        };
        let Ok(mut reader) = csv::ReaderBuilder::new().flexible(true).from_path(path) else {
            return refuse("it cannot be read as a sweep");
        };
        let same = reader
            .headers()
            .is_ok_and(|h| h.iter().eq(self.columns.iter().map(String::as_str)));
        if !same {
            return refuse("it holds other columns than this sweep");
        }
        for record in reader.records().flatten() {
            // An interrupted sweep may have torn its last line.
            if record.len() == self.columns.len() {
                let row = Row::from_fields(record.iter().map(str::to_owned).collect());
                self.found.insert(row.id().to_owned(), row);
            }
        }
        Ok(())
    }

    /// The rows of these runs as far as they are known.
    ///
    /// # Errors
    /// When the file holds runs that this sweep does not have.
    pub fn known(&mut self, ids: &[String]) -> Result<Vec<Option<Row>>, InputError> {
        let known = ids.iter().map(|id| self.found.remove(id)).collect();
        match (&self.out, self.found.len()) {
            (Some(out), n) if n > 0 => Err(InputError::in_file(
                out.display(),
                format!(
                    "it holds {n} runs of another sweep; give --fresh to start over, or another --out"
                ),
            )),
            _ => Ok(known),
        }
    }

    /// Saves a row at once.
    pub fn append(&mut self, row: &Row) {
        if let Some(file) = &mut self.part {
            let mut line = Vec::new();
            // A row that cannot be saved now is saved at the end, or the end says why not.
            if row.write_line(&mut line).is_ok() {
                let _ = file.write_all(&line).and_then(|()| file.flush());
            }
        }
    }

    /// Puts all rows in order and removes the unfinished file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self, rows: &[Row]) -> Result<(), InputError> {
        let Some(out) = &self.out else { return Ok(()) };
        write_whole(out, |w| write_csv(&self.columns, rows, w))?;
        let _ = std::fs::remove_file(part_of(out));
        Ok(())
    }
}
