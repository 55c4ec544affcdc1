//! CSV files read by column name, with errors that name file, line and column.

use super::limits::MOST_UNPACKED;
use csv::StringRecord;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use windtunnel_base::input::{self, InputError};

/// A CSV file with its header row, read row by row into one reused record.
pub(super) struct Table {
    name: String,
    reader: csv::Reader<Box<dyn Read + Send>>,
    header: StringRecord,
    row: StringRecord,
    line: u64,
    /// The file cannot be read on.
    broken: bool,
    /// Bytes read since the last row.
    taken: Arc<AtomicU64>,
}

impl Table {
    /// Opens a file and reads its header row.
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        let file = open_file(path)?;
        Self::new(path.display().to_string(), file)
    }

    /// The same with tabs between the fields, if the header row has some, else with commas.
    pub(super) fn open_by_delimiter(path: &Path) -> Result<Self, InputError> {
        let mut head = Vec::new();
        let cannot = |e: std::io::Error| {
            InputError::in_file(path.display(), format!("cannot read: {}", input::plain(&e)))
        };
        open_file(path)?
            .take(1 << 12)
            .read_to_end(&mut head)
            .map_err(cannot)?;
        let tabs = head
            .split(|b| *b == b'\n')
            .next()
            .unwrap_or(&[])
            .contains(&b'\t');
        let delimiter = if tabs { b'\t' } else { b',' };
        Self::delimited(path.display().to_string(), open_file(path)?, delimiter)
    }

    /// The same from any reader; `name` is what messages call it.
    pub(super) fn new(name: String, from: Box<dyn Read + Send>) -> Result<Self, InputError> {
        Self::delimited(name, from, b',')
    }

    fn delimited(
        name: String,
        from: Box<dyn Read + Send>,
        delimiter: u8,
    ) -> Result<Self, InputError> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            // Left to itself the reader counts a CR LF as the start of the next line.
            .terminator(csv::Terminator::Any(b'\n'))
            .buffer_capacity(1 << 16)
            .from_reader(Box::new(LastLine::new(from, Arc::clone(&taken))) as Box<dyn Read + Send>);
        let mut header = StringRecord::new();
        let line = next_row(&name, &mut reader, &mut header)?;
        if line == 0 {
            return Err(InputError::in_file(
                name,
                "the file is empty; expected a header row with the column names",
            ));
        }
        Ok(Self {
            name,
            reader,
            header,
            row: StringRecord::new(),
            line,
            broken: false,
            taken,
        })
    }

    /// Positions of the named columns: all of `mandatory`, then all of `optional` (`None` when
    /// absent). A column that is missing, named twice or unknown is an error.
    pub(super) fn columns(
        &self,
        mandatory: &[&str],
        optional: &[&str],
    ) -> Result<Vec<Option<usize>>, InputError> {
        let found: Vec<&str> = self.header.iter().map(str::trim).collect();
        let known = |name: &str| mandatory.contains(&name) || optional.contains(&name);
        self.must_have(mandatory, optional)?;
        for (at, name) in found.iter().enumerate() {
            if !known(name) {
                let valid: Vec<&str> = mandatory.iter().chain(optional).copied().collect();
                return Err(self.header_error(input::unknown("column", name, &valid)));
            }
            if found[..at].contains(name) {
                return Err(self.header_error(format!("the column \"{name}\" appears twice")));
            }
        }
        Ok(mandatory
            .iter()
            .chain(optional)
            .map(|name| found.iter().position(|f| f == name))
            .collect())
    }

    /// Refuses a header row that lacks one of `mandatory`; a column that is none of `optional` may
    /// be meant.
    fn must_have(&self, mandatory: &[&str], optional: &[&str]) -> Result<(), InputError> {
        let found = || self.header.iter().map(str::trim);
        let known = |name: &&str| mandatory.contains(name) || optional.contains(name);
        let Some(name) = mandatory.iter().find(|name| !found().any(|f| f == **name)) else {
            return Ok(());
        };
        let hint = input::nearest(name, found().filter(|f| !known(f)));
        let hint = hint.map_or(String::new(), |f| {
            format!(" (the header has \"{f}\": is that it?)")
        });
        Err(self.header_error(format!("the column \"{name}\" is missing{hint}")))
    }

    /// As [`columns`](Self::columns), and the names of columns that are neither.
    pub(super) fn known_columns(
        &self,
        mandatory: &[&str],
        optional: &[&str],
    ) -> Result<(Vec<Option<usize>>, Vec<String>), InputError> {
        self.must_have(mandatory, optional)?;
        let known = |name: &&str| mandatory.contains(name) || optional.contains(name);
        let names = self.header.iter().map(str::trim);
        let others: Vec<&str> = names.filter(|name| !known(name)).collect();
        let all: Vec<&str> = optional.iter().chain(&others).copied().collect();
        let mut at = self.columns(mandatory, &all)?;
        at.truncate(mandatory.len() + optional.len());
        Ok((at, others.into_iter().map(str::to_owned).collect()))
    }

    /// Position of the column `name` among those behind `last`, if there is one.
    ///
    /// # Errors
    /// When there are several.
    pub(super) fn column_behind(
        &self,
        last: usize,
        name: &str,
    ) -> Result<Option<usize>, InputError> {
        let behind = self.header.iter().enumerate().skip(last + 1);
        let mut found = behind.filter(|(_, column)| column.trim() == name);
        let first = found.next().map(|(at, _)| at);
        match found.next() {
            Some(_) => Err(self.header_error(format!("the column \"{name}\" appears twice"))),
            None => Ok(first),
        }
    }

    fn header_error(&self, message: String) -> InputError {
        InputError::at(&self.name, self.line, 0, message)
    }

    /// Moves to the next row; `false` at the end. A row must have as many fields as the header.
    pub(super) fn advance(&mut self) -> Result<bool, InputError> {
        // Wrong bytes end with their row; anything else leaves nothing to go on with.
        self.broken = true;
        self.taken.store(0, Ordering::Relaxed);
        let line = next_row(&self.name, &mut self.reader, &mut self.row);
        let line = line.inspect_err(|e| self.broken = !e.message().ends_with(NOT_TEXT))?;
        self.broken = false;
        if line == 0 {
            return Ok(false);
        }
        self.line = line;
        if self.row.len() != self.header.len() {
            return Err(self.error(format!(
                "the row has {} fields, the header row has {}",
                self.row.len(),
                self.header.len()
            )));
        }
        Ok(true)
    }

    /// Moves to the next row, or says what is wrong with it; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub(super) fn advance_or_row_error(
        &mut self,
    ) -> Result<Option<Result<(), InputError>>, InputError> {
        match self.advance() {
            Ok(true) => Ok(Some(Ok(()))),
            Ok(false) => Ok(None),
            Err(error) if self.broken => Err(error),
            Err(error) => Ok(Some(Err(error))),
        }
    }

    /// Number of columns of the header row.
    pub(super) fn width(&self) -> usize {
        self.header.len()
    }

    /// Field `at` of the current row.
    pub(super) fn field(&self, at: usize) -> &str {
        &self.row[at]
    }

    /// What messages call the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Line of the current row, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// A message about the current row.
    pub(super) fn error(&self, message: impl Into<String>) -> InputError {
        InputError::at(&self.name, self.line, 0, message)
    }

    /// A message about one field of the current row.
    pub(super) fn field_error(&self, at: usize, expected: &str) -> InputError {
        self.field_error_because(at, expected, "")
    }

    /// The same with what exactly is wrong inside the field.
    pub(super) fn field_error_because(
        &self,
        at: usize,
        expected: &str,
        because: &str,
    ) -> InputError {
        let colon = if because.is_empty() { "" } else { ": " };
        let column = match self.header.get(at).map(str::trim) {
            Some(name) if !name.is_empty() => format!("\"{name}\""),
            _ => (at + 1).to_string(),
        };
        let found = self.row.get(at).unwrap_or_default();
        self.error(format!(
            "column {column}: expected {expected}, found {}{colon}{because}",
            shown(found)
        ))
    }

    /// A whole number from 0 to `max`.
    pub(super) fn count(&self, at: usize, max: u64) -> Result<u64, InputError> {
        match self.field(at).trim().parse::<u64>() {
            Ok(n) if n <= max => Ok(n),
            _ => Err(self.field_error(at, &format!("a whole number from 0 to {max}"))),
        }
    }

    /// A whole number from 0 to `max`, which may be written as a fraction (`12.0`).
    pub(super) fn whole(&self, at: usize, max: u64) -> Result<u64, InputError> {
        match self.field(at).trim().parse::<f64>() {
            Ok(n) if n.fract() == 0.0 && (0.0..=max as f64).contains(&n) => Ok(n as u64),
            _ => Err(self.field_error(at, &format!("a whole number from 0 to {max}"))),
        }
    }

    /// A time in seconds, as nanoseconds.
    pub(super) fn seconds_ns(&self, at: usize) -> Result<i64, InputError> {
        match self.field(at).trim().parse::<f64>() {
            Ok(s) if (0.0..9e9).contains(&s) => Ok((s * 1e9).round() as i64),
            _ => Err(self.field_error(at, "a time in seconds, 0 or more")),
        }
    }
    /// A priority as vLLM takes it: lower is more urgent, nothing is 0.
    pub(super) fn priority(&self, at: usize) -> Result<i32, InputError> {
        let text = self.field(at).trim();
        if text.is_empty() {
            return Ok(0);
        }
        let expected = "a priority, a whole number of which lower is more urgent, or nothing";
        text.parse().map_err(|_| self.field_error(at, expected))
    }

    /// A time in whole microseconds, not negative.
    pub(super) fn time(&self, at: usize) -> Result<i64, InputError> {
        match self.field(at).trim().parse::<i64>() {
            Ok(t) if t >= 0 => Ok(t),
            _ => Err(self.field_error(at, "a time in whole microseconds, 0 or more")),
        }
    }
}

