//! Limits of workloads.

/// Upper bound of the tokens of a prompt with its output, and of the context of a session.
pub(crate) const MAX_TOKENS: u64 = i32::MAX as u64;

/// Most bytes that a packed file may have when it is unpacked.
pub(crate) const MOST_UNPACKED: u64 = 8 << 30;
