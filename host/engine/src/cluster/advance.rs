//! Which event is next: of the front end, of a split request, or of an instance; and how far an
//! instance may run ahead.

use super::engines::Engines;
use super::{Cluster, Disaggregation, Gateway};
use crate::frontend::FrontEndHook;
use crate::instance::NEVER;

/// When a run ends although there is more to do, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// From here on it ends when no instance has anything to do, whatever is still to come or on
    /// its way.
    pub idle_from_us: i64,
    /// From here on it ends in any case.
    pub from_us: i64,
}

impl Cluster<'_> {
    /// The same that ends with the first moment at which something has happened and `end` says so.
    #[must_use]
    pub fn ending(self, end: RunEnd) -> Self {
        Self {
            end: Some(end),
            // All events of a moment have happened before it is looked at; an instance may run
            // ahead up to the first at which the run can end.
            independent: false,
            runs_ahead: self.independent || self.runs_ahead,
            ..self
        }
    }

    /// Executes the next event of the front end, or in between the next one of an instance. `false`
    /// when nothing is left, or nothing before the horizon.
    pub fn advance(&mut self) -> bool {
        if self.front.has_fault() {
            return false;
        }
        let horizon = self.config.horizon_us;
        let arrival = self.upcoming.as_ref().map_or(NEVER, |r| r.arrival_us);
        let due = self.due.peek().map_or(NEVER, |(at_us, _)| *at_us);
        let split = self
            .disaggregation
            .as_mut()
            .map_or(NEVER, Disaggregation::next_us);
        let gateway = self.gateway.as_ref();
        let (held, listens) = gateway.map_or((NEVER, false), |g| (g.next_us(), g.listens()));
        let front = arrival.min(due).min(split).min(held);
        let (instance, step) = if self.independent && !listens {
            (0, NEVER)
        } else {
            self.next_event.earliest()
        };
        // Ticks end with the last event that a policy could still influence.
        let idle = self.idle_step_ends_us;
        let next = front.min(step).min(idle);
        if next > self.clock && self.is_over() {
            return false;
        }
        if next != NEVER && self.resize_before(next) {
            return true;
        }
        if self.lifecycle.is_some() && self.lives_before(next) {
            return true;
        }
        if self.config.lockstep && next > self.clock && self.step_together() {
            return true;
        }
        if next != NEVER && self.tick_before(next) {
            return true;
        }
        if idle != NEVER && idle == next && idle <= horizon {
            return self.idle_step_over(idle);
        }
        if step < front {
            if step > horizon {
                return false;
            }
            let until = self.nothing_comes_before(front, instance).max(step + 1);
            return self.run_instance(instance, step, until);
        }
        if front == NEVER || front > horizon {
            self.advance_all(horizon.saturating_add(1));
            return false;
        }
        debug_assert!(front >= self.clock, "the clock never runs backwards");
        self.clock = front;
        // Requests of the source were created before any follow-up, and arrivals precede decisions.
        if arrival == front {
            self.arrive_from_source();
        } else if due == front {
            self.run_due();
        } else if split == front {
            self.run_split();
        } else {
            self.run_gateway();
        }
        true
    }

    /// Has the run come to its end with what has happened so far?
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| {
            let idle = || self.backends.instances.iter().all(Engines::is_idle);
            self.clock >= end.from_us || self.clock >= end.idle_from_us && idle()
        })
    }

    /// Lets instances come or go if they do before or at the next event, at `next`.
    fn resize_before(&mut self, next: i64) -> bool {
        let Some(members) = &mut self.membership else {
            return false;
        };
        let at = members.next_us();
        if at > next || at > self.config.horizon_us {
            return false;
        }
        self.clock = at;
        members.resize();
        self.front.set_members(members.now());
        true
    }

    /// Runs the next tick if it is due before or at the next event, at `next`.
    fn tick_before(&mut self, next: i64) -> bool {
        let horizon = self.config.horizon_us;
        let Some(k) = (0..self.ticks.len()).min_by_key(|&k| self.ticks[k].0) else {
            return false;
        };
        let (at, every, hook) = self.ticks[k];
        if at > next || at > horizon {
            return false;
        }
        self.ticks[k].0 = at.saturating_add(every);
        self.clock = at;
        let looks = match hook {
            FrontEndHook::Admission => self.front.admission_looks(at),
            FrontEndHook::Routing => self.front.router_looks(at),
        };
        if looks {
            self.advance_all(at);
        }
        self.front.tick(hook, at, &mut self.backends);
        true
    }

    /// A moment before which nothing that happens elsewhere has an effect on instance `i`, so that
    /// it may run ahead; the front end acts next at `front`. 0 for those that may concern others:
    /// they take part in the order of all events.
    fn nothing_comes_before(&self, front: i64, i: usize) -> i64 {
        let listens = self.gateway.as_ref().is_some_and(Gateway::listens);
        let ahead = self.runs_ahead && !listens && !self.may_concern_others(i);
        let can_end = self
            .end
            .map_or(NEVER, |end| end.idle_from_us.min(end.from_us));
        let life = self.lifecycle.as_ref().map_or(NEVER, |life| life.next_us());
        match ahead {
            true => front
                .min(can_end)
                .min(life)
                .min(self.concerning.earliest().1)
                .min(self.config.horizon_us.saturating_add(1)),
            false => 0,
        }
    }

    /// May what happens next on instance `i` have an effect on another one?
    fn may_concern_others(&self, i: usize) -> bool {
        self.sends[i] || self.backends.instances[i].may_fetch_kv()
    }

    /// Notes when something happens next on instance `i`.
    pub(super) fn reschedule(&mut self, i: usize) {
        let next = self.backends.instances[i].next_event_us();
        self.next_event.set(i, next);
        if self.runs_ahead {
            let concerns = self.may_concern_others(i);
            self.concerning.set(i, if concerns { next } else { NEVER });
        }
    }

    /// Brings an instance to the moment before `until`.
    pub(super) fn advance_one(&mut self, i: usize, until: i64) {
        if self.independent && self.next_event.of(i) < until {
            let acting = self.backends.acting(i);
            acting.advance_to(until, &mut self.reports);
            self.after_instance(i);
        }
    }

    pub(super) fn advance_all(&mut self, until: i64) {
        let mut from = 0;
        while self.independent
            && let Some(i) = self.next_event.next_before(until, from)
        {
            self.advance_one(i, until);
            from = i + 1;
        }
    }
}
