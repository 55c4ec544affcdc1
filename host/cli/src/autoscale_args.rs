//! Flags of pools that a policy scales.

use clap::Args;
use std::collections::BTreeMap;
use windtunnel_sim::{AutoscaleSpec, NodePoolSpec, StartupSpec};

/// How many instances there are, by a policy.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Autoscaling")]
pub struct AutoscaleArgs {
    /// Scaling policy, which says how many instances a pool has: a name that "windtunnel policy
    /// list" gives, FILE.lua, or FILE.so[:NAME] (with --autoscale-max)
    #[arg(long, value_name = "POLICY")]
    pub autoscale: Option<String>,
    /// Least instances of a pool [default: 1]
    #[arg(long, value_name = "N")]
    pub autoscale_min: Option<u32>,
    /// Most instances of a pool, those included that finish their requests before they go;
    /// --num-instances are there at the start
    #[arg(long, value_name = "N")]
    pub autoscale_max: Option<u32>,
    /// Seconds between two decisions [default: 15]
    #[arg(long, value_name = "SECONDS")]
    pub autoscale_interval: Option<f64>,
    /// Seconds until an instance that is started takes requests [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub autoscale_startup: Option<f64>,
    /// Standard deviation of that time, seconds [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub autoscale_startup_stddev: Option<f64>,
    /// What becomes of the requests of an instance that goes: wait (it finishes them), redirect
    /// (those in its wait queue go back to the router), or immediate (all do) [default: wait]
    #[arg(long, value_name = "HOW")]
    pub autoscale_drain: Option<String>,
    /// Nodes that instances run on: their name, GPU, GPUs of each, how many at the start and at
    /// most, seconds until one is there [default: 120], and US dollars per hour; several times for
    /// several kinds, of which the first with room is taken
    #[arg(long, value_name = "NAME:GPU:GPUS:INITIAL-MAX[:DELAY[:COST]]")]
    pub node_pool: Vec<NodePoolSpec>,
}

impl AutoscaleArgs {
    /// The block of the run's file that they stand for.
    pub fn spec(&self) -> AutoscaleSpec {
        AutoscaleSpec {
            policy: self.autoscale.clone(),
            params: BTreeMap::new(),
            interval: self.autoscale_interval,
            min: self.autoscale_min,
            max: self.autoscale_max,
            startup: StartupSpec {
                mean: self.autoscale_startup,
                stddev: self.autoscale_startup_stddev,
            },
            drain: self.autoscale_drain.clone(),
            node_pools: self.node_pool.clone(),
            pools: BTreeMap::new(),
        }
    }
}
