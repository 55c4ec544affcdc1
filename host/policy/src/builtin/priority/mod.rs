//! Priority policies. A priority is a number inside an instance: lower is more urgent.

pub mod client;
pub mod constant;
pub mod inverted_slo;
pub mod slo_based;
pub mod slo_class;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Priority,
    [
        slo_class::POLICY,
        constant::POLICY,
        client::POLICY,
        slo_based::POLICY,
        inverted_slo::POLICY,
    ],
);
