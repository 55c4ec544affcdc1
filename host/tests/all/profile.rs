//! Profiles are made of logs of steps and of live servers, and what is made of a run gives back the
//! run.

mod server;

use crate::errors::Folder;
use crate::oracle::beside;
use crate::support::root;
use serde_json::Value;
use server::{FakeServer, Manner};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const TABLE: &str = "docs/examples/profilesim/steps.csv";

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect("readable")
}

/// A run whose step times are those of `profile`; what follows goes to it.
fn run(folder: &Folder, profile: &str, more: &str) {
    let ran = folder.command(&format!(
        "run --latency-model profile --profile {profile} --rate 6 --num-requests 200 --prompt-tokens 300 \
         --prompt-tokens-min 20 --prompt-tokens-max 1000 --output-tokens 40 --output-tokens-max 100 \
         --extrapolation linear {more}"
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_log_of_steps_gives_back_the_run_that_it_is_of() {
    let folder = Folder::with(&[]);
    let table = root().join(TABLE).display().to_string();
    run(
        &folder,
        &table,
        "--step-log @/real.jsonl --results-path @/real.csv",
    );
    let made = folder.command(
        "profile --step-log @/real.jsonl --block-size 16 --num-gpu-blocks 2000 --max-num-batched-tokens 1024 \
         --max-num-seqs 64 --max-model-len 4096 --model example/8b -o @/made.csv --json",
    );
    assert_eq!(made.code, 0, "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).expect("JSON");
    for key in ["error_p90", "held_back_error_p90"] {
        let error = made["fit"][key].as_f64().expect("an error");
        assert!(error < 0.02, "{key}: {error}");
    }
    let text = read(&folder, "made.csv");
    assert!(text.contains("made_by: \"windtunnel "), "{text}");
    assert!(text.contains("real.jsonl\":\"blake3:"), "{text}");
    run(
        &folder,
        "@/made.csv",
        "--step-log @/again.jsonl --results-path @/again.csv",
    );
    let requests = folder.command("verify @/real.csv @/again.csv --json");
    let found: Value = serde_json::from_str(&requests.stdout).expect("JSON");
    assert_eq!(found["matched"], 200);
    for metric in found["differences"].as_array().expect("metrics") {
        if metric["metric"] == "queue_time" {
            continue;
        }
        let error = metric["relative_error_median"].as_f64().expect("an error");
        assert!(error < 0.02, "{metric}");
    }
    // The same log verifies itself, packed as well.
    let same = folder.command("verify @/real.jsonl @/real.jsonl --tolerance 0");
    assert_eq!(
        (same.code, same.stderr.as_str()),
        (0, ""),
        "{}",
        same.stdout
    );
    let mixed = folder.command("verify @/real.jsonl @/real.csv");
    assert_eq!(mixed.code, 2);
    assert!(
        mixed
            .stderr
            .contains("is not: steps are compared with steps"),
        "{}",
        mixed.stderr
    );
}

#[test]
fn keeping_the_steps_changes_no_result() {
    let folder = Folder::with(&[]);
    let table = root().join(TABLE).display().to_string();
    run(&folder, &table, "--results-path @/fast.csv");
    run(
        &folder,
        &table,
        "--results-path @/kept.csv --step-log @/steps.jsonl",
    );
    assert_eq!(read(&folder, "fast.csv"), read(&folder, "kept.csv"));
}

#[test]
fn a_packed_log_is_read_and_a_wrong_one_refused_with_its_place() {
    let folder = Folder::with(&[(
        "wrong.jsonl",
        "{\"dur_us\": 5, \"decode\": [1]}\n{\"dur_us\": 5, \"decodes\": [1]}\n",
    )]);
    let refused = folder.command("profile --step-log @/wrong.jsonl -o @/out.csv");
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("wrong.jsonl:2:"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("did you mean \"decode\""),
        "{}",
        refused.stderr
    );
    let flag = folder.command("profile --step-log @/wrong.jsonl -o @/out.csv --max-concurrency 4");
    assert!(
        flag.stderr
            .contains("--max-concurrency has no effect without a URL")
    );
    let nothing = folder.command("profile -o @/out.csv");
    assert_eq!(nothing.code, 2);
    assert!(
        nothing
            .stderr
            .contains("expected a URL, or --step-log FILE"),
        "{}",
        nothing.stderr
    );
    let decodes = "{\"dur_us\": 5000, \"decode\": [10]}\n";
    let prefill = "{\"dur_us\": 9000, \"prefill\": [[64, 0]], \"graph\": false}\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, format!("{decodes}{prefill}").as_bytes())
        .expect("packed");
    fs::write(
        folder.path().join("steps.jsonl.gz"),
        packed.finish().expect("packed"),
    )
    .expect("written");
    let made = folder.command("profile --step-log @/steps.jsonl.gz -o @/out.csv");
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    assert!(read(&folder, "out.csv").contains("\n64,0,0,9,0,1\n"));
    fs::write(folder.path().join("idle.jsonl"), decodes).expect("written");
    let lacking = folder.command("profile --step-log @/idle.jsonl -o @/none.csv");
    assert_eq!(lacking.code, 2);
    assert!(
        lacking
            .stderr
            .contains("idle.jsonl: there is no step that computes a prompt")
    );
    assert!(!folder.path().join("none.csv").exists());
}

/// The tokens of each pass are those of ProfileSim, for all cases of a folder.
fn sweep_passes(cases: &Path) -> usize {
    let mut ran = 0;
    for entry in fs::read_dir(cases).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("readable");
        let case: Value = serde_json::from_str(&text).expect("JSON");
        let Some(passes) = case["passes_first_300"].as_array() else {
            continue;
        };
        if case["expected"]["requests"].is_null() {
            continue;
        }
        let folder = Folder::with(&[]);
        let result = folder.command(&format!(
            "run --latency-model profile --profile {0} --engine profilesim --workload {0} --step-log @/ours.jsonl",
            path.display()
        ));
        assert_eq!(result.code, 0, "{}", result.stderr);
        let lines = passes.iter().map(|pass| {
            let us = pass["seconds"].as_f64().expect("seconds") * 1e6;
            let requests = pass["per_request"].as_object().expect("tokens by request");
            let decode: Vec<Value> = requests
                .values()
                .map(|n| serde_json::json!([n, 0]))
                .collect();
            serde_json::json!({"dur_us": us, "decode": decode, "requests": requests}).to_string()
        });
        let theirs: Vec<String> = lines.collect();
        let ours = read(&folder, "ours.jsonl");
        let ours: Vec<&str> = ours.lines().take(theirs.len()).collect();
        fs::write(folder.path().join("theirs.jsonl"), theirs.join("\n")).expect("written");
        fs::write(folder.path().join("first.jsonl"), ours.join("\n")).expect("written");
        let verified = folder.command("verify @/theirs.jsonl @/first.jsonl --tolerance 0.001");
        assert_eq!(verified.code, 0, "{}: {}", path.display(), verified.stdout);
        ran += 1;
    }
    ran
}

#[test]
fn passes_have_the_tokens_that_profilesim_gives_them() {
    let ran = sweep_passes(&root().join("host/tests/data/profilesim"));
    assert!(ran >= 3, "only {ran} cases lie in the project");
    let folder = beside().join("profile");
    match folder.is_dir() {
        true => assert!(sweep_passes(&folder) > 0),
        false => println!("passes of ProfileSim: no folder {}", folder.display()),
    }
}

#[test]
fn a_live_server_is_measured_with_what_it_says_of_itself() {
    let server = FakeServer::start(Manner::Streams);
    let folder = Folder::with(&[]);
    let url = server.url();
    let made = folder.command(&format!(
        "profile {url}/v1 --max-prompt-tokens 32 --max-concurrency 2 --max-num-seqs 2 --max-num-batched-tokens 32 \
         -o @/made.csv --json"
    ));
    assert_eq!(made.code, 0, "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).expect("JSON");
    assert_eq!(made["reach"]["prefill_tokens"], 32);
    let text = read(&folder, "made.csv");
    for part in [
        "model: \"fake\"",
        "engine: \"vllm 9.8.7\"",
        "block_size: 16",
        "num_gpu_blocks: 100",
        "max_num_batched_tokens: 32",
        "max_model_len: 512",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains(&format!("{{\"{url}\":\"")), "{text}");
    // No two prompts begin alike, and each is as long as it should be.
    let prompts = server.prompts();
    let mut beginnings: Vec<&[u64]> = prompts.iter().filter_map(|p| p.get(..8)).collect();
    let sent = beginnings.len();
    beginnings.sort_unstable();
    beginnings.dedup();
    assert_eq!(beginnings.len(), sent);
    assert_eq!(prompts.iter().map(Vec::len).max(), Some(32));
    // A run takes its limits from it.
    let ran = folder.command(
        "run --latency-model profile --profile @/made.csv --rate 1 --num-requests 3 --prompt-tokens 20 \
         --prompt-tokens-stdev 0 --output-tokens 4 --output-tokens-stdev 0 --extrapolation clamp",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn what_is_wrong_with_a_server_is_told_and_nothing_is_written() {
    let folder = Folder::with(&[]);
    let refused = |url: &str, more: &str| {
        let ran = folder.command(&format!("profile {url} -o @/made.csv {more}"));
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(!folder.path().join("made.csv").exists());
        ran.stderr
    };
    // A port that was free a moment ago.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = gone.local_addr().expect("an address").port();
    drop(gone);
    let message = refused(&format!("http://127.0.0.1:{port}"), "");
    assert!(message.contains("/v1/models: cannot connect"), "{message}");
    assert!(refused("https://a", "").contains("https is not spoken here"));
    let streams = FakeServer::start(Manner::Streams);
    let message = refused(&streams.url(), "--model fale");
    assert!(message.contains("there is no model \"fale\""), "{message}");
    assert!(message.contains("did you mean \"fake\""), "{message}");
    let message = refused(&streams.url(), "--max-prompt-tokens 512");
    assert!(
        message.contains("leaves no room for an answer"),
        "{message}"
    );
    let message = refused(&streams.url(), "--api-key-env NO_SUCH_VARIABLE");
    assert!(message.contains("there is no environment variable NO_SUCH_VARIABLE"));
    let whole = FakeServer::start(Manner::AnswersWhole);
    let message = refused(&whole.url(), "");
    assert!(message.contains("the server does not stream: it answers with application/json"));
    let full = FakeServer::start(Manner::Refuses);
    let message = refused(&full.url(), "");
    let expected = "/v1/completions: status 503 Service Unavailable: all is full";
    assert!(message.contains(expected), "{message}");
    let silent = FakeServer::start(Manner::Hangs);
    let message = refused(&silent.url(), "--budget-seconds 1");
    assert!(
        message.contains("the first completion was not there within 1 s"),
        "{message}"
    );
}

#[test]
fn an_interrupted_measurement_leaves_no_file() {
    let silent = FakeServer::start(Manner::Hangs);
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args(["profile", &silent.url(), "-o"])
        .arg(folder.path().join("made.csv"))
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    silent.wait_for_completion();
    let sent = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    assert!(!running.wait().expect("it ends").success());
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
}
