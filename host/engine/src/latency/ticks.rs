//! The model of abstract time: steps in ticks, by how many requests prefill and whether any decode.

use super::model::{LatencyModel, StepAggregates, StepItem};
use crate::rules::Preset;
use windtunnel_base::input::InputError;

/// What a tick is on the engine's clock, microseconds. The least common multiple of 1 to 16 times
/// 10^4: a time of up to four decimals, shared out to so many chunks, is a whole number of them.
pub const TICK_US: i64 = 7_207_200_000;

/// Largest time in ticks; beyond, sums of times leave the numbers that are exact.
const MOST_TICKS: f64 = 1e6;

/// Most chunks of a prompt.
const MOST_CHUNKS: u32 = 100_000;

/// `step = max(prefill_time / chunks x requests in prefill, itl if any request decodes, 1)` ticks:
/// prefills are computed one after the other, decodes at the same time, and nothing takes less than
/// a tick. [In parallel](Self::in_parallel), prefills are computed at the same time, too. A prompt
/// has as many tokens as it has chunks, and a request computes one in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticks {
    prefill_time: f64,
    itl: f64,
    chunks: u32,
    parallel: bool,
}

impl Ticks {
    /// A model in which a whole prompt takes `prefill_time` ticks in `chunks` chunks, and a step of
    /// decodes `itl` ticks.
    ///
    /// # Errors
    /// When a time is negative, not finite or absurdly long, or there are no chunks; the message
    /// names the setting, in backticks.
    pub fn new(prefill_time: f64, itl: f64, chunks: u32) -> Result<Self, InputError> {
        for (name, ticks) in [("prefill_time", prefill_time), ("itl", itl)] {
            if !(0.0..=MOST_TICKS).contains(&ticks) {
                return Err(InputError::new(format!(
                    "`{name}` is {ticks}; expected 0 to {MOST_TICKS} ticks"
                )));
            }
        }
        if !(1..=MOST_CHUNKS).contains(&chunks) {
            return Err(InputError::new(format!(
                "`total_prefill_chunks` is {chunks}; expected 1 to {MOST_CHUNKS}"
            )));
        }
        Ok(Self {
            prefill_time,
            itl,
            chunks,
            parallel: false,
        })
    }

    /// The same where the places of a batch are workers of their own.
    #[must_use]
    pub fn in_parallel(self) -> Self {
        Self {
            parallel: true,
            ..self
        }
    }

    /// Steps that a prompt takes, and its length in tokens.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// A time in ticks on the engine's clock, microseconds.
    ///
    /// # Errors
    /// When it is negative, not finite or absurdly long.
    pub fn us(ticks: f64) -> Result<i64, InputError> {
        if (0.0..=MOST_TICKS).contains(&ticks) {
            Ok((ticks * TICK_US as f64).round() as i64)
        } else {
            Err(InputError::new(format!("0 to {MOST_TICKS} ticks")))
        }
    }
}

impl LatencyModel for Ticks {
    fn fitted_under(&self) -> Preset {
        Preset::Vllm
    }

    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        // One token of each request in prefill.
        let one_by_one = match self.parallel {
            true => step.prefill_tokens.min(1),
            false => step.prefill_tokens,
        };
        let prefills = one_by_one as f64 * self.prefill_time / f64::from(self.chunks);
        let decodes = if step.decodes > 0 { self.itl } else { 0.0 };
        let ticks = prefills.max(decodes).max(1.0);
        (ticks * TICK_US as f64).round() as i64
    }

    fn ignores_decode_context(&self) -> bool {
        true
    }

    fn queueing_us(&self, _: u32) -> i64 {
        0
    }

    fn output_token_us(&self) -> i64 {
        0
    }

    fn post_decode_us(&self) -> i64 {
        0
    }

    fn tick_us(&self) -> Option<i64> {
        Some(TICK_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter::empty;

    #[test]
    fn prefills_add_up_decodes_overlap_and_nothing_is_shorter_than_a_tick() {
        let step = |model: Ticks, prefills: u64, decodes| {
            let step = StepAggregates {
                requests: (prefills + decodes) as u32,
                prefill_tokens: prefills,
                decodes,
                ..StepAggregates::default()
            };
            model.step_us(&step, &mut empty()) as f64 / TICK_US as f64
        };
        let model = Ticks::new(3.0, 0.5, 4).expect("a model");
        assert_eq!(step(model, 0, 5), 1.0);
        assert_eq!(step(model, 1, 0), 1.0);
        assert_eq!(step(model, 3, 5), 2.25);
        let model = Ticks::new(2.0, 1.5, 3).expect("a model");
        assert_eq!(step(model, 0, 1), 1.5);
        assert_eq!(step(model, 3, 9), 2.0);
        assert_eq!(step(model.in_parallel(), 6, 1), 1.5);
        // Thirds of a tick are whole on the engine's clock.
        assert_eq!(TICK_US % 3, 0);
        assert_eq!(step(model, 4, 0) * 3.0, 8.0);
    }

    #[test]
    fn nonsense_is_refused_by_the_name_of_its_setting() {
        let error = |p, i, c| Ticks::new(p, i, c).expect_err("refused").to_string();
        assert_eq!(
            error(-1.0, 1.0, 1),
            "`prefill_time` is -1; expected 0 to 1000000 ticks"
        );
        assert!(error(1.0, f64::NAN, 1).starts_with("`itl` is NaN"));
        assert_eq!(
            error(1.0, 1.0, 0),
            "`total_prefill_chunks` is 0; expected 1 to 100000"
        );
    }
}
