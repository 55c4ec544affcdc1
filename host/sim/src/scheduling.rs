//! What vLLM's scheduler is told: its settings under vLLM's names, with its defaults under its
//! rules. The reference simulator has none of them.

use crate::settings::Given;
use crate::spec::RulesSpec;
use crate::wide;
use crate::workload::Opened;
use windtunnel_base::input::{InputError, unknown};
use windtunnel_config::pool::EngineSpec;
use windtunnel_engine::cluster::PoolConfig;
use windtunnel_engine::instance::{
    ApiServerConfig, CoreTime, EngineConfig, Preset, SchedulingConfig, Speculation,
    SpeculativeMethod,
};
use windtunnel_engine::latency::Resolved;
use windtunnel_engine::profile::EngineProfile;
use windtunnel_results::metrics::slo::parse_duration_us;

/// The settings that only vLLM's rules know.
const OF_VLLM: [&str; 20] = [
    "api_server_count",
    "api_server_us",
    "batching_strategy",
    "core_schedule_us",
    "core_update_us",
    "engine",
    "async_scheduling",
    "enable_prefix_caching",
    "enable_chunked_prefill",
    "scheduler_reserve_full_isl",
    "watermark",
    "long_prefill_token_threshold_adaptive",
    "max_num_active_seqs",
    "max_num_queued_reqs",
    "max_num_queued_tokens",
    "max_loras",
    "lora_load_time",
    "num_speculative_tokens",
    "speculative_method",
    "acceptance_rate",
];

/// Most drafts per request and step; more are a mistake.
const MOST_DRAFTS: u32 = 1_000;

/// Most processes of an API server; more are a mistake.
const MOST_API_SERVERS: u32 = 1_000;

/// Refuses settings that the rules do not know.
pub(crate) fn check_rules(
    given: &Given,
    rules: RulesSpec,
    preset: Preset,
) -> Result<(), InputError> {
    let because = match rules {
        RulesSpec::Auto => {
            "under blis rules, those of the step-time model; it belongs to `rules` vllm"
        }
        RulesSpec::Vllm | RulesSpec::Blis => {
            "under blis rules, as that simulator has no such setting; it belongs to `rules` vllm"
        }
    };
    given.reject_unless(&OF_VLLM, preset == Preset::Vllm, because)
}

/// Decides rules, limits and scheduling of a pool's engine, which runs on this GPU.
pub(crate) fn configure(
    engine: &mut EngineConfig,
    spec: &EngineSpec,
    preset: Preset,
    resolved: &Resolved,
    given: &Given,
) -> Result<(), InputError> {
    let profile = profile(spec, given)?;
    let (tokens, seqs) = match (preset, &resolved.hardware) {
        (Preset::Vllm, Some(gpu)) => profile.default_limits(&resolved.gpu, gpu.memory_gib),
        _ => (2048, 256),
    };
    let measured = resolved.profile.as_ref().map(|p| p.measured().limits);
    let measured = measured.unwrap_or_default();
    let tokens = measured.max_num_batched_tokens.unwrap_or(tokens);
    let seqs = measured.max_num_seqs.unwrap_or(seqs);
    engine.max_num_batched_tokens = spec.max_num_batched_tokens.unwrap_or(tokens);
    // Not given, there are not more requests than tokens of a step.
    let seqs = seqs.min(engine.max_num_batched_tokens);
    engine.max_num_seqs = spec.max_num_seqs.unwrap_or(seqs);
    check(engine, spec)?;
    if preset == Preset::Blis {
        engine.rules = preset.rules();
        engine.scheduling = SchedulingConfig::default();
        return Ok(());
    }
    engine.rules = profile.rules();
    if let Some(async_scheduling) = spec.async_scheduling {
        engine.rules.async_scheduling = async_scheduling;
    }
    wide::check_engine(engine, spec, profile, resolved)?;
    engine.scheduling = SchedulingConfig {
        enable_prefix_caching: spec
            .enable_prefix_caching
            .unwrap_or(profile.has_prefix_cache()),
        enable_chunked_prefill: spec.enable_chunked_prefill.unwrap_or(true),
        reserve_full_isl: spec
            .scheduler_reserve_full_isl
            .unwrap_or(profile.reserves_full_isl()),
        watermark: spec.watermark.unwrap_or(0.0),
        adaptive_long_prefill_threshold: spec
            .long_prefill_token_threshold_adaptive
            .unwrap_or(false),
        max_num_active_seqs: spec.max_num_active_seqs.unwrap_or(0),
        max_loras: spec.max_loras.unwrap_or(1),
        lora_load_us: spec.lora_load_time_us.unwrap_or(0).into(),
        core: CoreTime {
            schedule_us: core_time("core_schedule_us", spec.core_schedule_us.as_deref())?,
            update_us: core_time("core_update_us", spec.core_update_us.as_deref())?,
        },
        api_server: api_server(spec, profile, resolved, given)?,
        speculation: speculation(spec, given)?,
        cpu_offload: None,
        memory: resolved.device_memory,
        gap_resolution: profile.clock_units(),
    };
    Ok(())
}

