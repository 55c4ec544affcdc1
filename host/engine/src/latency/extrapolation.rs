//! What to make of a step that nobody measured.

use std::str::FromStr;
use windtunnel_base::input::InputError;

/// What happens to a step that lies outside of what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extrapolation {
    /// There is no result.
    #[default]
    Error,
    /// It takes the time of the nearest step that was measured.
    Clamp,
    /// The last line goes on.
    Linear,
}

impl Extrapolation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Error, Self::Clamp, Self::Linear];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Clamp => "clamp",
            Self::Linear => "linear",
        }
    }
}

impl FromStr for Extrapolation {
    type Err = InputError;

    fn from_str(name: &str) -> Result<Self, InputError> {
        let found = Self::ALL.into_iter().find(|e| e.name() == name);
        let valid = Self::ALL.map(Self::name);
        found.ok_or_else(|| InputError::unknown("`extrapolation`", name, &valid))
    }
}
