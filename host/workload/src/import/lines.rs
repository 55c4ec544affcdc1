//! Lines of a text file, one at a time and none without end.

use crate::table::open_file;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use windtunnel_base::input::InputError;

/// Longest line, bytes.
const LONGEST: u64 = 64 << 20;

/// The lines of a file that are not blank.
pub(super) struct Lines {
    name: String,
    reader: BufReader<File>,
    line: u64,
    text: Vec<u8>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        Ok(Self {
            name: path.display().to_string(),
            reader: BufReader::with_capacity(1 << 16, open_file(path)?),
            line: 0,
            text: Vec::new(),
        })
    }

    /// The next line: its number and its bytes without the line end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, InputError> {
        loop {
            self.text.clear();
            let mut limited = (&mut self.reader).take(LONGEST);
            let read = limited.read_until(b'\n', &mut self.text).map_err(|e| {
                InputError::in_file(
                    &self.name,
                    format!("cannot read: {}", windtunnel_base::input::plain(&e)),
                )
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read as u64 == LONGEST {
                return Err(self.error("the line is longer than 64 MiB"));
            }
            if !self.text.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let start = if self.line == 1 && self.text.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        Ok(Some((self.line, self.text[start..].trim_ascii_end())))
    }

    pub(super) fn error(&self, message: impl Into<String>) -> InputError {
        InputError::at(&self.name, self.line, 0, message)
    }
}
