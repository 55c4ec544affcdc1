//! The trait of step-time models, and the steps that they are given.

use crate::rules::Preset;
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

impl StepItem {
    /// A decode of one token after `context` tokens, of whose prompt nothing is known.
    #[must_use]
    pub fn decode(context: u32) -> Self {
        Self {
            new_tokens: 1,
            context,
            prompt_tokens: 0,
            is_prefill: false,
        }
    }

    /// By what the longest request of a step is found: more new tokens, then more context.
    fn length(&self) -> (u32, u32, bool) {
        (self.new_tokens, self.context, self.is_prefill)
    }
}

/// Lengths, tokens, at which something changes in how fast attention is computed: kernels are
/// chosen by them.
pub const LENGTH_BOUNDS: [u32; 2] = [512, 2048];

/// How many of [`LENGTH_BOUNDS`] a length reaches.
#[must_use]
#[inline]
pub fn length_class(length: u32) -> usize {
    LENGTH_BOUNDS.into_iter().filter(|b| length >= *b).count()
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
    /// Decodes, one new token each and its drafts.
    pub decodes: u64,
    /// Sum over decodes of the context.
    pub decode_context: u64,
    /// Draft tokens that decodes verify.
    pub draft_tokens: u64,
    /// (query, key) pairs of the drafts: the i-th of a decode attends its context and i tokens
    /// more.
    pub draft_pairs: u64,
    /// (query, key) pairs without a mask, by the [class](length_class) of the longer of new tokens
    /// and keys. A decode's keys are its context, a prefill's its new tokens, too.
    pub pairs_by_length: [u64; LENGTH_BOUNDS.len() + 1],
    /// The request with the most new tokens, of those the one with the longest context; of its
    /// prompt nothing is known.
    pub longest: Option<StepItem>,
}

impl StepAggregates {
    /// Adds one scheduled request.
    pub fn add(&mut self, item: StepItem) {
        let (n, c) = (u64::from(item.new_tokens), u64::from(item.context));
        self.requests += 1;
        let keys = if item.is_prefill { c + n } else { c };
        let longer = u32::try_from(keys.max(n)).unwrap_or(u32::MAX);
        self.pairs_by_length[length_class(longer)] += n * keys;
        self.find_longest(item);
        if item.is_prefill {
            self.prefill_tokens += n;
            self.prefill_tokens_x_prompt += n * u64::from(item.prompt_tokens);
            self.prefill_tokens_x_context += n * c;
            self.prefill_tokens_squared += n * n;
            self.prefill_context += c;
        } else {
            let drafts = n.saturating_sub(1);
            self.decodes += 1;
            self.decode_context += c;
            self.draft_tokens += drafts;
            self.draft_pairs += drafts * c + n * drafts / 2;
        }
    }

    /// Adds so many decodes with the same context.
    pub fn add_decodes(&mut self, decodes: u32, context: u64) {
        let n = u64::from(decodes);
        self.requests += decodes;
        self.decodes += n;
        self.decode_context += n * context;
        let longer = u32::try_from(context).unwrap_or(u32::MAX);
        self.pairs_by_length[length_class(longer)] += n * context;
        if decodes > 0 {
            self.find_longest(StepItem::decode(longer));
        }
    }

    /// Adds what another step computes.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.prefill_tokens += other.prefill_tokens;
        self.prefill_tokens_x_prompt += other.prefill_tokens_x_prompt;
        self.prefill_tokens_x_context += other.prefill_tokens_x_context;
        self.prefill_tokens_squared += other.prefill_tokens_squared;
        self.prefill_context += other.prefill_context;
        self.decodes += other.decodes;
        self.decode_context += other.decode_context;
        self.draft_tokens += other.draft_tokens;
        self.draft_pairs += other.draft_pairs;
        for (pairs, more) in self.pairs_by_length.iter_mut().zip(other.pairs_by_length) {
            *pairs += more;
        }
        if let Some(longest) = other.longest {
            self.find_longest(longest);
        }
    }

    /// New tokens, drafts included.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.prefill_tokens + self.decode_tokens()
    }

    fn find_longest(&mut self, item: StepItem) {
        if self.longest.is_none_or(|l| l.length() < item.length()) {
            self.longest = Some(StepItem {
                prompt_tokens: 0,
                ..item
            });
        }
    }

    /// New tokens of decodes, drafts included.
    #[must_use]
    pub fn decode_tokens(&self) -> u64 {
        self.decodes + self.draft_tokens
    }

    /// (query, key) pairs of decodes, drafts included.
    #[must_use]
    pub fn decode_pairs(&self) -> u64 {
        self.decode_context + self.draft_pairs
    }
}

/// What a step takes where stages follow each other in a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Microseconds of each stage, the first one first.
    pub stages_us: Vec<i64>,
    /// Microseconds of the engine's own code, which the output waits for, too. It begins with the
    /// first stage, and has done with one step before it begins with the next.
    pub host_us: i64,
}

