//! The rows of a sweep on disk: appended to `FILE.part` as runs finish, put in order into `FILE` at
//! the end.

use crate::output::check_path;
use crate::print::say;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, identity, plain, write_whole};
use windtunnel_results::report::sweep::{Row, write_csv};

/// Rows found, and where new ones go.
pub struct Ledger {
    out: PathBuf,
    columns: Vec<String>,
    found: BTreeMap<String, Row>,
    part: Part,
}

/// The file of an unfinished sweep, held by one sweep at a time.
struct Part {
    path: PathBuf,
    file: File,
    /// Has it any rows? Without, it goes when the sweep goes.
    has_rows: bool,
    /// The disk refused a row already.
    failed: bool,
}

/// Where a sweep writes.
pub struct Place<'a> {
    /// The finished file.
    pub out: &'a Path,
    /// Forget what an earlier sweep left there.
    pub fresh: bool,
}

fn cannot_write(path: &Path, e: &io::Error) -> InputError {
    InputError::in_file(path.display(), format!("cannot write: {}", plain(e)))
}

/// Refuses files that cannot take the rows, before the first run. `inputs` are the files that the
/// runs read.
fn check(out: &Path, inputs: &[PathBuf]) -> Result<(), InputError> {
    let csv = out
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    if !csv {
        return Err(InputError::in_file(
            out.display(),
            "the file's name must end in .csv",
        ));
    }
    check_path(out)?;
    // The name beside it is ours, so what is there is not followed anywhere.
    let others = [
        (out.to_owned(), fs::metadata(out)),
        (part_of(out), fs::symlink_metadata(part_of(out))),
    ];
    for (path, found) in others {
        if found.is_ok_and(|found| !found.is_file()) {
            let why = "it is there already, and no regular file; give another --out";
            return Err(InputError::in_file(path.display(), why));
        }
    }
    let target = identity(out).ok();
    if target.is_some() && inputs.iter().any(|input| identity(input).ok() == target) {
        return Err(InputError::in_file(
            out.display(),
            "it would be overwritten, but the runs read it",
        ));
    }
    match File::options().append(true).open(out) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(cannot_write(out, &e)),
        _ => Ok(()),
    }
}

impl Ledger {
    /// Reads what an earlier sweep left, and takes hold of the file for new rows. `ids` are the
    /// runs of this sweep.
    ///
    /// # Errors
    /// When a file cannot be read or written, holds runs that this sweep does not have, or another
    /// sweep is at it.
    pub fn open(
        place: &Place<'_>,
        columns: &[String],
        ids: &BTreeSet<&str>,
        inputs: &[PathBuf],
    ) -> Result<Self, InputError> {
        let out = place.out;
        check(out, inputs)?;
        let mut found = BTreeMap::new();
        if !place.fresh && out.exists() {
            let text = fs::read(out).map_err(|_| refuse(out, "it is not the table of a sweep"))?;
            collect(out, &rows(out, columns, &text)?.0, ids, &mut found)?;
        }
        let mut part = Part::open(out)?;
        if place.fresh {
            part.file
                .set_len(0)
                .map_err(|e| cannot_write(&part.path, &e))?;
            match fs::remove_file(out) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot_write(out, &e)),
                _ => {}
            }
        }
        part.resume(columns, ids, &mut found)?;
        Ok(Self {
            out: out.to_owned(),
            columns: columns.to_vec(),
            found,
            part,
        })
    }

    /// The row of a run, if it is known.
    pub fn known(&self, id: &str) -> Option<Row> {
        self.found.get(id).cloned()
    }

    /// Saves a row at once.
    pub fn append(&mut self, row: &Row) {
        let mut line = Vec::new();
        let saved = row
            .write_line(&mut line)
            .and_then(|()| self.part.file.write_all(&line));
        self.part.has_rows = true;
        if let (Err(e), false) = (saved, self.part.failed) {
            self.part.failed = true;
            say(&format!(
                "warning: {}; the sweep goes on, but cannot be resumed",
                cannot_write(&self.part.path, &e)
            ));
        }
    }

    /// Where the rows are until all runs are done.
    pub fn unfinished(&self) -> &Path {
        &self.part.path
    }

    /// Puts all rows in order and removes the unfinished file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self, rows: &[Row]) -> Result<(), InputError> {
        write_whole(&self.out, |w| write_csv(&self.columns, rows, w))?;
        self.part.has_rows = false;
        Ok(())
    }
}

