//! Why a policy cannot answer.

use std::fmt;

/// Why a policy cannot answer. It ends the run, which names the policy and the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    message: String,
    file: Option<String>,
    line: Option<u32>,
    limit: bool,
}

impl PolicyError {
    /// An error in words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            file: None,
            line: None,
            limit: false,
        }
    }

    /// An error at a place in one of the policy's files: its message reads
    /// `file:line: message`. Lines count from 1.
    #[must_use]
    pub fn at(file: impl Into<String>, line: u32, message: impl fmt::Display) -> Self {
        let file = file.into();
        Self::new(format!("{file}:{line}: {message}")).located(file, Some(line))
    }

    /// The same error with its place, which the message names already if it is to name it.
    #[must_use]
    pub fn located(mut self, file: impl Into<String>, line: Option<u32>) -> Self {
        self.file = Some(file.into());
        self.line = line;
        self
    }

    /// The same error of a policy that used more than it may: instructions, memory or time.
    #[must_use]
    pub fn over_limit(mut self) -> Self {
        self.limit = true;
        self
    }

    /// What happened, in words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The policy's file in which it happened, if that is known.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line of that file, from 1, if it is known.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// Did the policy use more than it may?
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.limit
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_at_a_place_names_it_in_words_and_apart() {
        let error = PolicyError::at("p.lua", 3, "no such field");
        assert_eq!(error.to_string(), "p.lua:3: no such field");
        assert_eq!((error.file(), error.line()), (Some("p.lua"), Some(3)));
        assert!(!error.is_over_limit());
        assert!(error.over_limit().is_over_limit());
        let bare = PolicyError::new("no");
        assert_eq!(
            (bare.message(), bare.file(), bare.line()),
            ("no", None, None)
        );
    }
}
