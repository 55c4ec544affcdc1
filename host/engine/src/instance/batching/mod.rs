//! Batch formation: which requests a step computes, and how many tokens of each.
//!
//! A step is formed in two passes, as in vLLM's scheduler. First the running requests, in order of
//! admission, get their next tokens: a chunk of the prompt, or one output token. Then waiting
//! requests are admitted from the head of the queue. What varies is how much each pass may do, and
//! the policy in the hook [`Batching`](windtunnel_plugin_api::Batching) decides that once per step.
//! The rules by which its answer is applied are here:
//!
//! * `limits`: what the policy sees of the step, and the engine's own limits;
//! * `StepBudget`: how many tokens a request gets, and whether one more may be admitted;
//! * `running`: the first pass, and preemption when KV blocks are short;
//! * `admission`: the second pass, and which waiting request is next.
//!
//! The fast path of an instance forms its steps with the same budget and the same second pass. In
//! place of the first pass it only checks that all decodes and prefills can have their tokens and
//! blocks; where they cannot, it leaves the step to `running`. It is taken only with policies that
//! need not be asked before every step.

mod admission;
mod limits;
mod running;
mod step_budget;

pub(super) use step_budget::{BlockedHead, StepBudget};
