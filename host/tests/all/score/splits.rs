//! Scoring where some instances prefill and some decode.

use super::harness::Scoring;
use serde_json::Value;
use std::path::PathBuf;

const SUITE: &str = "name: apart
version: 1
hooks: [disaggregation, routing]
requests: 200
seeds: 1
cluster:
  model: llama-3.1-8b-instruct
  hardware: H100
  tensor_parallelism: 2
  prefill_instances: 1
  decode_instances: 2
  rules: vllm
  fitted_under: blis
  latency_model: blackbox
  total_kv_blocks: 4000
  max_num_running_reqs: 32
  max_num_scheduled_tokens: 2048
  transfer_bandwidth: 2
policies: {routing: {policy: least-loaded}}
slo: {ttft: 1s}
objectives: [{metric: ttft_mean}]
references:
  always: {disaggregation: {policy: always}}
  never: {disaggregation: {policy: never}}
  by-stage: {disaggregation: {policy: least-ttft}, decode_routing: {policy: round-robin}}
scenarios:
  train:
    - {id: plain, family: texts, workload: texts.yaml, rate: 30, seed: 1}
";

const TEXTS: &str = "version: \"2\"
category: language
aggregate_rate: 10
clients:
  - id: texts
    rate_fraction: 1
    input_distribution: {type: lognormal, params: {mu: 7.5, sigma: 0.5, min: 100, max: 8000}}
    output_distribution: {type: lognormal, params: {mu: 4.0, sigma: 0.5, min: 4, max: 200}}
";

/// Sends long prompts away, whatever that costs.
const LONG: &str = "--@param tokens = 500, 0..8000 int  Longest prompt that stays
return { disaggregate = function(req, inst, cluster)
    return req.prompt_tokens > cfg.tokens and inst.incoming_kv_caches < 100
end }";

/// Routes, each stage as it says.
const BY_STAGE: &str = "return {
    disaggregate = function() return true end,
    score = function(req, inst)
        if inst.role == 1 then return -inst.queued_prompt_tokens end
        assert(inst.role ~= 1)
        return -inst.in_flight
    end,
}";

fn written(scoring: &Scoring, name: &str, text: &str) -> PathBuf {
    let path = scoring.cache.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn suite(scoring: &Scoring) -> String {
    written(scoring, "texts.yaml", TEXTS);
    written(scoring, "apart.yaml", SUITE).display().to_string()
}

fn kinds(report: &Value) -> Vec<&str> {
    let items = report["feedback_items"].as_array().expect("items");
    items.iter().filter_map(|i| i["kind"].as_str()).collect()
}

#[test]
fn deciders_are_scored_tuned_and_explained() {
    let scoring = Scoring::new();
    let suite = suite(&scoring);
    let file = written(&scoring, "long.lua", LONG);
    let file = file.display();
    let report = scoring.run(&format!("score --suite {suite} --json {file}"));
    let report = report.report();
    assert!(
        report["score"].as_f64().expect("a score") >= -99.0,
        "{report}"
    );
    assert!(
        kinds(&report).contains(&"disaggregation"),
        "{:?}",
        kinds(&report)
    );
    let text = report["feedback"].as_str().expect("a text");
    assert!(
        text.contains("% of the prompts were computed by instances that prefill"),
        "{text}"
    );
    assert!(text.contains("prefilled by instance_0 after"), "{text}");
    // What the instance had of the prompt is known, whichever of those that decode it is.
    assert!(!text.contains("| ? of"), "{text}");
    let shares = text.lines().find(|line| line.contains("% of the time"));
    let before_percent = shares
        .expect("they are told")
        .split(" %")
        .map(str::trim_end);
    let shares: Vec<f64> = before_percent
        .filter_map(|part| part.rsplit([' ', '(']).next()?.parse().ok())
        .collect();
    assert!(shares.len() >= 6, "{text}");
    assert!(shares.iter().all(|share| *share <= 100.0), "{text}");
    let share = report["features"]["disaggregated"].as_f64();
    assert!(
        share.is_some_and(|share| share > 0.0 && share < 1.0),
        "{report}"
    );

    let explained = scoring.run(&format!("explain --suite {suite} --scenario plain {file}"));
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
    assert!(
        explained.stdout.contains("KV caches waited"),
        "{}",
        explained.stdout
    );
    assert!(explained.stdout.contains("other choices are not tried"));

    let tuned = scoring.run(&format!("tune --suite {suite} --budget 4 --json {file}"));
    assert_eq!(tuned.code, Some(0), "{}", tuned.stderr);
}

#[test]
fn a_script_routes_every_stage_and_bundles_name_them() {
    let scoring = Scoring::new();
    let suite = suite(&scoring);
    let file = written(&scoring, "both.lua", BY_STAGE);
    let bundle = "disaggregation: {policy: always}\nprefill_routing: {policy: least-loaded}\ndecode_routing: {policy: both.lua}\n";
    let bundle = written(&scoring, "bundle.yaml", bundle);
    // At the stage of prefill only the built-in router is asked.
    let only_decode = BY_STAGE.replace("if inst.role == 1 then", "if false then");
    for candidate in [file.clone(), bundle.clone()] {
        if candidate == bundle {
            written(&scoring, "both.lua", &only_decode);
        }
        let candidate = candidate.display();
        let report = scoring.run(&format!("score --suite {suite} --json {candidate}"));
        let report = report.report();
        assert!(
            report["score"].as_f64().expect("a score") >= -99.0,
            "{report}"
        );
    }
}

#[test]
fn wrong_roles_are_named() {
    let scoring = Scoring::new();
    let place = suite(&scoring);
    for (from, to, said) in [
        (
            "prefill_instances: 1",
            "instances: 1",
            "cluster.instances has no effect beside prefill_instances and decode_instances",
        ),
        (
            "  prefill_instances: 1\n  decode_instances: 2\n",
            "",
            "cluster.transfer_bandwidth has no effect without prefill_instances",
        ),
        (
            "prefill_instances: 1",
            "prefill_instances: 0",
            "no pool has role prefill or serve",
        ),
        (
            "decode_routing",
            "decode_ruting",
            "did you mean \"decode_routing\"",
        ),
    ] {
        written(&scoring, "apart.yaml", &SUITE.replacen(from, to, 1));
        let scored = scoring.run(&format!("score --suite {place} always"));
        assert_eq!(scored.code, Some(2), "{to}: {}", scored.stderr);
        assert!(scored.stderr.contains(said), "{to}: {}", scored.stderr);
    }
}
