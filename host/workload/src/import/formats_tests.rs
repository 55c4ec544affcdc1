//! Files as public tools write them, and what becomes of their requests.

use crate::unfold::Unfold;
use crate::{Format, OpenOptions, SessionMode, Trace, open};
use std::path::PathBuf;
use windtunnel_base::request::{Request, Source};

/// A file in a folder of its own.
struct Sample {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn sample(text: &str) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, text).unwrap();
    Sample {
        _folder: folder,
        path,
    }
}

fn opened(text: &str) -> Trace {
    open(&sample(text).path, None, &OpenOptions::default()).unwrap()
}

fn error(text: &str) -> String {
    let file = sample(text);
    let strict = OpenOptions {
        strict: true,
        ..OpenOptions::default()
    };
    let error = open(&file.path, None, &strict).unwrap_err().to_string();
    error.replace(&file.path.display().to_string(), "f")
}

fn requests(trace: &mut Trace) -> Vec<Request> {
    Unfold::new(trace).collect()
}

/// Arrival, session, round, prompt, output.
type Row = (i64, String, u32, u32, u32);

fn rows(trace: &mut Trace) -> Vec<Row> {
    let all = requests(trace);
    let name = |r: &Request| trace.symbols().name(r.session).to_owned();
    all.iter()
        .map(|r| {
            (
                r.arrival_us,
                name(r),
                r.round,
                r.prompt.len(),
                r.output.len(),
            )
        })
        .collect()
}

fn row(at: i64, session: &str, round: u32, prompt: u32, output: u32) -> Row {
    (at, session.to_owned(), round, prompt, output)
}

/// Tokens with which two prompts begin alike.
fn common(a: &Request, b: &Request) -> u32 {
    let most = a.prompt.len().min(b.prompt.len());
    (0..most)
        .take_while(|at| a.prompt.token_key(*at) == b.prompt.token_key(*at))
        .count() as u32
}

