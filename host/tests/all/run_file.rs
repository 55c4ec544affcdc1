//! Runs in a file: `run --dump-spec`, `run --spec`, and pools of different GPUs.

use crate::support::{Ran, windtunnel};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }
}

fn run(words: &str) -> Ran {
    windtunnel(words.split_whitespace())
}

fn json(words: &str) -> Value {
    let ran = run(words);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn a_dumped_run_is_the_same_run() {
    let folder = Folder::new();
    let common = "--model llama-3.1-8b-instruct --num-requests 60 --quiet";
    for flags in [
        "--num-instances 3 --rate 20 --routing-policy least-loaded --seed 7",
        "--hardware H100 --tp 2 --latency-model roofline --max-num-seqs 8 --rate 5",
        "--workload chatbot --rate 10 --rules vllm --routing-policy weighted \
         --routing-scorers queue-depth:2,kv-utilization:1 --slo-ttft 200ms",
        "--concurrency 4 --think-time-ms 50 --snapshot-refresh-interval 1000",
        "--rate 50 --admission-policy token-bucket --token-bucket-capacity 9000 \
         --token-bucket-refill-rate 100",
        "--policy-config policies/slo-aware.yaml --rate 30 --num-instances 2",
    ] {
        let dumped = run(&format!("run {common} {flags} --dump-spec"));
        assert_eq!(dumped.code, 0, "{flags}\n{}", dumped.stderr);
        let file = folder.write("run.yaml", &dumped.stdout);
        let direct = run(&format!("run {common} {flags} --json"));
        assert_eq!(direct.code, 0, "{flags}\n{}", direct.stderr);
        let from_file = run(&format!("run --spec {} --quiet --json", file.display()));
        assert_eq!(from_file.stdout, direct.stdout, "{flags}");
        assert_eq!(from_file.stderr, direct.stderr, "{flags}");
        // What a file says comes out again as it went in.
        let again = run(&format!("run --spec {} --dump-spec", file.display()));
        assert_eq!(again.stdout, dumped.stdout, "{flags}");
    }
}

#[test]
fn mistakes_in_a_file_have_their_place() {
    let folder = Folder::new();
    for (text, message) in [
        (
            "model: llama-3.1-8b-instruct\nworkload:\n  rat: 2\n",
            ":3:3: unknown key \"rat\"; did you mean \"rate\"?",
        ),
        (
            "model: llama-3.1-8b-instruct\npools: [{name: a, rol: decode}]\n",
            ":2:19: unknown key \"rol\"; did you mean \"role\"?",
        ),
        (
            "pools: [{cout: 1}]\n",
            ":1:10: unknown key \"cout\"; did you mean \"count\"?",
        ),
    ] {
        let file = folder.write("run.yaml", text);
        let ran = run(&format!("run --spec {}", file.display()));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
        assert!(
            ran.stderr.contains(&*file.to_string_lossy()),
            "{}",
            ran.stderr
        );
    }
    let file = folder.write("run.yaml", "model: llama-3.1-8b-instruct\n");
    let ran = run(&format!("run --spec {} --rate 2", file.display()));
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.stderr,
        "error: --rate has no effect with --spec, whose file says it\n"
    );
}

/// Two H100 beside two A100.
const POOLS: &str = "
pools:
  - {name: fast, count: 1, hardware: H100, parallel: {tensor: 2}}
  - {name: slow, count: 2, hardware: A100-80, parallel: {tensor: 2}}
";

#[test]
fn pools_of_different_gpus_run_beside_each_other() {
    let folder = Folder::new();
    let text = format!(
        "model: llama-3.1-8b-instruct\n{POOLS}\nworkload: {{rate: 20, num_requests: 90}}\n"
    );
    let file = folder.write("run.yaml", &text);
    let report = json(&format!("run --spec {} --quiet --json", file.display()));
    let pools = &report["pools"];
    assert_eq!(pools["fast"]["gpu"], "H100");
    assert_eq!(pools["slow"]["gpu"], "A100-80");
    assert_eq!(pools["slow"]["instances"], 2);
    let e2e = |pool: &str| pools[pool]["e2e_ms"]["mean"].as_f64().expect("a mean");
    // In turn, so each instance gets a third; the older GPU takes longer.
    assert!(e2e("slow") > 1.3 * e2e("fast"), "{pools}");

    // The same pools in a policy bundle.
    let bundle = folder.write("bundle.yaml", POOLS);
    let of_bundle = json(&format!(
        "run --model llama-3.1-8b-instruct --rate 20 --num-requests 90 --policy-config {} --quiet --json",
        bundle.display()
    ));
    assert_eq!(of_bundle["pools"], *pools);
    let ran = run(&format!(
        "run --model llama-3.1-8b-instruct --num-instances 3 --policy-config {}",
        bundle.display()
    ));
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: --num-instances has no effect because the policy bundle says what the pools are\n"
        )
    );
}

#[test]
fn a_candidate_does_not_choose_its_cluster() {
    let folder = Folder::new();
    let bundle = folder.write(
        "bundle.yaml",
        &format!("routing: {{policy: least-loaded}}\n{POOLS}"),
    );
    let report = json(&format!(
        "score {} --suite host/tests/data/contest/suite.yaml --no-cache --json",
        bundle.display()
    ));
    assert_eq!(report["ok"], false);
    assert!(
        report["errors"][0]["message"]
            .as_str()
            .is_some_and(|m| m.contains("the suite says what the cluster is")),
        "{report:#}"
    );
}
