//! Files as public tools write them, through the command line: found out by their content, shown,
//! run, and refused with the place of a mistake.

use crate::errors::Folder;
use crate::support::{root, windtunnel};
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::Write;

/// Examples of the documents: file, what it is, requests, sessions, prompt tokens that an infinite
/// cache would hold, in percent.
const EXAMPLES: [(&str, &str, u64, u64, [u32; 2]); 9] = [
    ("bailian.jsonl", "Bailian trace", 24, 6, [60, 68]),
    ("vidur.csv", "Vidur trace", 40, 0, [0, 0]),
    (
        "llmservingsim.jsonl",
        "LLMServingSim workload",
        18,
        3,
        [0, 2],
    ),
    (
        "aiperf-export.jsonl",
        "AIPerf's export of requests",
        18,
        6,
        [60, 75],
    ),
    (
        "aiperf-sessions.jsonl",
        "AIPerf custom data set",
        12,
        4,
        [75, 95],
    ),
    ("aiperf-inputs.json", "AIPerf's inputs.json", 6, 3, [50, 95]),
    (
        "inference-perf-requests.json",
        "inference-perf's report of requests",
        19,
        0,
        [45, 60],
    ),
    ("kv-cache-tester", "kv-cache-tester trace", 14, 4, [60, 80]),
    (
        "sglang-bench.jsonl",
        "results of sglang's bench_serving",
        12,
        0,
        [0, 0],
    ),
];

fn example(name: &str) -> String {
    root()
        .join("docs/examples")
        .join(name)
        .display()
        .to_string()
}

fn shown(path: &str) -> Value {
    let ran = windtunnel(["workload", "show", "--json", path]);
    assert_eq!(ran.code, 0, "{path}\n{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn every_example_is_known_by_its_content_and_all_its_requests_are_served() {
    for (name, format, requests, sessions, [least, most]) in EXAMPLES {
        let path = example(name);
        let summary = shown(&path);
        let workload = summary["workload"].as_str().unwrap();
        assert!(workload.ends_with(&format!("({format})")), "{workload}");
        assert_eq!(
            (&summary["requests"], &summary["sessions"]),
            (&requests.into(), &sessions.into()),
            "{name}"
        );
        let shared = 100.0 * summary["infinite_cache_hit_rate"].as_f64().unwrap();
        let range = f64::from(least)..=f64::from(most);
        assert!(range.contains(&shared), "{name}: {shared}");
        let ran = windtunnel([
            "run",
            "--model",
            "llama-3.1-8b-instruct",
            "--json",
            "--quiet",
            "--workload",
            &path,
        ]);
        assert_eq!(ran.code, 0, "{name}\n{}", ran.stderr);
        let result: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(result["completed_requests"], requests, "{name}");
    }
}

#[test]
fn packed_files_and_utf_16_give_the_same_workload() {
    let folder = Folder::with(&[]);
    for (name, ..) in EXAMPLES.iter().filter(|e| e.0 != "kv-cache-tester") {
        let path = example(name);
        let mut plain = shown(&path);
        let bytes = std::fs::read(&path).unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        let utf16: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
        let zstd = zstd::encode_all(bytes.as_slice(), 1).unwrap();
        for packed in [gzip.finish().unwrap(), zstd, utf16] {
            // Nothing hangs on the name.
            folder.write("w", &packed);
            let mut same = shown(&folder.path().join("w").display().to_string());
            same["workload"].take();
            plain["workload"].take();
            assert_eq!(same, plain, "{name}");
        }
    }
}

#[test]
fn packed_files_that_are_damaged_or_too_large_are_refused() {
    let folder = Folder::with(&[]);
    let pack = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let whole = pack(&std::fs::read(example("vidur.csv")).unwrap());
    folder.write("half.csv.gz", &whole[..whole.len() / 2]);
    let error = folder.refused("--workload @/half.csv.gz");
    assert!(
        error.starts_with("@/half.csv.gz: cannot read: its gzip data are damaged"),
        "{error}"
    );
    // A line without end in a small file.
    let mut bomb = b"{\"chat_id\": 1, \"parent_chat_id\": -1, \"x\": \"".to_vec();
    bomb.resize(65 << 20, b'a');
    folder.write("bomb", &pack(&bomb));
    let error = folder.refused("--workload @/bomb");
    assert_eq!(error, "@/bomb:1: the line is longer than 64 MiB");
    folder.write("t.tar.bz2", b"BZh91AY&SY");
    let error = folder.refused("--workload @/t.tar.bz2");
    assert!(
        error.contains("the file is a bzip2 archive; unpack it first"),
        "{error}"
    );
    // Settings are read packed, too.
    folder.write("bundle.yaml.gz", &pack(b"scheduler: sjf\n"));
    folder.fine("--num-requests 3 --policy-config @/bundle.yaml.gz");
}

#[test]
fn words_of_python_are_absent_values_where_those_are_optional_and_errors_elsewhere() {
    let guidellm = "{\"benchmarks\": [{\"requests\": {\"successful\": [\
        {\"request_latency\": NaN, \"prompt_tokens\": 7, \"output_tokens\": 3, \"start_time\": 50.0},\
        {\"request_latency\": -Infinity, \"prompt_tokens\": 8, \"output_tokens\": 3, \"start_time\": 51.0}]}}]}";
    let vllm = "{\"date\": \"x\", \"backend\": \"vllm\", \"request_rate\": Infinity, \"input_lens\": [10, 20],\n\"output_lens\": [5, 6], \
        \"start_times\": [100.5, 101.0], \"ttfts\": [NaN, 0.1], \"errors\": [\"\", \"\"]}\n";
    let mooncake = "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 1, \"hash_ids\": [1]}\n\
        {\"timestamp\": NaN, \"input_length\": 5, \"output_length\": 1, \"hash_ids\": [1]}\n";
    let folder = Folder::with(&[
        ("g.json", guidellm),
        ("v.json", vllm),
        ("m.jsonl", mooncake),
        ("w.json", &vllm.replace("[5, 6]", "[5, NaN]")),
        ("c.json", &guidellm.replace("50.0", "NaN")),
    ]);
    for name in ["g.json", "v.json"] {
        let path = folder.path().join(name).display().to_string();
        assert_eq!(shown(&path)["requests"], 2, "{name}");
    }
    let error = folder.refused("--workload @/w.json --strict");
    assert!(
        error.starts_with(
            "@/w.json:2:22: this is no result of vllm bench serve: invalid type: null, expected u64"
        ),
        "{error}"
    );
    let error = folder.refused("--workload @/m.jsonl --strict");
    assert!(
        error.starts_with("@/m.jsonl:2: ") && error.contains("NaN and Infinity are read as null"),
        "{error}"
    );
    let error = folder.refused("--workload @/c.json --strict");
    assert!(error.starts_with("@/c.json"), "{error}");
}

#[test]
fn results_of_sglang_are_read_as_its_own_and_summaries_are_sent_to_the_right_file() {
    let path = example("sglang-bench.jsonl");
    let brief = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"input_lens\"", "\"x\"");
    let folder = Folder::with(&[
        ("brief.jsonl", &brief),
        (
            "profile_export_aiperf.json",
            "{\"request_throughput\": {\"unit\": \"requests/sec\", \"avg\": 1.0}, \"input_config\": {}}",
        ),
        (
            "summary_lifecycle_metrics.json",
            "{\"load_summary\": {}, \"successes\": {}, \"failures\": {}}",
        ),
    ]);
    assert_eq!(
        folder.refused("--workload @/brief.jsonl"),
        "@/brief.jsonl: input_lens and output_lens are missing: bench_serving writes them when it is asked for output details"
    );
    let error = folder.refused("--workload @/profile_export_aiperf.json");
    assert!(
        error.ends_with("a summary of AIPerf; profile_export.jsonl beside it has the requests"),
        "{error}"
    );
    let error = folder.refused("--workload @/summary_lifecycle_metrics.json");
    assert!(
        error.ends_with("per_request_lifecycle_metrics.json has the requests"),
        "{error}"
    );
    // At most four are under way at a time.
    let ran = folder.fine(&format!("--workload {path} --results-path @/r.json"));
    assert!(!ran.stdout.is_empty());
    let rows = std::fs::read_to_string(folder.path().join("r.json")).unwrap();
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let at_zero = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["arrival_us"] == 0);
    assert_eq!(at_zero.count(), 4);
}

