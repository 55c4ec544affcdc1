//! `inverted-slo`: `slo-based` upside down, for comparison.

use super::slo_based::SloBased;
use crate::builtin::policy::{BuiltIn, Make};

/// `inverted-slo`.
pub const POLICY: BuiltIn = BuiltIn::new(
    "inverted-slo",
    "The negative of slo-based.",
    Make::Priority(|facts, _| {
        Box::new(SloBased {
            highest: facts.highest_priority,
            direction: -1.0,
        })
    }),
);
