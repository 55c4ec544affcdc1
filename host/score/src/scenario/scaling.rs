//! What a scenario says of instances that come and go, and what they take of GPUs.

use crate::objective::GpuTime;
use crate::suite::{ClusterKeys, ScenarioKeys, SuiteFile};
use windtunnel_base::record::{NodePoolRecord, PoolScaling, RunRecord, ScalingRecord};
use windtunnel_config::autoscale::{STARTUP_S, StartupSpec};
use windtunnel_sim::{Deployment, RetrySpec, RunSpec};

/// Microseconds of an hour.
const HOUR_US: f64 = 3.6e9;

/// What is paid for beyond what a run shows.
#[derive(Clone, Debug, Default)]
pub struct Scaled {
    /// Time that every start is charged for, by name of the pool, microseconds; those that are not
    /// there show it themselves.
    paid_us: Vec<(String, f64)>,
    /// The same of all other pools.
    paid_of_others_us: f64,
}

impl Scaled {
    /// Adds to a run how its pools are scaled, and what happens to instances. With `exact`, those
    /// that are started take requests at once.
    pub(super) fn add(
        run: &mut RunSpec,
        file: &SuiteFile,
        keys: &ScenarioKeys,
        cluster: &ClusterKeys,
        exact: bool,
    ) -> Self {
        run.autoscale = file.autoscale_of(keys);
        run.events.clone_from(&keys.events);
        run.client = RetrySpec {
            retries: keys.retries,
            after: keys.retry_after,
        };
        if !run.autoscale.is_on() {
            return Self::default();
        }
        // As many as the least, unless the cluster says how many there are.
        if cluster.instances.is_none() {
            for pool in &mut run.pools {
                if pool.name.is_empty() {
                    pool.count = None;
                }
            }
        }
        let mut scaled = Self::default();
        if exact {
            let us = |startup: StartupSpec| 1e6 * startup.mean.unwrap_or(STARTUP_S);
            let at_once = StartupSpec {
                mean: Some(0.0),
                stddev: None,
            };
            for name in run.autoscale.pools.keys() {
                let own = run.autoscale.of_pool(name).startup;
                scaled.paid_us.push((name.clone(), us(own)));
            }
            scaled.paid_of_others_us = us(run.autoscale.startup);
            run.autoscale.startup = at_once;
            for nodes in &mut run.autoscale.node_pools {
                nodes.provisioning_delay = at_once;
            }
            for own in run.autoscale.pools.values_mut() {
                own.startup = at_once;
            }
        }
        scaled
    }

    /// What the instances of a run took of GPUs; `last_us` is when the last request arrived.
    #[must_use]
    pub fn gpus(&self, record: &RunRecord, deployment: &Deployment, last_us: i64) -> GpuTime {
        let pools = &deployment.config().pools;
        let Some(scaling) = &record.scaling else {
            // They are all there all the time.
            let ended_us = record.instances.iter().map(|totals| totals.ended_us).max();
            let gpus: f64 = pools
                .iter()
                .map(|p| f64::from(p.gpus_per_instance * p.instances))
                .sum();
            return GpuTime {
                hours: gpus * ended_us.unwrap_or(0) as f64 / HOUR_US,
                most_hours: gpus * last_us as f64 / HOUR_US,
            };
        };
        if !scaling.nodes.is_empty() {
            return of_nodes(scaling, deployment, last_us);
        }
        let taken = |pool: &PoolScaling| {
            let name = pools
                .get(pool.pool as usize)
                .map_or("", |p| p.name.as_str());
            let own = self.paid_us.iter().find(|(of, _)| of == name);
            let paid_us = own.map_or(self.paid_of_others_us, |(_, us)| *us);
            let us = pool.instance_us as f64 + paid_us * pool.started as f64;
            us * f64::from(pool.gpus_per_instance)
        };
        let most = pools
            .iter()
            .map(|p| f64::from(p.gpus_per_instance * p.instances));
        GpuTime {
            hours: scaling.pools.iter().map(taken).sum::<f64>() / HOUR_US,
            most_hours: most.sum::<f64>() * last_us as f64 / HOUR_US,
        }
    }
}

/// What nodes took of GPUs, from being asked for until they went back.
fn of_nodes(scaling: &ScalingRecord, deployment: &Deployment, last_us: i64) -> GpuTime {
    let nodes = scaling.nodes.iter();
    let taken = nodes.map(|pool| pool.node_us as f64 * f64::from(pool.gpus_per_node));
    let nodes = deployment.config().scaling.nodes.iter();
    let most = nodes.map(|pool| f64::from(pool.max) * f64::from(pool.gpus_per_node));
    GpuTime {
        hours: taken.sum::<f64>() / HOUR_US,
        most_hours: most.sum::<f64>() * last_us as f64 / HOUR_US,
    }
}

/// What the instances of a run cost, US dollars; `None` where the price of a GPU is not known.
pub(super) fn cost_usd(scaling: &ScalingRecord, deployment: &Deployment) -> Option<f64> {
    if !scaling.nodes.is_empty() {
        let cost = |pool: &NodePoolRecord| Some(pool.usd_per_hour? * pool.node_us as f64 / HOUR_US);
        return scaling.nodes.iter().map(cost).sum();
    }
    let machines = deployment.machines();
    let cost = |pool: &PoolScaling| {
        let price = machines.get(pool.pool as usize)?.upkeep.price()?;
        let hours = pool.instance_us as f64 / HOUR_US;
        Some(price * hours * f64::from(pool.gpus_per_instance))
    };
    scaling.pools.iter().map(cost).sum()
}
