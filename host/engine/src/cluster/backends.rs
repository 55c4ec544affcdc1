//! Simulated instances as the front end sees them.

use super::config::{ClusterConfig, ClusterError};
use crate::frontend::{Backends, Freshness};
use crate::instance::{EngineConfig, Instance, InstanceHooks};
use std::sync::Arc;
use windtunnel_base::request::{Sym, TokenSeq};
use windtunnel_base::rng::salted;
use windtunnel_plugin_api::{InstanceView, Interests};

/// The instances of all pools.
pub(super) struct SimulatedBackends {
    pub(super) instances: Vec<Instance>,
    /// What never changes of each.
    constants: Vec<InstanceView>,
}

impl SimulatedBackends {
    /// Idle instances. `names` are those of the pools, `interests` those of the front end's
    /// policies, and `hooks` are the policies inside each instance.
    pub(super) fn new(
        config: &ClusterConfig,
        names: &[Sym],
        interests: Interests,
        hooks: impl IntoIterator<Item = InstanceHooks>,
    ) -> Result<Self, ClusterError> {
        let mut hooks = hooks.into_iter();
        let (mut instances, mut constants) = (Vec::new(), Vec::new());
        let signal_delayed = config.front.cache_signal_delay_us > 0;
        for (k, (pool, name)) in config.pools.iter().zip(names).enumerate() {
            let estimator = config.estimator(k);
            let engine = EngineConfig {
                horizon_us: config.horizon_us,
                token_events: interests.has(Interests::TOKENS)
                    || pool.queue_limits.prompt_tokens.is_some(),
                ..pool.engine
            };
            for _ in 0..pool.instances {
                let index = instances.len() as u32;
                let hooks = hooks.next().ok_or(ClusterError::NoHooks(index))?;
                let latency = Arc::clone(&pool.latency);
                let seed = salted(config.seed, config.front.policy_salt);
                let mut instance = Instance::new(index, engine, latency, hooks, seed)
                    .with_estimator(estimator.clone());
                if signal_delayed && interests.has(Interests::PRECISE_PREFIX) {
                    instance.kv_mut().track_changes();
                }
                let kv_total_blocks = instance.kv().total();
                instances.push(instance);
                constants.push(InstanceView {
                    index,
                    kv_total_blocks: u32::try_from(kv_total_blocks).unwrap_or(u32::MAX),
                    max_batch_size: engine.max_num_seqs,
                    block_size: engine.block_size,
                    max_step_tokens: engine.max_num_batched_tokens,
                    pool: name.0,
                    gpus: pool.gpus_per_instance,
                    ..InstanceView::default()
                });
            }
        }
        Ok(Self {
            instances,
            constants,
        })
    }

    /// The pool of instance `i`.
    pub(super) fn pool(&self, i: usize) -> Sym {
        Sym(self.constants[i].pool)
    }
}

impl Backends for SimulatedBackends {
    fn len(&self) -> usize {
        self.instances.len()
    }

    fn describe(&self, i: usize) -> InstanceView {
        self.constants[i]
    }

    fn observe(&mut self, i: usize, now_us: i64, work: bool, view: &mut InstanceView) {
        let instance = &self.instances[i];
        view.scraped_us = now_us;
        let kv = instance.kv();
        view.queue_depth = instance.queue_depth() as u32;
        view.batch_size = instance.batch_size() as u32;
        let blocks = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        view.kv_used_blocks = blocks(kv.used());
        view.kv_free_blocks = blocks(kv.free());
        view.preemptions = instance.preemptions() as u32;
        view.kv_utilization = if kv.total() == 0 {
            0.0
        } else {
            kv.used() as f64 / kv.total() as f64
        };
        view.cache_hit_rate = instance.prefix_hit_rate().unwrap_or(0.0);
        if work {
            let work = instance.work();
            view.queued_prompt_tokens = work.queued_prompt_tokens;
            view.running_prefill_tokens = work.running_prefill_tokens;
            view.decodes = work.decodes;
            view.decode_context_tokens = work.decode_context_tokens;
        }
    }

    fn refresh_cache_signal(&mut self) {
        for instance in &mut self.instances {
            instance.kv_mut().refresh_signal();
        }
    }

    fn cached_blocks(&self, i: usize, prompt: &TokenSeq, freshness: Freshness) -> u32 {
        let kv = self.instances[i].kv();
        let keys = prompt.block_keys(kv.block_size());
        match freshness {
            Freshness::Now => kv.cached_blocks_now(keys),
            Freshness::LastRefresh => kv.cached_blocks_at_refresh(keys),
        }
    }
}
