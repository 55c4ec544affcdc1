//! Step-time models behind one trait.
//!
//! A model is asked once per step and sees the step's aggregates; they are order-free integers, so
//! the engine can keep them up to date in O(1).
//!
//! Which model a run uses, with which figures, is decided once, in [`resolve()`].

pub mod blackbox;
pub mod capacity;
pub mod deployment;
mod estimate;
pub mod resolve;
pub mod roofline;
pub mod trained_physics;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod vector_tests;

pub use blackbox::Blackbox;
pub use capacity::{KvCapacity, max_model_len};
pub use deployment::{Backend, KvBlocksSource, MaxModelLenSource, Resolved, Setup};
pub use estimate::{Ahead, Estimator, StepLimits};
pub use resolve::resolve;
pub use roofline::Roofline;
pub use trained_physics::TrainedPhysics;

use windtunnel_base::input::InputError;

/// One scheduled request of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepItem {
    /// Tokens computed in this step.
    pub new_tokens: u32,
    /// Tokens computed before this step.
    pub context: u32,
    /// Prompt length (for a recomputed request: prompt plus kept tokens).
    pub prompt_tokens: u32,
    /// Prefill, or decode?
    pub is_prefill: bool,
}

/// What a step computes, summed over its scheduled requests (those with new tokens).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepAggregates {
    /// Scheduled requests.
    pub requests: u32,
    /// New prefill tokens.
    pub prefill_tokens: u64,
    /// Sum over prefills of new tokens x prompt length.
    pub prefill_tokens_x_prompt: u64,
    /// Sum over prefills of new tokens x context.
    pub prefill_tokens_x_context: u64,
    /// Sum over prefills of new tokens squared.
    pub prefill_tokens_squared: u64,
    /// Sum over prefills of the context.
    pub prefill_context: u64,
    /// Decodes, one new token each.
    pub decodes: u64,
    /// Sum over decodes of the context.
    pub decode_context: u64,
}

impl StepAggregates {
    /// Adds one scheduled request.
    pub fn add(&mut self, item: StepItem) {
        let (n, c) = (u64::from(item.new_tokens), u64::from(item.context));
        self.requests += 1;
        if item.is_prefill {
            self.prefill_tokens += n;
            self.prefill_tokens_x_prompt += n * u64::from(item.prompt_tokens);
            self.prefill_tokens_x_context += n * c;
            self.prefill_tokens_squared += n * n;
            self.prefill_context += c;
        } else {
            self.decodes += 1;
            self.decode_context += c;
        }
    }
}

/// How long things take. All results are microseconds.
pub trait LatencyModel: Send + Sync {
    /// Time of one step, at least 1.
    ///
    /// `items` yields the step's requests in batch order. A model may walk them when the aggregates
    /// leave the last bit open (sums of floats depend on their order), and must give the same
    /// result as if it always had.
    fn step_us(&self, step: &StepAggregates, items: &mut dyn Iterator<Item = StepItem>) -> i64;

    /// Is the time of a step of decodes alone a function of their number? Then many such steps are
    /// priced at once.
    fn ignores_decode_context(&self) -> bool {
        false
    }

    /// Delay between a request's arrival at the instance and its wait queue.
    fn queueing_us(&self, prompt_tokens: u32) -> i64;

    /// Processing time per output token, seen by the client only.
    fn output_token_us(&self) -> i64;

    /// Fixed overhead after the last token, seen by the client only.
    fn post_decode_us(&self) -> i64;
}

/// `f64` to `i64` as the reference does it: toward zero; NaN and anything too large become
/// `i64::MAX`.
#[must_use]
pub fn truncate_us(x: f64) -> i64 {
    if x.is_nan() || x >= 9_223_372_036_854_775_808.0 {
        i64::MAX
    } else {
        x as i64
    }
}

/// Largest coefficient, microseconds (11 days): sums over any run stay within an `i64`.
const LARGEST_COEFFICIENT: f64 = 1e12;

/// Refuses coefficients that are negative, not finite or absurdly large; `what` names them.
pub(crate) fn check_coefficients(what: &str, values: &[f64]) -> Result<(), InputError> {
    match values.iter().position(|v| !v.is_finite() || *v < 0.0) {
        Some(i) => Err(InputError::new(format!(
            "{what} coefficient {} is {}; expected a finite number, 0 or above",
            i, values[i]
        ))),
        None => match values.iter().position(|v| *v > LARGEST_COEFFICIENT) {
            Some(i) => Err(InputError::new(format!(
                "{what} coefficient {i} is {:e}; expected at most {LARGEST_COEFFICIENT:e}",
                values[i]
            ))),
            None => Ok(()),
        },
    }
}
