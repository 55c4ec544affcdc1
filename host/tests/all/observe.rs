//! Live servers are observed, and simulations are held against what was observed.

mod server;

use crate::errors::Folder;
use crate::support::Ran;
use serde_json::Value;
use server::{Manner, Server, number_in};
use std::collections::HashMap;
use std::fs;

/// Whatever else the machine does, requests are not refused for being late.
const NEVER_LATE: &str = "--max-lateness 1e9";

/// Sixteen requests, 1 ms apart.
const LOAD: &str = "--rate 1000 --arrivals constant --num-requests 16 --prompt-tokens 40 --prompt-tokens-stdev 5 --prompt-tokens-max 60 \
                    --output-tokens 6 --output-tokens-stdev 2 --output-tokens-max 9";

fn observe(folder: &Folder, server: &Server, more: &str) -> Ran {
    folder.command(&format!("observe {} {NEVER_LATE} {more}", server.url()))
}

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect("readable")
}

/// The rows of a CSV file, by column.
fn rows(folder: &Folder, name: &str) -> Vec<HashMap<String, String>> {
    let text = read(folder, name);
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let rows = table.deserialize();
    rows.map(|row| row.expect("a row")).collect()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", ran.stdout, ran.stderr))
}

fn number(row: &HashMap<String, String>, column: &str) -> i64 {
    row[column].parse().expect("a number")
}