#[test]
fn bailian_chats_are_sessions_and_blocks_of_16_tokens_are_shared() {
    let text = r#"{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 40, "output_length": 12, "type": "text", "turn": 1, "hash_ids": [1, 2, 3]}
{"chat_id": 160, "parent_chat_id": -1, "timestamp": 61.5, "input_length": 33, "output_length": 5, "type": "search", "turn": 1, "hash_ids": [1, 2]}
{"chat_id": 161, "parent_chat_id": 159, "timestamp": 70.614, "input_length": 64, "output_length": 7, "type": "text", "turn": 2, "hash_ids": [1, 2, 4, 5]}
{"chat_id": 162, "parent_chat_id": 77, "timestamp": 71, "input_length": 10, "output_length": 1, "type": "text", "turn": 9, "new_key": 1}
"#;
    let mut trace = opened(text);
    assert_eq!(trace.format(), Format::Bailian);
    assert_eq!(
        trace.notes(),
        ["keys that have no effect here: \"new_key\""]
    );
    let all = requests(&mut trace.clone());
    assert_eq!(
        (common(&all[0], &all[1]), common(&all[0], &all[2])),
        (32, 32)
    );
    assert_eq!(all[1].private_from, 32);
    assert_eq!(trace.symbols().name(all[1].client), "search");
    assert_eq!(
        rows(&mut trace),
        [
            row(0, "159", 0, 40, 12),
            row(386_000, "", 0, 33, 5),
            row(9_500_000, "159", 1, 64, 7),
            row(9_886_000, "", 0, 10, 1),
        ]
    );
    for (change, message) in [
        (
            ("61.114", "NaN"),
            "f:1: timestamp: expected seconds of 0 or more, found nothing (NaN and Infinity are read as null)",
        ),
        (
            ("[1, 2, 3]", "[1]"),
            "f:1: hash_ids: expected an id for every block of 16 tokens, so 3 for 40 tokens, found 1",
        ),
        (
            ("\"input_length\": 33", "\"input_length\": -3"),
            "f:2: input_length: expected a whole number from 0 to 1073741823, found -3",
        ),
        (
            ("\"chat_id\": 161", "\"chat_id\": null"),
            "f:3: invalid type: null, expected i64; expected an object with chat_id",
        ),
    ] {
        let error = error(&text.replace(change.0, change.1));
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn vidur_tables_are_read_with_and_without_times_and_sessions() {
    let mut trace =
        opened("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,591,140\n0.625,547.0,248\n");
    assert_eq!(trace.format(), Format::Vidur);
    assert_eq!(
        rows(&mut trace),
        [row(0, "", 0, 591, 140), row(125_000, "", 0, 547, 248)]
    );
    assert!(trace.notes().is_empty());
    let mut trace = opened(
        ",num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n0,100,10,110,10\n1,200,20,220,10\n",
    );
    assert_eq!(
        trace.notes(),
        ["there is no column arrived_at: all requests without a time arrive at time 0"]
    );
    assert_eq!(rows(&mut trace).len(), 2);
    let sessions = "arrived_at,num_prefill_tokens,num_decode_tokens,session_id,session_turn_index,block_hash_ids\n0,100,11,7,0,1|2\n2,150,10,7,1,1|2\n";
    let mut trace = opened(sessions);
    assert!(
        trace.notes()[1].contains("\"block_hash_ids\""),
        "{:?}",
        trace.notes()
    );
    let all = requests(&mut trace);
    assert_eq!((all[1].round, common(&all[0], &all[1])), (1, 100));
    let broken = error("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,many,140\n");
    assert_eq!(
        broken,
        "f:2: column \"num_prefill_tokens\": expected a whole number from 0 to 1073741823, found \"many\""
    );
}

#[test]
fn llmservingsim_requests_and_agents_follow_their_tools() {
    let text = r#"{"input_toks": 4, "output_toks": 2, "arrival_time_ns": 1000000, "input_tok_ids": [1, 2, 3, 4], "output_tok_ids": [5, 6]}
{"session_id": "task-0", "arrival_time_ns": 2000000, "sub_requests": [{"input_toks": 7, "output_toks": 3, "tool_duration_ns": 127348767, "input_tok_ids": [1, 2, 3, 4, 5, 6, 9]}, {"input_toks": 8, "output_toks": 1, "tool_duration_ns": 0}]}
"#;
    let mut trace = opened(text);
    assert_eq!(trace.format(), Format::LlmServingSim);
    let all = requests(&mut trace.clone());
    // The second prompt begins with the first one and its answer.
    assert_eq!(common(&all[0], &all[1]), 4);
    assert_eq!(all[1].prompt.token_key(5), all[0].output.token_key(1));
    assert!(trace.has_sessions() && trace.has_follow_ups());
    assert_eq!(
        rows(&mut trace),
        [
            row(0, "", 0, 4, 2),
            row(1_000, "task-0", 0, 7, 3),
            row(1_003 + 127_348, "task-0", 1, 8, 1),
        ]
    );
    let few = text.replace("\"input_toks\": 7", "\"input_toks\": 6");
    assert_eq!(
        error(&few),
        "f:2: sub_requests[0].input_tok_ids: expected 6 ids, found 7"
    );
    let mut table =
        opened("input_toks\toutput_toks\tarrival_time_ns\n10\t70\t46926808\n22\t104\t347938952\n");
    assert_eq!(
        rows(&mut table),
        [row(0, "", 0, 10, 70), row(301_012, "", 0, 22, 104)]
    );
}

#[test]
fn aiperf_exports_keep_times_sessions_and_pauses() {
    let record = |session: &str,
                  turn: u32,
                  start: i64,
                  end: i64,
                  isl: u32,
                  osl: u32,
                  rest: &str| {
        format!(
            "{{\"metadata\": {{\"session_num\": 1, \"x_request_id\": \"r\", \"x_correlation_id\": \"{session}\", \"conversation_id\": \"c\", \
             \"turn_index\": {turn}, \"request_start_ns\": {start}, \"request_ack_ns\": 5, \"request_end_ns\": {end}, \"benchmark_phase\": \"profiling\", \
             \"was_cancelled\": false}}, \"metrics\": {{\"input_sequence_length\": {{\"value\": {isl}, \"unit\": \"tokens\"}}, \
             \"output_sequence_length\": {{\"value\": {osl}, \"unit\": \"tokens\"}}, \"inter_token_latency\": {{\"value\": NaN}}}}, \"error\": null{rest}}}\n"
        )
    };
    const EPOCH: i64 = 1_759_813_207_532_900_363;
    let second = |s: f64| EPOCH + (s * 1e9) as i64;
    // In order of completion.
    let text = record("a", 0, second(0.0), second(1.0), 100, 11, "")
        + &record("b", 0, second(0.5), second(1.5), 50, 5, "")
        + &record("a", 1, second(1.25), second(2.0), 160, 5, "");
    let mut trace = opened(&text);
    assert_eq!(trace.format(), Format::AiPerf);
    let all = requests(&mut trace.clone());
    assert_eq!(common(&all[0], &all[2]), 100);
    assert_eq!(all[2].detail.as_ref().unwrap().think_us, 250_000);
    assert_eq!(
        rows(&mut trace),
        [
            row(0, "a", 0, 100, 11),
            row(500_000, "", 0, 50, 5),
            row(1_250_000, "a", 1, 160, 5)
        ]
    );
    let failed = text.replacen("\"error\": null", "\"error\": {\"code\": 499}", 1);
    assert_eq!(
        error(&failed),
        "f:1: the request failed or was cancelled (NaN and Infinity are read as null)"
    );
    let warm = text.replacen("profiling", "warmup", 1);
    assert!(
        opened(&warm)
            .notes()
            .iter()
            .any(|n| n.contains("other phases than profiling are left out: 1"))
    );
    let missing = text.replace("\"value\": 50,", "\"value\": null,");
    assert!(error(&missing).starts_with("f:2: input_sequence_length: expected a whole number"));
}

#[test]
fn aiperf_data_sets_become_sessions_that_wait_for_answers() {
    let text = r#"{"session_id": "s1", "turns": [{"role": "system", "text": "You are a terse assistant."}, {"text": "What is machine learning?", "output_length": 20, "timestamp": 500}, {"text": "Give an example.", "delay": 1500, "output_length": 10}]}
{"session_id": "s2", "turns": [{"role": "system", "text": "You are a terse assistant."}, {"text": "Explain neural networks.", "output_length": 5, "timestamp": 0, "image": "x.png"}]}
"#;
    let mut trace = opened(text);
    assert_eq!(trace.format(), Format::AiPerfLines);
    assert_eq!(
        trace.notes(),
        [
            "the file has texts, no token counts: prompts are taken to have a token per 4 bytes",
            "images, sounds and videos are left out, as the model says how many tokens they are: 1"
        ]
    );
    let all = requests(&mut trace.clone());
    // 26 bytes of the system prompt: six whole tokens.
    assert_eq!(common(&all[0], &all[1]), 6);
    assert_eq!(common(&all[1], &all[2]), 13);
    assert_eq!(
        rows(&mut trace),
        [
            row(0, "s2", 0, 13, 5),
            row(500_000, "s1", 0, 13, 20),
            row(500_020 + 1_500_000, "s1", 1, 13 + 20 + 4, 10),
        ]
    );
    let single = "{\"text\": \"Hi there\", \"output_length\": 5}\n{\"text\": \"Hi there, you\", \"extra\": {\"max_tokens\": 7}}\n";
    let mut trace = opened(single);
    assert!(trace.notes()[0].contains("all requests without a time arrive at time 0"));
    assert_eq!(rows(&mut trace), [row(0, "", 0, 2, 5), row(0, "", 0, 4, 7)]);
    assert_eq!(
        error("{\"text\": \"Hi\"}\n"),
        "f:1: output_length: expected how long the answer is, found nothing; `output_tokens` says it for all that do not"
    );
    let output_tokens = Some(9);
    let options = OpenOptions {
        output_tokens,
        ..OpenOptions::default()
    };
    let file = sample("{\"text\": \"Hi\"}\n{\"text\": \"Ho\", \"output_length\": 2}\n");
    let mut trace = open(&file.path, None, &options).unwrap();
    assert!(
        trace
            .notes()
            .iter()
            .any(|n| n.starts_with("answers without a length in the file"))
    );
    assert_eq!(rows(&mut trace), [row(0, "", 0, 1, 9), row(0, "", 0, 1, 2)]);
    let other = sample("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,591,140\n");
    let error = open(&other.path, None, &options).unwrap_err();
    assert!(
        error.message().ends_with("`output_tokens` has no effect"),
        "{error}"
    );
}

#[test]
fn aiperf_inputs_are_sent_as_they_stand_one_after_the_other() {
    let text = r#"{
  "data": [
    {
      "session_id": "session-001",
      "payloads": [
        {"messages": [{"role": "user", "content": "Hello, how are you today?"}], "model": "m", "max_tokens": 16, "stream": true},
        {"messages": [{"role": "user", "content": "Hello, how are you today?"}, {"role": "assistant", "content": "Fine"}, {"role": "user", "content": "Good"}], "max_tokens": 8}
      ]
    },
    {"session_id": "session-002", "payloads": [{"prompt": [1, 2, 3], "max_completion_tokens": 4}]}
  ]
}
"#;
    let mut trace = opened(text);
    assert_eq!(trace.format(), Format::AiPerfInputs);
    let all = requests(&mut trace.clone());
    assert_eq!(common(&all[0], &all[2]), 7);
    // All go to the simulated model, whatever the file calls it.
    assert!(all[0].streaming && all[0].model.is_none());
    assert_eq!(
        rows(&mut trace),
        [
            row(0, "session-001", 0, 8, 16),
            row(0, "", 0, 3, 4),
            row(16, "session-001", 1, 14, 8)
        ]
    );
    let unlimited = text.replace("\"max_tokens\": 8", "\"n\": 1");
    assert_eq!(
        error(&unlimited),
        "f:3: payloads[1].max_tokens: expected how long the answer is, found nothing; `output_tokens` says it for all that do not"
    );
}

#[test]
fn bodies_of_requests_are_read_line_by_line() {
    let text = r#"{"messages": [{"role": "user", "content": "Hi there"}], "max_tokens": 12}
{"custom_id": "r-2", "method": "POST", "body": {"prompt": "Hello, how are you?", "max_tokens": 3}}
"#;
    let mut trace = opened(text);
    assert_eq!(trace.format(), Format::RequestBodies);
    assert_eq!(
        rows(&mut trace),
        [row(0, "", 0, 4, 12), row(0, "", 0, 5, 3)]
    );
    let empty = text.replace("prompt", "pronpt");
    assert_eq!(
        error(&empty),
        "f:2: messages: expected messages or a prompt, found none"
    );
}

#[test]
fn reports_of_inference_perf_share_what_their_texts_share() {
    let entry = |start: f64, text: &str, tokens: u32, error: &str| {
        format!(
            "{{\"start_time\": {start}, \"end_time\": {}, \"request\": \"{{\\\"model\\\": \\\"m\\\", \\\"prompt\\\": \\\"{text}\\\", \\\"stream\\\": true}}\", \
             \"response\": \"\", \"info\": {{\"input_tokens\": {tokens}, \"output_tokens\": 9, \"output_token_times\": [1.5]}}, \"error\": {error}}}",
            start + 1.0
        )
    };
    let system = "s".repeat(200);
    let list = [
        entry(1000.25, &format!("{system}aaaa"), 51, "null"),
        entry(1000.5, &format!("{system}bbbb"), 51, "null"),
        entry(
            1001.0,
            "never answered",
            3,
            "{\"error_type\": \"TimeoutError\", \"error_msg\": \"\"}",
        ),
    ];
    let mut trace = opened(&format!("[\n{}]", list.join(",\n")));
    assert_eq!(trace.format(), Format::InferencePerf);
    assert_eq!(
        trace.notes()[0],
        "which tokens prompts share is told by their texts, 4.0 bytes per token"
    );
    assert!(trace.notes()[1].starts_with("skipped 1 of 3 rows (1 x the request failed)"));
    let all = requests(&mut trace.clone());
    assert_eq!(common(&all[0], &all[1]), 50);
    assert!(all[0].streaming);
    assert_eq!(
        rows(&mut trace),
        [row(0, "", 0, 51, 9), row(250_000, "", 0, 51, 9)]
    );
    // Newer releases nest the counts.
    let nested = r#"[{"start_time": 1.0, "end_time": 2.0, "request": null, "info": {"request_metrics": {"text": {"input_tokens": 12}}, "response_metrics": {"output_tokens": 3}}, "error": null}]"#;
    assert_eq!(rows(&mut opened(nested)), [row(0, "", 0, 12, 3)]);
    assert_eq!(
        error(&format!("[{},\n{}]", list[0], list[2])),
        "f:2: the request failed"
    );
}

#[test]
fn agentic_traces_are_sessions_with_sub_agents_and_scopes() {
    let trace = |scope: &str, agent_t: f64| {
        format!(
            "{{\"id\": \"t1\", \"models\": [\"big\"], \"block_size\": 64, \"hash_id_scope\": \"{scope}\", \"tool_tokens\": 64, \"system_tokens\": 0, \"requests\": [\
             {{\"t\": 0.0, \"type\": \"s\", \"model\": \"big\", \"in\": 150, \"out\": 20, \"hash_ids\": [1, 2], \"input_types\": [\"text\"], \"api_time\": 2.0, \"think_time\": 0.0}},\
             {{\"t\": 3.0, \"type\": \"subagent\", \"agent_id\": \"a1\", \"subagent_type\": \"Explore\", \"duration_ms\": 100, \"status\": \"completed\", \"models\": [], \
             \"requests\": [{{\"t\": {agent_t}, \"type\": \"n\", \"model\": \"small\", \"in\": 70, \"out\": 5, \"hash_ids\": [1]}}]}},\
             {{\"t\": 10.0, \"type\": \"n\", \"model\": \"big\", \"in\": 200, \"out\": 30, \"hash_ids\": [1, 2, 3], \"stop\": \"tool_use\", \"api_time\": 1.0, \"think_time\": 4.5}}]}}\n"
        )
    };
    let mut one = opened(&trace("local", 3.5));
    assert_eq!(one.format(), Format::Weka);
    let all = requests(&mut one.clone());
    assert_eq!(
        (common(&all[0], &all[1]), common(&all[0], &all[2])),
        (64, 128)
    );
    assert_eq!(one.symbols().name(all[1].client), "small");
    assert_eq!(all[2].detail.as_ref().unwrap().think_us, 4_500_000);
    assert_eq!(
        rows(&mut one),
        [
            row(0, "t1", 0, 150, 20),
            row(3_500_000, "t1/a1@1", 0, 70, 5),
            row(10_000_000, "t1", 1, 200, 30)
        ]
    );
    // Nested times that count from the sub-agent's own.
    let mut relative = opened(&trace("local", 0.5));
    assert_eq!(rows(&mut relative)[1].0, 3_500_000);
    assert!(
        relative
            .notes()
            .iter()
            .any(|n| n.contains("are taken to count from it, in traces: 1"))
    );
    // Two traces share tokens only where their ids mean the same.
    for (scope, shared) in [("local", 0), ("global", 128)] {
        let two = trace(scope, 3.5) + &trace(scope, 3.5).replace("t1", "t2");
        let all = requests(&mut opened(&two));
        assert_eq!(common(&all[0], &all[1]), shared, "{scope}");
    }
    let file = sample(&trace("local", 3.5));
    let closed = OpenOptions {
        session_mode: SessionMode::ClosedLoop,
        ..OpenOptions::default()
    };
    let mut closed = open(&file.path, None, &closed).unwrap();
    assert_eq!(rows(&mut closed)[2].0, 4_500_020);
    assert_eq!(rows(&mut opened(&trace("local", 3.5)))[2].0, 10_000_000);
    let wrong = trace("local", 3.5).replace("[1, 2, 3]", "[1]");
    assert_eq!(
        error(&wrong),
        "f: hash_ids: expected an id for every block of 64 tokens, so 4 for 200 tokens, found 1 in request 2 of trace \"t1\""
    );
}

#[test]
fn a_folder_of_agentic_traces_is_one_workload() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["trace_1.json", "trace_2.json"] {
        let text = format!(
            "{{\"id\": \"{name}\", \"block_size\": 64, \"hash_id_scope\": \"global\", \"requests\": [{{\"t\": 0, \"type\": \"n\", \"in\": 64, \"out\": 1, \"hash_ids\": [9]}}]}}"
        );
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let mut trace = open(folder.path(), None, &OpenOptions::default()).unwrap();
    assert_eq!(trace.format(), Format::Weka);
    assert!(trace.notes()[0].starts_with("2 traces: each counts its times"));
    let all = requests(&mut trace);
    assert_eq!((all.len(), common(&all[0], &all[1])), (2, 64));
}

const SGLANG: &str = r#"{"backend": "sglang", "dataset_name": "random", "request_rate": RATE, "max_concurrency": MOST, "sharegpt_output_len": null, "random_input_len": 1024, "random_output_len": 1024, "random_range_ratio": 0.0, "duration": 4.5, "completed": 3, "total_output_tokens_retokenized": 30, "mean_e2e_latency_ms": 10.0, "input_throughput": 8.0, "accept_length": null, "input_lens": [512, 600, 700, 800], "output_lens": [10, 20, 0, 40], "ttfts": [0.5, 1.0, 0.0, 0.25], "itls": [[0.25, 0.25], [2.0], [], [0.1]], "generated_texts": ["a", "b", "", "d"], "errors": ["", "", "gone", ""]}
"#;

#[test]
fn results_of_sglang_are_not_those_of_vllm() {
    let text = |rate: &str, most: &str| SGLANG.replace("RATE", rate).replace("MOST", most);
    let mut all_at_once = opened(&text("Infinity", "null"));
    assert_eq!(all_at_once.format(), Format::SgLang);
    assert_eq!(
        all_at_once.notes()[0],
        "results of bench_serving do not say when requests were sent; they are sent as it sends them: all at once"
    );
    assert_eq!(
        rows(&mut all_at_once),
        [
            row(0, "", 0, 512, 10),
            row(0, "", 0, 600, 20),
            row(0, "", 0, 800, 40)
        ]
    );
    // Two at a time: the first answer takes 1 s, the second 3 s, the third request fails at once.
    let mut two = opened(&text("Infinity", "2"));
    let times: Vec<i64> = rows(&mut two).iter().map(|r| r.0).collect();
    assert_eq!(times, [0, 0, 1_000_000]);
    let mut drawn = opened(&text("0.5", "null"));
    let times: Vec<i64> = rows(&mut drawn).iter().map(|r| r.0).collect();
    assert!(
        times[0] == 0 && times[1] > 0 && times[2] > times[1],
        "{times:?}"
    );
    assert_eq!(
        error(&text("1.0", "null")),
        "f: the request failed, found request 2"
    );
    let two_runs = text("1.0", "null").repeat(2);
    assert!(error(&two_runs).contains("the file has 2 runs; choose one"));
    let brief = text("1.0", "null").replace("input_lens", "x");
    assert!(error(&brief).contains("when it is asked for output details"));
}

#[test]
fn packed_and_utf_16_files_are_the_same_workload() {
    use std::io::Write;
    let text = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,591,140\n0.625,547,248\n";
    let plain = rows(&mut opened(text));
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    let utf16: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&utf16).unwrap();
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    for bytes in [utf16.clone(), gzip.finish().unwrap(), zstd] {
        let file = sample("");
        std::fs::write(&file.path, &bytes).unwrap();
        let mut trace = open(&file.path, None, &OpenOptions::default()).unwrap();
        assert_eq!(rows(&mut trace), plain);
        std::fs::write(&file.path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let file = sample("");
    std::fs::write(&file.path, b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01").unwrap();
    let error = open(&file.path, None, &OpenOptions::default()).unwrap_err();
    assert!(
        error.message().contains("its gzip data are damaged"),
        "{error}"
    );
    std::fs::write(&file.path, b"BZh91AY&SY").unwrap();
    let error = open(&file.path, None, &OpenOptions::default()).unwrap_err();
    assert!(
        error.message().contains("a bzip2 archive; unpack it first"),
        "{error}"
    );
}
