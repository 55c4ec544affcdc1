//! Under `--rules vllm` every request equals what vLLM's own scheduler made of it, through the
//! command line, on the fast path and on the plain one.
//!
//! Small cases, one per feature and mode, lie in `tests/data/vllm` and always run. More run when
//! they are found beside the project.

use crate::oracle::beside;
use crate::support::{cases_in, read_json, root, windtunnel};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use windtunnel_engine::profile::EngineProfile;

#[test]
fn what_vllm_does_in_the_projects_cases_is_reproduced() {
    let ran = sweep(&root().join("host/tests/data/vllm"));
    assert!(ran >= 34, "only {ran} cases lie in the project");
}

#[test]
fn what_vllm_does_in_all_cases_beside_the_project_is_reproduced() {
    let folder = beside().join("vllm");
    if folder.is_dir() {
        sweep(&folder);
    } else {
        println!(
            "vllm: 0 cases ran beside the project: no folder {}",
            folder.display()
        );
    }
}

#[test]
fn what_older_versions_do_is_reproduced() {
    let versions = root().join("host/tests/data/vllm-versions");
    let mut ran = 0;
    for entry in fs::read_dir(&versions).expect("a readable folder") {
        let folder = entry.expect("a readable folder").path();
        if folder.is_dir() {
            ran += sweep(&folder);
        }
    }
    assert!(
        ran >= 25,
        "only {ran} cases of older versions lie in the project"
    );
}

