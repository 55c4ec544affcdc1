//! Batch formation: which requests a step computes, and how many tokens of each.
//!
//! A step is formed in two passes, as in vLLM's scheduler. First the running requests, in order of
//! admission, get their next tokens: a chunk of the prompt, or one output token. Then waiting
//! requests are admitted from the head of the queue. What varies is how much each pass may do, and
//! a [`BatchingStrategy`] decides that once per step; there is a file for each, and [`STRATEGIES`]
//! lists them. The rules by which it is applied are here:
//!
//! * `StepBudget`: how many tokens a request gets, and whether one more may be admitted;
//! * `running`: the first pass, and preemption when KV blocks are short;
//! * `admission`: the second pass, and which waiting request is next.
//!
//! The fast path of an instance forms its steps with the same budget and the same second pass. In
//! place of the first pass it only checks that all decodes and prefills can have their tokens and
//! blocks; where they cannot, it leaves the step to `running`.

mod admission;
mod chunked_context;
mod continuous;
mod engine_limits;
mod greedy;
mod in_flight;
mod named;
mod one_prefill;
mod prefill_first;
mod registry;
mod run_to_completion;
mod running;
mod static_batching;
mod step_budget;
mod strategy;
#[cfg(test)]
mod tests;
mod windowed;

pub use continuous::ContinuousBatching;
pub use named::{Strategy, StrategyParam};
pub use registry::{Batching, STRATEGIES};
pub(super) use step_budget::{BlockedHead, StepBudget};
pub use strategy::{BatchLimits, BatchState, BatchingStrategy, Decodes};
