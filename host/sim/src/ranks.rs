//! Instances that are several data-parallel ranks (`dp`) with a queue and a KV cache each, as vLLM
//! has them.

use windtunnel_base::input::InputError;
use windtunnel_config::pool::EngineSpec;
use windtunnel_engine::cluster::{ClusterConfig, PoolConfig};
use windtunnel_engine::latency::{LatencyModelKind, Resolved};
use windtunnel_engine::profile::EngineProfile;
use windtunnel_engine::ranks::Ranks;

/// Refuses more engines than `most`, which are not more instances than that.
pub(crate) fn check_number(config: &ClusterConfig, most: u32) -> Result<(), InputError> {
    let engines = |pool: &PoolConfig| pool.instances.saturating_mul(pool.ranks.count);
    let engines = config.pools.iter().map(engines);
    let engines = engines.fold(0, u32::saturating_add);
    match config.instances() <= most && engines > most {
        true => Err(InputError::new(format!(
            "`num_instances` times `dp` must be at most {most}, found {engines}"
        ))),
        false => Ok(()),
    }
}

/// Decides them, when the rules of the pool's engine are.
///
/// # Errors
/// When something of the pool is not known of ranks.
pub(crate) fn configure(
    pool: &mut PoolConfig,
    spec: &EngineSpec,
    resolved: &mut Resolved,
) -> Result<(), InputError> {
    let dp = resolved.dp;
    if dp == 1 {
        return Ok(());
    }
    let refuse = |message: String| Err(InputError::new(message));
    if !pool.engine.rules.data_parallel_ranks {
        return match resolved.is_moe {
            true => Ok(()),
            false => refuse(format!(
                "`dp` {dp}: data parallelism of a dense model is known under vllm rules alone; give `rules` vllm"
            )),
        };
    }
    if resolved.latency_kind == LatencyModelKind::Profile {
        return refuse(format!(
            "`dp` {dp} with `latency_model` profile: nobody knows whether the ranks share experts; `num_instances` gives \
             instances that share nothing"
        ));
    }
    let newest = EngineProfile::default();
    if let Some(name) = spec
        .profile
        .as_deref()
        .filter(|name| *name != newest.name())
    {
        return refuse(format!(
            "`dp` {dp} with `engine` {name}: how it chooses ranks is not simulated; expected {newest}"
        ));
    }
    let blocks = resolved.share_kv_cache(pool.engine.block_size, spec.max_model_len)?;
    pool.engine.total_kv_blocks = blocks;
    pool.engine.max_model_len = resolved.max_model_len;
    let server = &mut pool.engine.scheduling.api_server;
    if !server.count.is_multiple_of(dp) {
        return refuse(format!(
            "`api_server_count` {} with `dp` {dp}: expected a multiple of `dp`; each rank has a share of these processes",
            server.count
        ));
    }
    pool.ranks = Ranks {
        count: dp,
        // vLLM's ranks of a dense model have nothing to do with each other.
        together: resolved.is_moe,
        api_servers: server.count,
    };
    server.count /= dp;
    Ok(())
}
