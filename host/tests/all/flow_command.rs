//! The gateway that holds requests back on the command line: its settings, what reports say, and
//! what is refused.

use crate::support::{Ran, windtunnel};
use serde_json::Value;
use std::fs;

/// A bursty run of two classes on the command line.
fn command(more: &[&str]) -> Ran {
    let base = [
        "run",
        "--model",
        "llama-3.1-8b-instruct",
        "--latency-model",
        "trained-physics",
        "--num-instances",
        "2",
        "--rate",
        "60",
        "--num-requests",
        "120",
        "--flow-control",
        "--saturation-detector",
        "concurrency",
        "--max-concurrency",
        "3",
    ];
    windtunnel(base.iter().chain(more))
}

#[test]
fn the_reference_has_no_fifo_and_no_admission_policy_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = folder.path().join("w.yaml");
    fs::write(
        &spec,
        "version: \"2\"
seed: 3
aggregate_rate: 60
num_requests: 120
clients:
  - { id: a, tenant_id: x, slo_class: critical, rate_fraction: 0.4, arrival: { process: poisson },
      input_distribution: { type: constant, params: { value: 200 } }, output_distribution: { type: constant, params: { value: 40 } } }
  - { id: b, tenant_id: y, slo_class: batch, rate_fraction: 0.6, arrival: { process: poisson },
      input_distribution: { type: constant, params: { value: 200 } }, output_distribution: { type: constant, params: { value: 40 } } }
",
    )
    .expect("written");
    let rows = |rules: &str, more: &[&str]| -> Value {
        let out = folder.path().join("rows.json");
        let base = [
            "run",
            "--model",
            "llama-3.1-8b-instruct",
            "--latency-model",
            "trained-physics",
            "--num-instances",
            "2",
            "--flow-control",
            "--saturation-detector",
            "concurrency",
            "--max-concurrency",
            "3",
            "--workload-spec",
        ];
        let mut argv: Vec<String> = base.map(str::to_owned).to_vec();
        argv.push(spec.display().to_string());
        argv.extend(["--rules", rules, "--results-path"].map(str::to_owned));
        argv.push(out.display().to_string());
        argv.extend(more.iter().map(|&a| a.to_owned()));
        let ran = windtunnel(&argv);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str(&fs::read_to_string(&out).expect("rows")).expect("JSON")
    };
    let orders =
        |rules| ["fifo", "priority"].map(|order| rows(rules, &["--dispatch-order", order]));
    let [fifo, priority] = orders("blis");
    assert_eq!(fifo, priority);
    let [fifo, priority] = orders("vllm");
    assert_ne!(fifo, priority);
    let held = |rows: &Value| {
        let rows = rows.as_array().expect("rows").iter();
        let mut times: Vec<(i64, i64)> = rows
            .map(|r| {
                let time = |key: &str| r[key].as_i64().expect("a time");
                (time("gateway_enqueue_us"), time("gateway_dispatch_us"))
            })
            .collect();
        times.sort_unstable();
        times
    };
    let times = held(&fifo);
    assert!(times.iter().any(|(came, went)| went > came), "some waited");
    assert!(
        times.is_sorted_by_key(|(_, went)| *went),
        "first come, first served"
    );
    let closed = ["--admission-policy", "reject-all"];
    let states = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|r| r["outcome"].as_str().expect("a word").to_owned())
            .collect()
    };
    assert!(
        states(&rows("blis", &closed))
            .iter()
            .all(|o| o == "completed")
    );
    assert!(
        states(&rows("vllm", &closed))
            .iter()
            .all(|o| o == "rejected")
    );
}

