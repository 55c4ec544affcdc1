//! What ProfileSim computes is computed here, to the microsecond, from its own files; what it
//! leaves open is a clear error. Times lie within a microsecond of its exact ones.
//!
//! Small cases lie in `tests/data/profilesim`; more run when they are found beside the project.

use crate::errors::Folder;
use crate::oracle::beside;
use crate::support::{read_json, root, windtunnel};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const EXAMPLES: &str = "docs/examples/profilesim";

/// Runs the profile and the requests of a file that has both.
fn run(case: &Path, more: &[&str]) -> (crate::support::Ran, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = folder.path().join("rows.json");
    let (case, rows_path) = (case.display().to_string(), rows.display().to_string());
    let args = [
        "run",
        "--latency-model",
        "profile",
        "--profile",
        &case,
        "--engine",
        "profilesim",
        "--workload",
        &case,
        "--json",
        "--results-path",
        &rows_path,
    ];
    let ran = windtunnel(args.iter().chain(more));
    let rows = match ran.code {
        0 => read_json(&rows),
        _ => Value::Null,
    };
    (ran, rows)
}

/// Runs all cases of a folder that have a result, and returns how many.
fn sweep(folder: &Path) -> usize {
    let mut ran = 0;
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let case = read_json(&path);
        let Some(expected) = case["expected"]["requests"].as_array() else {
            continue;
        };
        let (result, rows) = run(&path, &[]);
        assert_eq!(result.code, 0, "{}\n{}", path.display(), result.stderr);
        assert_eq!(rows.as_array().map(Vec::len), Some(expected.len()));
        for (k, expected) in expected.iter().enumerate() {
            let row = &rows[k];
            assert_eq!(row["state"], "completed");
            let preempted = expected["preempted"].as_u64();
            assert_eq!(row["preemptions"].as_u64(), preempted, "{}", path.display());
            for (theirs, ours) in [
                ("arrival", "arrival_us"),
                ("time_in_queue", "scheduling_delay_us"),
                ("ttft", "ttft_us"),
                ("tgt", "e2e_us"),
                ("finish", "completion_us"),
            ] {
                let exact = expected[theirs].as_f64().expect("seconds") * 1e6;
                let got = row[ours].as_f64().expect("microseconds");
                assert!(
                    (exact - got).abs() < 1.0,
                    "{}: request {k}, {theirs}: expected {exact}, found {got}",
                    path.display()
                );
            }
        }
        ran += 1;
    }
    ran
}

#[test]
fn the_projects_cases_are_reproduced() {
    let ran = sweep(&root().join("host/tests/data/profilesim"));
    assert!(ran >= 5, "only {ran} cases lie in the project");
}

#[test]
fn all_cases_beside_the_project_are_reproduced() {
    let folder = beside().join("profile");
    match folder.is_dir() {
        true => assert!(sweep(&folder) > 0),
        false => println!("profilesim: no folder {}", folder.display()),
    }
}

fn case(name: &str) -> std::path::PathBuf {
    root().join("host/tests/data/profilesim").join(name)
}

#[test]
fn what_was_not_measured_is_refused_and_named_or_told() {
    let path = case("error_outside_profile.json");
    let (ran, _) = run(&path, &[]);
    assert_eq!(ran.code, 2);
    let named = "nothing is known of steps with prefill tokens and 1025 to 2048 tokens";
    assert!(ran.stderr.contains(named), "{}", ran.stderr);
    assert!(ran.stderr.contains("--extrapolation clamp or linear"));
    // The line goes on: 1500 tokens take 0.00389705882352942 + 1500 x 6.76470588235294e-05 s.
    let (ran, rows) = run(&path, &["--extrapolation", "linear"]);
    assert!(ran.stderr.contains("1500 prefill tokens"), "{}", ran.stderr);
    assert_eq!(rows[0]["ttft_us"], 105_368 + 9_400);
    let (_, clamped) = run(&path, &["--extrapolation", "clamp"]);
    assert_eq!(clamped[0]["ttft_us"], 73_168 + 9_400);
}