#[test]
fn every_request_is_sent_as_the_workload_says_and_written_down() {
    let (folder, server) = (Folder::with(&[]), Server::start(|_| Manner::Streams));
    let more = "--prefix-tokens 20 --warmup-requests 3 --scrape-kv-metrics --out @/seen --record-itl --jsonl @/seen.jsonl --json";
    let ran = observe(&folder, &server, &format!("{LOAD} {more}"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let summary = json(&ran);
    for (key, expected) in [("requests", 13), ("warm_up", 3), ("ok", 13), ("errors", 0)] {
        assert_eq!(summary[key], expected, "{key}");
    }
    assert_eq!(summary["model"], "first");
    assert_eq!(summary["prompts"]["format"], "tokens");
    assert_eq!(summary["kv_hit_rate"], 0.25);

    let rows = rows(&folder, "seen.csv");
    let mut asked = server.asked();
    assert_eq!((rows.len(), asked.len()), (16, 16));
    asked.sort_by_key(|a| number_in(&a.headers));
    let prompts: Vec<&Vec<Value>> = asked
        .iter()
        .filter_map(|a| a.body["prompt"].as_array())
        .collect();
    for (k, (row, asked)) in rows.iter().zip(&asked).enumerate() {
        assert_eq!(number(row, "request_id"), k as i64);
        assert_eq!(number(row, "arrival_time_us"), 1000 * (k as i64 + 1));
        assert_eq!(
            (row["status"].as_str(), number(row, "prefix_length")),
            ("ok", 20)
        );
        let prompt = number(row, "prefix_length") + number(row, "input_tokens");
        assert_eq!(prompts[k].len() as i64, prompt);
        assert_eq!(number(row, "server_input_tokens"), prompt);
        assert_eq!(number(row, "cached_tokens"), 4);
        let output = number(row, "output_tokens");
        assert_eq!(
            (number(row, "num_chunks"), asked.body["max_tokens"].as_i64()),
            (output, Some(output))
        );
        assert_eq!(asked.body["min_tokens"], asked.body["max_tokens"]);
        let times = ["send_time_us", "first_chunk_time_us", "last_chunk_time_us"];
        let [send, first, last] = times.map(|name| number(row, name));
        assert!(send <= first && first <= last, "{row:?}");
        // Never before its time: 1 ms apart, and all from one start.
        let start = number(&rows[0], "send_time_us") - 1000;
        assert!(
            send - start >= 1000 * (k as i64) - number(&rows[0], "arrival_time_us"),
            "{row:?}"
        );
    }
    // The prefix is shared, and nothing behind it.
    assert!(prompts.iter().all(|p| p[..20] == prompts[0][..20]));
    assert_ne!(prompts[0][20..30], prompts[1][20..30]);

    let header = read(&folder, "seen.yaml");
    assert!(
        header.contains("warm_up_requests: 3\n") && header.contains("hit_rate: 0.25\n"),
        "{header}"
    );
    let tokens: i64 = rows.iter().map(|row| number(row, "output_tokens")).sum();
    assert_eq!(
        read(&folder, "seen.itl.csv").lines().count() as i64,
        tokens + 1
    );
    let phases = ["warmup", "profiling"].map(|phase| {
        let key = format!("\"benchmark_phase\":\"{phase}\"");
        read(&folder, "seen.jsonl")
            .lines()
            .filter(|l| l.contains(&key))
            .count()
    });
    assert_eq!(phases, [3, 13]);

    // What is written is what other commands read.
    let replayed = folder.command(
        "replay --trace-header @/seen.yaml --trace-data @/seen.csv --model llama-3.1-8b-instruct --results-path @/sim.csv",
    );
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    let calibrated =
        json(&folder.command("calibrate @/seen @/sim.csv --itl-data @/seen.itl.csv --json"));
    let run = &calibrated["runs"][0];
    assert_eq!(run["requests"]["matched_pairs"], 13);
    assert_eq!(run["requests"]["warm_up_excluded"], 3);
    assert_eq!(run["requests"]["token_mismatches"], 0);
    assert_eq!(
        run["metrics"]["itl"]["count"].as_i64(),
        run["metrics"]["tpot"]["count"].as_i64()
    );
    for file in ["seen.csv", "seen.jsonl"] {
        let verified = folder.command(&format!("verify @/{file} @/sim.csv --json"));
        assert_eq!(verified.code, 0, "{file}: {}", verified.stderr);
    }
}

#[test]
fn failures_are_what_their_rows_say() {
    let (folder, server) = (
        Folder::with(&[]),
        Server::start(|k| match k {
            2 => Manner::Refuses,
            3 => Manner::Cuts,
            4 => Manner::Babbles,
            5 => Manner::Hangs,
            _ => Manner::Streams,
        }),
    );
    let load = "--rate 1000 --num-requests 8 --prompt-tokens 8 --prompt-tokens-stdev 0 --output-tokens 5 \
                --output-tokens-stdev 0 --timeout 0.5 --out @/seen --json";
    let ran = observe(&folder, &server, load);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("WARNING: 4 requests were not answered whole"),
        "{}",
        ran.stderr
    );
    let summary = json(&ran);
    let counts = ["ok", "errors", "timeouts"].map(|key| summary[key].as_u64());
    assert_eq!(counts, [Some(4), Some(3), Some(1)]);
    let rows = rows(&folder, "seen.csv");
    let status: Vec<&str> = rows.iter().map(|row| row["status"].as_str()).collect();
    assert_eq!(
        status,
        ["ok", "ok", "error", "error", "error", "timeout", "ok", "ok"]
    );
    assert!(rows[2]["error_message"].contains("503 Service Unavailable: all is full"));
    assert!(
        rows[3]["error_message"].contains("the stream broke off"),
        "{:?}",
        rows[3]
    );
    assert_eq!(
        (
            number(&rows[3], "num_chunks"),
            number(&rows[3], "output_tokens")
        ),
        (2, 2)
    );
    assert!(rows[4]["error_message"].contains("no JSON of a completion: {oops"));
    assert_eq!(number(&rows[5], "first_chunk_time_us"), 0);
}

#[test]
fn later_rounds_of_a_session_hold_the_real_answers() {
    let spec = "version: '2'\nseed: 7\naggregate_rate: 20\nnum_requests: 6\nclients:\n  - id: chat\n    rate_fraction: 1\n    \
                input_distribution: {type: constant, params: {value: 12}}\n    output_distribution: {type: constant, params: {value: 5}}\n    \
                reasoning: {multi_turn: {max_rounds: 3, think_time_us: 2000, context_growth: accumulate}}\n    closed_loop: true\n";
    let folder = Folder::with(&[("chat.yaml", spec)]);
    for (flags, path) in [
        ("", "/v1/completions"),
        ("--api-format chat", "/v1/chat/completions"),
    ] {
        let server = Server::start(|_| Manner::Streams);
        let more = format!("--workload-spec @/chat.yaml --out @/seen {flags}");
        let ran = observe(&folder, &server, &more);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let asked = server.asked();
        assert_eq!(asked.len(), 6);
        assert!(asked.iter().all(|a| a.path == path));
        let later = rows(&folder, "seen.csv");
        let later = later.iter().filter(|row| number(row, "round_index") > 0);
        // Prompt and answer of the round before, less the token that is in no cache.
        let repeated = later.map(|row| number(row, "repeated_tokens") > 0);
        assert_eq!(repeated.collect::<Vec<_>>(), [true; 4]);
        let with_answer = asked.iter().filter(|a| match path {
            "/v1/completions" => {
                let ids = a.body["prompt"].as_array().expect("ids");
                ids.len() > 12 && ids[12..16] == [901, 902, 903, 904].map(Value::from)
            }
            _ => {
                let said = a.body["messages"].as_array().expect("messages");
                said.len() > 1
                    && said[1]["role"] == "assistant"
                    && said[1]["content"] == " t1 t2 t3 t4"
            }
        });
        assert_eq!(with_answer.count(), 4, "{path}");
    }
}

#[test]
fn late_requests_are_written_with_a_mark_and_refused() {
    let (folder, server) = (Folder::with(&[]), Server::start(|_| Manner::Streams));
    // Nobody sends anything within a nanosecond of its time.
    let command = format!(
        "observe {} {LOAD} --max-lateness 0.000001 --out @/seen",
        server.url()
    );
    let ran = folder.command(&command);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("error: requests were sent too late"),
        "{}",
        ran.stderr
    );
    assert!(read(&folder, "seen.yaml").starts_with("# requests were sent too late"));
    assert_eq!(rows(&folder, "seen.csv").len(), 16);
}

