//! From flags to the spec of a run. Only typed flags are said in it: defaults are the spec's.

use super::args::{CommonArgs, EngineArgs, LatencyName, ModelArgs, RulesName, TraceLevel};
use super::effects::Explicit;
use super::workload_args::{
    ReplayArgs, RunArgs, SessionModeName, TimeUnitName, TraceArgs, WorkloadArgs,
};
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_config::Defaults;
use windtunnel_sim::{
    EngineSpec, FrontSpec, LatencySpec, LengthSpec, OutputSpec, ParallelSpec, PoliciesSpec,
    PoolSpec, ReplaySpec, RetrySpec, RulesSpec, RunSpec, SessionModeSpec, TraceSpec, WorkloadSpec,
};
use windtunnel_workload::TimeUnit;

/// The run of `windtunnel run`. `bundle` changes keys of its policy bundle.
///
/// # Errors
/// When flags of the legacy generator are wrong.
pub fn of_run(
    args: &RunArgs,
    explicit: &Explicit,
    bundle: &[(String, String)],
) -> Result<RunSpec, InputError> {
    let legacy = &args.workload.legacy;
    let mut run = of_common(&args.common, explicit);
    if let Some(coefficients) = super::legacy::coefficients(&args.common, legacy)? {
        run.pools[0].latency = coefficients;
    }
    run.policies.config_changes = bundle.to_vec();
    run.workload = workload(&args.workload, explicit);
    run.outputs.finished_coeffs = legacy.finished_coeffs.as_ref().map(|c| [c[0], c[1]]);
    args.xpusim.add(&mut run, explicit)?;
    Ok(run)
}

/// The run of `windtunnel replay`.
///
/// # Errors
/// Without a trace.
pub fn of_replay(args: &ReplayArgs, explicit: &Explicit) -> Result<RunSpec, InputError> {
    let trace = args.trace.as_ref().or(args.trace_data.as_ref());
    let trace = trace.ok_or_else(|| InputError::new("give a trace file, or --trace-data FILE"))?;
    let mode = explicit.has("session_mode").then_some(args.session_mode);
    let mut run = of_common(&args.common, explicit);
    run.workload = WorkloadSpec {
        replay: Some(ReplaySpec {
            trace: trace.clone(),
            header: args.trace_header.clone(),
            session_mode: mode.map(|mode| match mode {
                SessionModeName::Fixed => SessionModeSpec::Fixed,
                SessionModeName::ClosedLoop => SessionModeSpec::ClosedLoop,
            }),
            think_time_dist: args.think_time_dist.clone(),
        }),
        think_time_ms: args.think_time_ms,
        num_requests: args.num_requests,
        timeout: args.timeout,
        trace: part(&args.part, |id| explicit.has(id)),
        ..WorkloadSpec::default()
    };
    Ok(run)
}

/// The models and figures that a command line names, or the built-in ones.
///
/// # Errors
/// When the file is wrong.
pub fn defaults_of(given: &clap::ArgMatches) -> Result<Defaults, InputError> {
    let path: Option<&PathBuf> = given.get_one("defaults_filepath");
    windtunnel_sim::defaults(path.map(PathBuf::as_path))
}