#[test]
fn a_prompt_that_never_fits_is_dropped_with_the_reason_or_stops_the_run() {
    let path = case("error_prefill_never_fits.json");
    let (ran, rows) = run(&path, &[]);
    let reason = "needs 63 blocks, the KV cache has 18 usable (20 - 2 watermark)";
    assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    assert_eq!(rows[0]["outcome"], "dropped");
    let (ran, _) = run(&path, &["--strict"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains(reason), "{}", ran.stderr);
}

#[test]
fn max_model_len_is_a_limit_where_it_is_given() {
    let path = case("chunked_3000_20.json");
    let (ran, _) = run(&path, &[]);
    let over = "prompt 3000 + output 20 = 3020 tokens exceeds";
    assert!(ran.stderr.contains(over), "{}", ran.stderr);
    let (ran, rows) = run(&path, &["--max-model-len", "2048"]);
    assert!(ran.stderr.contains(over), "{}", ran.stderr);
    assert_eq!(rows[0]["outcome"], "dropped");
}

#[test]
fn limits_of_a_profile_that_leave_nothing_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (key, what) in [
        ("max_num_seqs", "--max-num-running-reqs"),
        ("max_num_batched_tokens", "--max-num-scheduled-tokens"),
        ("max_model_len", "--max-model-len"),
        ("block_size", "tokens per KV block"),
        ("num_gpu_blocks", "KV blocks"),
    ] {
        let mut zero = read_json(&case("single_out1.json"));
        zero["profile"][key] = json!(0);
        let path = folder.path().join("zero.json");
        fs::write(&path, zero.to_string()).expect("written");
        let (ran, _) = run(&path, &[]);
        assert_eq!(ran.code, 2, "{key}");
        let refused = format!("zero.json: {what}: expected 1 or more, found 0");
        assert!(ran.stderr.contains(&refused), "{}", ran.stderr);
    }
}

#[test]
fn idle_passes_are_no_error_but_end_with_the_next_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut late = read_json(&case("single_out1.json"));
    let passes = json!([1, 0, 0, 0, 0, 0, 0, 1]);
    late["input"] =
        json!({"in_tokens": [500, 500], "out_tokens": [1, 1], "queries_per_iter": passes});
    let path = folder.path().join("late.json");
    fs::write(&path, late.to_string()).expect("written");
    let (ran, rows) = run(&path, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(rows[1]["arrival_us"], rows[0]["completion_us"]);
    assert_eq!(rows[1]["ttft_us"], rows[0]["ttft_us"]);
}