/// What a person should know of columns that are not read.
pub(super) fn unread(columns: &[String]) -> Option<String> {
    let names: Vec<String> = columns.iter().map(|name| format!("{name:?}")).collect();
    let note = || format!("columns that have no effect here: {}", names.join(", "));
    (!names.is_empty()).then(note)
}

/// What is wrong with bytes that are no text.
const NOT_TEXT: &str = "is not UTF-8 text";

/// Longest row, bytes: an endless one must not fill the memory.
const LONGEST_ROW: u64 = 1 << 28;

/// A last row of our own: a quote that is never closed swallows it and so gives itself away.
const END: &str = "\0end of file\0";

/// Ends the last line of a file, so that every line counts alike, and adds [`END`].
struct LastLine {
    from: Box<dyn Read + Send>,
    last: u8,
    taken: Arc<AtomicU64>,
    /// What is left of the end, once the file itself is read.
    tail: Option<Cursor<Vec<u8>>>,
}

impl LastLine {
    fn new(from: Box<dyn Read + Send>, taken: Arc<AtomicU64>) -> Self {
        Self {
            from,
            taken,
            last: b'\n',
            tail: None,
        }
    }
}

impl Read for LastLine {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.tail.is_none() {
            let read = self.from.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                let taken = self.taken.fetch_add(read as u64, Ordering::Relaxed);
                if taken > LONGEST_ROW {
                    return Err(std::io::Error::other("a row is longer than 256 MiB"));
                }
                self.last = buffer[..read].last().copied().unwrap_or(self.last);
                return Ok(read);
            }
            let line_end = if self.last == b'\n' { "" } else { "\n" };
            self.tail = Some(Cursor::new(format!("{line_end}{END}\n").into_bytes()));
        }
        self.tail.as_mut().map_or(Ok(0), |tail| tail.read(buffer))
    }
}

