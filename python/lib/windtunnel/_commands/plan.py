# Made of the command's flags by `cargo xtask docs`; changes here are lost.
"""``plan``: the command of this name as a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from windtunnel._call import names_are_checked
from windtunnel._plan import Plan, planned
from windtunnel._types import Frame, Grid, Policy, StrPath


@names_are_checked
def plan(
    model: str | None = None,
    *,
    # Plan
    slo: str,
    grid: Grid | None = None,
    split_pools: bool | None = None,
    max_gpus: int | None = None,
    survive: int | None = None,
    max_rate: bool | None = None,
    seeds: int | None = None,
    resume: StrPath | None = None,
    jobs: int | None = None,
    # Model and hardware
    hardware: str | None = None,
    gpu_power: Sequence[float] | None = None,
    gpu_price: float | None = None,
    tp: int | None = None,
    dp: int | None = None,
    pp: int | None = None,
    gpus_per_node: int | None = None,
    inter_node_bandwidth: float | None = None,
    inter_node_latency: float | None = None,
    intra_node_bandwidth: float | None = None,
    enable_expert_parallel: bool | None = None,
    moe_comm_backend: str | None = None,
    vllm_version: str | None = None,
    latency_model: Literal["auto", "blackbox", "roofline", "trained-physics", "kernel-tables", "xpu-roofline", "profile", "ticks"] | None = None,
    profile: StrPath | None = None,
    kernel_tables: StrPath | None = None,
    calibration: StrPath | None = None,
    extrapolation: str | None = None,
    alpha_coeffs: Sequence[float] | None = None,
    beta_coeffs: Sequence[float] | None = None,
    prefill_time: float | None = None,
    itl: float | None = None,
    total_prefill_chunks: int | None = None,
    model_config_folder: StrPath | None = None,
    hardware_config: StrPath | None = None,
    defaults_filepath: StrPath | None = None,
    total_kv_blocks: int | None = None,
    block_size_in_tokens: int | None = None,
    block_size: int | None = None,
    gpu_memory_utilization: float | None = None,
    kv_cache_dtype: str | None = None,
    max_model_len: int | None = None,
    # Serving engine
    rules: Literal["auto", "vllm", "blis"] | None = None,
    plain_steps: bool | None = None,
    max_num_running_reqs: int | None = None,
    max_num_seqs: int | None = None,
    max_num_scheduled_tokens: int | None = None,
    max_num_batched_tokens: int | None = None,
    long_prefill_token_threshold: int | None = None,
    engine: str | None = None,
    async_scheduling: bool | None = None,
    enable_prefix_caching: bool | None = None,
    enable_chunked_prefill: bool | None = None,
    scheduler_reserve_full_isl: bool | None = None,
    scheduling_policy: Literal["fcfs", "priority"] | None = None,
    batching_strategy: Policy | None = None,
    watermark: float | None = None,
    long_prefill_token_threshold_adaptive: bool | None = None,
    max_num_active_seqs: int | None = None,
    max_num_queued_reqs: int | None = None,
    max_num_queued_tokens: int | None = None,
    max_loras: int | None = None,
    lora_load_time: int | None = None,
    core_schedule_us: Sequence[float] | None = None,
    core_update_us: Sequence[float] | None = None,
    api_server_count: int | None = None,
    api_server_us: Sequence[float] | None = None,
    num_speculative_tokens: int | None = None,
    speculative_method: str | None = None,
    acceptance_rate: float | None = None,
    # KV tiers
    kv_cpu_blocks: int | None = None,
    kv_cpu_bandwidth: float | None = None,
    kv_transfer_bandwidth: float | None = None,
    kv_transfer_base_latency: int | None = None,
    kv_offload_threshold: float | None = None,
    kv_offload_config: StrPath | None = None,
    lora_config: StrPath | None = None,
    lora_adapter_capacity: int | None = None,
    lora_load_base_latency_us: float | None = None,
    lora_load_bandwidth_bytes_us: float | None = None,
    lora_footprint_bytes_per_rank: float | None = None,
    # Serving engine
    scheduler: Policy | None = None,
    priority_policy: Policy | None = None,
    preemption_policy: Policy | None = None,
    # Cluster and policies
    num_instances: int | None = None,
    scale: Sequence[str] | None = None,
    event: Sequence[str] | None = None,
    retries: int | None = None,
    retry_after: float | None = None,
    policy_config: StrPath | None = None,
    policy_param: Mapping[str, float] | Sequence[str] | None = None,
    trusted: bool | None = None,
    output_predictor: str | None = None,
    estimate_error: str | None = None,
    admission_policy: Policy | None = None,
    token_bucket_capacity: float | None = None,
    token_bucket_refill_rate: float | None = None,
    admission_latency: int | None = None,
    routing_policy: Policy | None = None,
    routing_scorers: str | None = None,
    lora_scorer_weight: float | None = None,
    routing_cache_weight: float | None = None,
    routing_load_weight: float | None = None,
    routing_latency: int | None = None,
    snapshot_refresh_interval: int | None = None,
    cache_signal_delay: int | None = None,
    # Prefill and decode apart
    prefill_instances: int | None = None,
    decode_instances: int | None = None,
    prefill_decode_instances: int | None = None,
    encode_instances: int | None = None,
    lockstep: bool | None = None,
    pd_decider: Policy | None = None,
    pd_prefix_threshold: int | None = None,
    encode_decider: str | None = None,
    pd_transfer_bandwidth: float | None = None,
    pd_transfer_base_latency: float | None = None,
    pd_transfer_descriptor_time: float | None = None,
    pd_transfer_descriptor_blocks: int | None = None,
    pd_hop_latency: float | None = None,
    pd_transfer_contention: Literal["true", "false"] | None = None,
    prefill_routing_policy: Policy | None = None,
    prefill_routing_scorers: str | None = None,
    decode_routing_policy: Policy | None = None,
    decode_routing_scorers: str | None = None,
    prefill_tp: int | None = None,
    prefill_hardware: str | None = None,
    prefill_latency_model: str | None = None,
    prefill_max_model_len: int | None = None,
    decode_tp: int | None = None,
    decode_hardware: str | None = None,
    decode_latency_model: str | None = None,
    decode_max_model_len: int | None = None,
    # Flow control
    flow_control: bool | None = None,
    saturation_detector: str | None = None,
    queue_depth_threshold: float | None = None,
    kv_cache_util_threshold: float | None = None,
    max_concurrency: int | None = None,
    usage_limit_threshold: float | None = None,
    dispatch_order: Policy | None = None,
    fairness_policy: Policy | None = None,
    slo_targets: str | None = None,
    max_gateway_queue_depth: int | None = None,
    per_band_capacity: int | None = None,
    queue_shedding: bool | None = None,
    request_ttl: int | None = None,
    dispatch_tick_interval: int | None = None,
    in_flight_eviction: bool | None = None,
    # Autoscaling
    autoscale: Policy | None = None,
    autoscale_min: int | None = None,
    autoscale_max: int | None = None,
    autoscale_interval: float | None = None,
    autoscale_startup: float | None = None,
    autoscale_startup_stddev: float | None = None,
    autoscale_drain: str | None = None,
    node_pool: Sequence[str] | None = None,
    # Analysis
    slo_ttft: str | None = None,
    slo_itl: str | None = None,
    slo_e2e: str | None = None,
    fitness_weights: str | None = None,
    # Output
    summary_only: bool | None = None,
    # Workload
    horizon: int | None = None,
    time_limit: float | None = None,
    seed: int | None = None,
    workload: StrPath | Frame | None = None,
    workload_traces_filepath: StrPath | None = None,
    workload_spec: StrPath | None = None,
    load_generator: Literal["all-at-once", "constant-concurrency", "constant-rate", "one-per-step"] | None = None,
    concurrency: int | None = None,
    think_time_ms: int | None = None,
    rate: float | None = None,
    arrivals: Literal["constant", "poisson"] | None = None,
    burstiness: float | None = None,
    max_prompts: int | None = None,
    num_requests: int | None = None,
    duration: float | None = None,
    warm_up: float | None = None,
    prefix_tokens: int | None = None,
    prompt_tokens: int | None = None,
    prompt_tokens_stdev: int | None = None,
    prompt_tokens_min: int | None = None,
    prompt_tokens_max: int | None = None,
    output_tokens: int | None = None,
    output_tokens_stdev: int | None = None,
    output_tokens_min: int | None = None,
    output_tokens_max: int | None = None,
    timeout: float | None = None,
    # Traces
    trace_from: float | None = None,
    trace_to: float | None = None,
    trace_sample: float | None = None,
    trace_loops: int | None = None,
    rate_scale: float | None = None,
    spread_ties: bool | None = None,
    trace_run: int | None = None,
    time_unit: Literal["s", "ms", "us", "ns"] | None = None,
    map: str | None = None,
    trace_block_size: int | None = None,
    strict: bool | None = None,
    # GuideLLM-style generator
    reqgen_config_path: StrPath | None = None,
    regression_coeffs: Sequence[float] | None = None,
    queuing_coeffs: Sequence[float] | None = None,
    finished_coeffs: Sequence[float] | None = None,
    # XpuSim's flags, with --engine xpusim
    disaggregated: bool | None = None,
    n_xpus_per_node: int | None = None,
    prefill_n_xpus: int | None = None,
    decode_n_xpus: int | None = None,
) -> Plan:
    """Finds the least cluster for a workload under targets, or the most load that a cluster takes, as ``windtunnel
    plan`` does, with any settings of :func:`run`. Ctrl-C ends it; with ``resume`` the same call goes on where it stopped.

    Args:
        slo: What has to be so: ttft.p99<500ms,tpot.p95<30ms; figures ttft, tpot, itl, e2e and queue_time, with .mean or
            a percentile; of a class as batch/e2e.p90<1m; served>=99.9%; attainment>=95% (with slo_ttft and the like);
            or a metric of a sweep's rows. A request that is not served is later than any limit.
        grid: What to choose from: a flag of `run` and its values, as in a sweep; policies, too. Repeat for more
            [default: hardware=those with a known price, and tp=1,2,4,8]
        split_pools: Look at pools that prefill and decode apart, too.
        max_gpus: Most GPUs.
        survive: So many instances fail when most requests come, and do not return: the targets hold all the same.
            Clients send again what was lost, once, unless retries says it.
        max_rate: Find the most requests per second that the cluster of num_instances serves within the targets; of a
            trace, the largest rate_scale.
        seeds: Seeds of each answer: seed, seed + 1, ...
        resume: Keep what runs said, a line each: the same command goes on where an interrupted one stopped.
        jobs: Runs at a time [default: the number of cores]
        regression_coeffs: Step time in seconds: B0 + B1 x prefilled tokens + B2 x decodes.
        queuing_coeffs: Microseconds before a request is queued: A x prompt tokens + B.
        disaggregated: One instance prefills and another one decodes: prefill_instances 1 decode_instances 1.
        n_xpus_per_node: Accelerators that there are: at least tp.
        prefill_n_xpus: Accelerators that prefill: at least prefill_tp.
        decode_n_xpus: Accelerators that decode: at least decode_tp.
        model: Model, by full or short name (see `windtunnel models`)

    All others are settings of :func:`windtunnel.run`.

    Raises:
        InputError: The command would have ended with exit code 2.
    """
    return planned(locals())
