//! `windtunnel emulate`: what its servers say, how long they take, what goes wrong on them.

use super::servers::{Serving, ask, begin_completion, completion, eventually};
use crate::support::windtunnel;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpStream;

/// Families of metrics of a real vLLM 0.32 server, as its page has them.
const OF_VLLM: &str = "num_requests_running num_requests_waiting num_requests_waiting_by_reason \
    kv_cache_usage_perc prefix_cache_queries_total prefix_cache_hits_total num_preemptions_total \
    prompt_tokens_total prompt_tokens_by_source_total prompt_tokens_cached_total \
    generation_tokens_total request_success_total admission_rejections_total cache_config_info \
    lora_requests_info request_prompt_tokens request_generation_tokens iteration_tokens_total \
    request_max_num_generation_tokens request_params_n request_params_max_tokens \
    time_to_first_token_seconds inter_token_latency_seconds \
    request_time_per_output_token_seconds e2e_request_latency_seconds request_queue_time_seconds \
    request_inference_time_seconds request_prefill_time_seconds request_decode_time_seconds \
    request_num_preemptions request_prefill_kv_computed_tokens";

#[test]
fn a_client_of_vllm_finds_what_it_knows() {
    let servers =
        Serving::emulated("--enable-prompt-tokens-details --speed 20 --served-model-name m n");
    let models = servers.get(0, "/v1/models").json();
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"][1]["id"], "n");
    assert_eq!(models["data"][0]["max_model_len"], 131_072);

    let answer = servers
        .post(0, "/v1/completions", &completion("one two three", 4))
        .json();
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("text_completion"), &json!("m"))
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let usage = json!({ "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "prompt_tokens_details": { "cached_tokens": 0 } });
    assert_eq!(answer["usage"], usage);
    let text = answer["choices"][0]["text"].as_str().expect("a text");
    let said = servers
        .post(0, "/tokenize", &json!({ "prompt": text }))
        .json();
    assert_eq!(said["count"], 4, "{text:?}");
    let back = servers
        .post(0, "/detokenize", &json!({ "tokens": said["tokens"] }))
        .json();
    assert_eq!(back["prompt"], text);

    let body = json!({ "model": "n", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 3,
        "stream": true, "stream_options": { "include_usage": true } });
    let stream = servers.post(0, "/v1/chat/completions", &body);
    assert!(
        stream.head.contains("content-type: text/event-stream"),
        "{}",
        stream.head
    );
    assert!(
        stream.whole && stream.body.ends_with("data: [DONE]\n\n"),
        "{stream:?}"
    );
    let events = stream.events();
    // The role, three tokens, the usage.
    assert_eq!(events.len(), 5, "{events:?}");
    assert!(
        events
            .iter()
            .all(|event| event["object"] == "chat.completion.chunk")
    );
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[2]["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[4]["choices"], json!([]));
    assert_eq!(events[4]["usage"]["completion_tokens"], 3);

    for (path, body, status, part) in [
        (
            "/v1/completions",
            json!({ "model": "x", "prompt": "a" }),
            404,
            "The model `x` does not exist",
        ),
        (
            "/v1/completions",
            completion("a", 0),
            400,
            "max_tokens must be at least 1",
        ),
        (
            "/v1/completions",
            completion("a", 200_000),
            400,
            "max_model_len=131072",
        ),
        (
            "/v1/completions",
            json!({}),
            400,
            "Either prompt or prompt_embeds",
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": [] }),
            400,
            "messages",
        ),
        ("/nothing", json!({}), 404, "Not Found"),
        ("/v1/models", json!({}), 405, "Method Not Allowed"),
    ] {
        let answer = servers.post(0, path, &body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(part), "{answer:?}");
    }
    let broken = ask(
        &servers.address(0),
        "POST",
        "/v1/completions",
        "",
        "{\"prompt\": ",
    );
    assert_eq!(
        (broken.status, &broken.json()["error"]["type"]),
        (400, &json!("BadRequestError"))
    );
    assert_eq!(servers.get(0, "/health").status, 200);
}

#[test]
fn the_next_turn_hits_the_prefix_cache_and_another_salt_does_not() {
    let servers = Serving::emulated("--enable-prompt-tokens-details --speed 20");
    let user = json!({ "role": "user", "content": "word ".repeat(100) });
    let chat = |messages: Value, salt: &str| {
        let body = json!({ "messages": messages, "max_tokens": 40, "cache_salt": salt });
        servers.post(0, "/v1/chat/completions", &body).json()
    };
    let first = chat(json!([user]), "a");
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let prompt = first["usage"]["prompt_tokens"].as_u64().expect("a number");
    let said = json!({ "role": "assistant", "content": first["choices"][0]["message"]["content"] });
    let next = json!([user, said, { "role": "user", "content": "and then?" }]);
    let cached = |answer: &Value| {
        let cached = &answer["usage"]["prompt_tokens_details"]["cached_tokens"];
        cached.as_u64().expect("a number")
    };
    // The last token of an answer is never computed; only full blocks of 16 tokens are found.
    let expected = (prompt + 39) / 16 * 16;
    assert_eq!(cached(&chat(next.clone(), "a")), expected);
    assert_eq!(cached(&chat(next, "b")), 0);
}

#[test]
fn a_run_of_the_same_requests_takes_exactly_as_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("requests.jsonl");
    // Few blocks and places, so that requests wait and are preempted.
    let engine = "--max-num-seqs 8 --total-kv-blocks 36 --max-model-len 500";
    let servers = Serving::emulated(&format!(
        "{engine} --speed 3 --requests-log {}",
        log.display()
    ));
    std::thread::scope(|scope| {
        for client in 0..12 {
            let servers = &servers;
            scope.spawn(move || {
                for k in 0..6 {
                    let prompt = format!(
                        "{}{}",
                        "shared ".repeat(40 * (client % 3)),
                        "own ".repeat(client + k)
                    );
                    let prompt = format!("{prompt} {client} {k}");
                    let mut body = completion(&prompt, 20 + 10 * (client as u32 + k as u32));
                    body["stream"] = json!(k % 2 == 0);
                    let answer = servers.post(0, "/v1/completions", &body);
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
            });
        }
    });
    assert!(servers.end().success());
    let results = folder.path().join("results.csv");
    let replay = format!(
        "replay {} --model llama-3.1-8b-instruct --hardware H100 --tp 1 --rules vllm {engine} --quiet --results-path {}",
        log.display(),
        results.display()
    );
    let ran = windtunnel(replay.split_whitespace());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines = std::fs::read_to_string(&log).expect("a log");
    let served: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let mut replayed = csv::Reader::from_path(&results).expect("results");
    let replayed: Vec<Value> = replayed
        .deserialize::<serde_json::Map<String, Value>>()
        .map(|row| Value::Object(row.expect("a row")))
        .collect();
    assert_eq!((served.len(), replayed.len()), (72, 72));
    let preempted = served.iter().filter(|r| r["preemptions"] != 0).count();
    assert!(preempted > 0, "nobody was preempted");
    for (served, replayed) in served.iter().zip(&replayed) {
        for key in ["ttft_us", "e2e_us", "cached_tokens", "preemptions"] {
            let number = |row: &Value| {
                let value = &row[key];
                value.as_i64().or_else(|| value.as_str()?.parse().ok())
            };
            assert_eq!(
                number(served),
                number(replayed),
                "{key}: {served} {replayed}"
            );
        }
    }
}

#[test]
fn metrics_have_the_names_of_vllm_and_count_what_was_served() {
    let servers = Serving::emulated("--speed 20 --served-model-name m");
    for k in 0..3 {
        servers.post(
            0,
            "/v1/completions",
            &completion("a b c d ".repeat(10).trim_end(), 5 + k),
        );
    }
    let text = servers.get(0, "/metrics").body;
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE vllm:"));
    let mut families: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let mut expected: Vec<&str> = OF_VLLM.split_whitespace().collect();
    families.sort_unstable();
    expected.sort_unstable();
    assert_eq!(families, expected);
    let all = "model_name=\"m\"";
    for (name, label, value) in [
        ("vllm:prompt_tokens_total", "engine=\"0\"", 120.0),
        ("vllm:generation_tokens_total", all, 18.0),
        ("vllm:prefix_cache_queries_total", all, 120.0),
        ("vllm:prefix_cache_hits_total", all, 64.0),
        (
            "vllm:request_success_total",
            "finished_reason=\"length\"",
            3.0,
        ),
        (
            "vllm:request_success_total",
            "finished_reason=\"abort\"",
            0.0,
        ),
        ("vllm:time_to_first_token_seconds_count", all, 3.0),
        ("vllm:inter_token_latency_seconds_count", all, 15.0),
        (
            "vllm:e2e_request_latency_seconds_bucket",
            "le=\"+Inf\"",
            3.0,
        ),
        ("vllm:iteration_tokens_total_sum", all, 138.0),
        ("vllm:num_requests_running", all, 0.0),
    ] {
        assert_eq!(servers.metric(0, name, label), value, "{name}");
    }
    let load = json!([{ "dp_rank": 0, "num_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0 }]);
    assert_eq!(servers.get(0, "/get_load").json(), load);
    let others = Serving::emulated("--speed 20 --metrics sglang");
    assert_eq!(others.metric(0, "sglang:num_running_reqs", ""), 0.0);
}

#[test]
fn adapters_come_and_go() {
    let servers = Serving::emulated("--speed 20 --lora-modules sql=/adapters/sql");
    let names = |servers: &Serving| {
        let models = servers.get(0, "/v1/models").json();
        let data = models["data"].as_array().expect("models").clone();
        data.iter()
            .map(|m| m["id"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&servers)[1..], ["sql"]);
    let load = json!({ "lora_name": "law", "lora_path": "/adapters/law" });
    assert_eq!(servers.post(0, "/v1/load_lora_adapter", &load).status, 200);
    assert_eq!(servers.post(0, "/v1/load_lora_adapter", &load).status, 400);
    let mut body = completion("a", 2);
    body["model"] = json!("law");
    assert_eq!(
        servers.post(0, "/v1/completions", &body).json()["model"],
        "law"
    );
    assert_eq!(
        servers.post(0, "/v1/unload_lora_adapter", &load).status,
        200
    );
    assert_eq!(
        servers.post(0, "/v1/unload_lora_adapter", &load).status,
        404
    );
    assert_eq!(servers.post(0, "/v1/completions", &body).status, 404);
}

#[test]
fn what_is_to_go_wrong_does() {
    let servers = Serving::emulated("--speed 20");
    let body = completion("a", 8);
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let forced = servers.post_with(0, "/v1/completions", "X-Return-Error: 429\r\n", &body);
    assert_eq!(forced.status, 429);
    assert!(forced.head.contains("retry-after: 1"), "{}", forced.head);
    let wrong = servers.post_with(0, "/v1/completions", "X-Return-Error: soon\r\n", &body);
    assert_eq!(wrong.status, 400);
    let cut = servers.post_with(0, "/v1/completions", "X-Cut-After: 3\r\n", &streamed);
    assert!(!cut.whole && cut.events().len() == 3, "{cut:?}");
    let cut = servers.post_with(0, "/v1/completions", "X-Cut-After: 3\r\n", &body);
    assert!(!cut.whole, "{cut:?}");

    let faults = json!({ "failure-injection-rate": 100, "failure-types": ["rate_limit"] });
    assert_eq!(servers.post(0, "/admin/config", &faults).status, 200);
    assert_eq!(servers.post(0, "/v1/completions", &body).status, 429);
    let unknown = servers.post(0, "/admin/config", &json!({ "failure-rate": 1 }));
    assert!(
        unknown.status == 400 && unknown.body.contains("unknown field"),
        "{unknown:?}"
    );
    let faults = json!({ "failure-injection-rate": 0, "cut-rate": 100 });
    servers.post(0, "/admin/config", &faults);
    assert!(!servers.post(0, "/v1/completions", &streamed).whole);
    servers.post(
        0,
        "/admin/config",
        &json!({ "cut-rate": 0, "metrics-age-ms": 3_600_000 }),
    );
    let before = servers.get(0, "/metrics").body;
    assert!(servers.post(0, "/v1/completions", &streamed).whole);
    assert_eq!(
        servers.get(0, "/metrics").body,
        before,
        "metrics are an hour old"
    );
}

#[test]
fn a_crash_breaks_connections_and_the_server_comes_again_empty() {
    // Simulated seconds: the first server crashes after two of the machine's, for two.
    let servers = Serving::emulated("--num-instances 2 --speed 10 --event 20:fail:0:20");
    servers.post(0, "/v1/completions", &completion("a b c", 3));
    let address = servers.address(0);
    let mut long = completion("a", 100_000);
    long["stream"] = json!(true);
    let mut stream = begin_completion(&address, &long);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(
        !String::from_utf8_lossy(&bytes).contains("[DONE]"),
        "it should have crashed"
    );
    assert!(
        TcpStream::connect(&address).is_err(),
        "nobody should listen"
    );
    assert_eq!(
        servers
            .post(1, "/v1/completions", &completion("a", 3))
            .status,
        200
    );
    eventually("the server comes again", || {
        TcpStream::connect(&address).is_ok()
    });
    assert_eq!(servers.metric(0, "vllm:generation_tokens_total", ""), 0.0);
    assert_eq!(
        servers
            .post(0, "/v1/completions", &completion("a", 3))
            .status,
        200
    );
}

#[test]
fn a_client_that_goes_away_frees_its_place() {
    let servers = Serving::emulated("");
    let running = || servers.metric(0, "vllm:num_requests_running", "");
    for stream in [true, false] {
        let address = servers.address(0);
        let mut long = completion("a", 100_000);
        long["stream"] = json!(stream);
        let connection = begin_completion(&address, &long);
        eventually("it runs", || running() == 1.0);
        drop(connection);
        eventually("it is gone", || running() == 0.0);
    }
    let aborted = servers.metric(0, "vllm:request_success_total", "finished_reason=\"abort\"");
    assert_eq!(aborted, 2.0);
    assert_eq!(servers.metric(0, "vllm:kv_cache_usage_perc", ""), 0.0);
    assert_eq!(servers.get(0, "/load").json()["server_load"], 0);
}

#[test]
fn a_full_queue_is_refused_and_what_is_under_way_is_finished_before_the_end() {
    let mut servers = Serving::emulated("--max-num-queued-reqs 1");
    let address = servers.address(0);
    let mut long = completion("a", 300);
    long["stream"] = json!(true);
    let mut connection = begin_completion(&address, &long);
    eventually("it is there", || {
        servers.metric(0, "vllm:num_requests_running", "") == 1.0
    });
    let refused = servers.post(0, "/v1/completions", &completion("a", 2));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.contains("retry-after"), "{}", refused.head);
    let reason = "reason=\"max_num_queued_reqs\"";
    assert_eq!(
        servers.metric(0, "vllm:admission_rejections_total", reason),
        1.0
    );
    servers.tell_to_end();
    let mut bytes = Vec::new();
    let _ = connection.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("\"text\":").count(), 300);
    assert!(text.contains("[DONE]"));
    assert!(servers.end().success());
}

#[test]
fn what_cannot_be_emulated_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    for (flags, part) in [
        ("--rules blis", "servers behave as vLLM does"),
        (
            "--time-to-first-token 100ms",
            "the simulated engine takes the time",
        ),
        ("--speed 0", "--speed is 0; expected a factor"),
        (
            "--failure-types rate_limit",
            "no effect without --failure-injection-rate",
        ),
        ("--cut-rate 101", "--cut-rate is 101; expected percent"),
        ("--event 1:roll:1", "servers are not replaced"),
        ("--event 1:fail:3", "there is no server 3"),
        ("--lora-modules sql", "expected NAME=PATH"),
        (&format!("--port {port}"), "cannot listen on 127.0.0.1"),
        ("--num-instances 3 --port 65534", "a port above 65535"),
    ] {
        let all = format!("emulate --model llama-3.1-8b-instruct {flags}");
        let ran = windtunnel(all.split_whitespace());
        assert_eq!(ran.code, 2, "{flags}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{flags}: {}", ran.stderr);
    }
}
