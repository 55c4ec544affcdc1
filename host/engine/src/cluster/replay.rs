//! Control over a run for those who replay it: to stop before a decision, decide otherwise, and end
//! early.

use super::{Cluster, Membership, NEVER, Stage};
use windtunnel_base::record::Recorder;

impl Cluster<'_> {
    /// The serial number of the request that the next event routes, if that is what the next event
    /// does.
    #[must_use]
    pub fn about_to_route(&self) -> Option<u64> {
        let ((at, Stage::Routing), pending) = self.due.first()? else {
            return None;
        };
        // What goes first at the same time: ticks, and arrivals from the source.
        let arrives = self.upcoming.as_ref().map_or(NEVER, |r| r.arrival_us);
        let ticks = self.ticks.iter().any(|(tick, ..)| tick <= at);
        let steps = !self.independent && self.next_event.earliest().1 < *at;
        let resizes = self.membership.as_ref().map_or(NEVER, Membership::next_us) <= *at;
        (arrives > *at && !resizes && !ticks && !steps).then_some(pending.view.serial)
    }

    /// From now on requests go to the instances that `choices` has at their serial numbers;
    /// `u32::MAX`, and what lies beyond its end, is as the router says. The router is asked all the
    /// same, and may hold a request back.
    ///
    /// # Panics
    /// When there is no such instance.
    pub fn replay_choices(&mut self, choices: Vec<u32>) {
        let instances = self.backends.instances.len();
        let there = |i: &u32| *i == u32::MAX || (*i as usize) < instances;
        assert!(choices.iter().all(there), "choices of instances");
        self.front.replay(choices);
    }

    /// Nothing happens any more after `us`, if the run does not end before.
    pub fn end_at(&mut self, us: i64) {
        let horizon = &mut self.config.horizon_us;
        *horizon = us.min(*horizon);
    }

    /// Hands over the records of all requests, as they stand. The run cannot go on from here.
    pub fn break_off(&mut self, recorder: &mut dyn Recorder) {
        self.close(recorder);
    }
}