#[test]
fn reports_tell_what_the_gateway_did() {
    let limits = ["--max-gateway-queue-depth", "4", "--request-ttl", "200000"];
    let table = command(&limits);
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert!(
        table.stdout.contains("rejected by the gateway"),
        "{}",
        table.stdout
    );
    assert!(table.stdout.contains("\nGateway:    "), "{}", table.stdout);
    let line = table.stdout.lines().find(|l| l.starts_with("Gateway:"));
    assert!(line.is_some_and(|l| l.chars().count() <= 80), "{line:?}");
    let json = command(&[&limits[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let gateway = &json["gateway"];
    let n = |key: &str| gateway[key].as_u64().expect("a count");
    let gone = n("rejected") + n("shed") + n("expired") + n("held");
    assert_eq!(
        n("dispatched") + gone,
        json["arrivals"].as_u64().expect("a count")
    );
    assert!(n("rejected") > 0 && n("most_held") == 4);
    assert!(gateway["queue_delay_ms"]["p99"].as_f64() > Some(0.0));
    assert_eq!(
        gateway["by_class"]["standard"]["rejected"],
        gateway["rejected"]
    );
    let blis = command(&[&limits[..], &["--rules", "blis", "--format", "blis"]].concat());
    assert!(
        blis.stdout.contains("Gateway Queue Rejected: "),
        "{}",
        blis.stdout
    );
    // What is held at the horizon is told, too.
    let cut = command(&["--horizon", "1000000", "--json"]);
    let cut: Value = serde_json::from_str(&cut.stdout).expect("JSON");
    assert!(cut["gateway"]["held"].as_u64() > Some(0));
}

#[test]
fn a_bundle_and_a_file_say_the_same_as_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = folder.path().join("p.yaml");
    fs::write(
        &bundle,
        "flow_control: { enabled: true, saturation_detector: concurrency, max_concurrency: 3, request_ttl_us: 200000 }
dispatch: { policy: slo-deadline, params: { turns: 1 } }
admission: { slo_targets: { standard: 100000 } }
",
    )
    .expect("written");
    let base = [
        "run",
        "--model",
        "llama-3.1-8b-instruct",
        "--rate",
        "60",
        "--num-requests",
        "80",
        "--json",
    ];
    let json = |more: &[&str]| -> Value {
        let ran = windtunnel(base.iter().chain(more));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).expect("JSON")
    };
    let flags = json(&[
        "--flow-control",
        "--saturation-detector",
        "concurrency",
        "--max-concurrency",
        "3",
        "--request-ttl",
        "200000",
        "--dispatch-order",
        "slo-deadline",
        "--fairness-policy",
        "round-robin",
        "--slo-targets",
        "standard=100000",
    ]);
    let path = bundle.display().to_string();
    let by_bundle = json(&["--policy-config", &path]);
    assert_eq!(flags["latency_ms"], by_bundle["latency_ms"]);
    assert_eq!(flags["gateway"], by_bundle["gateway"]);
    // The run wins over the bundle.
    let other = json(&["--policy-config", &path, "--max-concurrency", "50"]);
    assert_ne!(other["gateway"], by_bundle["gateway"]);
}

#[test]
fn mistakes_are_named() {
    let said = |more: &[&str]| {
        let base = ["run", "--model", "llama-3.1-8b-instruct", "--rules", "vllm"];
        let ran = windtunnel(base.iter().chain(more));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        ran.stderr
    };
    for (argv, expected) in [
        (
            &["--max-concurrency", "3"][..],
            "--max-concurrency has no effect without --flow-control",
        ),
        (
            &["--dispatch-order", "fifo"],
            "--dispatch-order has no effect without --flow-control",
        ),
        (
            &["--flow-control", "--saturation-detector", "concurency"],
            "did you mean \"concurrency\"?",
        ),
        (
            &["--flow-control", "--dispatch-order", "lifo"],
            "unknown dispatch policy \"lifo\"",
        ),
        (
            &["--flow-control", "--fairness-policy", "fair"],
            "--fairness-policy",
        ),
        (
            &["--flow-control", "--max-concurrency", "3"],
            "--max-concurrency has no effect with --saturation-detector never",
        ),
        (
            &["--flow-control", "--queue-shedding"],
            "without --max-gateway-queue-depth",
        ),
        (
            &["--flow-control", "--request-ttl", "-1"],
            "--request-ttl must be at least 0, found -1",
        ),
        (
            &["--flow-control", "--usage-limit-threshold", "1.5"],
            "--usage-limit-threshold must be 0 to 1, found 1.5",
        ),
        (
            &["--flow-control", "--slo-targets", "critical:5"],
            "expected class=MICROSECONDS",
        ),
    ] {
        let stderr = said(argv);
        assert!(stderr.contains(expected), "{argv:?}: {stderr}");
    }
}
