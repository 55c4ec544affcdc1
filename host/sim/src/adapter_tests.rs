//! KV blocks are shared within one LoRA adapter only, whatever kind of source requests come from.

use crate::{RulesSpec, RunResult, RunSpec};
use serde_json::{Value, json};
use std::path::Path;

const ROW: &str = "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,streaming,\
    input_tokens,output_tokens,text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,\
    server_input_tokens,arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,\
    error_message,finish_reason,adapter\n";

/// A run of the files in `folder` under `rules`.
fn run(folder: &Path, rules: &str, settings: Value) -> RunResult {
    let mut all = json!({ "model": "llama-3.1-8b-instruct", "rules": rules, "max_loras": 4 });
    if rules == "blis" {
        all.as_object_mut().expect("an object").remove("max_loras");
    }
    for (name, value) in settings.as_object().into_iter().flatten() {
        all[name] = match value.as_str() {
            Some(text) => text.replace('@', &folder.display().to_string()).into(),
            None => value.clone(),
        };
    }
    let spec = RunSpec::from_settings(all.as_object().cloned().unwrap_or_default());
    let simulation = spec.expect("a run").resolve().expect("it makes sense");
    simulation.run(&mut |_| ()).expect("it ends")
}

/// Cached tokens of the requests in order of arrival; a cache without limits finds as many.
fn cached(result: &RunResult) -> Vec<u32> {
    let record = &result.record;
    let found: Vec<u32> = (record.requests.iter())
        .map(|r| r.cached_tokens.expect("it was served"))
        .collect();
    let reusable: u64 = record.instances.iter().map(|i| i.prefix_reusable).sum();
    assert_eq!(found.iter().map(|n| u64::from(*n)).sum::<u64>(), reusable);
    found
}

fn file(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(name), text).expect("written");
    folder
}

#[test]
fn of_a_csv_of_token_ids() {
    let ids: Vec<String> = (0..64).map(|id| id.to_string()).collect();
    let ids = ids.join(",");
    let row = |at: u32, adapter: &str| format!("{at},x,m,\"[{ids}]\",[7],{adapter}\n");
    let rows = ["sql", "sql", "chat", "", "chat"];
    let rows: String = (0..).zip(rows).map(|(k, a)| row(10 * k, a)).collect();
    let folder = file(
        "t.csv",
        &format!("t,id,model,prompt,output,adapter\n{rows}"),
    );
    let settings = json!({ "workload": "traces", "workload_traces_filepath": "@/t.csv" });
    let result = run(folder.path(), "vllm", settings.clone());
    // The last token of a prompt is always computed.
    assert_eq!(cached(&result), [0, 48, 0, 0, 48]);
    // The reference simulator does not tell adapters apart.
    let result = run(folder.path(), "blis", settings);
    assert_eq!(cached(&result), [0, 64, 64, 64, 64]);
}

#[test]
fn of_prefix_groups_in_a_trace() {
    let row = |k: u64, adapter: &str| {
        let us = k * 10_000_000;
        format!("{k},c,t,batch,,0,g,64,true,8,2,0,0,0,0,0,,0,0,{us},{us},0,0,0,ok,,,{adapter}\n")
    };
    let rows = ["sql", "chat", "sql", ""];
    let rows: String = (0..).zip(rows).map(|(k, a)| row(k, a)).collect();
    let folder = file("t.csv", &format!("{ROW}{rows}"));
    let header = "trace_version: 3\ntime_unit: microseconds\nmode: generated\n";
    std::fs::write(folder.path().join("t.yaml"), header).expect("written");
    let settings = json!({ "trace": "@/t.csv", "trace_header": "@/t.yaml" });
    let result = run(folder.path(), "vllm", settings);
    assert_eq!(cached(&result), [0, 0, 64, 0]);
}

