//! `windtunnel plan`: what it answers is enough, one less is not, and it says the same whatever the
//! number of threads and however often it was interrupted; gates with `--fail-if`.

use crate::errors::Folder;
use crate::support::Ran;
use serde_json::Value;
use std::fs;

const BASE: &str =
    "plan --model llama-3.1-8b-instruct --workload chatbot --rate 150 --num-requests 1500";
const TARGETS: &str = "--slo ttft.p99<300ms,tpot.p95<20ms";

fn answer(folder: &Folder, line: &str) -> Value {
    let ran = folder.command(&format!("{line} --json"));
    assert_eq!(ran.code, 0, "{line}\n{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// The run of an answer with other flags behind it.
fn again(folder: &Folder, answer: &Value, change: (&str, &str), more: &str) -> Ran {
    let command = answer["command"].as_str().expect("a command");
    let command = command.strip_prefix("windtunnel ").expect("ours");
    assert!(command.contains(change.0), "{command}");
    folder.command(&format!("{} {more}", command.replace(change.0, change.1)))
}

#[test]
fn what_a_plan_answers_is_enough_and_one_less_is_not() {
    let folder = Folder::with(&[]);
    let plan = answer(
        &folder,
        &format!("{BASE} {TARGETS} --grid hardware=H100,A100-SXM --tp 1 --seeds 1"),
    );
    let answers = plan["answers"].as_array().expect("answers");
    assert_eq!(answers.len(), 2, "{plan:#}");
    let cost = |k: usize| answers[k]["usd_per_hour"].as_f64().expect("a price");
    assert!(cost(0) <= cost(1));
    let misses = "--fail-if ttft.p99>=300ms,tpot.p95>=20ms";
    for one in answers {
        let n = one["instances"].as_u64().expect("instances");
        assert_eq!(one["gpus"].as_u64(), Some(n));
        assert!(n > 1, "{one:#}");
        let flag = format!("--num-instances={n}");
        let enough = again(&folder, one, (&flag, &flag), misses);
        assert_eq!(enough.code, 0, "{}", enough.stderr);
        let less = format!("--num-instances={}", n - 1);
        let missed = again(&folder, one, (&flag, &less), misses);
        assert_eq!(missed.code, 3, "{}", missed.stdout);
        let limited = one["limited_by"][0].as_str().expect("a limit");
        assert!(
            missed.stderr.contains(limited),
            "{limited}: {}",
            missed.stderr
        );
    }
}

#[test]
fn plans_do_not_depend_on_threads_or_interruptions() {
    let folder = Folder::with(&[]);
    let line = format!("{BASE} {TARGETS} --grid hardware=H100,H200 --tp 1 --seeds 3");
    let one = folder.command(&format!("{line} --jobs 1"));
    assert_eq!(one.code, 0, "{}", one.stderr);
    let resumed =
        |jobs: u32| folder.command(&format!("{line} --jobs {jobs} --resume @/runs.jsonl"));
    assert_eq!(resumed(4).stdout, one.stdout);
    let path = folder.path().join("runs.jsonl");
    let whole = fs::read(&path).expect("a file");
    // Cut in the middle of a line, as by an interruption.
    fs::write(&path, &whole[..whole.len() * 2 / 3]).expect("written");
    let again = resumed(1);
    assert_eq!(again.stdout, one.stdout);
    assert!(
        again.stderr.contains("runs are known already"),
        "{}",
        again.stderr
    );
    let lines = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
    assert_eq!(lines(&fs::read(&path).expect("a file")), lines(&whole));
    fs::write(&path, "something else\n").expect("written");
    let foreign = resumed(1);
    assert_eq!(foreign.code, 2);
    assert_eq!(
        fs::read_to_string(&path).expect("a file"),
        "something else\n"
    );
}

#[test]
fn to_survive_a_failure_takes_more_and_splits_are_looked_at() {
    let folder = Folder::with(&[]);
    let line = format!("{BASE} {TARGETS} --hardware H100 --tp 1 --seeds 1");
    let instances = |more: &str| {
        let plan = answer(&folder, &format!("{line} {more}"));
        plan["answers"][0]["instances"].as_u64().expect("an answer")
    };
    assert!(instances("--survive 1") > instances(""));
    let plan = answer(&folder, &format!("{line} --split-pools"));
    let split = plan["answers"]
        .as_array()
        .expect("answers")
        .iter()
        .find(|a| a["pools"] == "split");
    let split = split.expect("a split answer");
    let (n, p) = (
        split["instances"].as_u64(),
        split["prefill_instances"].as_u64(),
    );
    assert!(p > Some(0) && p < n, "{split:#}");
    let ran = again(&folder, split, ("run", "run"), "--json");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn the_most_load_is_met_and_a_little_more_is_not() {
    let folder = Folder::with(&[]);
    let line = "plan --max-rate --model llama-3.1-8b-instruct --hardware H100 --tp 1 --num-instances 2 \
                --workload chatbot --num-requests 1500 --seeds 1";
    let plan = answer(&folder, &format!("{line} {TARGETS}"));
    let one = &plan["answers"][0];
    let rate = one["requests_per_s"].as_f64().expect("a rate");
    let misses = "--fail-if ttft.p99>=300ms,tpot.p95>=20ms";
    let flag = format!("--rate={rate}");
    assert_eq!(again(&folder, one, (&flag, &flag), misses).code, 0);
    let more = format!("--rate={}", rate * 1.04);
    assert_eq!(again(&folder, one, (&flag, &more), misses).code, 3);
    // A trace is made faster instead.
    let trace: String = (0..400)
        .map(|k| format!("{},200,50\n", f64::from(k) * 0.02))
        .collect();
    folder.write(
        "t.csv",
        format!("arrived_at,num_prefill_tokens,num_decode_tokens\n{trace}").as_bytes(),
    );
    let line = "plan --max-rate --model llama-3.1-8b-instruct --hardware H100 --tp 1 --workload @/t.csv --seeds 1";
    let plan = answer(&folder, &format!("{line} {TARGETS}"));
    assert!(
        plan["answers"][0]["rate_scale"].as_f64() > Some(1.0),
        "{plan:#}"
    );
}

#[test]
fn files_of_a_plan_say_what_it_says() {
    let folder = Folder::with(&[]);
    let line = format!(
        "{BASE} {TARGETS} --hardware H100 --seeds 1 --grid tp=1,2 --out @/plan.csv --manifest @/k8s.yaml"
    );
    let plan = answer(&folder, &line);
    let n = plan["answers"][0]["instances"].as_u64().expect("an answer");
    let manifest = fs::read_to_string(folder.path().join("k8s.yaml")).expect("a file");
    let documents: Vec<Value> = manifest
        .split("---\n")
        .skip(1)
        .map(|text| serde_yaml::from_str(text).expect("YAML"))
        .collect();
    assert_eq!(documents[0]["spec"]["replicas"].as_u64(), Some(n));
    assert_eq!(documents[1]["kind"], "Service");
    let mut reader = csv::Reader::from_path(folder.path().join("plan.csv")).expect("a file");
    let columns = reader.headers().expect("a header").clone();
    let at = columns
        .iter()
        .position(|c| c == "instances")
        .expect("a column");
    let first = reader.records().next().expect("a row").expect("whole");
    assert_eq!(first[at].parse::<u64>().ok(), Some(n));
}

#[test]
fn what_a_policy_scales_stands_beside_the_fixed_cluster() {
    let folder = Folder::with(&[]);
    let line = "plan --model llama-3.1-8b-instruct --hardware A100-SXM --tp 1 --seeds 1 \
                --workload-spec docs/examples/rush.yaml --slo ttft.p99<500ms,tpot.p95<20ms \
                --autoscale-startup 20 -q --autoscale";
    folder.write("few.lua", b"return { replicas = function() return 1 end }");
    let mistake = folder.command(&format!("{line} kedda"));
    assert_eq!(mistake.code, 2, "{}", mistake.stderr);
    assert!(mistake.stderr.contains("keda"), "{}", mistake.stderr);
    let few = answer(&folder, &format!("{line} @/few.lua"));
    let line = format!("{line} hpa-concurrency --policy-param scale.target=24");
    let plan = answer(&folder, &line);
    let fixed = plan["answers"][0]["instances"].as_u64().expect("an answer");
    let scaled = plan["scaled"].as_array().expect("a policy");
    assert!(fixed > 1 && scaled.len() == 1, "{plan:#}");
    let hours = |one: &Value, key: &str| one[key].as_f64().expect("GPU-hours");
    let by_load = &scaled[0];
    assert_eq!(by_load["met"], true, "{plan:#}");
    assert!(hours(by_load, "gpu_hours") < hours(by_load, "fixed_gpu_hours"));
    // One GPU per instance, of which there is one at least and as many as it may have at most.
    let whole = hours(by_load, "fixed_gpu_hours") / fixed as f64;
    let most = by_load["most_instances"].as_f64().expect("a number");
    let taken = hours(by_load, "gpu_hours") / whole;
    assert!(taken > 0.9 && taken < most * 1.1, "{plan:#}");
    // Who keeps one instance misses what one instance misses.
    assert_eq!(few["scaled"][0]["met"], false, "{few:#}");
    // Its run is what was measured.
    let command = by_load["command"].as_str().expect("a command");
    let command = command.strip_prefix("windtunnel ").expect("ours");
    let ran = folder.command(&format!("{command} --json"));
    let run: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let run_hours = run["cost"]["gpu_hours"].as_f64().expect("GPU-hours");
    assert!(
        (run_hours - hours(by_load, "gpu_hours")).abs() < 1e-9,
        "{run_hours}"
    );
    let shown = folder.command(&line);
    let sentence = "instances meets the targets with";
    assert!(shown.stdout.contains(sentence), "{}", shown.stdout);
}

#[test]
fn a_plan_orders_by_gpus_where_a_price_is_not_known() {
    let folder = Folder::with(&[]);
    let gpus = "{\"H100\": {\"TFlopsPeak\": 989.5, \"BwPeakTBs\": 3.35, \"mfuPrefill\": 0.45, \
                \"mfuDecode\": 0.3, \"MemoryGiB\": 80, \"USDPerHour\": 3.0}, \
                \"Other\": {\"TFlopsPeak\": 989.5, \"BwPeakTBs\": 3.35, \"mfuPrefill\": 0.45, \
                \"mfuDecode\": 0.3, \"MemoryGiB\": 80}}";
    folder.write("gpus.json", gpus.as_bytes());
    let line = format!(
        "{BASE} {TARGETS} --latency-model roofline --hardware-config @/gpus.json \
         --grid hardware=H100,Other --tp 1 --seeds 1"
    );
    let plan = answer(&folder, &line);
    assert_eq!(plan["ordered_by"], "gpus", "{plan:#}");
    let answers = plan["answers"].as_array().expect("answers");
    assert_eq!(answers.len(), 2, "{plan:#}");
    assert_eq!(answers[0]["gpus"], answers[1]["gpus"]);
    let price = |name: &str| {
        let one = answers.iter().find(|a| a["choice"]["hardware"] == name);
        one.expect(name)["usd_per_hour"].clone()
    };
    assert!(
        price("H100").is_number() && price("Other").is_null(),
        "{plan:#}"
    );
}

#[test]
fn who_serves_nobody_meets_no_target() {
    let folder = Folder::with(&[]);
    folder.write(
        "nobody.lua",
        "return { admit = function(req) return false, \"no\" end }".as_bytes(),
    );
    let line = format!(
        "{BASE} {TARGETS} --hardware H100 --tp 1 --seeds 1 --max-gpus 8 --grid admission-policy=always-admit,@/nobody.lua"
    );
    let plan = answer(&folder, &line);
    assert_eq!(
        plan["answers"].as_array().map(Vec::len),
        Some(1),
        "{plan:#}"
    );
    // What fails is no reason not to answer.
    folder.write(
        "nobody.lua",
        "return { admit = function(req) return 1 end }".as_bytes(),
    );
    let broken = answer(&folder, &line);
    assert_eq!(broken["answers"], plan["answers"]);
    let why = broken["others"][0]["reason"].as_str().expect("a reason");
    assert!(why.contains("admit returned"), "{why}");
    let reason = plan["others"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("ttft.p99 is unserved"), "{reason}");
}

#[test]
fn mistakes_in_plans_are_named() {
    let folder = Folder::with(&[]);
    let refused = |line: &str| {
        let ran = folder.command(&format!("plan --model llama-3.1-8b-instruct {line}"));
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (2, ""),
            "{line}\n{}",
            ran.stderr
        );
        ran.stderr
    };
    let has = |line: &str, what: &str| {
        let said = refused(line);
        assert!(said.contains(what), "{line}: {said}");
    };
    has(
        "--slo ttft.p99<1s --num-instances 3",
        "--num-instances has no effect in a plan",
    );
    has("--slo ttfp.p99<1s", "did you mean \"ttft\"?");
    has("--slo ttft.p99<1s --max-gpus 0", "--max-gpus");
    has(
        "--slo ttft.p99<1s --results-path x.csv",
        "--results-path has no effect",
    );
    has(
        "--slo ttft.p99<1s --grid hardware=H100,H1000",
        "did you mean",
    );
    has("--slo ttft.p99<1s --max-rate --concurrency 3", "no rate");
    has(
        "--slo ttft.p99<1s --autoscale keda --survive 1",
        "--autoscale: not with --survive",
    );
    has("--slo ttft.p99<1s --grid autoscale=keda", "--autoscale A,B");
    let missing = folder.command("plan --slo ttft.p99<1s");
    assert!(
        missing.code == 2 && missing.stderr.contains("--model"),
        "{}",
        missing.stderr
    );
}

#[test]
fn gates_fail_with_a_code_of_their_own() {
    let folder = Folder::with(&[]);
    let run = "run --model llama-3.1-8b-instruct --num-requests 50";
    let failed = folder.command(&format!("{run} --fail-if ttft.p99>1ms"));
    assert_eq!(failed.code, 3);
    assert!(
        failed.stdout.contains("TTFT"),
        "results are printed all the same"
    );
    assert!(
        failed.stderr.starts_with("error: --fail-if: ttft.p99 is "),
        "{}",
        failed.stderr
    );
    assert_eq!(
        folder
            .command(&format!("{run} --fail-if ttft.p99>10s,served<100%"))
            .code,
        0
    );
    assert_eq!(folder.command(&format!("{run} --fail-if ttft<1ms")).code, 2);
    // A figure of nothing is no pass.
    assert_eq!(
        folder
            .command(&format!("{run} --fail-if batch/ttft.p99>1s"))
            .code,
        2
    );
    let sweep = "sweep --model llama-3.1-8b-instruct --num-requests 50 --grid rate=1,2";
    let failed = folder.command(&format!("{sweep} --fail-if ttft_p99_ms>1"));
    assert_eq!(failed.code, 3);
    assert!(
        failed.stderr.contains("rate=1, seed 42: ttft_p99_ms is "),
        "{}",
        failed.stderr
    );
    assert_eq!(
        folder
            .command(&format!("{sweep} --fail-if ttft_p99_ms>10000"))
            .code,
        0
    );
    assert_eq!(
        folder
            .command(&format!("{sweep} --fail-if ttft.p99>1s"))
            .code,
        2
    );
}

#[test]
fn scores_and_comparisons_have_gates() {
    let folder = Folder::with(&[]);
    let score = "score round-robin --stage quick";
    let failed = folder.command(&format!("{score} --fail-if score<50"));
    assert_eq!(failed.code, 3, "{}", failed.stderr);
    assert!(
        failed.stderr.contains("round-robin: score is "),
        "{}",
        failed.stderr
    );
    assert_eq!(
        folder.command(&format!("{score} --fail-if scor<50")).code,
        2
    );
}