#[test]
fn a_limit_on_requests_at_once_holds_others_back() {
    let (folder, server) = (Folder::with(&[]), Server::start(|_| Manner::Dawdles));
    let more = format!("{LOAD} --max-concurrency 2 --json");
    let ran = observe(&folder, &server, &more);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(json(&ran)["ok"], 16);
    // Answers take 20 ms for each token, and requests come 1 ms apart.
    assert!(json(&ran)["held"].as_u64() > Some(0), "{}", ran.stdout);
    assert_eq!(server.most_at_once(), 2);
    let connections = server.connections();
    assert!(connections < 16, "{connections}: none is used again");
}

#[cfg(unix)]
#[test]
fn a_signal_stops_sending_and_what_was_measured_is_written() {
    use std::process::{Command, Stdio};
    let (folder, server) = (Folder::with(&[]), Server::start(|_| Manner::Dawdles));
    let out = folder.path().join("seen");
    let child = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args([
            "observe",
            &server.url(),
            "--rate",
            "1",
            "--num-requests",
            "1000",
            "--out",
        ])
        .arg(&out)
        .args(["--max-lateness", "1e9", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    server.wait();
    let id = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &id]).status();
    assert!(killed.expect("kill").success());
    let done = child.wait_with_output().expect("an end");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("nothing more is sent"), "{stderr}");
    let summary: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(summary["stopped"], true);
    assert_eq!(summary["ok"].as_u64(), Some(server.asked().len() as u64));
    assert!(read(&folder, "seen.yaml").starts_with("# the observation was stopped"));
}