/// A time with its unit, microseconds.
pub(crate) fn time_us(text: &str) -> Result<i64, InputError> {
    let us = parse_duration_us(text).filter(|us| (0.0..=1e12).contains(us));
    let us = us.ok_or_else(|| InputError::new("a time with its unit, 20ms or 0.5s"))?;
    Ok(us.round() as i64)
}

/// A time per step and per request in it, of one or two numbers.
fn core_time(name: &str, given: Option<&[f64]>) -> Result<[f64; 2], InputError> {
    // A second is longer than any step that anybody waits for.
    let valid = |us: &f64| (0.0..=1e6).contains(us);
    match given {
        None => Ok([0.0; 2]),
        Some([base]) if valid(base) => Ok([*base, 0.0]),
        Some([base, each]) if valid(base) && valid(each) => Ok([*base, *each]),
        Some(_) => Err(InputError::new(format!(
            "`{name}` takes one or two numbers, microseconds per step and per request in it, each from 0 to 1000000"
        ))),
    }
}

/// The API server of a pool's engine: its time is the step-time model's unless given.
fn api_server(
    spec: &EngineSpec,
    profile: EngineProfile,
    resolved: &Resolved,
    given: &Given,
) -> Result<ApiServerConfig, InputError> {
    // A second is longer than anybody waits for one request, or 10,000 clients for a token.
    let valid = |us: &f64| (0.0..=1e6).contains(us);
    // Simulators have no such server.
    let of_model = match profile.is_simulator() {
        true => [0.0; 3],
        false => resolved.latency.api_server_us(),
    };
    let mut times_us = [0.0; 3];
    match &spec.api_server_us {
        Some(given) if (1..=3).contains(&given.len()) && given.iter().all(valid) => {
            times_us[..given.len()].copy_from_slice(given);
        }
        Some(_) => {
            return Err(InputError::new(
                "`api_server_us` takes one to three numbers, microseconds per request, per prompt token and per \
                 request to which a step's output is sent, each from 0 to 1000000",
            ));
        }
        None => times_us = of_model,
    }
    // As vLLM: one per replica.
    let count = spec.api_server_count.unwrap_or(resolved.dp.max(1));
    if !(1..=MOST_API_SERVERS).contains(&count) {
        let name = spec.api_server_count.map_or("dp", |_| "api_server_count");
        return Err(InputError::new(format!(
            "`{name}` must be from 1 to {MOST_API_SERVERS}, found {count}"
        )));
    }
    let server = ApiServerConfig {
        count,
        times_us,
        of_model_us: [of_model[0], of_model[1]],
    };
    if spec.api_server_count.is_some() {
        let because = format!(
            "where the server takes no time, as with the step-time model {}; give `api_server_us`",
            resolved.latency_kind
        );
        // Of several ranks each server chooses one for its requests.
        let chooses = resolved.dp > 1;
        given.reject_unless(
            &["api_server_count"],
            chooses || !server.is_free(),
            &because,
        )?;
    }
    Ok(server)
}

