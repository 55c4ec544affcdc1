//! Each reader, by a small file.

use super::*;
use std::path::PathBuf;

fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn runs(name: &str, text: &str) -> Result<Vec<MeasuredRun>, String> {
    let (_folder, path) = written(name, text);
    read(&path).map_err(|error| error.message().to_owned())
}

fn run(name: &str, text: &str) -> MeasuredRun {
    let mut runs = runs(name, text).unwrap();
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

fn replayed(run: MeasuredRun) -> Result<Replay, String> {
    run.replay().map_err(|error| error.message().to_owned())
}

const BENCH: &str = r#"{"input_lens": [10, 20, 30], "output_lens": [3, 1, 2], "ttfts": [0.5, 0.25, 0.0],
    "itls": [[0.125, 0.25], [], []], "start_times": [101.0, 100.0, 102.0], "errors": ["", "", "gone"]}"#;

#[test]
fn vllm_bench_gives_end_to_end_times_by_its_gaps() {
    let run = run("bench.json", BENCH);
    let first = &run.requests[0];
    assert_eq!((first.ttft_us, first.e2e_us), (Some(5e5), Some(875_000.0)));
    assert_eq!(first.itl_us, Some(187_500.0));
    assert_eq!(first.tpot_us(), Some(187_500.0));
    assert_eq!(first.gaps_us, [125_000.0, 250_000.0]);
    assert!(run.requests[2].failed);
    let replay = replayed(run).unwrap();
    // In order of arrival, without the one that failed.
    let prompts: Vec<_> = replay.requests.iter().map(|r| r.prompt_tokens).collect();
    assert_eq!(prompts, [Some(20), Some(10)]);
    assert!(
        replay.notes[0]
            .ends_with("1 of 3 requests failed; what they cost the others is not simulated")
    );
    let mut source = replay.source();
    let sent: Vec<_> = std::iter::from_fn(|| source.next_request())
        .map(|r| (r.arrival_us, r.prompt.len(), r.output.len()))
        .collect();
    assert_eq!(sent, [(0, 20, 1), (1_000_000, 10, 3)]);
}

#[test]
fn a_bench_that_says_less_can_be_compared_and_not_be_sent_again() {
    let run = run(
        "bench.json",
        r#"{"ttfts": [0.5, 0.25], "itls": [[0.125, 0.125], []], "errors": ["", "gone"]}"#,
    );
    assert_eq!(run.requests[0].e2e_us, Some(750_000.0));
    assert_eq!(
        replayed(run).unwrap_err(),
        "request 1: when it was sent is missing"
    );
    for (text, message) in [
        (
            r#"{"input_lens": [1], "output_lens": [1], "start_times": [0.0], "errors": [""]}"#,
            "ttfts and itls are missing: vllm bench serve writes them where it saves details",
        ),
        (
            r#"{"ttfts": [0.5], "itls": [[0.1], [0.1]]}"#,
            "ttfts and itls have 1 and 2 entries; expected as many of each",
        ),
        (
            r#"{"ttfts": [0.5], "itls": [[]], "output_lens": []}"#,
            "ttfts and output_lens have 1 and 0 entries; expected as many of each",
        ),
    ] {
        assert_eq!(runs("bench.json", text).unwrap_err(), message);
    }
}

#[test]
fn every_run_of_guidellm_is_a_load_of_its_own() {
    let request = |start: f64| {
        format!(
            r#"{{"request_id": "a", "start_time": {start}, "end_time": {}, "prompt_tokens": 7, "output_tokens": 5,
              "time_to_first_token_ms": 100.0, "inter_token_latency_ms": 225.0}}"#,
            start + 1.0
        )
    };
    let later = r#"{"request_latency": 2.0, "prompt_tokens": 7, "output_tokens": 5, "info": {"timings":
        {"request_start": 5.0, "first_iteration": 5.5, "request_end": 7.0}}}"#;
    let text = format!(
        r#"{{"benchmarks": [{{"requests": {{"successful": [{}], "errored": [{{}}]}}}},
                            {{"requests": {{"successful": [{later}]}}}}]}}"#,
        request(3.0)
    );
    let runs = runs("guidellm.json", &text).unwrap();
    assert!(
        runs[0].name.ends_with("guidellm.json#1"),
        "{}",
        runs[0].name
    );
    let first = &runs[0].requests[0];
    assert_eq!((first.ttft_us, first.e2e_us), (Some(1e5), Some(1e6)));
    assert!(runs[0].requests[1].failed);
    let first = &runs[1].requests[0];
    assert_eq!((first.ttft_us, first.e2e_us), (Some(5e5), Some(2e6)));
    assert_eq!(first.tpot_us(), Some(375_000.0));
    let sample = text.replacen(
        r#"{"requests""#,
        r#"{"metrics": {"request_totals": {"successful": 9}}, "requests""#,
        1,
    );
    assert_eq!(
        super::tests::runs("guidellm.json", &sample).unwrap_err(),
        "the report keeps 1 of 9 successful requests; expected one that is written with all of them"
    );
}

