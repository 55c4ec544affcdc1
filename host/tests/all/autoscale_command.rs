//! Pools that a policy scales, by the command: flags, files and bundles.

use crate::errors::Folder;
use serde_json::Value;

const RUN: &str = "run --model llama-3.1-8b-instruct --rate 30 --num-requests 1500 --quiet";

fn json(folder: &Folder, arguments: &str) -> Value {
    let ran = folder.command(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn a_run_is_scaled_by_flags_by_file_and_by_bundle() {
    let folder = Folder::with(&[]);
    let flags = "--autoscale hpa-concurrency --autoscale-max 6 --autoscale-startup 5 --autoscale-interval 10 \
                 --policy-param scale.target=20";
    let by_flag = json(&folder, &format!("{RUN} --json {flags}"));
    let scaling = &by_flag["scaling"];
    assert_eq!(by_flag["completed_requests"], 1500);
    assert_eq!(scaling["timeline"][0]["ready"], 1);
    let pool = &scaling["pools"][0];
    assert!(pool["scale_ups"].as_u64() > Some(0), "{pool}");
    // Who is not there costs nothing.
    let (cost, hours) = (&by_flag["cost"], scaling["gpu_hours"].as_f64().unwrap());
    assert_eq!(cost["usd_per_gpu_hour"], 3.0);
    assert!(
        (cost["gpu_hours"].as_f64().unwrap() / hours - 1.0).abs() < 1e-9,
        "{cost}"
    );
    let seconds = by_flag["vllm_estimated_duration_s"].as_f64().unwrap();
    let all = pool["max_instances"].as_f64().unwrap() * 2.0 * 3.0 * seconds / 3600.0;
    assert!(cost["usd"].as_f64() < Some(all), "{cost}");
    let dumped = folder.command(&format!(
        "{} {flags} --dump-spec",
        RUN.replace(" --quiet", "")
    ));
    assert!(
        dumped
            .stdout
            .contains("autoscale:\n  policy: hpa-concurrency\n"),
        "{}",
        dumped.stdout
    );
    folder.write("run.yaml", dumped.stdout.as_bytes());
    assert_eq!(
        by_flag,
        json(&folder, "run --spec @/run.yaml --json --quiet")
    );
    let bundle = "scale: {policy: hpa-concurrency, params: {target: 20}}\n\
                  autoscale: {max: 6, interval: 10, startup: {mean: 5}}\n";
    folder.write("bundle.yaml", bundle.as_bytes());
    let by_bundle = json(
        &folder,
        &format!("{RUN} --json --policy-config @/bundle.yaml"),
    );
    assert_eq!(by_flag["scaling"], by_bundle["scaling"]);
    let pools = "model: llama-3.1-8b-instruct\n\
                 disaggregation: {prefill_instances: 1, decode_instances: 2}\n\
                 autoscale: {policy: keda, max: 3, startup: {mean: 4}, pools: {decode: {policy: fixed, min: 2, max: 4}}}\n\
                 workload: {rate: 20, num_requests: 600}\n";
    folder.write("pools.yaml", pools.as_bytes());
    let split = json(&folder, "run --spec @/pools.yaml --json --quiet");
    let setup = &split["setup"]["autoscale"];
    assert_eq!(
        (&setup[0]["policy"], &setup[1]["policy"]),
        (&"keda".into(), &"fixed".into())
    );
    assert_eq!(split["scaling"]["pools"][1]["mean_instances"], 2.0);
    let ran = folder.command(&format!("{RUN} {flags}"));
    let line =
        "autoscale: 1 to 6 instances by hpa-concurrency every 10 s, startup 5 s, drain wait\n";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    let told = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("Autoscale: "));
    assert!(told.clone().count() == 1 && told.clone().all(|line| line.len() <= 80));
}

/// Nobody has to be there for a policy to find out that somebody is needed.
#[test]
fn every_policy_starts_from_nothing() {
    let folder = Folder::with(&[]);
    let flags = "--autoscale-min 0 --autoscale-max 4 --autoscale-startup 5 --autoscale-interval 5";
    for policy in [
        "hpa-concurrency",
        "hpa-queue",
        "hpa-kv",
        "keda",
        "sla-planner",
        "saturation",
    ] {
        let run = format!("{RUN} --json {flags} --autoscale {policy}");
        let ran = json(&folder, &run.replace("--rate 30", "--rate 5"));
        assert_eq!(ran["scaling"]["timeline"][0]["ready"], 0, "{policy}");
        assert_eq!(ran["completed_requests"], 1500, "{policy}");
    }
}

#[test]
fn scaling_that_cannot_be_is_refused() {
    let folder = Folder::with(&[]);
    for (arguments, message) in [
        (
            "--autoscale hpa-kv",
            "--autoscale has no effect without --autoscale-max",
        ),
        (
            "--autoscale-max 4",
            "no policy says how many instances the pool should have; give --autoscale",
        ),
        (
            "--autoscale hpa --autoscale-max 4",
            "unknown scaling policy \"hpa\"; did you mean \"hpa-kv\"?",
        ),
        (
            "--autoscale keda --autoscale-max 4 --num-instances 5",
            "--num-instances is 5; expected 1 to 4, the limits of --autoscale",
        ),
        (
            "--autoscale keda --autoscale-max 4 --autoscale-min 5",
            "--autoscale-max is 4; expected at least 1 and no less than --autoscale-min, 5",
        ),
        (
            "--autoscale keda --autoscale-max 4 --autoscale-drain redirct",
            "unknown --autoscale-drain \"redirct\"; did you mean \"redirect\"?",
        ),
        (
            "--autoscale keda --autoscale-max 4 --autoscale-interval 0",
            "--autoscale-interval is 0; expected 0.001 to",
        ),
        (
            "--autoscale keda --autoscale-max 4 --scale 3:2",
            "give --scale (a schedule) or --autoscale (a policy), not both",
        ),
        (
            "--autoscale keda --autoscale-max 4 --autoscale-min 0 --prefill-instances 1 --decode-instances 1",
            "pool \"prefill\": --autoscale-min is 0; expected at least 1",
        ),
    ] {
        let ran = folder.command(&format!("{RUN} {arguments}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments}");
        assert!(ran.stderr.contains(message), "{arguments}\n{}", ran.stderr);
    }
    for (block, message) in [
        (
            "{policy: keda, maxx: 3}",
            "unknown key \"maxx\"; did you mean \"max\"?",
        ),
        (
            "{policy: keda, max: 3, params: {taget: 3}}",
            "unknown parameter \"taget\"; did you mean \"target\"?",
        ),
        (
            "{policy: keda, max: 3, pools: {gpu: {max: 4}}}",
            "the only pool has no name, so that none is \"gpu\"",
        ),
        (
            "{max: 3, params: {target: 3}}",
            "belong to the policy that stands beside them",
        ),
    ] {
        let text = format!("model: llama-3.1-8b-instruct\nautoscale: {block}\n");
        folder.write("run.yaml", text.as_bytes());
        let ran = folder.command("run --spec @/run.yaml");
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{block}");
        assert!(ran.stderr.contains(message), "{block}\n{}", ran.stderr);
    }
}

#[test]
fn instances_run_on_nodes_by_flag_and_by_file() {
    let folder = Folder::with(&[]);
    // One H100 each, two a node: one node at the start, at most two.
    let flags = "--tp 1 --hardware H100 --autoscale hpa-concurrency --autoscale-max 6 --autoscale-startup 5 \
                 --autoscale-interval 5 --policy-param scale.target=10 --node-pool pair:h100:2:1-2:20:7.2";
    let by_flag = json(&folder, &format!("{RUN} --json {flags}"));
    let scaling = &by_flag["scaling"];
    let nodes = &scaling["nodes"][0];
    assert_eq!(
        (&nodes["name"], &nodes["gpus_per_node"]),
        (&"pair".into(), &2.into())
    );
    assert_eq!(
        (&nodes["max_nodes"], &nodes["nodes_provisioned"]),
        (&2.into(), &1.into())
    );
    let hours = nodes["node_hours"].as_f64().unwrap();
    assert!((nodes["cost_usd"].as_f64().unwrap() / hours - 7.2).abs() < 1e-9);
    assert!(
        nodes["gpu_hours"].as_f64() >= scaling["gpu_hours"].as_f64(),
        "{scaling}"
    );
    // What does not fit waits, and is told of.
    assert!(scaling["starts_pending"].as_u64() >= Some(2), "{scaling}");
    assert_eq!(scaling["pools"][0]["max_instances"], 4);
    let timeline = scaling["timeline"].as_array().unwrap();
    assert!(
        timeline.iter().any(|at| at["pending"].as_u64() > Some(0)),
        "{scaling}"
    );
    let text = folder
        .command(&format!("{RUN} {flags} --summary-only"))
        .stdout;
    assert!(
        text.contains("nodes: 1 to 2 pair of 2 H100, provisioned in 20 s"),
        "{text}"
    );
    assert!(text.contains("pair: mean 1."), "{text}");
    assert!(text.contains("starts waited for a node"), "{text}");
    let dumped = folder.command(&format!(
        "{} {flags} --dump-spec",
        RUN.replace(" --quiet", "")
    ));
    folder.write("run.yaml", dumped.stdout.as_bytes());
    assert_eq!(
        by_flag,
        json(&folder, "run --spec @/run.yaml --json --quiet")
    );
}

#[test]
fn wrong_nodes_are_named() {
    let folder = Folder::with(&[]);
    let scaled =
        |flags: &str| format!("--autoscale keda --autoscale-max 4 --tp 2 --hardware H100 {flags}");
    for (flags, said) in [
        (
            "--node-pool a:H100:8:1-2".to_owned(),
            "--node-pool has no effect without --autoscale-max",
        ),
        (scaled("--node-pool a:H10:8:1-2"), "did you mean \"H100\""),
        (
            scaled("--node-pool a:H100:1:1-2"),
            "instances take 2 H100 on one node, and the largest nodes of --node-pool have 1",
        ),
        (
            scaled("--node-pool a:H100:8:3-2"),
            "min is 3, initial 3, max 2; expected them in this order",
        ),
        (
            scaled("--node-pool a:H100:8:1-2 --node-pool a:H100:8:1-2"),
            "there twice",
        ),
        (
            scaled("--node-pool a:H100:8:0-2"),
            "at the start have no room on the nodes that are there then",
        ),
        (
            scaled("--node-pool a:H100:8"),
            "expected NAME:GPU:GPUS:INITIAL-MAX[:DELAY[:COST]]",
        ),
        (scaled("--node-pool a:H100:0:1-2"), "gpus_per_node is 0"),
    ] {
        let ran = folder.command(&format!("{RUN} {flags}"));
        assert_eq!(ran.code, 2, "{flags}: {}", ran.stdout);
        assert!(ran.stderr.contains(said), "{flags}: {}", ran.stderr);
    }
}
