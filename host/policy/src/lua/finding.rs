//! What is found in a policy file without running it.

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1; 0 if it is not known.
    pub column: usize,
    /// It would end the run; otherwise it is a warning.
    pub error: bool,
    /// What it is.
    pub message: String,
}