#[test]
fn of_sessions_that_repeat_what_was_said() {
    let row = |k: u64, session: &str, round: u32, adapter: &str| {
        let us = k * 1_000_000;
        format!(
            "{k},c,t,batch,{session},{round},,0,true,64,32,0,0,0,0,0,,0,0,{us},{us},0,0,0,ok,,,{adapter}\n"
        )
    };
    let rows = [
        row(0, "same", 0, "sql"),
        row(10, "same", 1, "sql"),
        row(20, "other", 0, "sql"),
        row(30, "other", 1, "chat"),
        row(40, "other", 2, "sql"),
    ];
    let folder = file("t.csv", &format!("{ROW}{}", rows.concat()));
    let header = "trace_version: 3\ntime_unit: microseconds\nsession_context_growth: accumulate\n";
    std::fs::write(folder.path().join("t.yaml"), header).expect("written");
    let settings = json!({
        "trace": "@/t.csv", "trace_header": "@/t.yaml", "session_mode": "closed-loop",
    });
    let result = run(folder.path(), "vllm", settings);
    // 64 + 32 tokens of round 0 are there again under its adapter, but for the last token, whose KV
    // was never computed; in round 2 of the other session those of round 0 alone.
    assert_eq!(cached(&result), [0, 80, 0, 0, 80]);
}

#[test]
fn of_prefix_groups_in_a_spec() {
    let client = |id: &str, adapter: &str| {
        format!(
            "  - {{id: {id}, rate_fraction: 1, adapter: {adapter}, prefix_group: g, prefix_length: 64, \
             arrival: {{process: constant}}, input_distribution: {{type: constant, params: {{value: 8}}}}, \
             output_distribution: {{type: constant, params: {{value: 2}}}}}}\n"
        )
    };
    let cached_of = |adapters: [&str; 2]| {
        let clients = [client("a", adapters[0]), client("b", adapters[1])].concat();
        let text =
            format!("version: \"2\"\naggregate_rate: 0.2\nnum_requests: 4\nclients:\n{clients}");
        let folder = file("w.yaml", &text);
        let result = run(
            folder.path(),
            "vllm",
            json!({ "workload_spec": "@/w.yaml" }),
        );
        let hits: u64 = result.record.instances.iter().map(|i| i.prefix_hits).sum();
        let reusable: u64 = (result.record.instances.iter())
            .map(|i| i.prefix_reusable)
            .sum();
        assert_eq!((hits, result.record.requests.len()), (reusable, 4));
        hits
    };
    assert_eq!(cached_of(["sql", "sql"]), 3 * 64);
    assert_eq!(cached_of(["sql", "chat"]), 2 * 64);
}

#[test]
fn only_explicit_blis_rules_share_across_adapters() {
    let spec = RunSpec {
        rules: RulesSpec::Blis,
        ..RunSpec::of_model("llama-3.1-8b-instruct")
    };
    let deployment = spec.resolve().expect("it makes sense");
    assert!(deployment.deployment().shares_across_adapters());
    let spec = RunSpec::of_model("llama-3.1-8b-instruct");
    let deployment = spec.resolve().expect("it makes sense");
    assert!(!deployment.deployment().shares_across_adapters());
}

#[test]
fn routing_by_adapters_loads_fewer_of_them() {
    let mut state = 1u64;
    let rows = (0..300u64).map(|k| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (at, adapter) = (k as f64 / 20.0, (state >> 33) % 8);
        let prompt = [5 * k, 5 * k + 1, 5 * k + 2];
        format!("{at:.3},x,m,\"{prompt:?}\",\"[1, 2, 3]\",lora-{adapter}\n")
    });
    let rows: String = rows.collect();
    let text = format!("t,id,model,prompt,output,adapter\n{rows}");
    let loads = |routing: &str| {
        let folder = file("t.csv", &text);
        let settings = json!({
            "workload": "traces", "workload_traces_filepath": "@/t.csv", "num_instances": 4,
            "max_loras": 2, "lora_load_time": 100_000, "routing_policy": routing,
        });
        let record = run(folder.path(), "vllm", settings).record;
        record
            .instances
            .iter()
            .map(|totals| totals.adapter_loads)
            .sum::<u64>()
    };
    let (blind, aware) = (loads("round-robin"), loads("lora-affinity"));
    // Eight adapters fit into eight places; in turn, three of four are not there.
    assert!(blind > 150, "{blind}");
    assert!((8..blind / 4).contains(&aware), "{aware} of {blind}");
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../policies/routing/lora-affinity.lua"
    );
    assert_eq!(loads(script), aware, "the script decides the same");
}
