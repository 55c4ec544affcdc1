//! What instances of data-parallel ranks are not simulated with.

use super::config::{ClusterConfig, ClusterError, PoolConfig};
use crate::latency::{StepAggregates, StepItem};
use windtunnel_base::record::Role;

impl ClusterConfig {
    /// Refuses a pool of ranks with what is not simulated together.
    ///
    /// # Errors
    /// Names the pool and the first of these things.
    pub(super) fn check_ranks(&self) -> Result<(), ClusterError> {
        let several = |pool: &&PoolConfig| pool.ranks.are_several();
        for pool in self.pools.iter().filter(several) {
            if let Some(with) = beyond_ranks(self, pool) {
                return Err(ClusterError::Ranks {
                    pool: pool.name.clone(),
                    ranks: pool.ranks.count,
                    with,
                });
            }
        }
        Ok(())
    }
}

fn beyond_ranks(config: &ClusterConfig, pool: &PoolConfig) -> Option<&'static str> {
    let rules = &pool.engine.rules;
    let scheduling = &pool.engine.scheduling;
    let refused = [
        (
            !rules.one_step_at_a_time || rules.steps_in_flight() == 0,
            "rules under which an instance has one queue",
        ),
        (
            config.splits() || pool.role != Role::Serve,
            "instances that only prefill or only decode",
        ),
        (config.lockstep, "steps of all instances together"),
        (config.scaling.is_on(), "scaling policies"),
        (
            !config.events.all.is_empty(),
            "failures and other events of instances",
        ),
        (
            pool.kv_tiers.is_some() || scheduling.cpu_offload.is_some(),
            "KV blocks on the CPU or below",
        ),
        (
            pool.adapters.is_some(),
            "LoRA adapters that are loaded for the requests that wait for them",
        ),
        (
            scheduling.memory.is_some() || pool.latency.tick_us().is_some(),
            "a clock or memory of another simulator",
        ),
        (pool.latency.stages() > 1, "a pipeline of stages (`pp`)"),
        (
            config.front.trace.kv_events,
            "events of KV blocks (`kv_events`)",
        ),
        (
            pool.ranks.together && pool.latency.together_us(&[one_token()]).is_none(),
            "a step-time model that knows whole steps of one batch; expected kernel-tables, \
             trained-physics or roofline",
        ),
    ];
    refused.iter().find(|(is, _)| *is).map(|(_, what)| *what)
}

fn one_token() -> StepAggregates {
    let mut step = StepAggregates::default();
    step.add(StepItem::decode(1));
    step
}