/// Reads the next row that is not blank, without the CR at its end, and returns its first line; 0
/// at the end.
fn next_row(
    name: &str,
    reader: &mut csv::Reader<Box<dyn Read + Send>>,
    row: &mut StringRecord,
) -> Result<u64, InputError> {
    loop {
        if !reader.read_record(row).map_err(|e| broken(name, &e))? {
            return Ok(0);
        }
        if row.len() == 1 && row[0].trim().is_empty() {
            continue;
        }
        let inside: usize = row.iter().map(|f| f.matches('\n').count()).sum();
        if row.len() == 1 && row[0] == *END {
            return Ok(0);
        }
        if row.iter().any(|f| f.contains(END)) {
            let line = reader.position().line().saturating_sub(inside as u64);
            return Err(InputError::at(
                name,
                line.max(1),
                0,
                "a quoted field that begins in this row is not closed",
            ));
        }
        let line = reader.position().line().saturating_sub(1 + inside as u64);
        if let Some(last) = row.iter().next_back().and_then(|f| f.strip_suffix('\r')) {
            let last = last.to_owned();
            row.truncate(row.len() - 1);
            row.push_field(&last);
        }
        return Ok(line.max(1));
    }
}

/// Opens a file for reading, unpacked and as UTF-8.
pub(super) fn open_file(path: &Path) -> Result<input::Opened, InputError> {
    open_up_to(path, MOST_UNPACKED)
}

