//! A run, exported and replayed through the command, gives the same results.

use crate::support::windtunnel;

/// Rows of a results file, without the columns that only a session or a name of the trace would
/// change.
fn rows(path: &std::path::Path, skip: &[&str]) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).expect("a results file");
    let kept: Vec<usize> = (0..)
        .zip(reader.headers().expect("a header"))
        .filter(|(_, name)| !skip.contains(name))
        .map(|(i, _)| i)
        .collect();
    let row = |r: csv::Result<csv::StringRecord>| {
        let r = r.expect("a row");
        kept.iter().map(|&i| r[i].to_owned()).collect()
    };
    reader.records().map(row).collect()
}

/// Runs a workload, replays its export, and compares request by request and in the aggregate.
fn replayed_as_exported(workload: &[&str], engine: &[&str], shows: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    let (exported, a, b) = (text("P"), text("a.csv"), text("b.csv"));
    let (header, data) = (text("P.yaml"), text("P.csv"));
    let model = [
        "--model",
        "llama-3.1-8b-instruct",
        "--hardware",
        "H100",
        "--tp",
        "1",
        "--format",
        "blis",
    ];
    let run = ["run", "--trace-output", &exported, "--results-path", &a];
    let replay = [
        "replay",
        "--trace-header",
        &header,
        "--trace-data",
        &data,
        "--results-path",
        &b,
    ];
    let [first, second] = [[&run, workload].concat(), replay.to_vec()].map(|args| {
        let ran = windtunnel(args.iter().chain(&model).chain(engine));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    });
    let results = std::fs::read_to_string(&a).expect("results");
    assert!(
        results.contains(shows),
        "{workload:?} {engine:?} without {shows}"
    );
    // The trace does not carry the names of the requests.
    let [first_rows, second_rows] =
        ["a.csv", "b.csv"].map(|name| rows(&path(name), &["request_id"]));
    assert!(first_rows.len() > 5);
    for (k, (one, two)) in first_rows.iter().zip(&second_rows).enumerate() {
        assert_eq!(one, two, "request {k} of {workload:?}");
    }
    assert_eq!(first_rows.len(), second_rows.len());
    assert_eq!(first, second, "aggregates of {workload:?}");
}

#[test]
fn a_replayed_export_reproduces_the_run() {
    let plain = ["--num-requests", "60", "--rate", "20"];
    let prefix = [
        "--num-requests",
        "60",
        "--rate",
        "40",
        "--prefix-tokens",
        "100",
        "--prompt-tokens",
        "50",
        "--output-tokens",
        "60",
    ];
    let impatient = ["--num-requests", "60", "--rate", "40", "--timeout", "1"];
    let preset = [
        "--workload",
        "chatbot",
        "--num-requests",
        "40",
        "--rate",
        "10",
    ];
    let tight = ["--total-kv-blocks", "600", "--horizon", "100000000"];
    let cluster = [
        "--num-instances",
        "3",
        "--routing-policy",
        "least-loaded",
        "--rules",
        "vllm",
    ];
    let until = ["--rules", "blis", "--horizon", "100000000"];
    // Each shows what its workload is for.
    replayed_as_exported(&plain, &until, "completed");
    replayed_as_exported(&plain, &tight, "completed");
    replayed_as_exported(&prefix, &until, "shared,100");
    replayed_as_exported(&prefix, &cluster, "instance_2");
    replayed_as_exported(&impatient, &tight, "timed_out");
    replayed_as_exported(&impatient, &cluster, "timed_out");
    replayed_as_exported(&preset, &cluster, "instance_1");
}
