//! The profile model: step times that were measured, and what was measured with them.

use super::extrapolation::Extrapolation;
use super::model::{LatencyModel, StepAggregates, StepItem, rounded_us};
use super::outside::Outside;
use super::step_table::Steps;
use crate::rules::Preset;
use std::fmt;
use windtunnel_base::input::InputError;
use windtunnel_config::{Interval, StepProfile, StepTimes};

/// Step times from a measured table.
#[derive(Debug)]
pub struct Profile {
    profile: StepProfile,
    /// The same where whole steps were measured.
    steps: Option<Steps>,
    extrapolation: Extrapolation,
    outside: Outside,
}

impl Profile {
    /// The times of a profile.
    #[must_use]
    pub fn new(profile: StepProfile, extrapolation: Extrapolation) -> Self {
        let steps = match &profile.times {
            StepTimes::Passes(_) => None,
            StepTimes::Table(table) => Some(Steps::new(table)),
        };
        Self {
            profile,
            steps,
            extrapolation,
            outside: Outside::default(),
        }
    }

    /// What was measured.
    #[must_use]
    pub fn measured(&self) -> &StepProfile {
        &self.profile
    }

    /// What happens outside of the table.
    #[must_use]
    pub fn extrapolation(&self) -> Extrapolation {
        self.extrapolation
    }

    /// Refuses limits under which a step may have more than was measured, unless it is said what
    /// happens then.
    ///
    /// # Errors
    /// Naming what nothing is known of.
    pub fn check_reach(
        &self,
        max_num_batched_tokens: u32,
        max_num_seqs: u32,
    ) -> Result<(), InputError> {
        if self.extrapolation != Extrapolation::Error {
            return Ok(());
        }
        let tokens = u64::from(max_num_batched_tokens);
        let seqs = tokens.min(u64::from(max_num_seqs));
        let [prefills, decodes] = match (&self.profile.times, &self.steps) {
            (StepTimes::Passes(times), _) => [gap(&times.no_cuda, tokens), gap(&times.cuda, seqs)],
            (StepTimes::Table(_), steps) => {
                let (reach, reach_seqs) = steps.as_ref().map_or((0, 0), Steps::reach);
                let beyond = |reach, most| (reach < most).then_some((reach + 1, most));
                [beyond(reach, tokens), beyond(reach_seqs, seqs)]
            }
        };
        let parts = [
            (prefills, tokens, "steps with prefill tokens"),
            (decodes, seqs, "steps that only decode"),
        ];
        for (gap, most, what) in parts {
            let Some((from, to)) = gap else {
                continue;
            };
            return Err(InputError::in_file(
                &self.profile.file,
                format!(
                    "nothing is known of {what} and {from} to {to} tokens, and `max_num_scheduled_tokens` {max_num_batched_tokens} \
                     with `max_num_running_reqs` {max_num_seqs} allows {most}; lower them, or say with `extrapolation` \
                     clamp or linear what such steps take"
                ),
            ));
        }
        Ok(())
    }

    /// What happened outside of the table so far, for people; `None` = nothing did.
    #[must_use]
    pub fn told_outside(&self) -> Option<String> {
        self.outside.told(&self.profile.file)
    }

    /// Duration of a step, microseconds.
    fn us(&self, step: &StepAggregates) -> f64 {
        let times = match (&self.profile.times, &self.steps) {
            (StepTimes::Passes(times), _) => times,
            (StepTimes::Table(_), steps) => {
                let known = steps.as_ref().map(|s| s.ms(step, self.extrapolation));
                let (ms, outside) = known.unwrap_or_default();
                if outside {
                    self.outside.note(step);
                }
                return ms * 1e3;
            }
        };
        let tokens = step.prefill_tokens + step.decode_tokens();
        let intervals = match step.prefill_tokens > 0 {
            true => &times.no_cuda,
            false => &times.cuda,
        };
        let (interval, at) = lookup(intervals, tokens);
        if at != tokens {
            self.outside.note(step);
        }
        let at = match self.extrapolation {
            Extrapolation::Linear => tokens,
            Extrapolation::Error | Extrapolation::Clamp => at,
        };
        interval.seconds(at).max(0.0) * 1e6
    }
}

/// The first interval that contains `tokens`, with them; else the nearest one before, or the first
/// one, with the nearest number that it contains.
fn lookup(intervals: &[Interval], tokens: u64) -> (&Interval, u64) {
    let found = intervals
        .iter()
        .find(|i| i.start <= tokens && tokens <= i.end);
    let before = || {
        intervals
            .iter()
            .filter(|i| i.end < tokens)
            .max_by_key(|i| i.end)
    };
    let interval = found.or_else(before).unwrap_or(&intervals[0]);
    (interval, tokens.clamp(interval.start, interval.end))
}

/// The first numbers from 1 to `most` that no interval contains.
fn gap(intervals: &[Interval], most: u64) -> Option<(u64, u64)> {
    let mut known = 0;
    for interval in intervals {
        if interval.start > known + 1 {
            break;
        }
        known = known.max(interval.end);
    }
    let next = intervals
        .iter()
        .map(|i| i.start)
        .filter(|s| *s > known)
        .min();
    (known < most).then(|| (known + 1, next.map_or(most, |s| most.min(s - 1))))
}

impl LatencyModel for Profile {
    fn fitted_under(&self) -> Preset {
        Preset::Vllm
    }

    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        rounded_us(self.us(step)).max(1)
    }

    fn exact_us(
        &self,
        step: &StepAggregates,
        _items: &mut dyn Iterator<Item = StepItem>,
    ) -> Option<f64> {
        Some(self.us(step))
    }

    fn ignores_decode_context(&self) -> bool {
        matches!(self.profile.times, StepTimes::Passes(_))
    }

    fn queueing_us(&self, _: u32) -> i64 {
        rounded_us(self.profile.request_overhead_ms * 1e3)
    }

    fn output_token_us(&self) -> i64 {
        0
    }

    fn post_decode_us(&self) -> i64 {
        0
    }
}

impl fmt::Display for Extrapolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
