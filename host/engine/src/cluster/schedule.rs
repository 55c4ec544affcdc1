//! When instances come and go.

use crate::instance::NEVER;

/// From a moment on, a pool has so many instances that take requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// The moment, microseconds; it comes before everything else at this time.
    pub at_us: i64,
    /// Number of the pool.
    pub pool: usize,
    /// Instances that take requests.
    pub instances: u32,
}

/// How many instances take requests, and when that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// At the start, pool by pool; none given = all of them.
    pub initial: Vec<u32>,
    /// Changes, in order of time.
    pub resizes: Vec<Resize>,
}

impl Schedule {
    /// Instances that pool `k` ever has, if it starts with `initial`: one that went never comes
    /// back, so that who comes has an empty cache.
    #[must_use]
    pub fn ever(&self, k: usize, initial: u32) -> u32 {
        let of_pool = self.resizes.iter().filter(|resize| resize.pool == k);
        let (ever, _) = of_pool.fold((initial, initial), |(ever, now), resize| {
            let more = resize.instances.saturating_sub(now);
            (ever.saturating_add(more), resize.instances)
        });
        ever
    }

    /// From when until when each instance of pool `k` takes requests, if it starts with `initial`,
    /// by number; [`NEVER`] = until the run ends.
    #[must_use]
    pub fn lives(&self, k: usize, initial: u32) -> Vec<[i64; 2]> {
        let mut lives = vec![[0, NEVER]; initial as usize];
        let mut there: Vec<usize> = (0..lives.len()).collect();
        for resize in self.resizes.iter().filter(|resize| resize.pool == k) {
            let wanted = resize.instances as usize;
            for gone in there.drain(wanted.min(there.len())..) {
                lives[gone][1] = resize.at_us;
            }
            while there.len() < wanted {
                there.push(lives.len());
                lives.push([resize.at_us, NEVER]);
            }
        }
        lives
    }

    /// Most instances of pool `k` that take requests at once, if it starts with `initial`.
    #[must_use]
    pub fn most(&self, k: usize, initial: u32) -> u32 {
        let of_pool = self.resizes.iter().filter(|resize| resize.pool == k);
        of_pool.fold(initial, |most, resize| most.max(resize.instances))
    }
}
