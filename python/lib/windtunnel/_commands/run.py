# Made of the command's flags by `cargo xtask docs`; changes here are lost.
"""``run``: the command of this name as a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from windtunnel._call import names_are_checked
from windtunnel._run import Results, simulated
from windtunnel._types import FrontPolicy, Frame, Policy, StrPath


@names_are_checked
def run(
    model: str | None = None,
    *,
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
    finished_coeffs: Sequence[float] | None = None,
    decisions: bool | None = None,
    series: bool | None = None,
) -> Results:
    """Simulates a cluster, as ``windtunnel run`` does.

    Policies are names, files, :class:`windtunnel.Lua` texts, or, for admission and routing, functions: ``f(request, cluster)``
    returns one of ``cluster.instances`` or its position, or whether the request is admitted. Functions are called for every
    decision, a hundred times slower than Lua. ``workload`` may be a table of requests: a DataFrame, an Arrow table, or a
    list of dicts. Where time is abstract (``latency_model="ticks"``), keys and columns end in ``_ticks``.

    Args:
        hardware: GPU type [default: the model's]
        gpu_power: Power of a GPU under load and, if known, of one without work, watts: for the energy of the run
            [default: the limit of the GPU's data sheet; no idle power]
        gpu_price: Price of a GPU, US dollars per hour: for the cost of the run [default: that of the GPU, if it is
            known]
        tp: Tensor parallelism, GPUs per instance [default: the model's]
        dp: Data-parallel ranks of an instance; under vllm rules each has a queue and a KV cache of its own, and those
            of a mixture-of-experts model take each step together.
        pp: Pipeline parallelism: stages that share the layers out, each on tp GPUs of its own; under vllm rules, with
            step times that are made layer by layer.
        gpus_per_node: GPUs of a node; an instance of more lies on several.
        inter_node_bandwidth: Bandwidth of a GPU to other nodes, GB/s, for an instance that lies on several.
        inter_node_latency: Latency of a hop between nodes, microseconds.
        intra_node_bandwidth: Bandwidth of a GPU to another one of its node, GB/s, over which stages of a pipeline send
            activations [default: that of the GPU, if it is known]
        enable_expert_parallel: Spread experts over all GPUs of the instance, whole ones on each; without it each is
            split over them. kernel-tables can tell, analytic step times take them to be spread.
        moe_comm_backend: Expert dispatch backend (needs dp above 1)
        vllm_version: vLLM version of fitted coefficients; takes them in place of measured kernels.
        latency_model: Step-time model.
        profile: Measured step times: a table of whole steps, or a profile of ProfileSim (with latency_model profile)
        kernel_tables: Measured kernels of the GPU, as `windtunnel tables import` makes them, in place of the built-in
            ones (with latency_model kernel-tables or auto)
        calibration: What `windtunnel fit` found out about this deployment; chooses latency_model kernel-tables.
        extrapolation: What a step outside of that table takes: error (no result), clamp (the nearest one that was
            measured), linear (the last line goes on) [default: error]
        alpha_coeffs: Overhead coefficients a0,a1,a2 in microseconds (with beta_coeffs)
        beta_coeffs: Step-time coefficients: 3 for blackbox, 7 to 11 for trained-physics (with alpha_coeffs)
        prefill_time: Ticks that a whole prompt takes (with latency_model ticks) [default: 2]
        itl: Ticks that a step of decodes takes (with latency_model ticks) [default: 1]
        total_prefill_chunks: Steps that a prompt takes (with latency_model ticks) [default: 1]
        model_config_folder: Folder with the model's Hugging Face config.json [default: built in]
        hardware_config: GPUs to add to the built-in ones, in the JSON layout of BLIS; its rows win.
        defaults_filepath: Models, coefficients, hardware and presets, as in defaults.yaml or in BLIS's layout [default:
            built in]
        total_kv_blocks: KV blocks per instance, under vllm rules of each of its data-parallel ranks [default: fitted or
            computed from GPU memory]
        block_size_in_tokens: Tokens per KV block.
        block_size: The same as block_size_in_tokens.
        gpu_memory_utilization: Share of GPU memory that may be used.
        kv_cache_dtype: Data type of the KV cache, as vLLM names it: auto, bfloat16, fp8, ... [default: what the
            checkpoint says, else 16 bits]
        max_model_len: Most tokens of prompt and output; 0 = no limit [default: the model's, at most what the KV cache
            holds]
        rules: Whose behaviour the engine follows.
        plain_steps: Touch every request in every step instead of what changes; the same results, slowly.
        max_num_running_reqs: Most requests in the running batch.
        max_num_seqs: The same as max_num_running_reqs.
        max_num_scheduled_tokens: Most new tokens per step.
        max_num_batched_tokens: The same as max_num_scheduled_tokens.
        long_prefill_token_threshold: Most prefill tokens of one request per step; 0 = no limit.
        engine: The version of vLLM that rules vllm follows: vllm-0.8.5, vllm-0.11, vllm-0.15, vllm-0.19, or vllm-0.32
            [default: vllm-0.32]; or a simulator: profilesim, xpusim.
        async_scheduling: Choose the batch of a step while the step before it runs [default under vllm rules; off:
            --no-async-scheduling]
        enable_prefix_caching: Look up prompts in the prefix cache [default; off: --no-enable-prefix-caching]
        enable_chunked_prefill: A prompt may be computed in several steps [default; off: --no-enable-chunked-prefill]
        scheduler_reserve_full_isl: Admit a request only if its whole prompt has KV blocks [default under vllm rules;
            off: --no-scheduler-reserve-full-isl]
        scheduling_policy: vLLM's order of the wait queue and choice of whom to preempt, in place of scheduler,
            priority_policy and preemption_policy.
        batching_strategy: How batches are formed, under vllm rules: continuous, static, in-flight, one-prefill, ..., as
            "windtunnel policy list --hook batching" has them, a script (FILE.lua) or a plugin (FILE.so[:NAME])
            [default: continuous]
        watermark: Share of the KV blocks that an admission leaves free, from 0 to below 1 [default: 0]
        long_prefill_token_threshold_adaptive: The threshold of long_prefill_token_threshold is at least an equal share
            of the step's tokens.
        max_num_active_seqs: Most requests admitted to the running batch [default: max_num_seqs]
        max_num_queued_reqs: Most requests that an instance's server has, waiting or running; it refuses more [default:
            no limit]
        max_num_queued_tokens: An instance's server refuses requests while those without a first token have so many
            prompt tokens [default: no limit]
        max_loras: Most LoRA adapters in one step [default under vllm rules: 1]
        lora_load_time: Time to load an adapter that the step before had not, microseconds [default: 0]
        core_schedule_us: Time of the engine core to choose a step, microseconds: per step, and per request in it.
            Chosen ahead, it is hidden behind the step before unless longer [default: 0,0]
        core_update_us: Time of the engine core to process a step's output, microseconds: per step, and per request in
            it [default: 0,0]
        api_server_count: Processes of an instance's API server, through which requests come and tokens leave [default:
            dp]
        api_server_us: Time of such a process, which does one thing at a time, microseconds: per request, per prompt
            token, and per request to which a step's output is sent [default: that of the step-time model; 0,0,0 but for
            kernel-tables]
        num_speculative_tokens: Drafts of speculative decoding per request and step; needs speculative_method, and
            acceptance_rate or a trace with a column "accepted" [default: 0, none]
        speculative_method: Where drafts come from: eagle, which has KV of its own, or ngram.
        acceptance_rate: Chance of a draft to be right if those before it are, from 0 to 1.
        kv_cpu_blocks: KV blocks on the CPU, to which full blocks are copied and from which prefixes come back, as
            vLLM's offloading connector does it or, under blis rules, as BLIS; 0 = none [default: 0]
        kv_cpu_bandwidth: Bandwidth at which blocks come back from the CPU, GB/s of each GPU, under vllm rules.
        kv_transfer_bandwidth: Tokens that come back from the CPU per microsecond, each block rounded up, under blis
            rules [default: 100]
        kv_transfer_base_latency: Time besides that of each block that comes back from the CPU, under vllm rules of each
            load, microseconds [default: 0]
        kv_offload_threshold: Under blis rules, where it changes nothing, as in BLIS; from 0 to 1.
        kv_offload_config: KV blocks on the CPU and on devices below it, a file of BLIS (kv_offload: cpu_bytes_to_use,
            secondary_tiers), in place of kv_cpu_blocks, under blis rules.
        lora_config: LoRA adapters with their ranks, and what they cost, a file of BLIS (lora: adapter_capacity,
            adapters), under blis rules.
        lora_adapter_capacity: LoRA adapters that an instance has room for [default: the file's]
        lora_load_base_latency_us: Time to load an adapter besides that of its bytes, microseconds [default: the file's,
            or 1500]
        lora_load_bandwidth_bytes_us: Bandwidth at which adapters are loaded, bytes per microsecond [default: the
            file's, or 2e6]
        lora_footprint_bytes_per_rank: Bytes of an adapter per rank [default: the file's, or 2e6]
        scheduler: Order of the wait queue: fcfs, priority-fcfs, sjf, ..., FILE.lua, or FILE.so[:NAME] [default: fcfs]
        priority_policy: Priority of a waiting request: slo-class, slo-based, ..., FILE.lua, or FILE.so[:NAME] [default:
            slo-class]
        preemption_policy: Who is preempted: fcfs (last admitted), priority (least urgent), FILE.lua, or FILE.so[:NAME]
            [default: fcfs]
        num_instances: Serving instances in the cluster.
        scale: Instances that come and go: from AT on, the pool has N instances. New ones start empty; those that go,
            the youngest first, get no new requests and finish theirs. AT is in seconds, or in ticks; POOL may be left
            out where there is one. May be given several times.
        event: What happens to instances: they fail (AT:fail:K[:RESTART]: others take requests in their place after so
            many seconds), take longer for their steps (AT:slow:K:FACTOR:SECONDS), or are replaced N at once
            (AT:roll:N[:STARTUP]). K are instances from 0, as 2 or 0+1+2; POOL/ may stand before them. May be given
            several times.
        retries: How often a client sends a request again that was lost on an instance that failed [default: 0]
        retry_after: Seconds after which it does [default: 1]
        policy_config: Policies in a YAML file; a flag given explicitly wins.
        policy_param: A parameter of a policy: name=value, or hook.name=value (routing.weight=2); may be given several
            times.
        trusted: Lift the limits of scripts: instructions, memory, time.
        output_predictor: Predict output lengths for the policies that read predictions: exact, or
            lognormal:SIGMA[:BIAS]; by class as in lognormal:0.4,batch=lognormal:0.6:0.8.
        estimate_error: How wrong the durations are that policies ask for with est_prefill_us and the like: exact, or
            lognormal:SIGMA[:BIAS] [default: exact]
        admission_policy: Admission: a name that "windtunnel policy list" gives, FILE.lua, or FILE.so[:NAME] [default:
            always-admit]
        token_bucket_capacity: Tokens the bucket holds (token-bucket) [default: 10000]
        token_bucket_refill_rate: Tokens per second the bucket gains (token-bucket) [default: 1000]
        admission_latency: Arrival to admission decision, microseconds.
        routing_policy: Routing: round-robin, least-loaded, weighted, ..., FILE.lua, or FILE.so[:NAME] [default:
            round-robin]
        routing_scorers: Scorers of weighted routing, name:weight,... [default:
            precise-prefix-cache:2,queue-depth:1,kv-utilization:1]
        lora_scorer_weight: Weight of the scorer lora-affinity, behind routing_scorers or the default ones.
        routing_cache_weight: Two-weight form of weighted routing: weight of free KV blocks [default: 0.6]
        routing_load_weight: Two-weight form of weighted routing: weight of short queues [default: 0.4]
        routing_latency: Admission to routing decision, microseconds.
        snapshot_refresh_interval: Age at which the router's view of an instance is refreshed, microseconds; 0 = always
            fresh.
        cache_signal_delay: Age at which the router's view of the prefix caches is refreshed, microseconds; 0 = always
            fresh.
        prefill_instances: Of the instances, the first N only prefill; their KV caches move to those that decode.
        decode_instances: The next N decode.
        prefill_decode_instances: The next N do both.
        encode_instances: The next N encode images, audio and video; under blis rules, where that costs nothing.
        lockstep: The steps of all instances begin and end together, and each place of a batch is a worker of its own,
            as in TickSim; with latency_model ticks.
        pd_decider: Disaggregation policy, which prompts are computed by an instance that prefills: always, never,
            prefix-threshold (those of which the decoding instance lacks more tokens than pd_prefix_threshold), or
            FILE.lua [default: always; under blis rules never]
        pd_prefix_threshold: Tokens of pd_decider prefix-threshold [default: 16]
        encode_decider: Which requests an encoding instance is chosen for: never, always, multimodal.
        pd_transfer_bandwidth: Bandwidth of an instance's link, GB/s; 0 = without limit [default: 25]. In ticks: KV
            caches of whole prompts per tick [default: 0]
        pd_transfer_base_latency: Time of a transfer besides that of its bytes, milliseconds [default: 0.05]. In ticks:
            ticks [default: 0]
        pd_transfer_descriptor_time: Time to describe a range of KV blocks to the transfer, milliseconds or ticks
            [default: 0]
        pd_transfer_descriptor_blocks: KV blocks of such a range: neighbours in memory that are merged [default: 1]
        pd_hop_latency: Time of a message from the front end to the instance that prefills, and from that to the one
            that decodes, milliseconds or ticks [default: 0]
        pd_transfer_contention: Transfers at once share the bandwidth: yes or no [default: yes; under blis rules no]
        prefill_routing_policy: Routing policy for instances that prefill [default: that of routing_policy]
        prefill_routing_scorers: Scorers of that policy, if it is weighted.
        decode_routing_policy: Routing policy for instances that decode [default: that of routing_policy]
        decode_routing_scorers: Scorers of that policy, if it is weighted.
        prefill_tp: Tensor parallelism of instances that prefill [default: tp]
        prefill_hardware: Their GPU type [default: hardware]
        prefill_latency_model: Their step-time model [default: latency_model]
        prefill_max_model_len: Their most tokens of prompt and output [default: max_model_len]
        decode_tp: Tensor parallelism of instances that decode [default: tp]
        decode_hardware: Their GPU type [default: hardware]
        decode_latency_model: Their step-time model [default: latency_model]
        decode_max_model_len: Their most tokens of prompt and output [default: max_model_len]
        flow_control: A gateway holds admitted requests back while the instances are saturated.
        saturation_detector: What tells that they are: never, utilization (wait queue and KV cache of the instances, as
            scraped), or concurrency (requests in flight) [default: never]
        queue_depth_threshold: Wait-queue length at which an instance is saturated (with saturation_detector
            utilization) [default: 5]
        kv_cache_util_threshold: KV utilisation at which it is (with saturation_detector utilization) [default: 0.8]
        max_concurrency: Most requests of an instance (with saturation_detector concurrency) [default: 100]
        usage_limit_threshold: Saturation up to which requests of the lowest priority may go, those between up to what
            lies evenly between it and 1 [default: 1]
        dispatch_order: Dispatch policy, which of the held requests goes next: fifo, priority, slo-deadline, or FILE.lua
            [default: fifo, under blis rules the same as priority]
        fairness_policy: Whose turn it is: global-strict (who came first), or round-robin (tenants one after the other)
            [default: global-strict]
        slo_targets: Microseconds by which requests of a class are to go on, for slo-deadline:
            critical=100000,standard=500000.
        max_gateway_queue_depth: Most requests that the gateway holds; 0 = no limit [default: 0]
        per_band_capacity: Most requests of one priority that it holds; 0 = no limit [default: 0]
        queue_shedding: A full queue makes room for a more important request instead of refusing it.
        request_ttl: Longest time for which it holds a request, microseconds; 0 = no limit [default: 0]
        dispatch_tick_interval: Interval at which it looks again while it holds requests, microseconds [default: 1000]
        in_flight_eviction: Takes sheddable requests back from saturated instances while it holds others.
        autoscale: Scaling policy, which says how many instances a pool has: a name that "windtunnel policy list" gives,
            FILE.lua, or FILE.so[:NAME] (with autoscale_max)
        autoscale_min: Least instances of a pool [default: 1]
        autoscale_max: Most instances of a pool, those included that finish their requests before they go; num_instances
            are there at the start.
        autoscale_interval: Seconds between two decisions [default: 15]
        autoscale_startup: Seconds until an instance that is started takes requests [default: 60]
        autoscale_startup_stddev: Standard deviation of that time, seconds [default: 0]
        autoscale_drain: What becomes of the requests of an instance that goes: wait (it finishes them), redirect (those
            in its wait queue go back to the router), or immediate (all do) [default: wait]
        node_pool: Nodes that instances run on: their name, GPU, GPUs of each, how many at the start and at most,
            seconds until one is there [default: 120], and US dollars per hour; several times for several kinds, of
            which the first with room is taken.
        slo_ttft: Goodput target for time to first token: 200ms, or class=200ms,class=1s.
        slo_itl: Goodput target for a request's mean inter-token latency.
        slo_e2e: Goodput target for end-to-end latency.
        fitness_weights: Weigh the run into one number, higher is better: throughput:1,p99_ttft:2,...
        counterfactual_k: Alternatives to keep per routing decision, with the regret (needs --trace-level decisions)
        summarize_trace: Print a summary of the decisions (needs --trace-level decisions)
        decisions_path: Write every decision as a line of JSON (needs --trace-level decisions)
        detectors: Saturation detectors: composite, threshold, backlog-drift, a list of them, or all.
        saturation_config: Settings of the detectors in YAML: threshold.threshold_ms, backlog_drift.window_size_sec
            (needs detectors)
        saturation_report: Write the detectors' verdicts over time as JSON (needs detectors)
        saturation_final_window: Window at the end of the run that decides the detectors' labels, seconds (needs
            detectors) [default: 30]
        results_path: Results of every request, to a .csv, .json, .jsonl or .parquet file.
        metrics_path: Totals and results of every request, as BLIS writes them in JSON.
        kv_events_path: Write what happens in the prefix caches as lines of JSON: KV blocks stored and removed, as vLLM
            publishes its KV events.
        step_log: Write every step as a line of JSON: when it ran, how long it took, what it computed of which request.
            `windtunnel profile step_log` and `windtunnel verify` read it.
        script_log: Write what scripts print, FILE: TEXT a line, in the order in which they do; at most 100,000 lines
            and 16 MiB.
        html: Show the run as a page that needs nothing but itself: distributions of latencies, queue, batch, KV blocks
            and throughput over time, each instance.
        time_series: What each instance does over time, to a .csv, .json, .jsonl or .parquet file: queue, batch, KV
            blocks, prompt and output tokens per second.
        time_series_interval: Length of its intervals, seconds (needs time_series or html) [default: as long as it takes
            for 500 to 1000 of them]
        timeline: Requests and steps as a trace in Chrome's JSON, for ui.perfetto.dev. Every step is kept, which takes
            time and memory.
        trace_output: Export the requests as a TraceV2 trace that can be replayed: PREFIX.yaml and PREFIX.csv.
        summary_only: Keep no request's record, only sums and counts: memory does not grow with the number of requests.
            Rows still go to results_path, while the run goes on.
        horizon: Simulated time at which the run stops, microseconds [default: none; a replay under rules blis stops at
            twice the latest arrival, as BLIS does]
        time_limit: Ticks from which on no step begins (with latency_model ticks)
        seed: Seed of everything random.
        workload: `distribution`, a preset (chatbot, contentgen, summarization, multidoc), `xpusim` (that simulator's
            traffic), `traces`, or a trace file or folder.
        workload_traces_filepath: Trace file for workload traces; its format is told by its content.
        workload_spec: Workload spec, YAML: clients, sessions, cohorts, closed loops (`windtunnel workload --help`)
        load_generator: How requests come: all at once, or as concurrency or rate say.
        concurrency: Users of a closed loop instead of a rate: each sends its next request when it has its answer.
        think_time_ms: Pause of each such user after an answer, milliseconds (with concurrency)
        rate: Requests per second; arrivals says how they come; with workload_spec its aggregate_rate.
        arrivals: How requests come at rate: at random as `vllm bench serve` sends them, or evenly spaced [default:
            poisson; constant under blis rules and for engine xpusim and profilesim]
        burstiness: How bursty random ones are, as in `vllm bench serve`: 1 is a Poisson process, less is burstier, more
            is evener (gaps of a gamma distribution of this shape) [default: 1]
        max_prompts: Requests to send.
        num_requests: The same as max_prompts.
        duration: Seconds in which requests come, after the warm-up, in place of their number [default of xpusim: 60];
            what completes in it is reported apart.
        warm_up: Seconds before that, in which requests come, too.
        prefix_tokens: Tokens every prompt shares, in front of its own.
        prompt_tokens: Prompt length: mean.
        prompt_tokens_stdev: Prompt length: standard deviation.
        prompt_tokens_min: Prompt length: least.
        prompt_tokens_max: Prompt length: most.
        output_tokens: Output length: mean.
        output_tokens_stdev: Output length: standard deviation.
        output_tokens_min: Output length: least.
        output_tokens_max: Output length: most.
        timeout: Seconds after which a client gives up; negative = never. Specs and trace files have their own
            deadlines, so there it must be given.
        trace_from: Leave out what comes before this time of the trace, which becomes time 0; seconds.
        trace_to: Leave out what comes from this time of the trace on; seconds.
        trace_sample: Keep this share of the requests (of sessions: of the sessions), drawn with seed.
        trace_loops: Replay it so many times, one after the other.
        rate_scale: Factor on the arrival rate: recorded times are divided by it.
        spread_ties: Spread requests with the same time evenly up to the next time.
        trace_run: Which run of a result file with several, from 1.
        time_unit: Unit of the trace's time stamps, where its format leaves it open [default: the format's usual one, ms
            in Mooncake traces]
        map: Which column is what in a CSV of no known format: arrival=COLUMN,prompt=COLUMN,output=COLUMN; session,
            tenant and client, if there are any.
        trace_block_size: Tokens of the blocks that the hash_ids of a Mooncake trace name [default: 512]
        strict: Stop at the first row that makes no sense, instead of skipping and counting it.
        reqgen_config_path: Configuration of evenly spaced requests: format, seed, rate, data (YAML)
        finished_coeffs: Microseconds after a request is completed until it has left: C x prompt tokens + D; no part of
            its latency, but of the run's duration (with reqgen_config_path)
        model: Model, by full or short name (see `windtunnel models`)
        decisions: Record the front end's decisions, for decisions_path, counterfactual_k and summarize_trace.
        series: Keep what instances do over time, for the page [default: True, unless summary_only]

    Raises:
        InputError: The command would have ended with exit code 2; or a function that is a policy raised, which is the cause.
    """
    return simulated("run", locals())
