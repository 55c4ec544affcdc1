//! Counts steps for those who asked what the instance does over time. Steps that are taken at once
//! are counted at once: the fast path stays.

use super::chosen_step::ChosenStep;
use super::sampler::Sampler;
use super::state::Instance;
use windtunnel_base::record::Span;

impl Instance {
    /// Keeps what it does over time from now on, in intervals of this length, microseconds; `None`
    /// = as long as it takes for 500 to 1000 of them. It changes no result.
    pub fn sample(&mut self, interval_us: Option<i64>) {
        self.sampler = Some(Box::new(Sampler::new(interval_us)));
    }

    /// Counts the step that was chosen.
    pub(super) fn sample_step(&mut self, step: &ChosenStep) {
        if self.sampler.is_none() {
            return;
        }
        let span = Span {
            start_us: step.start_us,
            end_us: step.end_us,
            steps: 1,
            waiting: self.waiting_requests() as u64,
            running: self.running.len() as u64,
            kv_blocks: step.kv_blocks,
            prompt_tokens: step.prefill_tokens,
            output_tokens: step.yields,
        };
        self.keep_span(span);
    }

    /// Counts steps of the group that are taken at once.
    pub(super) fn sample_steps(&mut self, start_us: i64, step_us: i64, steps: u64) {
        if self.sampler.is_none() {
            return;
        }
        let span = Span {
            start_us,
            end_us: start_us.saturating_add(step_us.saturating_mul(steps as i64)),
            steps,
            waiting: self.waiting_requests() as u64,
            running: self.running.len() as u64,
            kv_blocks: self.kv.used(),
            prompt_tokens: 0,
            output_tokens: self.group.count * steps,
        };
        self.keep_span(span);
    }

    fn keep_span(&mut self, span: Span) {
        if let Some(sampler) = &mut self.sampler {
            sampler.add(span);
        }
    }
}