/// A run without a workload.
pub fn of_common(args: &CommonArgs, explicit: &Explicit) -> RunSpec {
    let CommonArgs {
        model,
        engine,
        cluster,
        disaggregation,
        flow_control,
        autoscale,
        analysis,
        output,
        horizon,
        time_limit,
        seed,
    } = args;
    let typed = |id: &str| explicit.has(id).then_some(());
    let scheduling = &engine.scheduling;
    let pool = PoolSpec {
        count: typed("num_instances").map(|()| cluster.num_instances),
        ..of_pool(model, engine, explicit)
    };
    RunSpec {
        pools: vec![pool],
        scale: cluster.scale.clone(),
        disaggregation: disaggregation.spec(),
        flow_control: flow_control.spec(),
        autoscale: autoscale.spec(),
        events: cluster.event.clone(),
        client: RetrySpec {
            retries: cluster.retries,
            after: cluster.retry_after,
        },
        front: FrontSpec {
            admission_latency_us: typed("admission_latency").map(|()| cluster.admission_latency),
            routing_latency_us: typed("routing_latency").map(|()| cluster.routing_latency),
            snapshot_refresh_interval_us: typed("snapshot_refresh_interval")
                .map(|()| cluster.snapshot_refresh_interval),
            cache_signal_delay_us: typed("cache_signal_delay").map(|()| cluster.cache_signal_delay),
            output_predictor: cluster.output_predictor.clone(),
            estimate_error: cluster.estimate_error.clone(),
        },
        policies: PoliciesSpec {
            config: cluster.policy_config.clone(),
            config_changes: Vec::new(),
            admission: cluster.admission_policy.clone(),
            token_bucket_capacity: cluster.token_bucket_capacity,
            token_bucket_refill_rate: cluster.token_bucket_refill_rate,
            routing: cluster.routing_policy.clone(),
            routing_scorers: cluster.routing_scorers.clone(),
            lora_scorer_weight: cluster.lora_scorer_weight,
            routing_cache_weight: cluster.routing_cache_weight,
            routing_load_weight: cluster.routing_load_weight,
            disaggregation: disaggregation.pd_decider.clone(),
            dispatch: flow_control.dispatch_order.clone(),
            prefill_routing: disaggregation.prefill_routing_policy.clone(),
            prefill_routing_scorers: disaggregation.prefill_routing_scorers.clone(),
            decode_routing: disaggregation.decode_routing_policy.clone(),
            decode_routing_scorers: disaggregation.decode_routing_scorers.clone(),
            scheduling_policy: scheduling.scheduling_policy.map(Into::into),
            scheduler: engine.scheduler.clone(),
            priority: engine.priority_policy.clone(),
            preemption: engine.preemption_policy.clone(),
            params: cluster.policy_param.clone(),
            trusted: cluster.trusted,
        },
        workload: WorkloadSpec::default(),
        rules: rules(engine.rules),
        seed: typed("seed").map(|()| *seed),
        horizon_us: *horizon,
        time_limit: *time_limit,
        outputs: OutputSpec {
            summary_only: output.summary_only,
            decisions: analysis.trace_level == TraceLevel::Decisions,
            kv_events: false,
            steps: false,
            script_log: false,
            series: false,
            time_series_interval: output.time_series_interval,
            counterfactual_k: typed("counterfactual_k").map(|()| analysis.counterfactual_k),
            summarize_trace: analysis.summarize_trace,
            slo_ttft: analysis.slo_ttft.clone(),
            slo_itl: analysis.slo_itl.clone(),
            slo_e2e: analysis.slo_e2e.clone(),
            fitness_weights: analysis.fitness_weights.clone(),
            detectors: analysis.detectors.clone(),
            saturation_config: analysis.saturation_config.clone(),
            saturation_final_window: analysis.saturation_final_window,
            finished_coeffs: None,
        },
        ..of_model(model)
    }
}

/// A run in which only the model is said, and where figures of it are.
pub fn of_model(model: &ModelArgs) -> RunSpec {
    RunSpec {
        model: model.model.clone().unwrap_or_default(),
        model_config_folder: model.model_config_folder.clone(),
        hardware_config: model.hardware_config.clone(),
        defaults_filepath: model.defaults_filepath.clone(),
        ..RunSpec::default()
    }
}