/// The same for at most so many unpacked bytes.
pub(super) fn open_up_to(path: &Path, most: u64) -> Result<input::Opened, InputError> {
    let cannot = |why: &str| InputError::in_file(path.display(), format!("cannot read: {why}"));
    if path.is_dir() {
        return Err(cannot("it is a folder"));
    }
    if path.exists() && !path.is_file() {
        return Err(cannot(
            "it is a pipe or a device; a trace is read twice and must be a file",
        ));
    }
    input::open_text(path, most).map_err(|e| cannot(&input::plain(&e)))
}

/// Text as messages quote it: in quotes, cut when long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(MOST).collect();
    if chars.next().is_some() {
        format!("{head:?}...")
    } else {
        format!("{head:?}")
    }
}

fn broken(name: &str, error: &csv::Error) -> InputError {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => InputError::at(
            name,
            line,
            0,
            format!("field {} {NOT_TEXT}", err.field() + 1),
        ),
        csv::ErrorKind::Io(e) => InputError::in_file(name, format!("cannot read: {e}")),
        _ => InputError::at(name, line, 0, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &'static str) -> Table {
        Table::new("a.csv".into(), Box::new(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_missing_column_names_the_nearest_stranger() {
        let t = table("inputtokens,b\n1,2\n");
        let error = t
            .columns(&["input_tokens", "b"], &[])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a.csv:1: the column \"input_tokens\" is missing (the header has \"inputtokens\": is that it?)"
        );
    }

    #[test]
    fn a_quote_without_end_names_its_row() {
        for text in ["a,b\n1,2\n3,\"4\n5,6\n", "a,b\n1,2\n3,\"4\n5,6"] {
            let mut t = table(text);
            assert!(t.advance().unwrap());
            assert_eq!(
                t.advance().unwrap_err().to_string(),
                "a.csv:3: a quoted field that begins in this row is not closed"
            );
        }
        let mut t = table("a,b\n1,\"2\n\"");
        assert!(t.advance().unwrap() && !t.advance().unwrap());
    }

    #[test]
    fn strangers_and_twins_are_errors_and_order_is_free() {
        let error = table("a,b,thnk\n").columns(&["a", "b"], &["think"]);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("did you mean \"think\"?")
        );
        let error = table("a,b,a\n").columns(&["a", "b"], &[]);
        assert!(error.unwrap_err().to_string().contains("appears twice"));
        assert_eq!(
            table("\u{feff}b,a\n").columns(&["a", "b"], &["c"]).unwrap(),
            vec![Some(1), Some(0), None]
        );
    }

    #[test]
    fn rows_know_their_line_and_width() {
        let mut t = table("a,b\r\n\r\n1,\"x\ny\"\r\n-2,3\r\n\n4");
        assert!(t.advance().unwrap());
        assert_eq!((t.line(), t.count(0, 9).unwrap()), (3, 1));
        assert!(t.advance().unwrap());
        assert_eq!(
            t.count(0, 9).unwrap_err().to_string(),
            "a.csv:5: column \"a\": expected a whole number from 0 to 9, found \"-2\""
        );
        assert_eq!(
            t.advance().unwrap_err().to_string(),
            "a.csv:7: the row has 1 fields, the header row has 2"
        );
    }
}
