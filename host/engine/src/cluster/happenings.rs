//! Instances that fail, slow down and are replaced, as it happens.

use super::events::{ClusterEvent, Happening};
use super::lifecycle::{Due, Phase, Rolling};
use super::{Cluster, Stage};
use crate::frontend::Pending;
use crate::instance::FinishedRequest;
use windtunnel_base::record::Outcome;

/// Interval at which a rolling replacement looks whether it can go on, microseconds.
const LOOK_US: i64 = 1_000_000;

impl Cluster<'_> {
    /// The event of this number happens.
    pub(super) fn happens(&mut self, k: usize) {
        let now = self.clock;
        let Some(ClusterEvent {
            instances, what, ..
        }) = self.config.events.all.get(k).cloned()
        else {
            return;
        };
        match what {
            Happening::Fail { restart_us } => {
                for i in instances {
                    self.fail(i, restart_us);
                }
            }
            Happening::Slow { factor, for_us } => {
                for i in instances {
                    self.backends.slow(i as usize, factor);
                    if let Some(life) = &mut self.lifecycle {
                        life.slowed(i, now.saturating_add(for_us));
                    }
                }
            }
            Happening::Roll {
                at_once,
                startup_us,
            } => {
                let Some(life) = &mut self.lifecycle else {
                    return;
                };
                let there = instances.into_iter();
                let left = there.filter(|&i| life.phase(i) == Phase::Ready).collect();
                life.rolling.push(Rolling {
                    left,
                    under_way: Vec::new(),
                    at_once: at_once as usize,
                    startup_us,
                });
                self.roll();
            }
        }
    }

    /// Instance `i` is gone, with all that it has. Routers learn of it when they look next.
    fn fail(&mut self, i: u32, restart_us: Option<i64>) {
        let now = self.clock;
        let refresh_us = self.config.front.snapshot_refresh_us.max(1);
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        let phase = life.phase(i);
        if matches!(phase, Phase::Absent | Phase::Pending) {
            return;
        }
        life.failures += 1;
        life.set(i, Phase::Absent, now);
        if phase == Phase::Ready {
            let looks = now.saturating_add(refresh_us - 1) / refresh_us * refresh_us;
            life.fail_unnoticed(i, looks);
        }
        if let Some(us) = restart_us {
            life.restart(i, us, now);
        }
        let k = life.pool_of(i);
        if phase != Phase::Loading {
            self.lose_all(i as usize);
        }
        self.update_members(k);
    }

    /// All that instance `i` has is lost.
    fn lose_all(&mut self, i: usize) {
        for departure in self.given_back(i, true, Outcome::Failed) {
            self.lost(i, departure);
        }
        self.backends.renew(i);
        self.backends.unreachable(i, true);
        self.reschedule(i);
    }

    /// A request was on an instance that failed.
    fn lost(&mut self, i: usize, departure: FinishedRequest) {
        self.leaves(i, &departure);
        let again = Pending {
            request: departure.request.clone(),
            view: departure.view,
        };
        if !self.tries_again(Box::new(again)) {
            self.end(i, departure);
        }
    }

    /// The client of a request that was lost sends it again, if it does.
    fn tries_again(&mut self, mut pending: Box<Pending>) -> bool {
        let (most, after_us) = (
            self.config.events.retries,
            self.config.events.retry_after_us,
        );
        let Some(life) = &mut self.lifecycle else {
            return false;
        };
        let tries = life.retries.entry(pending.view.serial).or_default();
        if *tries >= most {
            life.lost += 1;
            return false;
        }
        *tries += 1;
        life.retried += 1;
        pending.view.attempts = 0;
        let at = self.clock.saturating_add(after_us);
        let at = at.saturating_add(self.config.front.admission_latency_us);
        self.push(at, Stage::Admission, pending);
        true
    }

    /// Sends a request to an instance of which the router does not know yet that it failed. Gives
    /// it back if the instance is there.
    pub(super) fn finds_nobody(&mut self, i: usize, pending: Box<Pending>) -> Option<Box<Pending>> {
        let unnoticed = |life: &super::Lifecycle| life.failed_unnoticed(i as u32);
        if !self.lifecycle.as_deref().is_some_and(unnoticed) {
            return Some(pending);
        }
        if let Some(gateway) = &mut self.gateway {
            gateway.arrived(pending.view.serial);
        }
        let copy = Pending {
            request: pending.request.clone(),
            view: pending.view,
        };
        if !self.tries_again(Box::new(copy)) {
            self.refuse(&pending, i as u32, Outcome::Failed);
        }
        None
    }

    /// Goes on with instances that are replaced one after the other.
    pub(super) fn roll(&mut self) {
        let now = self.clock;
        let Some(life) = &mut self.lifecycle else {
            return;
        };
        let mut pools = Vec::new();
        let mut rolling = std::mem::take(&mut life.rolling);
        for roll in &mut rolling {
            let mut under_way = Vec::new();
            for (i, started) in std::mem::take(&mut roll.under_way) {
                match life.phase(i) {
                    Phase::Absent if !started => {
                        life.restart(i, roll.startup_us, now);
                        under_way.push((i, true));
                    }
                    // It failed, or is another one now.
                    Phase::Absent | Phase::Ready => {}
                    Phase::Draining | Phase::Pending | Phase::Loading => {
                        under_way.push((i, started))
                    }
                }
            }
            while under_way.len() < roll.at_once
                && let Some(i) = roll.left.pop_front()
            {
                if life.phase(i) == Phase::Ready {
                    life.set(i, Phase::Draining, now);
                    under_way.push((i, false));
                    pools.push(life.pool_of(i));
                }
            }
            roll.under_way = under_way;
        }
        rolling.retain(|roll| !roll.under_way.is_empty() || !roll.left.is_empty());
        if !rolling.is_empty() {
            life.due.push((now.saturating_add(LOOK_US), Due::Look), ());
        }
        life.rolling = rolling;
        pools.dedup();
        for k in pools {
            self.update_members(k);
        }
        self.retire();
    }
}
