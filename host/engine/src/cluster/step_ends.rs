//! Sources that create requests when steps end.

use super::{Cluster, Stage};
use crate::frontend::Pending;
use crate::instance::NEVER;
use windtunnel_plugin_api::RequestView;

impl Cluster<'_> {
    /// Runs the next event of an instance, at `now`, and with it steps that only decode, before
    /// `until`. Returns `true`, as something happened.
    pub(super) fn run_instance(&mut self, i: usize, now: i64, until: i64) -> bool {
        self.clock = now;
        let before = self.backends.instances[i].processed_steps();
        let acting = self.backends.acting(i);
        acting.run_next(until, &mut self.reports);
        self.after_instance(i);
        if self.backends.instances[i].processed_steps() != before {
            match self.config.lockstep {
                true => self.steps_ended = true,
                false => self.step_over(),
            }
        }
        true
    }

    /// The idle step that was to end at `now` did, unless an instance started a step meanwhile.
    /// Returns `true`, as something happened.
    pub(super) fn idle_step_over(&mut self, now: i64) -> bool {
        self.clock = now;
        if self.backends.instances.iter().any(|i| i.runs_a_step()) {
            self.idle_step_ends_us = NEVER;
        } else {
            self.step_over();
        }
        true
    }

    /// A step is over, at the clock: the source may create requests.
    pub(super) fn step_over(&mut self) {
        let gone = self.finished + self.records.len() as u64;
        let in_system = self.arrived - gone;
        while let Some(request) = self.source.on_step_end(self.clock, in_system) {
            let at = request.arrival_us.max(self.clock);
            let view = RequestView::default();
            self.push(at, Stage::Arrival, Box::new(Pending { request, view }));
        }
        let idle_step_us = self.source.idle_step_us();
        self.idle_step_ends_us = idle_step_us.map_or(NEVER, |us| self.clock.saturating_add(us));
    }
}