/// Runs all cases below `folder`, and returns how many.
fn sweep(folder: &Path) -> usize {
    let cases = cases_in(folder);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = case.file_name().unwrap_or_default().to_string_lossy();
                    for path in ["fast", "plain"] {
                        if let Err(why) = check(case, path == "plain") {
                            let failure = format!("{name} ({path} path): {why}");
                            failures.lock().expect("no panic").push(failure);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    println!(
        "vllm: {} cases ran below {}, on both paths",
        cases.len(),
        folder.display()
    );
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    cases.len()
}

/// The settings of a case as flags, for the version of vLLM of this name, or the newest. A setting
/// that a version has not is null or at its default.
fn flags(case: &Value, engine: Option<&str>) -> Vec<String> {
    let mut flags = Vec::new();
    let knows = |setting: &str| {
        let profile = engine.map(|name| EngineProfile::named(name).expect("a version"));
        profile.is_none_or(|profile| profile.knows(setting))
    };
    let mut with_value = |flag: &str, key: &str| {
        if !case[key].is_null() && knows(key) {
            flags.extend([format!("--{flag}"), case[key].to_string()]);
        }
    };
    with_value("max-num-seqs", "max_num_seqs");
    with_value("max-num-batched-tokens", "max_num_batched_tokens");
    with_value("max-num-active-seqs", "max_num_active_seqs");
    with_value(
        "long-prefill-token-threshold",
        "long_prefill_token_threshold",
    );
    with_value("max-model-len", "max_model_len");
    with_value("block-size", "block_size");
    with_value("total-kv-blocks", "usable_kv_blocks");
    with_value("watermark", "watermark");
    with_value("max-loras", "max_loras");
    if case["num_speculative_tokens"].as_u64() > Some(0) {
        with_value("num-speculative-tokens", "num_speculative_tokens");
        let method = case["speculative_method"].as_str().expect("a method");
        flags.extend(["--speculative-method".to_owned(), method.to_owned()]);
    }
    // On by default, under these names in the settings and in a case.
    let switches = [
        ("async_scheduling", "async"),
        ("enable_prefix_caching", "prefix_caching"),
        ("scheduler_reserve_full_isl", "reserve_full_isl"),
        ("enable_chunked_prefill", "enable_chunked_prefill"),
    ];
    for (setting, key) in switches {
        if case[key] == false && knows(setting) {
            flags.push(format!("--no-{}", setting.replace('_', "-")));
        }
    }
    if case["long_prefill_token_threshold_adaptive"] == true {
        flags.push("--long-prefill-token-threshold-adaptive".to_owned());
    }
    if case["policy"] == "priority" {
        flags.extend(["--scheduling-policy", "priority"].map(str::to_owned));
    }
    if let Some(engine) = engine {
        flags.extend(["--engine".to_owned(), engine.to_owned()]);
    }
    let beta = case["beta"].as_array().expect("three coefficients");
    let beta: Vec<String> = beta.iter().map(ToString::to_string).collect();
    flags.extend(["--beta-coeffs".to_owned(), beta.join(",")]);
    flags
}

/// A request's figures: TTFT, E2E, output tokens, preemptions, cached tokens.
type Figures = [Option<i64>; 5];

fn check(case: &Path, plain: bool) -> Result<(), String> {
    let settings = read_json(&case.join("case.json"));
    let expected = read_json(&case.join("expected.json"));
    let out = tempfile::tempdir().expect("a folder");
    let results = out.path().join("results.json").display().to_string();
    let requests = case.join("requests.csv").display().to_string();
    let mut arguments: Vec<String> = [
        "run",
        "--model",
        "llama-3.1-8b-instruct",
        "--latency-model",
        "blackbox",
        "--alpha-coeffs",
        "0,0,0",
        "--rules",
        "vllm",
        "--workload",
        "traces",
        "--workload-traces-filepath",
        &requests,
        "--results-path",
        &results,
        "--quiet",
    ]
    .map(str::to_owned)
    .into();
    let folder = case.parent().and_then(Path::file_name);
    let engine = folder.and_then(|name| name.to_str());
    let engine = engine.filter(|name| name.starts_with("vllm-"));
    arguments.extend(flags(&settings, engine));
    if plain {
        arguments.push("--plain-steps".to_owned());
    }
    let kv_events = out.path().join("kv.jsonl");
    if expected["events"].is_array() {
        let file = kv_events.display().to_string();
        arguments.extend(["--kv-events-path".to_owned(), file]);
    }
    let ran = windtunnel(arguments);
    if ran.code != 0 {
        return Err(ran.stderr);
    }
    let rows = read_json(Path::new(&results));
    let rows = rows.as_array().or_else(|| rows["requests"].as_array());
    let ours: HashMap<&str, &Value> = rows
        .expect("rows")
        .iter()
        .filter_map(|row| Some((row["request_id"].as_str()?, row)))
        .collect();
    let table = if expected["rows"].is_array() {
        &expected
    } else {
        &expected["requests"]
    };
    let columns = table["columns"].as_array().expect("columns");
    for row in table["rows"].as_array().expect("rows") {
        let of = |name: &str| {
            let at = columns.iter().position(|column| column == name);
            &row[at.expect("a known column")]
        };
        let id = of("id").as_str().expect("a name");
        let ours = ours.get(id).copied().unwrap_or(&Value::Null);
        let refused = of("state") == "refused";
        let wanted: Figures = [
            "ttft_us",
            "e2e_us",
            "output_tokens",
            "preemptions",
            "cached_tokens",
        ]
        .map(|name| of(name).as_i64());
        let got: Figures = [
            "ttft_us",
            "e2e_us",
            "generated_tokens",
            "preemptions",
            "cached_tokens",
        ]
        .map(|name| ours[name].as_i64());
        if refused && got[1].is_some() {
            return Err(format!("{id} must be refused, and ends after {got:?}"));
        }
        if !refused && got != wanted {
            return Err(format!(
                "{id}: (TTFT, E2E, output, preemptions, cached) {got:?}, vLLM has {wanted:?}"
            ));
        }
    }
    expected["events"]
        .as_array()
        .map_or(Ok(()), |events| check_events(events, &kv_events))
}

/// Are these the KV events of the only instance?
fn check_events(expected: &[Value], file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let mut lines = text.lines();
    for (k, event) in expected.iter().enumerate() {
        let line = lines.next().unwrap_or("null");
        let mut ours: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        let instance = ours
            .as_object_mut()
            .and_then(|line| line.remove("instance"));
        if ours != *event || instance != Some("instance_0".into()) {
            return Err(format!("KV event {k} is {line}, vLLM has {event}"));
        }
    }
    match lines.next() {
        None => Ok(()),
        Some(line) => Err(format!("vLLM has no KV event {line}")),
    }
}