/// A pool of instances of this model and engine.
pub fn of_pool(model: &ModelArgs, engine: &EngineArgs, explicit: &Explicit) -> PoolSpec {
    let typed = |id: &str| explicit.has(id).then_some(());
    let scheduling = &engine.scheduling;
    let [
        async_scheduling,
        enable_prefix_caching,
        enable_chunked_prefill,
        scheduler_reserve_full_isl,
    ] = scheduling.switches();
    PoolSpec {
        hardware: model.hardware.clone(),
        gpu_power: model.gpu_power.clone(),
        gpu_price: model.gpu_price,
        parallel: ParallelSpec {
            tensor: model.tp,
            data: typed("dp").map(|()| model.dp),
            pipeline: typed("pp").map(|()| model.nodes.pp),
            gpus_per_node: typed("gpus_per_node").map(|()| model.nodes.gpus_per_node),
            inter_node_bandwidth: typed("inter_node_bandwidth")
                .map(|()| model.nodes.inter_node_bandwidth),
            inter_node_latency_us: typed("inter_node_latency")
                .map(|()| model.nodes.inter_node_latency),
            intra_node_bandwidth: model.nodes.intra_node_bandwidth,
            experts: model.enable_expert_parallel,
            moe_comm_backend: model.moe_comm_backend.clone(),
        },
        engine: EngineSpec {
            profile: scheduling.engine.clone(),
            max_num_seqs: typed("max_num_running_reqs").map(|()| engine.max_num_running_reqs),
            max_num_batched_tokens: typed("max_num_scheduled_tokens")
                .map(|()| engine.max_num_scheduled_tokens),
            long_prefill_token_threshold: typed("long_prefill_token_threshold")
                .map(|()| engine.long_prefill_token_threshold),
            long_prefill_token_threshold_adaptive: scheduling
                .long_prefill_token_threshold_adaptive
                .then_some(true),
            async_scheduling,
            enable_prefix_caching,
            enable_chunked_prefill,
            scheduler_reserve_full_isl,
            watermark: scheduling.watermark,
            batching_strategy: scheduling.batching_strategy.clone(),
            max_num_active_seqs: scheduling.max_num_active_seqs,
            max_num_queued_reqs: scheduling.max_num_queued_reqs,
            max_num_queued_tokens: scheduling.max_num_queued_tokens,
            max_loras: scheduling.max_loras,
            lora_load_time_us: scheduling.lora_load_time,
            core_schedule_us: scheduling.core_schedule_us.clone(),
            core_update_us: scheduling.core_update_us.clone(),
            api_server_count: scheduling.api_server_count,
            api_server_us: scheduling.api_server_us.clone(),
            num_speculative_tokens: scheduling.num_speculative_tokens,
            speculative_method: scheduling.speculative_method.clone(),
            acceptance_rate: scheduling.acceptance_rate,
            block_size: typed("block_size_in_tokens").map(|()| model.block_size_in_tokens),
            total_kv_blocks: model.total_kv_blocks,
            gpu_memory_utilization: typed("gpu_memory_utilization")
                .map(|()| model.gpu_memory_utilization),
            kv_cache_dtype: model.kv_cache_dtype.clone(),
            max_model_len: model.max_model_len,
            kv_cpu_blocks: engine.tiers.kv_cpu_blocks,
            kv_cpu_bandwidth: engine.tiers.kv_cpu_bandwidth,
            kv_transfer_bandwidth: engine.tiers.kv_transfer_bandwidth,
            kv_transfer_base_latency: engine.tiers.kv_transfer_base_latency,
            kv_offload_threshold: engine.tiers.kv_offload_threshold,
            kv_offload_config: engine.tiers.kv_offload_config.clone(),
            lora_config: engine.tiers.lora_config.clone(),
            lora_adapter_capacity: engine.tiers.lora_adapter_capacity,
            lora_load_base_latency_us: engine.tiers.lora_load_base_latency_us,
            lora_load_bandwidth_bytes_us: engine.tiers.lora_load_bandwidth_bytes_us,
            lora_footprint_bytes_per_rank: engine.tiers.lora_footprint_bytes_per_rank,
            plain_steps: engine.plain_steps,
        },
        latency: LatencySpec {
            model: typed("latency_model").map(|()| latency_model(model.latency_model).to_owned()),
            vllm_version: model.vllm_version.clone(),
            profile: model.profile.clone(),
            kernel_tables: model.kernel_tables.clone(),
            calibration: model.calibration.clone(),
            extrapolation: model.extrapolation.clone(),
            alpha_coeffs: model.alpha_coeffs.clone(),
            beta_coeffs: model.beta_coeffs.clone(),
            prefill_time: model.prefill_time,
            itl: model.itl,
            total_prefill_chunks: model.total_prefill_chunks,
        },
        ..PoolSpec::default()
    }
}

