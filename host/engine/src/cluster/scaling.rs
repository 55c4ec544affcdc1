//! Which pools are scaled by a policy, and how their instances come and go.

use rand_distr::{Distribution, StandardNormal};
use windtunnel_base::rng::stream;

/// What becomes of the requests of an instance that goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// It finishes all that it has.
    #[default]
    Wait,
    /// Those in its wait queue go back to the router; it finishes those that run.
    Redirect,
    /// All go back to the router, and start anew elsewhere.
    Immediate,
}

impl Drain {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wait, Self::Redirect, Self::Immediate];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Redirect => "redirect",
            Self::Immediate => "immediate",
        }
    }
}

/// A time that is normally distributed, and not below 0; microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delay {
    /// Its mean.
    pub mean_us: f64,
    /// Its standard deviation; 0 = it is always the mean.
    pub stddev_us: f64,
}

impl Delay {
    /// Ten standard deviations above the mean, microseconds: a start takes no longer.
    pub(super) fn longest_us(&self) -> i64 {
        (self.mean_us + 10.0 * self.stddev_us.max(0.0)) as i64
    }

    /// The delay of the start of this number in a pool.
    pub(super) fn draw(&self, seed: u64, pool: usize, start: u64) -> i64 {
        self.draw_of("autoscaler", seed, pool, start)
    }

    /// The delay of this number among those of `what` in a pool.
    pub(super) fn draw_of(&self, what: &str, seed: u64, pool: usize, number: u64) -> i64 {
        let us = match self.stddev_us > 0.0 {
            true => {
                let z: f64 = StandardNormal.sample(&mut stream(seed, what, pool as u64, number));
                self.mean_us + self.stddev_us * z
            }
            false => self.mean_us,
        };
        us.max(0.0) as i64
    }
}

/// How a pool is scaled. It has as many instances at most as it is given in all, those that finish
/// what they have included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolScaling {
    /// Interval at which the policy is asked, microseconds, at least 1; first after one.
    pub interval_us: i64,
    /// Least instances.
    pub min: u32,
    /// Time until an instance that is started takes requests.
    pub startup: Delay,
    /// What becomes of the requests of one that goes.
    pub drain: Drain,
    /// What a GPU costs, US dollars per hour; 0 = unknown.
    pub gpu_usd_per_hour: f64,
}

/// A pool of equal nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePool {
    /// Its name.
    pub name: String,
    /// GPU, as pools of instances name it.
    pub gpu: String,
    /// GPUs of a node, at least 1.
    pub gpus_per_node: u32,
    /// Nodes at the start.
    pub initial: u32,
    /// Least nodes: so many stay, idle or not.
    pub min: u32,
    /// Most nodes, those that are being provisioned included.
    pub max: u32,
    /// Time from asking for a node until instances can be started on it.
    pub provisioning: Delay,
    /// Time after which a node without instances goes back, microseconds.
    pub idle_us: i64,
    /// What a node costs, US dollars per hour; `None` = unknown.
    pub usd_per_hour: Option<f64>,
}

/// Pools that are scaled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling {
    /// By position of the pool; none = no pool is.
    pub pools: Vec<Option<PoolScaling>>,
    /// Targets that policies are told: time to first token, mean inter-token latency, end-to-end
    /// latency, microseconds; 0 = none.
    pub targets_us: [i64; 3],
    /// The nodes that instances run on; none = GPUs are there when an instance is started.
    pub nodes: Vec<NodePool>,
}

impl Scaling {
    /// Is any pool scaled?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.pools.iter().any(Option::is_some)
    }

    /// How pool `k` is scaled, if it is.
    #[must_use]
    pub fn of(&self, k: usize) -> Option<&PoolScaling> {
        self.pools.get(k)?.as_ref()
    }
}