#[test]
fn requests_that_do_not_add_up_are_refused() {
    let folder = Folder::with(&[
        (
            "sum.json",
            r#"{"in_tokens": [5], "out_tokens": [5], "queries_per_iter": [2]}"#,
        ),
        (
            "short.json",
            r#"{"in_tokens": [5, 5], "out_tokens": [5], "queries_per_iter": [2]}"#,
        ),
        (
            "zero.json",
            r#"{"in_tokens": [5, 0], "out_tokens": [5, 5], "queries_per_iter": [2]}"#,
        ),
    ]);
    let profile = root().join(EXAMPLES).join("profile.json");
    for (file, part) in [
        (
            "sum.json",
            "queries_per_iter: expected numbers that add up to the 1 requests, found 2",
        ),
        (
            "short.json",
            "out_tokens: expected 2 numbers, as in_tokens has, found 1",
        ),
        ("zero.json", "in_tokens[1]: expected 1 to"),
    ] {
        let ran = folder.command(&format!(
            "run --latency-model profile --profile {} --workload @/{file}",
            profile.display()
        ));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

#[test]
fn a_profile_needs_its_latency_model_and_the_other_way_round() {
    let profile = format!("{EXAMPLES}/profile.json");
    let ran = windtunnel([
        "run",
        "--model",
        "llama-3.1-8b-instruct",
        "--profile",
        &profile,
    ]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("--profile has no effect without --latency-model profile"),
        "{}",
        ran.stderr
    );
    let ran = windtunnel(["run", "--model", "m", "--latency-model", "profile"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("needs --profile FILE"),
        "{}",
        ran.stderr
    );
    let args = [
        "run",
        "--latency-model",
        "profile",
        "--profile",
        &profile,
        "--extrapolation",
        "guess",
    ];
    let ran = windtunnel(args);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("valid: error, clamp, linear"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_table_of_steps_says_limits_and_times_and_what_was_not_measured() {
    let table = root()
        .join(EXAMPLES)
        .join("steps.csv")
        .display()
        .to_string();
    let run = |more: &[&str]| {
        let args = [
            "run",
            "--latency-model",
            "profile",
            "--profile",
            &table,
            "--num-requests",
            "20",
            "--rate",
            "2",
            "--prompt-tokens-stdev",
            "0",
            "--output-tokens",
            "20",
            "--output-tokens-stdev",
            "0",
            "--json",
        ];
        windtunnel(args.iter().chain(more))
    };
    let ran = run(&["--prompt-tokens", "200"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let result: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(result["completed_requests"], 20);
    assert_eq!(result["setup"]["max_num_scheduled_tokens"], 1024);
    assert_eq!(result["setup"]["total_kv_blocks"], 2000);
    let ran = run(&["--prompt-tokens", "200", "--max-num-batched-tokens", "2048"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("prefill tokens and 1025 to 2048 tokens"),
        "{}",
        ran.stderr
    );
    // More KV tokens than any row has: known only when the run meets them.
    let ran = run(&["--prompt-tokens", "3900", "--prompt-tokens-max", "3900"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("a step time was asked for outside of"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_simulation_is_verified_against_what_was_measured() {
    let folder = Folder::with(&[
        (
            "real.csv",
            "request_id,arrival_us,ttft_us,e2e_us\na,0,1000,2000\nb,10,1000,4000\n",
        ),
        (
            "same.csv",
            "request_id,arrival_us,ttft_us,e2e_us\nb,10,1001,4000\na,0,1000,2000\n",
        ),
        (
            "off.csv",
            "request_id,arrival_us,ttft_us,e2e_us\na,0,1000,2000\nb,10,1100,4000\n",
        ),
        (
            "bench.json",
            r#"{"ttfts": [0.001, 0.001], "itls": [[0.001], [0.003]], "start_times": [5.0, 5.1]}"#,
        ),
    ]);
    let fine = folder.command("verify @/real.csv @/same.csv --tolerance 0");
    assert_eq!(
        (fine.code, fine.stderr.as_str()),
        (0, ""),
        "{}",
        fine.stdout
    );
    let off = folder.command("verify @/real.csv @/off.csv --tolerance 0.05 --json");
    assert_eq!(off.code, 3, "{}", off.stderr);
    let found: Value = serde_json::from_str(&off.stdout).expect("JSON");
    assert_eq!(found["first_difference"]["request"], "b");
    assert_eq!(found["differences"][0]["relative_error_max"], 0.1);
    assert_eq!(
        folder
            .command("verify @/real.csv @/off.csv --tolerance 0.1")
            .code,
        0
    );
    // Without a tolerance it is a report, not a gate.
    let told = folder.command("verify @/real.csv @/off.csv");
    assert_eq!(told.code, 0);
    assert!(
        told.stdout.contains("first difference: request b, ttft"),
        "{}",
        told.stdout
    );
    let bench = folder.command("verify @/bench.json @/same.csv --tolerance 0.01 --json");
    assert_eq!(bench.code, 0, "{}{}", bench.stdout, bench.stderr);
    assert!(bench.stdout.contains("\"matched_by\": \"order\""));
    let none = folder.command("verify @/real.csv @/real.csv --tolerance -1");
    assert_eq!(none.code, 2);
}
