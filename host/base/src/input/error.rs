//! What is wrong with an input, and where.

use std::fmt;
use std::io;

/// Wrong input: a message for a person, ready to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    place: String,
    message: String,
}

impl InputError {
    /// A message without a place in a file (a flag, a combination of flags).
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            place: String::new(),
            message: message.into(),
        }
    }

    /// A message about a whole file.
    #[must_use]
    pub fn in_file(file: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            place: file.to_string(),
            message: message.into(),
        }
    }

    /// A message about a place in a file; `line` and `column` count from 1, a `column` of 0 is left
    /// out.
    #[must_use]
    pub fn at(file: impl fmt::Display, line: u64, column: u64, message: impl Into<String>) -> Self {
        let place = if column == 0 {
            format!("{file}:{line}")
        } else {
            format!("{file}:{line}:{column}")
        };
        Self {
            place,
            message: message.into(),
        }
    }
}

impl InputError {
    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.place, self.message)
        }
    }
}

impl std::error::Error for InputError {}

/// An I/O error in plain words, without the operating system's error number or the temporary file's
/// name.
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::NotADirectory => "part of the path is not a folder".into(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        io::ErrorKind::StorageFull => "no space left on the device".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}