/// How long steps and the delays around them take. All results are microseconds.
pub trait LatencyModel: Send + Sync {
    /// The engine rules that its figures hold under: those of the engine, or of the simulator, that
    /// it was fitted to or validated against. A run takes them by default.
    fn fitted_under(&self) -> Preset;

    /// Time of one step, at least 1.
    ///
    /// `items` yields the step's requests in batch order. A model may iterate over them when the
    /// aggregates leave the last bit open (sums of floats depend on their order), and must give the
    /// same result as if it always had.
    fn step_us(&self, step: &StepAggregates, items: &mut dyn Iterator<Item = StepItem>) -> i64;

    /// The same to fractions of a microsecond, where the model has them.
    fn exact_us(
        &self,
        step: &StepAggregates,
        items: &mut dyn Iterator<Item = StepItem>,
    ) -> Option<f64> {
        let _ = (step, items);
        None
    }

    /// Stages of a pipeline, each on GPUs of its own, through which a step goes. With more than one
    /// [`step_us`](Self::step_us) is the time of a step that is alone.
    fn stages(&self) -> usize {
        1
    }

    /// What the step takes on each of several stages.
    fn stage_times(&self, step: &StepAggregates, times: &mut StageTimes) {
        times.stages_us.clear();
        times
            .stages_us
            .push(self.step_us(step, &mut std::iter::empty()));
        times.host_us = 0;
    }

    /// Time of a step that data-parallel ranks, which share the experts, take together, each with a
    /// batch of its own: as long as the rank with the most to do needs, beside the experts that
    /// work for all. No batch is empty: a rank without work runs one token for nothing. `None` =
    /// the model cannot tell.
    fn together_us(&self, ranks: &[StepAggregates]) -> Option<i64> {
        let _ = ranks;
        None
    }

    /// Is the time of a step of decodes alone a function of their number? Then the engine calls
    /// [`step_us`](Self::step_us) once for many such steps.
    fn ignores_decode_context(&self) -> bool {
        false
    }

    /// Does the time of a step depend on how long single contexts are
    /// ([`pairs_by_length`](StepAggregates::pairs_by_length),
    /// [`longest`](StepAggregates::longest))? Else they are not kept up to date for steps of many
    /// decodes.
    fn reads_lengths(&self) -> bool {
        false
    }

    /// Delay between a request's arrival at the instance and its wait queue, where no other
    /// request is on its way.
    fn queueing_us(&self, prompt_tokens: u32) -> i64;

    /// Time of an API server's process per request, per prompt token, and per request to which a
    /// step's output is sent. The first two are part of [`queueing_us`](Self::queueing_us).
    fn api_server_us(&self) -> [f64; 3] {
        [0.0; 3]
    }

    /// Processing time per output token, seen by the client only.
    fn output_token_us(&self) -> i64;

    /// Fixed overhead after the last token, seen by the client only.
    fn post_decode_us(&self) -> i64;

    /// What a tick is on the engine's clock, microseconds, for a model whose time is abstract. Then
    /// the steps of a run are kept, since its figures are made of them.
    fn tick_us(&self) -> Option<i64> {
        None
    }
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

/// A time that is not negative to the nearest, a half to the later one.
pub(crate) fn rounded_us(x: f64) -> i64 {
    let below = truncate_us(x);
    below.saturating_add(i64::from(x - below as f64 >= 0.5))
}

/// Largest coefficient, microseconds (11 days): sums over any run stay within an `i64`.
const LARGEST_COEFFICIENT: f64 = 1e12;

/// Refuses coefficients that are negative, not finite or absurdly large; `what` names them.
pub(super) fn check_coefficients(what: &str, values: &[f64]) -> Result<(), InputError> {
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

/// `base` to a whole power by repeated squaring from the lowest bit: the order in which the
/// reference's library multiplies, hence its last bit (`powi` promises none).
pub(super) fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_attends_what_stands_before_it() {
        let mut step = StepAggregates::default();
        step.add(StepItem {
            new_tokens: 3,
            context: 10,
            prompt_tokens: 5,
            is_prefill: false,
        });
        assert_eq!((step.decodes, step.decode_tokens()), (1, 3));
        assert_eq!(
            (step.decode_context, step.decode_pairs()),
            (10, 10 + 11 + 12)
        );
    }

    #[test]
    fn halves_are_rounded_up() {
        for x in [
            0.0,
            0.49,
            0.5,
            1.5,
            2.5,
            0.499_999_999_999_999_94,
            1e15 + 0.5,
            9e15,
            1e300,
        ] {
            assert_eq!(rounded_us(x), truncate_us(x.round()), "{x}");
        }
    }

    #[test]
    fn whole_powers_are_exact_where_they_can_be() {
        assert_eq!(power(0.5, 10), 1.0 / 1024.0);
        assert_eq!(power(0.75, 0), 1.0);
        assert_eq!(power(0.0, 3), 0.0);
        assert_eq!(power(0.875, 3), 0.875 * (0.875 * 0.875));
    }
}
