//! Scoring where a policy says how many instances there are, and instances fail.

use super::harness::{Scoring, score_of};
use serde_json::Value;
use std::path::PathBuf;

const SUITE: &str = "name: scaled
version: 1
hooks: [scale, admission]
requests: 1500
seeds: 1
cluster: {model: llama-3.1-8b-instruct, hardware: L40S, rules: vllm, latency_model: kernel-tables, max_num_running_reqs: 64, instances: 2}
autoscale: {interval: 5, min: 0, max: 6, startup: {mean: 10, stddev: 2}}
policies: {routing: {policy: least-loaded}}
slo: {ttft: 2s, itl: 100ms}
objectives: [{metric: gpu_hours, miss_weight: 4}]
references:
  fixed-max: {scale: {policy: fixed, params: {instances: 1000}}}
  hpa: {scale: {policy: hpa-concurrency, params: {target: 20, down_window_s: 30}}}
scenarios:
  train:
    - {id: rush, family: rush, workload: rush.yaml, seed: 1, drain_s: 60, events: [{at: 90, kind: fail, instances: [1]}], retries: 1, retry_after: 0.5}
";

const RUSH: &str = "version: \"2\"
category: language
clients:
  - id: rush
    rate_fraction: 1
    input_distribution: {type: lognormal, params: {mu: 6.6, sigma: 0.6, min: 32, max: 6000}}
    output_distribution: {type: lognormal, params: {mu: 5.0, sigma: 0.6, min: 16, max: 1000}}
    lifecycle: {windows: [{start_us: 0, end_us: 100000000, trace_rate: 2}, {start_us: 100000000, end_us: 200000000, trace_rate: 9},
      {start_us: 200000000, end_us: 500000000, trace_rate: 2}]}
";

/// Scales to the requests in flight, and keeps a spare instance.
const SPARE: &str = "--@param target = 16, 1..100  Requests in flight of an instance
return { replicas = function(pool, cluster)
    return math.ceil((pool.in_flight + pool.held) / cfg.target) + 1
end }";