#[test]
fn aiperf_says_units_and_has_chunks_where_it_was_asked_for_them() {
    let record = |start: i64, ttft: f64| {
        format!(
            r#"{{"metadata": {{"request_start_ns": {start}, "request_end_ns": {}, "benchmark_phase": "profiling"}},
               "metrics": {{"input_sequence_length": {{"value": 8, "unit": "tokens"}}, "output_sequence_length":
               {{"value": 3, "unit": "tokens"}}, "time_to_first_token": {{"value": {ttft}, "unit": "ms"}},
               "request_latency": {{"value": 0.5, "unit": "s"}}, "inter_chunk_latency": {{"value": [100.0, 150.0],
               "unit": "ms"}}}}, "error": null}}"#,
            start + 400_000_000
        )
        .replace('\n', " ")
    };
    let text = format!(
        "{}\n{}\n",
        record(2_000_000_000, 250.0),
        record(1_000_000_000, 125.0)
    );
    let run = run("profile_export.jsonl", &text);
    let first = &run.requests[0];
    assert_eq!(
        (first.arrival_us, first.ttft_us),
        (Some(1e6), Some(125_000.0))
    );
    assert_eq!(first.e2e_us, Some(5e5));
    assert_eq!(first.gaps_us, [1e5, 1.5e5]);
    assert_eq!(replayed(run).unwrap().requests.len(), 2);
}

/// A report of inference-perf with `events` per token, of a server that was told to answer with
/// four tokens.
fn inference_perf(events: usize) -> String {
    let entry = |k: usize| {
        let start = 10.0 + k as f64;
        let times: Vec<String> = (0..4 * events)
            .map(|e| format!("{}", start + 0.5 + e as f64 * 0.25 / events as f64))
            .collect();
        let prompt = format!("Question {}: ", k % 2).repeat(10);
        format!(
            r#"{{"start_time": {start}, "end_time": {}, "request": "{{\"prompt\": \"{prompt}\", \"max_tokens\": 4,
            \"ignore_eos\": true}}", "info": {{"input_tokens": 40, "output_tokens": 2, "output_token_times": [{}]}}}}"#,
            start + 1.25,
            times.join(", ")
        )
        .replace("\n            ", " ")
    };
    let entries: Vec<String> = (0..4).map(entry).collect();
    format!("[{}]", entries.join(",\n"))
}

#[test]
fn halved_gaps_of_inference_perf_are_refused_and_answers_are_as_long_as_they_were_told() {
    let single = run("report.json", &inference_perf(1));
    assert_eq!(single.requests[0].output_tokens, Some(4));
    assert_eq!(single.requests[0].gaps_us, [250_000.0; 3]);
    let doubled = run("report.json", &inference_perf(2));
    let first = &doubled.requests[0];
    assert_eq!((first.ttft_us, first.e2e_us), (Some(5e5), Some(1.25e6)));
    assert_eq!(first.tpot_us(), Some(250_000.0));
    assert!(first.gaps_us.is_empty());
    let said = doubled.notes.join("\n");
    assert!(said.contains("a token came in several events"), "{said}");
}

