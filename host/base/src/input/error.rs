//! What is wrong with an input, and where.

use super::names::unknown;
use super::visible::{visible, visible_message};
use std::borrow::Cow;
use std::fmt;
use std::io;
use windtunnel_plugin_api::PolicyError;

/// What sort of mistake an input is, for a program that goes on after some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputErrorKind {
    /// Anything else.
    #[default]
    Wrong,
    /// A name that nothing has: most probably a slip of the pen.
    UnknownName,
    /// A policy used more instructions, memory or time than it may while it was loaded.
    OverLimit,
}

/// Wrong input: a message for a person, ready to print, and its place for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    message: String,
    file: Option<String>,
    line: Option<u64>,
    column: Option<u64>,
    /// The message names its place itself.
    names_place: bool,
    kind: InputErrorKind,
}

impl InputError {
    /// A message without a place in a file (a flag, a combination of flags). What a terminal would
    /// obey in the names that it quotes is written out; lines after the first are indented.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            message: match visible_message(&message) {
                Cow::Borrowed(_) => message,
                Cow::Owned(shown) => shown,
            },
            file: None,
            line: None,
            column: None,
            names_place: true,
            kind: InputErrorKind::Wrong,
        }
    }

    /// `unknown WHAT "name"; did you mean "x"? valid: a, b, c`.
    #[must_use]
    pub fn unknown(what: &str, name: &str, valid: &[&str]) -> Self {
        Self::new(unknown(what, name, valid)).of_kind(InputErrorKind::UnknownName)
    }

    /// A message about a whole file.
    #[must_use]
    pub fn in_file(file: impl fmt::Display, message: impl Into<String>) -> Self {
        let file = file.to_string();
        Self {
            file: (!file.is_empty()).then_some(file),
            names_place: false,
            ..Self::new(message)
        }
    }

    /// A message about a place in a file; `line` and `column` count from 1, a `column` of 0 is left
    /// out.
    #[must_use]
    pub fn at(file: impl fmt::Display, line: u64, column: u64, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            column: (column > 0).then_some(column),
            ..Self::in_file(file, message)
        }
    }

    /// The same error with its place, which its message already names.
    #[must_use]
    pub fn located(self, file: impl Into<String>, line: Option<u64>) -> Self {
        Self {
            file: Some(file.into()),
            line,
            ..self
        }
    }

    /// The same error as one of this kind.
    #[must_use]
    pub fn of_kind(self, kind: InputErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same error with what it is about in front of its message and place: `about: message`.
    #[must_use]
    pub fn about(self, about: impl fmt::Display) -> Self {
        Self {
            names_place: true,
            message: Self::new(format!("{about}: {self}")).message,
            ..self
        }
    }
}

/// A policy that cannot be loaded.
impl From<PolicyError> for InputError {
    fn from(error: PolicyError) -> Self {
        Self {
            file: error.file().map(str::to_owned),
            line: error.line().map(u64::from),
            kind: match error.is_over_limit() {
                true => InputErrorKind::OverLimit,
                false => InputErrorKind::Wrong,
            },
            ..Self::new(error.message())
        }
    }
}

impl InputError {
    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The file that it is about, if that is known.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line of that file, from 1, if it is known.
    #[must_use]
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    /// The column of that line, from 1, if it is known.
    #[must_use]
    pub fn column(&self) -> Option<u64> {
        self.column
    }

    /// What sort of mistake it is.
    #[must_use]
    pub fn kind(&self) -> InputErrorKind {
        self.kind
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(file), false) = (&self.file, self.names_place) {
            write!(f, "{}:", visible(file))?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, "{number}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
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

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b if b >= 1 << 16 && b % 1024 == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_the_message_once_and_in_fields() {
        let places = |e: &InputError| (e.file().map(str::to_owned), e.line(), e.column());
        let at = InputError::at("p.lua", 3, 7, "wrong");
        assert_eq!(at.to_string(), "p.lua:3:7: wrong");
        assert_eq!(places(&at), (Some("p.lua".into()), Some(3), Some(7)));
        let line = InputError::at("p.lua", 3, 0, "wrong");
        assert_eq!(line.to_string(), "p.lua:3: wrong");
        assert_eq!(places(&line), (Some("p.lua".into()), Some(3), None));
        let file = InputError::in_file("p.lua", "wrong");
        assert_eq!(file.to_string(), "p.lua: wrong");
        assert_eq!(places(&file), (Some("p.lua".into()), None, None));
        for nowhere in [InputError::new("wrong"), InputError::in_file("", "wrong")] {
            assert_eq!(nowhere.to_string(), "wrong");
            assert_eq!(places(&nowhere), (None, None, None));
        }
        let error = InputError::from(PolicyError::at("p.lua", 3, "wrong").over_limit());
        assert_eq!(error.to_string(), "p.lua:3: wrong");
        assert_eq!(places(&error), (Some("p.lua".into()), Some(3), None));
        let kinds = [error.kind(), at.kind()];
        assert_eq!(kinds, [InputErrorKind::OverLimit, InputErrorKind::Wrong]);
    }

    #[test]
    fn what_an_error_is_about_changes_neither_its_kind_nor_its_place() {
        let unknown = InputError::unknown("GPU", "H10", &["H100", "A100"]).about("tp=2");
        assert_eq!(
            unknown.to_string(),
            "tp=2: unknown GPU \"H10\"; did you mean \"H100\"? valid: H100, A100"
        );
        assert_eq!(unknown.kind(), InputErrorKind::UnknownName);
        let at = InputError::at("p.lua", 3, 0, "wrong").about("rate=1");
        assert_eq!(
            (at.to_string().as_str(), at.line()),
            ("rate=1: p.lua:3: wrong", Some(3))
        );
    }
}
