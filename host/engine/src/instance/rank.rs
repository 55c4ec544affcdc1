//! An instance that is one of several data-parallel ranks: what it reports of its load, and steps
//! whose time is not its own to say, where all ranks go through them together.

use super::config::NEVER;
use super::rank_state::{Load, LoadReports, OpenStep, OpenSteps};
use super::state::Instance;
use crate::latency::StepAggregates;

impl Instance {
    /// The same instance, idle, which reports its load.
    #[must_use]
    pub fn reporting_load(mut self) -> Self {
        self.load_reports = Some(LoadReports::default());
        self
    }

    /// The same instance, idle, which [chooses](Self::plan_choice) steps when it is told to, and
    /// whose steps run when [`close_step`](Self::close_step) says.
    #[must_use]
    pub fn with_open_steps(mut self) -> Self {
        self.open_steps = Some(OpenSteps::default());
        self.config.plain = true;
        self
    }

    /// Reports the load at `now`, if it has changed: vLLM's engine does before and after each step.
    pub(super) fn report_load(&mut self, now: i64) {
        let Some(reports) = &mut self.load_reports else {
            return;
        };
        let waiting = (self.waiting.len() + self.arrived.len() + self.moving) as u64;
        let load = (waiting, self.running.len() as u64);
        if load == reports.last {
            return;
        }
        reports.last = load;
        reports.all.push(Load {
            at_us: now,
            waiting: load.0,
            running: load.1,
            kv_usage: match self.kv.total() {
                0 => 0.0,
                total => self.kv.used() as f64 / total as f64,
            },
        });
    }

    /// The same after a choice: an engine that waits for the output of a step reports when it has
    /// that.
    pub(super) fn report_choice(&mut self, now: i64) {
        if self.in_flight.len() < self.most_in_flight() {
            self.report_load(now);
        }
    }

    /// Hands over the reports of its load, the earliest first.
    pub fn take_loads(&mut self) -> impl Iterator<Item = Load> + '_ {
        self.load_reports.iter_mut().flat_map(|r| r.all.drain(..))
    }

    /// Does it have requests in its queue or its batch?
    #[must_use]
    pub fn has_unfinished(&self) -> bool {
        self.waiting_requests() > 0 || !self.running.is_empty() || self.moving > 0
    }

    /// Steps that are chosen and not processed.
    #[must_use]
    pub fn steps_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// With open steps it is to choose the next one then; `None` = not before it is told again.
    pub fn plan_choice(&mut self, at_us: Option<i64>) {
        self.step_at = at_us;
    }

    /// How often a step was to be chosen, and the last that was if it is still open.
    #[must_use]
    pub fn choices(&self) -> (u64, Option<OpenStep>) {
        let open = self.open_steps.as_ref();
        let last = open.and_then(|open| open.steps.back().copied());
        (open.map_or(0, |open| open.choices), last)
    }

    /// A step is to be chosen.
    pub(super) fn count_choice(&mut self) {
        if let Some(open) = &mut self.open_steps {
            open.choices += 1;
        }
    }

    /// Leaves it open when the step at hand runs, if others say that.
    pub(super) fn leave_open(&mut self, work: &StepAggregates, chosen_us: i64) -> bool {
        if self.open_steps.is_none() {
            return false;
        }
        let delay_us = self.adapter_loading_us() + self.kv.take_reload_us();
        if let Some(open) = &mut self.open_steps {
            open.steps.push_back(OpenStep {
                chosen_us,
                work: *work,
                delay_us,
            });
        }
        true
    }

    /// The first step that is open runs from `start_us` to `end_us`.
    pub fn close_step(&mut self, start_us: i64, end_us: i64) {
        if let Some(open) = &mut self.open_steps {
            open.steps.pop_front();
        }
        let Some(step) = self.in_flight.iter_mut().find(|s| s.end_us == NEVER) else {
            return;
        };
        (step.start_us, step.end_us) = (start_us, end_us);
        self.busy_until = end_us;
        if let Some(sampler) = &mut self.sampler {
            sampler.close(start_us, end_us);
        }
        let logged = &mut self.totals.logged_steps;
        let from = logged.len().saturating_sub(self.in_flight.len());
        let open = |step: &&mut windtunnel_base::record::RanStep| {
            step.start_us.saturating_add(step.step_us) == NEVER
        };
        if let Some(logged) = logged[from..].iter_mut().find(open) {
            (logged.start_us, logged.step_us) = (start_us, end_us - start_us);
        }
    }
}
