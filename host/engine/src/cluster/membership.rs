//! Instances that come and go while a run goes on.
//!
//! All instances that a run ever has exist from its start; those that are not there yet, or no
//! more, are shown to nobody and are sent nothing. One that goes finishes what it has.

use super::config::ClusterConfig;
use super::schedule::Resize;
use crate::frontend::StageMembers;
use crate::instance::NEVER;
use windtunnel_base::record::Role;

/// The instances of a pool.
#[derive(Clone, Debug)]
struct PoolMembers {
    role: Role,
    /// Number of the next one that comes.
    next: u32,
    /// Those that take requests, ascending.
    there: Vec<u32>,
}

/// Which instances take requests.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    /// Do instances come or go?
    changes: bool,
    pools: Vec<PoolMembers>,
    resizes: std::vec::IntoIter<Resize>,
}

impl Membership {
    /// Of a cluster in which instances come or go, or do different things; `None` for others.
    pub(super) fn of(config: &ClusterConfig) -> Option<Self> {
        let schedule = &config.schedule;
        let mut next = 0;
        let pools = config.pools.iter().enumerate().map(|(k, pool)| {
            let first = next;
            next += pool.instances;
            let initial = schedule.initial.get(k).copied().unwrap_or(pool.instances);
            PoolMembers {
                role: pool.role,
                next: first + initial,
                there: (first..first + initial).collect(),
            }
        });
        let changes = !schedule.resizes.is_empty() || config.instances_change();
        (changes || config.splits()).then(|| Self {
            changes,
            pools: pools.collect(),
            resizes: schedule.resizes.clone().into_iter(),
        })
    }

    /// When it changes next, microseconds; [`NEVER`] if it does not.
    pub(super) fn next_us(&self) -> i64 {
        let next = self.resizes.as_slice().first();
        next.map_or(NEVER, |resize| resize.at_us)
    }

    /// The next change happens: new instances take the next numbers of their pool, and the ones
    /// with the highest numbers go.
    pub(super) fn resize(&mut self) {
        let Some(resize) = self.resizes.next() else {
            return;
        };
        let pool = &mut self.pools[resize.pool];
        let wanted = resize.instances as usize;
        pool.there.truncate(wanted);
        while pool.there.len() < wanted {
            pool.there.push(pool.next);
            pool.next += 1;
        }
    }

    /// From now on these instances of pool `k` take requests.
    pub(super) fn set(&mut self, k: usize, there: Vec<u32>) {
        self.pools[k].there = there;
    }

    /// Is there nobody who prefills, or nobody who decodes?
    pub(super) fn lack_somebody(&self) -> bool {
        let any = |does: fn(Role) -> bool| {
            let mut pools = self.pools.iter();
            pools.any(|pool| does(pool.role) && !pool.there.is_empty())
        };
        !any(Role::prefills) || !any(Role::decodes)
    }

    /// The instances that take requests, by what they do.
    pub(super) fn now(&self) -> StageMembers {
        let who = |does: fn(Role) -> bool| {
            let pools = self.pools.iter().filter(|pool| does(pool.role));
            pools.flat_map(|pool| pool.there.iter().copied()).collect()
        };
        StageMembers::new(
            who(Role::prefills),
            who(Role::decodes),
            who(|role| role == Role::Encode),
        )
        .of_those(self.changes.then(|| who(|_| true)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Schedule;
    use super::*;

    #[test]
    fn who_went_does_not_come_back() {
        let resize = |at_us, pool, instances| Resize {
            at_us,
            pool,
            instances,
        };
        let schedule = Schedule {
            initial: vec![2, 1],
            resizes: vec![resize(5, 0, 1), resize(6, 1, 2), resize(9, 0, 3)],
        };
        assert_eq!((schedule.ever(0, 2), schedule.ever(1, 1)), (4, 2));
        assert_eq!((schedule.most(0, 2), schedule.most(1, 1)), (3, 2));
        assert_eq!(
            schedule.lives(0, 2),
            [[0, NEVER], [0, 5], [9, NEVER], [9, NEVER]]
        );
        assert_eq!(schedule.lives(1, 1), [[0, NEVER], [6, NEVER]]);
        let pool = |next, there: &[u32]| PoolMembers {
            role: Role::Serve,
            next,
            there: there.to_vec(),
        };
        let mut members = Membership {
            changes: true,
            pools: vec![pool(2, &[0, 1]), pool(5, &[4])],
            resizes: schedule.resizes.into_iter(),
        };
        let mut seen = Vec::new();
        while members.next_us() < NEVER {
            members.resize();
            seen.push(members.now().whole().expect("a list").to_vec());
        }
        assert_eq!(seen, [vec![0, 4], vec![0, 4, 5], vec![0, 2, 3, 4, 5]]);
    }
}
