//! Steps that begin when the cluster says so, and last as long as it says.

use super::events::InstanceEvent;
use super::state::Instance;
use windtunnel_base::record::StepRun;

impl Instance {
    /// The same instance, which begins a step only by [`begin_step`](Self::begin_step).
    #[must_use]
    pub fn in_lockstep(mut self) -> Self {
        self.in_lockstep = true;
        self
    }

    /// Would it begin a step at `now`?
    #[must_use]
    pub fn wants_step(&self, now: i64) -> bool {
        self.in_flight.is_empty() && self.step_at.is_some_and(|at| at <= now)
    }

    /// Begins the step that it wants at `now`.
    pub fn begin_step(&mut self, now: i64, events: &mut Vec<InstanceEvent>) {
        self.clock = self.clock.max(now);
        self.step_at = None;
        self.choose_step(now, events);
    }

    /// When the running step ends, microseconds; `None` = none runs.
    #[must_use]
    pub fn step_ends_us(&self) -> Option<i64> {
        self.in_flight.back().map(|step| step.end_us)
    }

    /// Has the running step, if there is one, end at `end_us` at the earliest.
    pub fn prolong_step(&mut self, end_us: i64) {
        let Some(step) = self.in_flight.back_mut().filter(|s| s.end_us < end_us) else {
            return;
        };
        step.end_us = end_us;
        let start_us = step.start_us;
        self.busy_until = end_us;
        if let Some(sampler) = &mut self.sampler {
            sampler.prolong(end_us);
        }
        // It is the last one of the steps that are kept.
        let runs = &mut self.totals.step_runs;
        let Some(kept) = runs.last_mut() else { return };
        let prolonged = StepRun {
            start_us,
            step_us: end_us - start_us,
            steps: 1,
            ..*kept
        };
        kept.steps -= 1;
        if kept.steps == 0 {
            runs.pop();
        }
        StepRun::append(runs, prolonged);
    }
}