#[test]
fn a_simulation_calibrates_itself_exactly() {
    let folder = Folder::with(&[]);
    let model = "--model llama-3.1-8b-instruct --rules vllm";
    for command in [
        format!(
            "run {model} --workload-spec docs/examples/chat-spec.yaml --num-requests 700 --trace-output @/load"
        ),
        format!(
            "replay {model} --trace-header @/load.yaml --trace-data @/load.csv --trace-output @/own \
             --results-path @/own-rows.csv"
        ),
    ] {
        let ran = folder.command(&command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let ran = folder.command("calibrate @/own @/own-rows.csv --report @/report.json --json");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let run = &json(&ran)["runs"][0];
    assert!(
        run["requests"]["matched_pairs"].as_u64() > Some(100),
        "{run}"
    );
    for metric in ["ttft", "e2e", "tpot"] {
        assert_eq!(run["metrics"][metric]["mape"], 0.0, "{metric}");
        assert_eq!(run["metrics"][metric]["quality"], "excellent", "{metric}");
    }
    assert_eq!(run["per_class"]["critical"]["ttft"]["mape"], 0.0);
    assert_eq!(run["requests_per_s"]["relative_error"], 0.0);
    let report: Value = serde_json::from_str(&read(&folder, "report.json")).expect("JSON");
    assert_eq!(
        report["metrics"]["ttft"]["request_level"]["bias_direction"],
        "neutral"
    );
    assert_eq!(report["ttft_tolerance"]["within"], true);
    let ranked =
        folder.command("calibrate --pair @/own=@/own-rows.csv --pair @/own.csv=@/own-rows.csv");
    assert!(
        ranked.stdout.contains("order of 2 runs"),
        "{}",
        ranked.stdout
    );
    assert!(
        ranked
            .stdout
            .lines()
            .all(|l| l.chars().count() <= 80 || l.contains('/'))
    );
}

#[test]
fn one_command_observes_simulates_and_compares() {
    let (folder, server) = (Folder::with(&[]), Server::start(|_| Manner::Streams));
    let ran = folder.command(&format!(
        "calibrate --url {} {NEVER_LATE} --served-model second --model llama-3.1-8b-instruct --rates 400,900,600 --num-requests 12 --scrape-kv-metrics \
         --prompt-tokens 40 --prompt-tokens-stdev 5 --output-tokens 6 --output-tokens-stdev 2 --out @/seen --json",
        server.url()
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let found = json(&ran);
    let runs = found["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!(run["requests"]["matched_pairs"], 12);
        assert_eq!(run["requests"]["token_mismatches"], 0);
        // The server counts a quarter; nothing is shared, so the simulation finds nothing.
        assert_eq!(run["hit_rate"]["real"], 0.25);
        assert_eq!(run["hit_rate"]["simulated"], 0.0);
        assert!(
            run["metrics"]["ttft"]["simulated_us"]["mean"].as_f64() > Some(1000.0),
            "{run}"
        );
    }
    assert_eq!(found["ranks"]["by_figure"][0]["pairs"], 3);
    assert!(server.asked().iter().all(|a| a.body["model"] == "second"));
    assert_eq!(rows(&folder, "seen-900.csv").len(), 12);
}

#[test]
fn a_fit_to_some_loads_is_judged_by_the_one_that_was_held_out() {
    let (folder, server) = (Folder::with(&[]), Server::start(|_| Manner::Dawdles));
    let ran = folder.command(&format!(
        "calibrate --url {} {NEVER_LATE} --model llama-3.1-8b-instruct --hardware H100 --rates 40,80,60 --num-requests 40 \
         --prompt-tokens 40 --prompt-tokens-stdev 10 --output-tokens 6 --output-tokens-stdev 2 --fit @/fit.yaml --json",
        server.url()
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let fit = &json(&ran)["fit"];
    assert_eq!(fit["run"], "60 requests/s");
    let mape = |of: &str| fit[of]["metrics"]["e2e"]["mape"].as_f64().expect("a MAPE");
    // The server takes at least 20 ms a token, the shipped figures less than 8.
    assert!(mape("before") > 0.5, "{fit}");
    assert!(mape("after") < mape("before"), "{fit}");
    let written = read(&folder, "fit.yaml");
    assert!(
        written.contains("gpu: H100") && written.contains("observed-40.csv"),
        "{written}"
    );
    let used = folder.command(
        "run --model llama-3.1-8b-instruct --hardware H100 --tp 1 --calibration @/fit.yaml --num-requests 3",
    );
    assert_eq!(used.code, 0, "{}", used.stderr);
}

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let (folder, server) = (
        Folder::with(&[("a.csv", "x\n1\n")]),
        Server::start(|_| Manner::Streams),
    );
    let url = server.url();
    for (command, expected) in [
        (
            format!("observe {url} --model third --rate 5"),
            "there is no model \"third\"; it serves first, second",
        ),
        (
            format!("observe {url} --max-lateness 0"),
            "--max-lateness must be above 0, found 0",
        ),
        (
            format!("observe {url} --extra-body [1]"),
            "--extra-body: expected a JSON object",
        ),
        (
            format!("observe {url} --record-itl"),
            "--record-itl has no effect without --out",
        ),
        (
            format!("observe {url} --session-mode closed-loop"),
            "--session-mode has no effect without a trace file",
        ),
        (
            format!("observe {url} --finished-coeffs 1,2 --reqgen-config-path x"),
            "--finished-coeffs has no effect here",
        ),
        (
            format!("observe {url} --api-format chat --prompt-format tokens"),
            "chat takes words, no token ids",
        ),
        (
            "observe https://127.0.0.1".into(),
            "https is not spoken here",
        ),
        (
            "calibrate".into(),
            "there is nothing to compare: expected REAL SIM",
        ),
        (
            "calibrate --pair x".into(),
            "--pair: expected REAL=SIM, found \"x\"",
        ),
        ("calibrate @/a.csv @/a.csv".into(), "a.csv"),
        (
            "calibrate @/a @/b --model x".into(),
            "--model has no effect without --url",
        ),
        (
            "calibrate @/a @/b --api-format chat".into(),
            "--api-format has no effect without --url",
        ),
        (format!("calibrate --url {url}"), "--model is not given"),
        (
            format!("calibrate --url {url} --model x --rates 2 --fit @/f.yaml"),
            "--fit needs at least two of --rates",
        ),
        (
            format!("calibrate --url {url} --model llama-3.1-8b-instruct --step-log @/s"),
            "--step-log has no effect here",
        ),
    ] {
        let ran = folder.command(&command);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (2, ""),
            "{command}\n{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(expected), "{command}\n{}", ran.stderr);
    }
    assert!(server.asked().is_empty(), "nothing was sent");
}
