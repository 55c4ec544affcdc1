//! What people who come from XpuSim type.

use crate::support::{Ran, windtunnel};
use serde_json::Value;

fn ran(line: &str) -> Ran {
    windtunnel(line.split_whitespace().map(str::to_owned))
}

fn json(line: &str) -> Value {
    let ran = ran(line);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

const MI300X: &str = "run --quiet --model llama2-70b --hardware mi300x --tp 8";

#[test]
fn a_run_with_a_warm_up_measures_what_completes_after_it() {
    let flags = format!(
        "{MI300X} --rate 5 --arrivals constant --duration 50 --warm-up 10 --output-tokens 64"
    );
    let found = json(&format!("{flags} --json"));
    // One request every 0.2 s from 0.2 s on, the last one at 60 s.
    assert_eq!(found["arrivals"], 300);
    assert_eq!(found["setup"]["latency_model"], "xpu-roofline");
    let measured = &found["measured"];
    let bounds = [&measured["start_s"], &measured["end_s"]].map(Value::as_f64);
    assert_eq!(bounds, [Some(10.0), Some(60.0)]);
    let completed = measured["completed"].as_u64().unwrap();
    assert!((240..=251).contains(&completed), "{measured}");
    let rate = measured["responses_per_sec"].as_f64().unwrap();
    assert_eq!(rate, completed as f64 / 50.0);
    let said = json(&format!("{flags} --format xpusim"));
    let keys: Vec<&str> = said
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "total_requests",
            "completed_requests",
            "rejected_requests",
            "simulation_time",
            "throughput",
            "xpu_utilization",
            "memory",
            "first_token_latency",
            "end_to_end_latency"
        ]
    );
    assert_eq!(said["completed_requests"], completed);
    assert_eq!(said["simulation_time"], 50.0);
    assert_eq!(said["throughput"]["requests_per_sec"], rate);
    let near =
        |a: &Value, b: &Value| (a.as_f64().unwrap() * 1e3 - b.as_f64().unwrap()).abs() < 1e-9;
    assert!(near(
        &said["end_to_end_latency"]["mean"],
        &measured["e2e_ms"]["mean"]
    ));
    assert!(near(
        &said["first_token_latency"]["p50"],
        &measured["ttft_ms"]["p50"]
    ));
    let used = said["xpu_utilization"].as_f64().unwrap();
    assert!(used > 0.1 && used < 1.0, "{used}");
    // Weights are 16.3 GiB.
    let peak = said["memory"]["peak_memory_gb"].as_f64().unwrap();
    assert!(peak > 16.3 && peak < 40.0, "{peak}");
    let table = ran(&flags).stdout;
    assert!(table.contains("\nMeasured:   10.00-60.00 s: "), "{table}");
}

#[test]
fn its_traffic_is_drawn_as_it_draws_it() {
    let dir = tempfile::tempdir().unwrap();
    let rows = dir.path().join("rows.csv");
    let found = json(&format!(
        "{MI300X} --workload xpusim --rate 5 --duration 500 --warm-up 60 --json --results-path {}",
        rows.display()
    ));
    // As many of the 2,889 requests of its own run as come before it stops to measure.
    assert_eq!(found["arrivals"], 2764);
    assert_eq!(found["completed_requests"], 2764);
    let text = std::fs::read_to_string(rows).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let first: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
    let column = |name: &str| first[header.iter().position(|h| *h == name).unwrap()];
    assert_eq!(column("arrival_us"), "204012");
}

#[test]
fn a_configuration_file_is_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let text = r#"{"model": "llama2-7b", "workload": {"avg_input_length": 512, "max_input_length": 512,
        "avg_output_length": 32, "max_output_length": 32, "arrival_rate": 4.0},
        "cluster": {"n_xpus_per_node": 1, "xpu": "a100"},
        "scheduler": {"batching_strategy": "windowed", "min_batch_size": 4, "batching_window_ms": 200.0},
        "simulation_duration_s": 20.0, "random_seed": 42}"#;
    std::fs::write(&path, text).unwrap();
    let found = json(&format!(
        "run --quiet --spec {} --format xpusim",
        path.display()
    ));
    assert_eq!(found["simulation_time"], 20.0);
    assert!(
        found["completed_requests"].as_u64().unwrap() > 50,
        "{found}"
    );
    std::fs::write(&path, text.replace("\"xpu\"", "\"gpu\"")).unwrap();
    let wrong = ran(&format!("run --quiet --spec {}", path.display()));
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("gpu"), "{}", wrong.stderr);
}

#[test]
fn what_would_change_nothing_is_refused() {
    let error = |flags: &str| {
        let ran = ran(&format!("{MI300X} {flags}"));
        assert_eq!(ran.code, 2, "{flags}: {}", ran.stderr);
        ran.stderr
    };
    assert!(error("--warm-up 10").contains("--warm-up has no effect without --duration"));
    assert!(error("--duration 10 --concurrency 3").contains("--duration has no effect"));
    assert!(error("--duration 10 --num-requests 3").contains("--duration"));
    assert!(error("--duration 0").contains("--duration is 0; expected seconds above 0"));
    assert!(error("--duration 9 --warm-up 1 --summary-only").contains("--warm-up has no effect"));
    assert!(error("--workload xpusim --prompt-tokens-stdev 3").contains("--prompt-tokens-stdev"));
    assert!(error("--workload xpusim --prompt-tokens 2000").contains("--prompt-tokens is 2000"));
    let crashes = ran("run --model tiny-1b --hardware gtx-1080ti --rate 1");
    assert_eq!(crashes.code, 2);
    assert!(
        crashes
            .stderr
            .contains("no unit of gtx-1080ti multiplies matrices of bf16")
    );
}

#[test]
fn a_request_that_never_fits_is_counted_and_not_waited_for() {
    let flags = format!(
        "{MI300X} --num-requests 4 --total-kv-blocks 20 --prompt-tokens 400 --prompt-tokens-stdev 0"
    );
    let found = json(&format!("{flags} --json"));
    assert_eq!(found["setup"]["max_model_len_tokens"], 320);
    assert_eq!(found["dropped_unservable"], 4);
    assert_eq!(
        json(&format!("{flags} --format xpusim"))["rejected_requests"],
        4
    );
}