/// What is sent.
pub fn workload(w: &WorkloadArgs, explicit: &Explicit) -> WorkloadSpec {
    let typed = |id: &str| explicit.has(id).then_some(());
    let length = |id: &str, [mean, stdev, min, max]: [u32; 4]| LengthSpec {
        mean: typed(id).map(|()| mean),
        stdev: typed(&format!("{id}_stdev")).map(|()| stdev),
        min: typed(&format!("{id}_min")).map(|()| min),
        max: typed(&format!("{id}_max")).map(|()| max),
    };
    let prompt = [
        w.prompt_tokens,
        w.prompt_tokens_stdev,
        w.prompt_tokens_min,
        w.prompt_tokens_max,
    ];
    let output = [
        w.output_tokens,
        w.output_tokens_stdev,
        w.output_tokens_min,
        w.output_tokens_max,
    ];
    WorkloadSpec {
        name: typed("workload").map(|()| w.workload.clone()),
        traces_filepath: w.workload_traces_filepath.clone(),
        spec: w.workload_spec.clone(),
        reqgen_config_path: w.legacy.reqgen_config_path.clone(),
        replay: None,
        load_generator: w.load_generator.map(Into::into),
        concurrency: w.concurrency,
        think_time_ms: w.think_time_ms,
        rate: typed("rate").map(|()| w.rate),
        arrivals: w.arrivals.map(Into::into),
        burstiness: w.burstiness,
        num_requests: typed("max_prompts").map(|()| w.max_prompts),
        duration: w.duration,
        warm_up: w.warm_up,
        timeout: typed("timeout").map(|()| w.timeout),
        prefix_tokens: typed("prefix_tokens").map(|()| w.prefix_tokens),
        prompt_tokens: length("prompt_tokens", prompt),
        output_tokens: length("output_tokens", output),
        trace: part(&w.part, |id| explicit.has(id)),
    }
}

/// Part and pace of a trace; `given` tells which flags with a default were typed.
pub fn part(part: &TraceArgs, given: impl Fn(&str) -> bool) -> TraceSpec {
    let typed = |id: &str| given(id).then_some(());
    TraceSpec {
        from: part.trace_from,
        to: part.trace_to,
        sample: typed("trace_sample").map(|()| part.trace_sample),
        loops: typed("trace_loops").map(|()| part.trace_loops),
        rate_scale: typed("rate_scale").map(|()| part.rate_scale),
        spread_ties: part.spread_ties,
        run: part.trace_run,
        time_unit: part.time_unit.map(time_unit),
        map: part.map.clone(),
        block_size: part.trace_block_size,
        strict: part.strict,
    }
}

/// A unit of time stamps.
pub fn time_unit(name: TimeUnitName) -> TimeUnit {
    match name {
        TimeUnitName::S => TimeUnit::Seconds,
        TimeUnitName::Ms => TimeUnit::Milliseconds,
        TimeUnitName::Us => TimeUnit::Microseconds,
        TimeUnitName::Ns => TimeUnit::Nanoseconds,
    }
}

/// Rules by name.
pub fn rules(name: RulesName) -> RulesSpec {
    match name {
        RulesName::Auto => RulesSpec::Auto,
        RulesName::Vllm => RulesSpec::Vllm,
        RulesName::Blis => RulesSpec::Blis,
    }
}

/// The name of a step-time model.
pub fn latency_model(name: LatencyName) -> &'static str {
    match name {
        LatencyName::Auto => "auto",
        LatencyName::Blackbox => "blackbox",
        LatencyName::Roofline => "roofline",
        LatencyName::TrainedPhysics => "trained-physics",
        LatencyName::KernelTables => "kernel-tables",
        LatencyName::XpuRoofline => "xpu-roofline",
        LatencyName::Profile => "profile",
        LatencyName::Ticks => "ticks",
    }
}
