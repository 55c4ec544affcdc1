//! Every step with the requests in it, for those who asked to see them.

use super::state::Instance;
use windtunnel_base::record::{RanStep, StepShare};

impl Instance {
    /// Keeps every step from now on. Each is then taken by itself, which changes no result.
    pub fn track_steps(&mut self) {
        self.config.plain = true;
        self.tracks_steps = true;
    }

    /// Keeps the step at hand, where steps are kept.
    pub(super) fn log_step(&mut self, start_us: i64, step_us: i64) {
        if !self.tracks_steps {
            return;
        }
        let in_step = self.running.iter().filter_map(|entry| {
            let item = self.step_item(entry.slot);
            (item.new_tokens > 0).then(|| StepShare {
                request: self.requests[entry.slot].request.id.clone(),
                new_tokens: item.new_tokens,
                context: item.context,
                is_prefill: item.is_prefill,
            })
        });
        let step = RanStep {
            start_us,
            step_us,
            shares: in_step.collect(),
        };
        if !step.shares.is_empty() {
            self.totals.logged_steps.push(step);
        }
    }
}
