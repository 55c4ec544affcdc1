//! Lines of a text file, one at a time and none without end.

use crate::table::open_file;
use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use windtunnel_base::input::{InputError, Opened, finite_json};

/// Longest line, bytes.
const LONGEST: u64 = 64 << 20;

/// The lines of a file of JSON lines that are not blank; see [`finite_json`].
pub(super) struct Lines {
    name: String,
    reader: BufReader<Opened>,
    line: u64,
    text: Vec<u8>,
    /// The line has a bare `NaN` or the like.
    replaced: bool,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        Ok(Self {
            name: path.display().to_string(),
            reader: BufReader::with_capacity(1 << 16, open_file(path)?),
            line: 0,
            text: Vec::new(),
            replaced: false,
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
        let finite = match finite_json(&self.text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        };
        self.replaced = finite.is_some();
        if let Some(text) = finite {
            self.text = text;
        }
        Ok(Some((self.line, self.text.trim_ascii_end())))
    }

    /// A message about the current line.
    pub(super) fn error(&self, message: impl Into<String>) -> InputError {
        let mut message = message.into();
        if self.replaced {
            message.push_str(crate::json::REPLACED);
        }
        InputError::at(&self.name, self.line, 0, message)
    }
}
