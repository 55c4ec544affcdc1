//! Batching strategies: how much of what runs and waits a step takes.

pub mod chunked_context;
pub mod continuous;
pub mod greedy;
pub mod in_flight;
mod limits;
pub mod one_prefill;
pub mod prefill_first;
pub mod run_to_completion;
pub mod static_batching;
pub mod windowed;

use super::policy::{BuiltIn, table};
use crate::param::Hook;

/// All of them; the first is the default.
pub static TABLE: &[BuiltIn] = &table(
    Hook::Batching,
    [
        continuous::POLICY,
        static_batching::POLICY,
        in_flight::POLICY,
        one_prefill::POLICY,
        chunked_context::POLICY,
        prefill_first::POLICY,
        run_to_completion::POLICY,
        greedy::POLICY,
        windowed::POLICY,
    ],
);
