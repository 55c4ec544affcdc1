# Made of the command's flags by `cargo xtask docs`; changes here are lost.
"""``replay``: the command of this name as a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from windtunnel._call import names_are_checked
from windtunnel._run import Results, simulated
from windtunnel._types import FrontPolicy, Frame, Policy, StrPath


@names_are_checked
def replay(
    trace: StrPath | Frame,
    *,
    # Workload
    trace_header: StrPath | None = None,
    session_mode: Literal["fixed", "closed-loop"] | None = None,
    think_time_ms: int | None = None,
    think_time_dist: str | None = None,
    num_requests: int | None = None,
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
    admission_policy: FrontPolicy | None = None,
    token_bucket_capacity: float | None = None,
    token_bucket_refill_rate: float | None = None,
    admission_latency: int | None = None,
    routing_policy: FrontPolicy | None = None,
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
    counterfactual_k: int | None = None,
    summarize_trace: bool | None = None,
    decisions_path: StrPath | None = None,
    detectors: str | None = None,
    saturation_config: StrPath | None = None,
    saturation_report: StrPath | None = None,
    saturation_final_window: float | None = None,
    # Output
    results_path: StrPath | None = None,
    metrics_path: StrPath | None = None,
    kv_events_path: StrPath | None = None,
    step_log: StrPath | None = None,
    script_log: StrPath | None = None,
    html: StrPath | None = None,
    time_series: StrPath | None = None,
    time_series_interval: float | None = None,
    timeline: StrPath | None = None,
    trace_output: StrPath | None = None,
    summary_only: bool | None = None,
    # Workload
    horizon: int | None = None,
    time_limit: float | None = None,
    seed: int | None = None,
    # Model and hardware
    model: str | None = None,
    decisions: bool | None = None,
    series: bool | None = None,
) -> Results:
    """Simulates a cluster on a recorded trace, as ``windtunnel replay`` does; see :func:`run`.

    ``trace`` is a file, or a table of requests: a DataFrame, an Arrow table, or a list of dicts.

    Args:
        trace: Trace file; its format is told by its content.
        trace_header: Header of a TraceV2 trace, YAML.
        session_mode: How sessions are replayed.
        think_time_dist: The same, drawn: constant:value=T or lognormal:mu=M,sigma=S[,min=T][,max=T], ln of seconds; T
            like 500ms or 2s.
        num_requests: Most requests, in order of arrival [default: all]
        model: Model, by full or short name (see `windtunnel models`)

    All others are settings of :func:`windtunnel.run`.

    Raises:
        InputError: The command would have ended with exit code 2.
    """
    return simulated("replay", locals())
