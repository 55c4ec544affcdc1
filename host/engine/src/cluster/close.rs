//! What a run leaves behind of its requests when it is over.

use super::{Cluster, Stage};
use crate::frontend::Pending;
use windtunnel_base::record::{InstanceTotals, Outcome, Recorder, RequestRecord, State};

impl Cluster<'_> {
    /// Hands over the records of all requests and gives the counters of the instances.
    pub(super) fn close(&mut self, recorder: &mut dyn Recorder) -> Vec<InstanceTotals> {
        let mut totals = Vec::new();
        for i in 0..self.backends.instances.len() {
            let (pool, from) = (self.backends.pool(i), self.records.len());
            let ended = self.backends.instances[i].finish(&mut self.records);
            for record in &mut self.records[from..] {
                record.pool = pool;
                if let Some(split) = &self.disaggregation {
                    split.complete(record);
                }
            }
            let ended = InstanceTotals { pool, ..ended };
            totals.push(match self.backends.before(i) {
                Some(before) => before.then(ended),
                None => ended,
            });
        }
        for ((_, stage), pending) in self.due.drain() {
            if stage != Stage::Arrival {
                let Pending { request, view } = *pending;
                self.records.push(RequestRecord::unserved(
                    view.serial,
                    &request,
                    State::Queued,
                    Outcome::InTransit,
                ));
            }
        }
        self.hand_over(recorder);
        totals
    }
}
