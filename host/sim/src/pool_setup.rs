//! What a report says of a pool: what it runs on, and where the memory of its GPUs goes.

use crate::batching::{Times, described, is_continuous};
use serde_json::{Value, json};
use windtunnel_engine::cluster::PoolConfig;
use windtunnel_engine::instance::EngineRules;
use windtunnel_engine::latency::{GIB, Resolved};
use windtunnel_policy::Choice;

/// A pool in the reports, with `times` of its strategy. Its rules are the run's: only their place
/// among the keys is here.
pub(crate) fn pool_setup(
    pool: &PoolConfig,
    r: &Resolved,
    batching: &Choice,
    times: Times,
) -> Value {
    let mut setup = json!({
        "hardware": r.gpu,
        "tensor_parallelism": r.tp,
        "data_parallelism": r.dp,
        "gpus_per_instance": pool.gpus_per_instance,
        "vllm_version": r.vllm_version,
        "latency_model": r.latency_kind.name(),
        "latency_model_caution": r.latency_kind.caution(),
        "rules": null,
        "num_instances": pool.instances,
        "total_kv_blocks": r.total_kv_blocks,
        "block_size_tokens": pool.engine.block_size,
        "total_kv_blocks_source": r.kv_blocks_source.name(),
        "memory_gib_per_gpu": memory(pool, r),
        "max_model_len_tokens": r.max_model_len,
        "max_num_running_reqs": pool.engine.max_num_seqs,
        "max_num_scheduled_tokens": pool.engine.max_num_batched_tokens,
        "long_prefill_token_threshold": pool.engine.long_prefill_token_threshold,
    });
    if r.pp > 1 {
        setup["pipeline_parallelism"] = r.pp.into();
        setup["layers_per_stage"] = r.layers_per_stage.clone().into();
    }
    if pool.ranks.are_several() {
        setup["data_parallel_ranks"] = json!({
            "count": pool.ranks.count,
            "step_together": pool.ranks.together,
            "kv_blocks_per_rank": pool.engine.total_kv_blocks,
            "choosing_api_servers": pool.ranks.api_servers,
        });
    }
    if let Some(spread) = r.spread.filter(|spread| spread.nodes() > 1) {
        setup["nodes_per_instance"] = spread.nodes().into();
        setup["gpus_per_node"] = spread.gpus_per_node.into();
        setup["inter_node_gb_s_per_gpu"] = (spread.inter.bandwidth / 1e9).into();
        setup["inter_node_us"] = (spread.inter.latency * 1e6).into();
    }
    if pool.engine.rules != EngineRules::BLIS {
        setup["scheduling"] = scheduling(pool, batching, times);
    }
    if !pool.name.is_empty() {
        setup["name"] = pool.name.clone().into();
    }
    setup
}

/// What vLLM's scheduler and server are told; null = no limit.
fn scheduling(pool: &PoolConfig, batching: &Choice, times: Times) -> Value {
    let (engine, s) = (&pool.engine, &pool.engine.scheduling);
    let limit = |n: u32| (n > 0).then_some(n);
    let mut told = json!({
        "async_scheduling": engine.rules.async_scheduling,
        "enable_prefix_caching": s.enable_prefix_caching,
        "enable_chunked_prefill": s.enable_chunked_prefill,
        "scheduler_reserve_full_isl": s.reserve_full_isl,
        "watermark": s.watermark,
        "long_prefill_token_threshold_adaptive": s.adaptive_long_prefill_threshold,
        "max_num_active_seqs": limit(s.max_num_active_seqs),
        "max_num_queued_reqs": pool.queue_limits.requests,
        "max_num_queued_tokens": pool.queue_limits.prompt_tokens,
        "max_loras": limit(s.max_loras),
        "lora_load_time_us": s.lora_load_us,
    });
    if !is_continuous(batching) {
        (told["batching_strategy"], told["batching_params"]) = described(batching, times);
    }
    if !s.api_server.is_free() {
        let processes = s.api_server.count * pool.ranks.count;
        told["api_server_count"] = processes.into();
        told["api_server_us"] = s.api_server.times_us.to_vec().into();
    }
    if s.speculation.is_on() {
        told["num_speculative_tokens"] = s.speculation.num_speculative_tokens.into();
        told["speculative_method"] = s.speculation.method.name().into();
        told["acceptance_rate"] = s.speculation.acceptance_rate.into();
    }
    told
}

/// Where the memory of one GPU goes, where model and GPU are known.
fn memory(pool: &PoolConfig, r: &Resolved) -> Value {
    r.memory.map_or(Value::Null, |memory| {
        let blocks = r.total_kv_blocks as f64 / f64::from(memory.replicas);
        json!({
            "gpu": r.hardware.map(|h| h.memory_gib),
            "weights": memory.weights / GIB,
            "kv_cache": blocks * f64::from(pool.engine.block_size) * memory.token / GIB,
        })
    })
}
