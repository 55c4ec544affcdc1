//! Limits of workloads.

/// Upper bound of the tokens of a prompt with its output, and of the context of a session.
pub(crate) const MAX_TOKENS: u64 = i32::MAX as u64;

/// Most bytes that a packed file may have when it is unpacked, where it is read row by row.
pub(crate) const MOST_UNPACKED: u64 = 8 << 30;

/// The same where what matters of the file is held as a whole.
pub(crate) const MOST_UNPACKED_WHOLE: u64 = 1 << 30;

/// Most requests of a held trace that is replayed again and again: all of them are planned ahead.
pub(crate) const MOST_LOOPED: u64 = 1 << 26;