/// Speculative decoding of a pool's engine.
fn speculation(spec: &EngineSpec, given: &Given) -> Result<Speculation, InputError> {
    let refuse = |message: String| Err(InputError::new(message));
    let drafts = spec.num_speculative_tokens.unwrap_or(0);
    if drafts == 0 {
        // Another pool may have drafts, and a setting of this one is then without effect all the
        // same.
        let names: Vec<&str> = [
            ("speculative_method", spec.speculative_method.is_some()),
            ("acceptance_rate", spec.acceptance_rate.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        let because = "without `num_speculative_tokens`";
        given.reject_unless(&names, false, because)?;
        return Ok(Speculation::OFF);
    }
    if drafts > MOST_DRAFTS {
        return refuse(format!(
            "`num_speculative_tokens` must be at most {MOST_DRAFTS}, found {drafts}"
        ));
    }
    let names = SpeculativeMethod::ALL.map(SpeculativeMethod::name);
    let Some(name) = &spec.speculative_method else {
        return refuse(format!(
            "`num_speculative_tokens` needs `speculative_method`, which says whether drafts have KV; valid: {}",
            names.join(", ")
        ));
    };
    let method = SpeculativeMethod::ALL
        .into_iter()
        .find(|m| m.name() == name);
    let Some(method) = method else {
        return refuse(unknown("speculative_method", name, &names));
    };
    if let Some(rate) = spec.acceptance_rate
        && !(0.0..=1.0).contains(&rate)
    {
        return refuse(format!(
            "`acceptance_rate` must be from 0 to 1, found {rate}"
        ));
    }
    Ok(Speculation {
        num_speculative_tokens: drafts,
        method,
        acceptance_rate: spec.acceptance_rate,
    })
}

/// Whether a run knows how many drafts are right, and notes what it does not use.
pub(crate) fn check_drafts(
    pools: &[PoolConfig],
    given: &Given,
    workload: &mut Opened,
) -> Result<(), InputError> {
    let on = |pool: &PoolConfig| pool.engine.scheduling.speculation.is_on();
    let drafts = pools.iter().any(on);
    if workload.says_accepted {
        given.reject_unless(
            &["acceptance_rate"],
            false,
            "with a trace whose column \"accepted\" says what is accepted",
        )?;
        if !drafts {
            workload.notes.push(
                "the trace's column \"accepted\" has no effect without `num_speculative_tokens`"
                    .into(),
            );
        }
    } else if drafts && !given.has("acceptance_rate") {
        return Err(InputError::new(
            "`num_speculative_tokens` needs `acceptance_rate`, or a trace with a column \"accepted\"",
        ));
    }
    Ok(())
}

/// The version of vLLM that the engine follows. Refuses settings that this one has not.
fn profile(spec: &EngineSpec, given: &Given) -> Result<EngineProfile, InputError> {
    let Some(name) = &spec.profile else {
        return Ok(EngineProfile::default());
    };
    let Some(profile) = EngineProfile::named(name) else {
        let names = EngineProfile::ALL.map(EngineProfile::name);
        return Err(InputError::unknown("engine", name, &names));
    };
    let with_policy = OF_VLLM.into_iter().chain(["scheduling_policy"]);
    let later: Vec<&str> = with_policy.filter(|name| !profile.knows(name)).collect();
    let because = format!("with `engine` {profile}, which does not have it here");
    given.reject_unless(&later, false, &because)?;
    Ok(profile)
}

/// What vLLM refuses when it starts.
fn check(engine: &EngineConfig, spec: &EngineSpec) -> Result<(), InputError> {
    let refuse = |message: String| Err(InputError::new(message));
    let at_least_one = [
        ("max_num_active_seqs", spec.max_num_active_seqs),
        ("max_loras", spec.max_loras),
    ];
    if let Some((name, _)) = at_least_one.iter().find(|(_, n)| *n == Some(0)) {
        return refuse(format!("`{name}` must be at least 1, found 0"));
    }
    if let Some(share) = spec.watermark
        && !(0.0..1.0).contains(&share)
    {
        return refuse(format!(
            "`watermark` must be at least 0 and below 1, found {share}"
        ));
    }
    if let Some(active) = spec.max_num_active_seqs
        && active > engine.max_num_seqs
    {
        return refuse(format!(
            "`max_num_active_seqs` {active} is above `max_num_running_reqs` {}",
            engine.max_num_seqs
        ));
    }
    let threshold = engine.long_prefill_token_threshold;
    if spec.long_prefill_token_threshold_adaptive == Some(true) && threshold == 0 {
        return refuse(
            "`long_prefill_token_threshold_adaptive` has no effect without `long_prefill_token_threshold`"
                .into(),
        );
    }
    let (budget, longest) = (engine.max_num_batched_tokens, engine.max_model_len);
    if spec.enable_chunked_prefill == Some(false) && (longest == 0 || longest > budget.into()) {
        let longest = match longest {
            0 => "without limit".to_owned(),
            n => n.to_string(),
        };
        return refuse(format!(
            "without `enable_chunked_prefill` a prompt must fit into a step: `max_num_scheduled_tokens` {budget} is \
             less than `max_model_len`, {longest}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{Deployment, RunSpec};
    use serde_json::{Value, json};
    use windtunnel_engine::instance::{
        ApiServerConfig, CoreTime, EngineConfig, SchedulingConfig, Speculation, SpeculativeMethod,
    };

    fn deploy(settings: Value) -> Result<EngineConfig, String> {
        let mut all = json!({ "model": "llama-3.1-8b-instruct", "rules": "vllm" });
        for (name, value) in settings.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let run = RunSpec::from_settings(all.as_object().cloned().unwrap_or_default());
        let deployment = Deployment::resolve(&run.map_err(|e| e.to_string())?);
        Ok(deployment.map_err(|e| e.to_string())?.config().pools[0].engine)
    }

    fn refused(settings: Value) -> String {
        deploy(settings).expect_err("refused")
    }

    #[test]
    fn under_vllm_rules_the_defaults_are_those_of_vllm() {
        let engine = deploy(json!({ "latency_model": "blackbox" })).expect("a deployment");
        assert!(engine.rules.async_scheduling);
        let of_vllm = SchedulingConfig {
            reserve_full_isl: true,
            max_loras: 1,
            api_server: ApiServerConfig {
                count: 1,
                ..ApiServerConfig::default()
            },
            ..SchedulingConfig::default()
        };
        assert_eq!(engine.scheduling, of_vllm);
    }

    #[test]
    fn replicas_have_an_api_server_each() {
        let of_two = json!({ "model": "qwen3-30b-a3b", "hardware": "H100", "tp": 1, "dp": 2 });
        let engine = deploy(of_two).expect("a deployment");
        // As each replica is an engine of its own.
        assert_eq!(engine.scheduling.api_server.count, 1);
    }

    #[test]
    fn every_setting_reaches_the_engine() {
        let engine = deploy(json!({
            "latency_model": "blackbox",
            "async_scheduling": false, "enable_prefix_caching": false, "enable_chunked_prefill": false,
            "max_model_len": 2048, "scheduler_reserve_full_isl": false, "watermark": 0.25, "max_num_active_seqs": 7,
            "max_loras": 3, "lora_load_time": 900, "long_prefill_token_threshold": 64,
            "long_prefill_token_threshold_adaptive": true, "core_schedule_us": [300, 2.5], "core_update_us": [100],
            "api_server_count": 4, "api_server_us": [900, 0.5],
            "num_speculative_tokens": 4,
            "speculative_method": "eagle", "acceptance_rate": 0.75,
        }));
        let engine = engine.expect("a deployment");
        assert!(!engine.rules.async_scheduling);
        let given = SchedulingConfig {
            enable_prefix_caching: false,
            enable_chunked_prefill: false,
            reserve_full_isl: false,
            watermark: 0.25,
            adaptive_long_prefill_threshold: true,
            max_num_active_seqs: 7,
            max_loras: 3,
            lora_load_us: 900,
            core: CoreTime {
                schedule_us: [300.0, 2.5],
                update_us: [100.0, 0.0],
            },
            api_server: ApiServerConfig {
                count: 4,
                times_us: [900.0, 0.5, 0.0],
                of_model_us: [0.0; 2],
            },
            speculation: Speculation {
                num_speculative_tokens: 4,
                method: SpeculativeMethod::Eagle,
                acceptance_rate: Some(0.75),
            },
            cpu_offload: None,
            memory: None,
            gap_resolution: 1,
        };
        assert_eq!(engine.scheduling, given);
    }

    #[test]
    fn blis_rules_know_none_of_them() {
        let values = [
            ("engine", json!("vllm-0.32")),
            ("batching_strategy", json!("continuous")),
            ("core_schedule_us", json!([1.0])),
            ("core_update_us", json!([1.0])),
            ("api_server_count", json!(2)),
            ("api_server_us", json!([1.0])),
            ("async_scheduling", json!(false)),
            ("enable_prefix_caching", json!(true)),
            ("enable_chunked_prefill", json!(true)),
            ("scheduler_reserve_full_isl", json!(true)),
            ("watermark", json!(0.1)),
            ("max_num_active_seqs", json!(2)),
            ("max_num_queued_reqs", json!(2)),
            ("max_num_queued_tokens", json!(2)),
            ("max_loras", json!(2)),
            ("lora_load_time", json!(1)),
            ("num_speculative_tokens", json!(2)),
            ("speculative_method", json!("ngram")),
            ("acceptance_rate", json!(0.5)),
        ];
        assert_eq!(values.len() + 1, super::OF_VLLM.len());
        for (name, value) in values {
            assert_eq!(
                refused(json!({ "rules": "blis", name: value })),
                format!(
                    "`{name}` has no effect under blis rules, as that simulator has no such setting; it belongs to \
                     `rules` vllm"
                )
            );
            // The fitted coefficients of this model are those of the reference.
            assert_eq!(
                refused(json!({ "rules": "auto", "latency_model": "blackbox", name: value })),
                format!(
                    "`{name}` has no effect under blis rules, those of the step-time model; it belongs to `rules` vllm"
                )
            );
        }
        let engine = deploy(json!({ "rules": "blis" })).expect("a deployment");
        assert_eq!(engine.scheduling, SchedulingConfig::default());
    }

    #[test]
    fn limits_that_nobody_gives_are_those_of_vllm_on_the_gpu() {
        let limits = |settings| {
            let engine = deploy(settings).expect("a deployment");
            (engine.max_num_batched_tokens, engine.max_num_seqs)
        };
        assert_eq!(limits(json!({ "hardware": "H100" })), (8192, 1024));
        assert_eq!(limits(json!({ "hardware": "L40S" })), (2048, 256));
        assert_eq!(limits(json!({ "rules": "blis" })), (2048, 256));
        let few = json!({ "hardware": "H100", "max_num_batched_tokens": 100 });
        assert_eq!(limits(few), (100, 100));
    }

    #[test]
    fn an_older_engine_has_its_own_defaults_and_refuses_what_came_later() {
        let old = deploy(json!({ "engine": "vllm-0.11" })).expect("a deployment");
        assert!(!old.rules.async_scheduling && !old.rules.spare_lone_prefill);
        assert!(!old.scheduling.reserve_full_isl);
        assert_eq!(
            refused(json!({ "engine": "vllm-0.19", "watermark": 0.1 })),
            "`watermark` has no effect with `engine` vllm-0.19, which does not have it here"
        );
        assert_eq!(
            refused(json!({ "engine": "vllm-0.2" })),
            "unknown engine \"vllm-0.2\"; did you mean \"vllm-0.32\"? valid: xpusim, profilesim, \
             vllm-0.8.5, vllm-0.11, vllm-0.15, vllm-0.19, vllm-0.32"
        );
    }

    #[test]
    fn drafts_need_a_method_and_say_how_many_are_right() {
        let cases = [
            (
                json!({ "num_speculative_tokens": 2 }),
                "`num_speculative_tokens` needs `speculative_method`, which says whether drafts have KV; valid: eagle, \
                 ngram",
            ),
            (
                json!({ "num_speculative_tokens": 2, "speculative_method": "eagel" }),
                "unknown speculative_method \"eagel\"; did you mean \"eagle\"? valid: eagle, ngram",
            ),
            (
                json!({ "num_speculative_tokens": 2, "speculative_method": "ngram", "acceptance_rate": 1.5 }),
                "`acceptance_rate` must be from 0 to 1, found 1.5",
            ),
            (
                json!({ "num_speculative_tokens": 2000, "speculative_method": "ngram" }),
                "`num_speculative_tokens` must be at most 1000, found 2000",
            ),
            (
                json!({ "acceptance_rate": 0.5 }),
                "`acceptance_rate` has no effect without `num_speculative_tokens`",
            ),
            (
                json!({ "num_speculative_tokens": 0, "speculative_method": "ngram" }),
                "`speculative_method` has no effect without `num_speculative_tokens`",
            ),
            (
                json!({ "engine": "vllm-0.19", "num_speculative_tokens": 2 }),
                "`num_speculative_tokens` has no effect with `engine` vllm-0.19, which does not have it here",
            ),
        ];
        for (settings, message) in cases {
            assert_eq!(refused(settings), message);
        }
        let drafts = json!({
            "model": "llama-3.1-8b-instruct", "rules": "vllm", "num_speculative_tokens": 2,
            "speculative_method": "ngram"
        });
        let run = RunSpec::from_settings(drafts.as_object().cloned().unwrap_or_default());
        let error = run.expect("settings").resolve().err().expect("refused");
        assert_eq!(
            error.to_string(),
            "`num_speculative_tokens` needs `acceptance_rate`, or a trace with a column \"accepted\""
        );
    }

    #[test]
    fn what_vllm_refuses_is_refused() {
        let cases = [
            (
                json!({ "max_loras": 0 }),
                "`max_loras` must be at least 1, found 0",
            ),
            (
                json!({ "api_server_count": 0, "api_server_us": [1] }),
                "`api_server_count` must be from 1 to 1000, found 0",
            ),
            (
                json!({ "api_server_us": [1, 2, 3, 4] }),
                "`api_server_us` takes one to three numbers, microseconds per request, per prompt token and per \
                 request to which a step's output is sent, each from 0 to 1000000",
            ),
            (
                json!({ "api_server_count": 2, "latency_model": "trained-physics", "hardware": "H100", "tp": 1 }),
                "`api_server_count` has no effect where the server takes no time, as with the step-time model \
                 trained-physics; give `api_server_us`",
            ),
            (
                json!({ "watermark": 1.0 }),
                "`watermark` must be at least 0 and below 1, found 1",
            ),
            (
                json!({ "max_num_active_seqs": 300, "max_num_seqs": 256 }),
                "`max_num_active_seqs` 300 is above `max_num_running_reqs` 256",
            ),
            (
                json!({ "long_prefill_token_threshold_adaptive": true }),
                "`long_prefill_token_threshold_adaptive` has no effect without `long_prefill_token_threshold`",
            ),
            (
                json!({
                    "enable_chunked_prefill": false, "max_model_len": 4096,
                    "max_num_batched_tokens": 2048, "max_num_seqs": 256
                }),
                "without `enable_chunked_prefill` a prompt must fit into a step: `max_num_scheduled_tokens` 2048 is \
                 less than `max_model_len`, 4096",
            ),
        ];
        for (settings, message) in cases {
            assert_eq!(refused(settings), message);
        }
    }
}
