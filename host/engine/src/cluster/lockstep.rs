//! Steps of all instances that begin and end together: TickSim's workers for prefill and decode
//! advance in one loop.

use super::Cluster;
use crate::instance::Instance;

impl Cluster<'_> {
    /// Between two times at which something happens: what the ends of steps bring about, then the
    /// next step of every instance that has work, all as long as the longest of them. `false`:
    /// there is nothing of either.
    pub(super) fn step_together(&mut self) -> bool {
        if std::mem::take(&mut self.steps_ended) {
            self.step_over();
            return true;
        }
        let all = 0..self.backends.instances.len();
        if self.backends.instances.iter().any(|i| i.runs_a_step()) {
            return false;
        }
        let now = self.clock;
        let mut begun = false;
        for i in all.clone() {
            if self.backends.instances[i].only().wants_step(now) {
                let acting = self.backends.acting(i).only();
                acting.begin_step(now, &mut self.reports);
                self.after_instance(i);
                begun = true;
            }
        }
        let ends = self.engines();
        let end_us = ends.filter_map(Instance::step_ends_us).max();
        if let Some(end_us) = end_us {
            for i in all {
                self.backends.instances[i].only().prolong_step(end_us);
                self.reschedule(i);
            }
        }
        begun
    }
}
