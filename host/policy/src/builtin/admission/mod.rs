//! Admission policies.

pub mod always_admit;
pub mod gaie_legacy;
pub mod reject_all;
pub mod tenant_budgets;
pub mod tier_shed;
pub mod token_bucket;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Admission,
    [
        always_admit::POLICY,
        token_bucket::POLICY,
        reject_all::POLICY,
        tier_shed::POLICY,
        gaie_legacy::POLICY,
    ],
);
