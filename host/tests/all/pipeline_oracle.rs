//! With stages of a pipeline every request equals what vLLM's own scheduler and engine-core loop
//! made of it. The command has no step times of stages that are whole, so that stages that take
//! them stand in for a model's.

use crate::lab::Affine;
use crate::pipeline::Staged;
use crate::support::{cases_in, read_json, root};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::record::RequestRecord;
use windtunnel_engine::frontend::TraceConfig;
use windtunnel_engine::instance::Preset;
use windtunnel_sim::{Deployment, Play, RunSpec};
use windtunnel_workload::{OpenOptions, open};

/// The settings of a case; step times are set apart.
fn settings(case: &Value, requests: &str) -> Map<String, Value> {
    let mut settings = json!({
        "model": "llama-3.1-8b-instruct",
        "latency_model": "blackbox",
        "alpha_coeffs": [0, 0, 0],
        "beta_coeffs": case["beta"],
        "rules": "vllm",
        "workload": "traces",
        "workload_traces_filepath": requests,
        "async_scheduling": case["async"],
        "enable_prefix_caching": case["prefix_caching"],
        "scheduler_reserve_full_isl": case["reserve_full_isl"],
        "enable_chunked_prefill": case["enable_chunked_prefill"],
        "scheduling_policy": case["policy"],
    });
    for (ours, theirs) in [
        ("max_num_running_reqs", "max_num_seqs"),
        ("max_num_scheduled_tokens", "max_num_batched_tokens"),
        ("max_num_active_seqs", "max_num_active_seqs"),
        (
            "long_prefill_token_threshold",
            "long_prefill_token_threshold",
        ),
        ("max_model_len", "max_model_len"),
        ("block_size_in_tokens", "block_size"),
        ("total_kv_blocks", "usable_kv_blocks"),
        ("watermark", "watermark"),
        ("max_loras", "max_loras"),
    ] {
        if !case[theirs].is_null() {
            settings[ours] = case[theirs].clone();
        }
    }
    if case["long_prefill_token_threshold_adaptive"] == true {
        settings["long_prefill_token_threshold_adaptive"] = true.into();
    }
    match settings {
        Value::Object(settings) => settings,
        other => panic!("{other}"),
    }
}

/// TTFT, E2E, output tokens, preemptions, cached tokens.
type Figures = [Option<i64>; 5];

fn check(folder: &Path) -> Result<(), String> {
    let case = read_json(&folder.join("case.json"));
    let expected = read_json(&folder.join("expected.json"));
    let requests = folder.join("requests.csv");
    let spec = RunSpec::from_settings(settings(&case, &requests.display().to_string()));
    let simulation = spec
        .and_then(|spec| spec.resolve())
        .map_err(|e| e.to_string())?;
    let mut config = simulation.deployment().config().clone();
    let beta = |k: usize| case["beta"][k].as_i64().expect("microseconds");
    config.pools[0].latency = Arc::new(Staged {
        stage: Affine {
            base: beta(0),
            per_prefill_token: beta(1),
            per_decode: beta(2),
            ..Affine::default()
        },
        stages: case["pp"].as_u64().expect("stages") as usize,
        host_us: 0,
    });
    let play = Play {
        seed: 1,
        horizon_us: i64::MAX,
        trace: TraceConfig::default(),
        salted: false,
        slo_targets_us: [0; 3],
    };
    let mut source = open(&requests, None, &OpenOptions::default()).map_err(|e| e.to_string())?;
    let deployment = Deployment::of_parts(config, Preset::Vllm);
    let cluster = deployment.cluster(simulation.policies(), play, &mut source);
    let (cluster, _) = cluster.map_err(|e| e.to_string())?;
    let record = cluster.run(&mut |_| {});
    let name = |r: &RequestRecord| r.id.to_string();
    let ours: HashMap<String, &RequestRecord> =
        record.requests.iter().map(|r| (name(r), r)).collect();
    let columns = expected["columns"].as_array().expect("columns");
    for row in expected["rows"].as_array().expect("rows") {
        let of = |name: &str| {
            let at = columns.iter().position(|column| column == name);
            &row[at.expect("a known column")]
        };
        let id = of("id").as_str().expect("a name");
        let Some(r) = ours.get(id) else {
            return Err(format!("{id} is missing"));
        };
        if of("state") == "refused" {
            if r.e2e_us.is_some() {
                return Err(format!("{id} must be refused"));
            }
            continue;
        }
        let names = [
            "ttft_us",
            "e2e_us",
            "output_tokens",
            "preemptions",
            "cached_tokens",
        ];
        let wanted: Figures = names.map(|name| of(name).as_i64());
        let got: Figures = [
            r.ttft_us,
            r.e2e_us,
            Some(r.generated_tokens.into()),
            Some(r.preemptions.into()),
            r.cached_tokens.map(i64::from),
        ];
        if got != wanted {
            return Err(format!(
                "{id}: (TTFT, E2E, output, preemptions, cached) {got:?}, vLLM has {wanted:?}"
            ));
        }
    }
    Ok(())
}

/// Runs all cases below `folder`, and returns how many.
fn sweep(folder: &Path) -> usize {
    let cases = cases_in(folder);
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.display(), check(case).err()?)))
        .collect();
    let failed = failures.len();
    assert!(failures.is_empty(), "{failed}\n{}", failures.join("\n"));
    cases.len()
}

#[test]
fn what_vllm_does_with_a_pipeline_is_reproduced() {
    let ran = sweep(&root().join("host/tests/data/vllm-pp"));
    assert!(ran >= 16, "only {ran} cases lie in the project");
}

/// More cases, where a folder of them is named.
#[test]
fn what_vllm_does_with_a_pipeline_in_other_cases_is_reproduced() {
    if let Some(folder) = std::env::var_os("WINDTUNNEL_PIPELINE_CASES") {
        sweep(Path::new(&folder));
    }
}
