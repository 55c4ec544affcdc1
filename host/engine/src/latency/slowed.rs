//! Step times of an instance that is slower than it should be.

use super::model::{LatencyModel, StageTimes, StepAggregates, StepItem};
use crate::rules::Preset;
use std::sync::Arc;

/// Another model's step times, so many times as long. What its server does besides takes as long
/// as ever.
pub struct Slowed {
    /// The times of an instance that is as it should be.
    pub own: Arc<dyn LatencyModel>,
    /// So many times as long, above 0.
    pub factor: f64,
}

impl LatencyModel for Slowed {
    fn fitted_under(&self) -> Preset {
        self.own.fitted_under()
    }
    fn step_us(&self, step: &StepAggregates, items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        (self.own.step_us(step, items) as f64 * self.factor).round() as i64
    }
    fn exact_us(
        &self,
        step: &StepAggregates,
        items: &mut dyn Iterator<Item = StepItem>,
    ) -> Option<f64> {
        Some(self.own.exact_us(step, items)? * self.factor)
    }
    fn together_us(&self, ranks: &[StepAggregates]) -> Option<i64> {
        Some((self.own.together_us(ranks)? as f64 * self.factor).round() as i64)
    }
    fn stages(&self) -> usize {
        self.own.stages()
    }
    fn stage_times(&self, step: &StepAggregates, times: &mut StageTimes) {
        self.own.stage_times(step, times);
        let slow = |us: &mut i64| *us = (*us as f64 * self.factor).round() as i64;
        times.stages_us.iter_mut().for_each(slow);
        slow(&mut times.host_us);
    }
    fn ignores_decode_context(&self) -> bool {
        self.own.ignores_decode_context()
    }
    fn reads_lengths(&self) -> bool {
        self.own.reads_lengths()
    }
    fn queueing_us(&self, prompt_tokens: u32) -> i64 {
        self.own.queueing_us(prompt_tokens)
    }
    fn api_server_us(&self) -> [f64; 3] {
        self.own.api_server_us()
    }
    fn output_token_us(&self) -> i64 {
        self.own.output_token_us()
    }
    fn post_decode_us(&self) -> i64 {
        self.own.post_decode_us()
    }
    fn tick_us(&self) -> Option<i64> {
        self.own.tick_us()
    }
}