#[test]
fn sessions_wait_for_answers_in_a_closed_loop_or_come_at_their_times() {
    let folder = Folder::with(&[]);
    let flags = "--model llama-3.1-8b-instruct --json --quiet";
    let closed = |file: &str, more: &str| -> Value {
        let ran = folder.command(&format!("replay {} {flags} {more}", example(file)));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    for file in ["bailian.jsonl", "aiperf-export.jsonl", "kv-cache-tester"] {
        let fixed = closed(file, "--session-mode fixed");
        let looped = closed(file, "--session-mode closed-loop --think-time-ms 0");
        assert_eq!(
            fixed["completed_requests"], looped["completed_requests"],
            "{file}"
        );
        // Without pauses it is over sooner.
        let time = |v: &Value| v["vllm_estimated_duration_s"].as_f64().unwrap();
        assert!(time(&looped) < time(&fixed), "{file}");
    }
    let flat = format!(
        "replay {} {flags} --session-mode closed-loop",
        example("sglang-bench.jsonl")
    );
    let ran = folder.command(&flat);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("it has no sessions to replay as a closed loop"),
        "{}",
        ran.stderr
    );
}

#[test]
fn texts_without_the_length_of_their_answers_take_it_from_a_flag() {
    let folder = Folder::with(&[(
        "p.jsonl",
        "{\"text\": \"What is machine learning?\"}\n{\"text\": \"Define it.\"}\n",
    )]);
    let error = folder.refused("--workload @/p.jsonl");
    assert_eq!(
        error,
        "@/p.jsonl:1: output_length: expected how long the answer is, found nothing; --output-tokens says it for all that do not"
    );
    let ran = folder.fine("--workload @/p.jsonl --output-tokens 40 --json");
    let result: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(result["total_output_tokens"], 80);
    let ran = folder.command("workload show @/p.jsonl --output-tokens 40");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let error = folder.refused(&format!(
        "--workload {} --output-tokens 40",
        example("vidur.csv")
    ));
    assert!(error.contains("--output-tokens has no effect"), "{error}");
}