/// Where the rows of a sweep to `out` are until all runs are done.
fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// The files that a sweep to `out` writes.
pub fn files(out: &Path) -> Vec<PathBuf> {
    vec![out.to_owned(), part_of(out)]
}

impl Part {
    fn open(out: &Path) -> Result<Self, InputError> {
        let path = part_of(out);
        let file = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|e| cannot_write(&path, &e))?;
        // A file system without locks does without.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(InputError::in_file(
                path.display(),
                "another sweep is writing it; wait for it, or give another --out",
            ));
        }
        Ok(Self {
            path,
            file,
            has_rows: true, // perhaps, and then they must stay
            failed: false,
        })
    }

    /// Reads the rows of an interrupted sweep and gets ready for more.
    fn resume(
        &mut self,
        columns: &[String],
        ids: &BTreeSet<&str>,
        found: &mut BTreeMap<String, Row>,
    ) -> Result<(), InputError> {
        let mut text = Vec::new();
        self.file
            .read_to_end(&mut text)
            .map_err(|_| refuse(&self.path, "it cannot be read"))?;
        // An interruption may have torn the last line.
        let whole = text
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let mut end = 0;
        self.has_rows = false;
        if whole > 0 {
            self.has_rows = true;
            let (rows, good) = rows(&self.path, columns, &text[..whole])?;
            collect(&self.path, &rows, ids, found)?;
            self.has_rows = !rows.is_empty();
            end = good;
        }
        let write = |file: &mut File| {
            file.set_len(end)?;
            if end > 0 {
                return Ok(());
            }
            let mut header = Vec::new();
            write_csv(columns, &[], &mut header)?;
            file.write_all(&header)
        };
        write(&mut self.file).map_err(|e| cannot_write(&self.path, &e))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.has_rows {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn refuse(path: &Path, why: &str) -> InputError {
    InputError::in_file(
        path.display(),
        format!("{why}; give --fresh to start over, or another --out"),
    )
}

/// The rows of a file up to the first that is torn, and where that is.
fn rows(path: &Path, columns: &[String], text: &[u8]) -> Result<(Vec<Row>, u64), InputError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect(),
        Err(_) => return Err(refuse(path, "it is not the table of a sweep")),
    };
    if header != columns {
        return Err(refuse(path, "its columns are not those of this sweep"));
    }
    let mut rows = Vec::new();
    let mut end = reader.position().byte();
    let mut record = csv::StringRecord::new();
    while let Ok(true) = reader.read_record(&mut record) {
        if record.len() != columns.len() {
            break;
        }
        let fields = record.iter().map(str::to_owned).collect();
        rows.push(Row::from_fields(fields, columns));
        end = reader.position().byte();
    }
    Ok((rows, end))
}

/// Adds rows to `found`.
fn collect(
    path: &Path,
    rows: &[Row],
    ids: &BTreeSet<&str>,
    found: &mut BTreeMap<String, Row>,
) -> Result<(), InputError> {
    let foreign = rows.iter().filter(|row| !ids.contains(row.id())).count();
    if foreign > 0 {
        let runs = if foreign == 1 { "a run" } else { "runs" };
        let why = format!(
            "it holds {runs} that this sweep does not have ({foreign} of {})",
            rows.len()
        );
        return Err(refuse(path, &why));
    }
    let known = rows.iter().map(|row| (row.id().to_owned(), row.clone()));
    found.extend(known);
    Ok(())
}
