//! The objects of a JSON list, one at a time, with their lines.

use crate::json::REPLACED;
use crate::table::open_file;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use windtunnel_base::input::{FiniteJson, InputError, Opened, plain};

/// Longest object, bytes.
const LONGEST: usize = 64 << 20;

/// Objects in a list: the file itself (`[`), or a list in the object that the file is (`{[`).
pub(super) struct Elements {
    name: String,
    bytes: std::io::Bytes<BufReader<FiniteJson<Opened>>>,
    within: &'static [u8],
    replaced: Arc<AtomicBool>,
    /// What is open: brackets and braces.
    open: Vec<u8>,
    in_string: bool,
    escaped: bool,
    line: u64,
    /// The line in which the current object begins.
    begins: u64,
    text: Vec<u8>,
}

impl Elements {
    pub(super) fn open(path: &Path, within: &'static [u8]) -> Result<Self, InputError> {
        let text = FiniteJson::new(open_file(path)?);
        Ok(Self {
            name: path.display().to_string(),
            replaced: text.found(),
            bytes: BufReader::with_capacity(1 << 16, text).bytes(),
            within,
            open: Vec::new(),
            in_string: false,
            escaped: false,
            line: 1,
            begins: 1,
            text: Vec::new(),
        })
    }

    /// The next object.
    ///
    /// # Errors
    /// When the file cannot be read, ends in its middle or has an object that is too long.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, InputError> {
        self.text.clear();
        while let Some(byte) = self.bytes.next() {
            let byte = byte.map_err(|e| {
                InputError::in_file(&self.name, format!("cannot read: {}", plain(&e)))
            })?;
            if byte == b'\n' {
                self.line += 1;
            }
            let inside = self.open.len() > self.within.len();
            if !inside && byte == b'{' && !self.in_string && self.open == self.within {
                self.begins = self.line;
            }
            let ends = self.take(byte);
            let still = self.open.len() > self.within.len();
            if (inside || still) && self.open.starts_with(self.within) {
                self.text.push(byte);
            }
            if self.text.len() > LONGEST {
                return Err(self.error("the object is longer than 64 MiB"));
            }
            if ends && self.open == self.within && self.text.first() == Some(&b'{') {
                return Ok(Some(&self.text));
            }
            if !still {
                self.text.clear();
            }
        }
        if self.open.is_empty() && !self.in_string {
            return Ok(None);
        }
        Err(InputError::at(
            &self.name,
            self.line,
            0,
            "the file ends before its JSON does; is it complete?",
        ))
    }

    /// Keeps track of what is open; whether something was closed.
    fn take(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.open.push(byte),
            b'}' | b']' => {
                self.open.pop();
                return true;
            }
            _ => {}
        }
        false
    }

    /// A message about the current object.
    pub(super) fn error(&self, message: impl Into<String>) -> InputError {
        let mut message = message.into();
        if self.replaced.load(Ordering::Relaxed) {
            message.push_str(REPLACED);
        }
        InputError::at(&self.name, self.begins, 0, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, within: &'static [u8]) -> Result<Vec<(String, u64)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.json");
        std::fs::write(&path, text).unwrap();
        let mut elements = Elements::open(&path, within).unwrap();
        let mut all = Vec::new();
        loop {
            match elements.next() {
                Ok(Some(text)) => {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    let line = elements.error("").line().unwrap();
                    all.push((text, line));
                }
                Ok(None) => return Ok(all),
                Err(e) => return Err(e.message().to_owned()),
            }
        }
    }

    #[test]
    fn objects_come_with_the_line_in_which_they_begin() {
        let list = "[\n {\"a\": [{}], \"b\": \"}\\\"]\"},\n\n{\"a\": NaN}]";
        let of = |s: &str, line| (s.to_owned(), line);
        assert_eq!(
            all(list, b"[").unwrap(),
            [
                of("{\"a\": [{}], \"b\": \"}\\\"]\"}", 2),
                of("{\"a\":null}", 4)
            ]
        );
        let inner = "{\"x\": 1,\n\"data\": [{\"p\": {}},\n{\"p\": []}], \"y\": {\"z\": 2}}";
        assert_eq!(
            all(inner, b"{[").unwrap(),
            [of("{\"p\": {}}", 2), of("{\"p\": []}", 3)]
        );
        assert_eq!(all("[]", b"[").unwrap(), []);
        assert!(
            all("[{\"a\": 1}, {", b"[")
                .unwrap_err()
                .contains("ends before")
        );
    }
}