#[test]
fn prompts_that_are_sent_again_are_the_same_tokens() {
    // By their texts.
    let mut source = replayed(run("report.json", &inference_perf(1)))
        .unwrap()
        .source();
    let prompts: Vec<_> = std::iter::from_fn(|| source.next_request())
        .map(|r| r.prompt.spans().first().map(|s| (s.stream, s.len)))
        .collect();
    assert_eq!(prompts[0], prompts[2]);
    assert_eq!(prompts[1], prompts[3]);
    // By a cycle of lengths.
    let rows = |length: &dyn Fn(usize) -> usize| {
        let head = "arrival_us,ttft_us,e2e_us,prompt_tokens,output_tokens\n".to_owned();
        let rows = (0..60).map(|k| format!("{},10,20,{},2\n", 1000 * k, length(k)));
        run("rows.csv", &(head + &rows.collect::<String>()))
    };
    let cyclic = replayed(rows(&|k| 500 + 7 * (k % 10))).unwrap();
    assert!(
        cyclic.notes[0].contains("come again after 10 requests"),
        "{:?}",
        cyclic.notes
    );
    let mut source = cyclic.source();
    let streams: Vec<u32> = std::iter::from_fn(|| source.next_request())
        .filter_map(|r| Some(r.prompt.spans().first()?.stream))
        .collect();
    assert_eq!((streams[0], streams[10]), (streams[20], streams[30]));
    // Neither one length nor random ones are a cycle.
    assert!(replayed(rows(&|_| 512)).unwrap().notes.is_empty());
    assert!(
        replayed(rows(&|k| 500 + (k * k * 31) % 97))
            .unwrap()
            .notes
            .is_empty()
    );
}

#[test]
fn rows_are_read_as_csv_and_json_and_traces_of_live_servers_in_their_own_units() {
    let csv = run("r.csv", "request_id,ttft_us,e2e_us\nrequest_0,5,\n");
    let json = run(
        "r.json",
        r#"[{"request_id":"request_0","ttft_us":5,"e2e_us":null}]"#,
    );
    assert_eq!(csv.requests, json.requests);
    let live = run(
        "trace.csv",
        "request_id,input_tokens,server_input_tokens,output_tokens,arrival_time_us,send_rel_us,ttft_ms,e2e_ms,status\n\
         0,1024,1010,128,506090,0,72.5,1652.5,ok\n1,1024,987,128,786326,280739,59.5,1615.5,timeout\n",
    );
    let first = &live.requests[0];
    assert_eq!(
        (first.arrival_us, first.prompt_tokens),
        (Some(0.0), Some(1010))
    );
    assert_eq!(
        (first.ttft_us, first.e2e_us),
        (Some(72_500.0), Some(1_652_500.0))
    );
    assert!(live.requests[1].failed);
}

#[test]
fn damaged_files_say_what_is_wrong_with_them() {
    for (name, text, message) in [
        ("o.csv", "a,b\n1,2\n", "expected rows of requests"),
        (
            "b.csv",
            "ttft_us\nsoon\n",
            "ttft_us: expected microseconds, found \"soon\"",
        ),
        (
            "c.csv",
            "ttft_ms,output_tokens\n5,1.5\n",
            "output_tokens: expected a number of tokens, found 1.5",
        ),
        ("e.csv", "ttft_us\n", "there is no request in it"),
        (
            "j.json",
            r#"[{"ttft_us": "x"}]"#,
            "row 1: ttft_us: expected microseconds, found \"x\"",
        ),
        (
            "k.json",
            r#"[{"ttft_us": 1}, {"a": 1}]"#,
            "row 2: expected rows of requests",
        ),
        ("l.json", r#"[{"ttft_us": 1}, "#, "EOF while parsing"),
        (
            "m.json",
            r#"{"ttfts": [0.5, "itls": 1"#,
            "this is no result of vllm bench serve",
        ),
        (
            "n.jsonl",
            r#"{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}"#,
            "this is a Mooncake trace: expected rows",
        ),
    ] {
        let error = runs(name, text).unwrap_err();
        assert!(error.contains(message), "{name}: {error}");
    }
    let late = "arrival_us,ttft_us,e2e_us,prompt_tokens,output_tokens\n0,30,20,5,2\n";
    assert_eq!(
        replayed(run("r.csv", late)).unwrap_err(),
        "request 1: its first token came after 0.030 ms, its last after 0.020 ms; expected 0 < first <= last"
    );
    let none = "arrival_us,ttft_us,e2e_us,prompt_tokens,output_tokens\n0,,,5,2\n";
    assert_eq!(
        replayed(run("r.csv", none)).unwrap_err(),
        "no request in it was answered"
    );
}