fn written(scoring: &Scoring, name: &str, text: &str) -> PathBuf {
    let path = scoring.cache.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn suite(scoring: &Scoring) -> String {
    written(scoring, "rush.yaml", RUSH);
    written(scoring, "scaled.yaml", SUITE).display().to_string()
}

fn report(scoring: &Scoring, suite: &str, name: &str, text: &str) -> Value {
    let file = written(scoring, name, text);
    let scored = scoring.run(&format!("score --suite {suite} --json {}", file.display()));
    scored.report()
}

#[test]
fn scaling_policies_are_scored_tuned_and_told_what_it_took() {
    let scoring = Scoring::new();
    let suite = suite(&scoring);
    let told = report(&scoring, &suite, "spare.lua", SPARE);
    let score = score_of(&told);
    assert!(score > -60.0 && score < 60.0, "{told}");
    let metrics = &told["scenarios"][0]["metrics"];
    let hours = |of: &Value| of["gpu_hours"].as_f64().expect("hours");
    assert!(hours(metrics) > 0.05 && hours(metrics) < 1.0, "{told}");
    assert!(
        metrics["cost_usd"].is_null(),
        "nobody knows what an L40S costs"
    );
    assert!(metrics["failed"].is_null(), "they are sent again: {told}");
    assert!(told["features"]["mean_instances"].as_f64() > Some(0.0));

    let priced = SUITE.replace("L40S", "H100");
    let priced = written(&scoring, "priced.yaml", &priced);
    let file = written(&scoring, "spare.lua", SPARE);
    let scored = format!(
        "score --suite {} --json {}",
        priced.display(),
        file.display()
    );
    let cost = &scoring.run(&scored).report()["scenarios"][0]["metrics"];
    // Three dollars for each hour of an H100.
    let ratio = cost["cost_usd"].as_f64().expect("a price") / hours(cost);
    assert!((ratio - 3.0).abs() < 1e-9, "{cost}");

    // The same in a bundle.
    let bundle = "scale: {policy: spare.lua}\n";
    let bundle = written(&scoring, "bundle.yaml", bundle);
    let scored = scoring.run(&format!(
        "score --suite {suite} --json {}",
        bundle.display()
    ));
    assert_eq!(score_of(&scored.report()), score);

    let file = scoring.cache.path().join("spare.lua");
    let file = file.display();
    let tuned = scoring.run(&format!("tune --suite {suite} --budget 4 --json {file}"));
    assert_eq!(tuned.code, Some(0), "{}", tuned.stderr);
    let compared = scoring.run(&format!("compare --suite {suite} --json fixed {file}"));
    assert_eq!(compared.code, Some(0), "{}", compared.stderr);
    let explained = scoring.run(&format!("explain --suite {suite} {file}"));
    assert_eq!(explained.code, Some(2), "{}", explained.stdout);
    assert!(
        explained
            .stderr
            .contains("the feedback of a score says what it can"),
        "{}",
        explained.stderr
    );
}

/// What would be cheap if serving nobody were.
#[test]
fn nothing_pays_but_as_many_instances_as_are_needed() {
    let scoring = Scoring::new();
    let suite = suite(&scoring);
    let of = |name: &str, text: &str| {
        let told = report(&scoring, &suite, name, text);
        assert_eq!(told["errors"].as_array().map(Vec::len), Some(0), "{told}");
        let text = told["feedback"].as_str().expect("a text").to_owned();
        assert!(score_of(&told) >= -99.0, "{told}");
        let score = told["scenarios"][0]["score"].as_f64();
        (score.expect("a score"), text)
    };
    let (none, text) = of("none.lua", "return { replicas = function() return 0 end }");
    assert!(none <= -99.0, "{none}");
    assert!(text.contains("too few instances: 9"), "{text}");
    assert!(
        text.contains("requests waited as no instance took any"),
        "{text}"
    );
    let refuses =
        "return { admit = function() return false end, replicas = function() return 0 end }";
    let (refused, _) = of("refuse.lua", refuses);
    assert!(refused <= -99.0, "{refused}");
    let (most, text) = of(
        "most.lua",
        "return { replicas = function(pool) return pool.max end }",
    );
    assert!((-98.0..-1.0).contains(&most), "{most}");
    assert!(text.contains("too many instances: "), "{text}");
    let (one, _) = of("one.lua", "return { replicas = function() return 1 end }");
    assert!(one < -1.0, "{one}");
    let flaps = "local up = false
        return { replicas = function(pool) up = not up return if up then pool.max else 0 end }";
    let (flapping, text) = of("flap.lua", flaps);
    assert!(flapping < most, "{flapping}");
    assert!(text.contains("instances come and go: "), "{text}");
}

#[test]
fn faults_of_scaling_policies_name_their_place() {
    let scoring = Scoring::new();
    let suite = suite(&scoring);
    // The smoke scenario asks, too.
    let told = report(
        &scoring,
        &suite,
        "fails.lua",
        "return { replicas = function(pool)\n  return pool.ready + pool.raedy\nend }",
    );
    assert_eq!(score_of(&told), -100.0);
    let error = told["errors"][0]["message"].as_str().expect("a message");
    assert!(error.contains("raedy"), "{error}");
    let bundle = "scale: {policy: fixed}\nautoscale: {max: 100}\n";
    let bundle = written(&scoring, "bundle.yaml", bundle);
    let scored = scoring.run(&format!(
        "score --suite {suite} --json {}",
        bundle.display()
    ));
    let told = scored.report();
    let error = told["errors"][0]["message"].as_str().expect("a message");
    assert!(
        error.contains("autoscale: the suite says how pools are scaled"),
        "{error}"
    );
}

#[test]
fn what_a_suite_says_of_scaling_wrongly_is_named() {
    let scoring = Scoring::new();
    let place = suite(&scoring);
    for (from, to, said) in [
        (
            "max: 6",
            "max: 1",
            "instances is 2; expected 0 to 1, the limits of autoscale",
        ),
        (
            "min: 0",
            "min: 7",
            "autoscale.max is 6; expected at least 1 and no less than autoscale.min, 7",
        ),
        ("interval: 5", "interval: 0", "autoscale.interval"),
        ("interval: 5", "intervall: 5", "did you mean \"interval\""),
        (
            "instances: [1]",
            "instances: [6]",
            "there is no instance 6; expected 0 to 5",
        ),
        (
            "kind: fail, instances: [1]",
            "kind: roll",
            "retries has no effect where no instance fails",
        ),
        (
            "autoscale: {interval: 5, min: 0, max: 6, startup: {mean: 10, stddev: 2}}\n",
            "",
            "which nobody asks here",
        ),
    ] {
        assert!(SUITE.contains(from), "{from}");
        written(&scoring, "scaled.yaml", &SUITE.replacen(from, to, 1));
        let scored = scoring.run(&format!("score --suite {place} fixed"));
        assert_eq!(
            scored.code,
            Some(2),
            "{to}: {}{}",
            scored.stdout,
            scored.stderr
        );
        assert!(scored.stderr.contains(said), "{to}: {}", scored.stderr);
    }
}
