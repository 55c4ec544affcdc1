//! The outcome with exit code 3: nothing went wrong, and the answer is no.

/// What was asked for is not so: everything was read and computed, and a figure is beyond its
/// limit.
#[derive(Debug)]
pub(crate) struct GateFailed(pub(crate) String);

impl std::fmt::Display for GateFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GateFailed {}
