//! Decision logs written by hand, and why the simulation decides otherwise.

use crate::support::windtunnel;
use serde_json::{Value, json};
use std::path::Path;

/// Two idle servers of an 8B model.
fn begin(routing: &str) -> Value {
    json!({
        "kind": "policies", "version": 1, "policies": { "routing": routing }, "files": {},
        "instances": 2,
        "deployment": {
            "model": "llama-3.1-8b-instruct",
            "pools": [{ "hardware": "H100", "parallel": { "tensor": 1 } }],
            "servers": [["a", ""], ["b", ""]],
            "scrape_us": 1_000_000, "block_size": 16, "seed": 42,
        },
        "names": [""], "because": "start",
    })
}

/// The lines of a request of 160 prompt tokens that are known by `block` on.
fn request(
    serial: u64,
    at_us: i64,
    changes: Value,
    host: Value,
    to: usize,
    block: u64,
) -> Vec<Value> {
    let view = json!({ "serial": serial, "arrival_us": at_us, "prompt_tokens": 160 });
    let mut route = json!({
        "kind": "asked", "call": "route", "at_us": at_us, "request": view, "answer": { "to": to },
    });
    if host != json!([]) {
        route["host"] = host;
    }
    let mut admit = json!({
        "kind": "asked", "call": "admit", "at_us": at_us, "request": view, "changes": changes,
        "answer": "admit",
    });
    if serial == 0 {
        admit["shown"] = json!([0, 1]);
    }
    let endpoint = ["a", "b"][to];
    let done = json!({
        "kind": "done", "serial": serial, "id": format!("r{serial}"),
        "endpoint": endpoint, "outcome": "completed", "status": 200,
        "arrival_us": at_us, "ttft_us": 15_000, "e2e_us": 15_000, "prompt_tokens": 160,
        "output_tokens": 1, "hash_ids": (block..block + 10).collect::<Vec<u64>>(),
    });
    vec![admit, route, done]
}

/// What the simulation of a log says, and its exit code.
fn resimulated(folder: &Path, lines: &[Value]) -> (Value, i32, String) {
    let path = folder.join("decisions.jsonl");
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(&path, lines.join("\n")).expect("written");
    let path = path.to_str().expect("a path");
    let ran = windtunnel(["replay-decisions", path, "--resimulate", "--json"]);
    let all = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr));
    let text = windtunnel(["replay-decisions", path, "--resimulate"]);
    (all, ran.code, text.stdout)
}

/// Views of both servers, idle.
fn idle() -> Value {
    json!({ "0": {}, "1": { "index": 1 } })
}

#[test]
fn a_signal_of_another_value_is_named_with_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lines = vec![begin("least-loaded")];
    lines.extend(request(0, 1_000_000, idle(), json!([]), 0, 0));
    // The log says that five requests are on b, of which the simulation knows nothing.
    let changes = json!({ "0": { "in_flight": 1 }, "1": { "in_flight": 5 } });
    lines.extend(request(1, 1_002_000, changes, json!([]), 0, 100));
    let (all, code, text) = resimulated(folder.path(), &lines);
    assert_eq!((&all["compared"], &all["equal"]), (&json!(2), &json!(1)));
    assert_eq!((&all["verdict"], code), (&json!("disagrees"), 3));
    let causes = all["causes"].as_array().expect("causes");
    assert_eq!(causes.len(), 1, "{all}");
    let expected = json!({
        "kind": "value", "signal": "in_flight", "count": 1,
        "example": {
            "request": "r1", "at_us": 1_002_000, "logged": "a", "simulated": "b",
            "signal": "in_flight", "is_decisive": true, "server": "b",
            "logged_value": 5, "simulated_value": 0,
        },
    });
    assert_eq!(causes[0], expected);
    assert!(text.contains("in_flight of b: 5, simulated 0"), "{text}");
    // In free running the request goes where the simulation sends it.
    assert_eq!(all["free"]["equal"], json!(1));
}

#[test]
fn a_scrape_of_another_moment_is_told_from_another_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lines = vec![begin("least-loaded")];
    lines.extend(request(0, 1_000_000, idle(), json!([]), 0, 0));
    // The request is over some ten milliseconds after it came: the log's server says that it runs
    // still, the simulated one said so before.
    let changes = |at: i64, running: u32| json!({ "0": { "batch_size": running, "scraped_us": at }, "1": { "scraped_us": at } });
    lines.extend(request(
        1,
        1_050_000,
        changes(1_018_000, 1),
        json!([]),
        1,
        100,
    ));
    let (all, ..) = resimulated(folder.path(), &lines);
    let cause = &all["causes"][0];
    let signal = (&cause["kind"], &cause["signal"]);
    assert_eq!(signal, (&json!("age"), &json!("batch_size")), "{all}");
    // Long after it is over, no server ever said that.
    let mut lines = vec![begin("least-loaded")];
    lines.extend(request(0, 1_000_000, idle(), json!([]), 0, 0));
    lines.extend(request(
        1,
        1_950_000,
        changes(1_900_000, 1),
        json!([]),
        1,
        100,
    ));
    let (all, ..) = resimulated(folder.path(), &lines);
    assert_eq!(all["causes"][0]["kind"], json!("value"), "{all}");
}

#[test]
fn what_is_believed_to_be_cached_is_a_cause_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("longest.lua");
    let text = "return { route = function(req, insts)\n\
        local best, most = 1, -1\n\
        for i, inst in ipairs(insts) do\n\
        local n = inst:precise_prefix_blocks()\n\
        if n > most then best, most = i, n end\n\
        end\n\
        return best\n\
        end }\n";
    std::fs::write(&policy, text).expect("written");
    let routing = policy.to_str().expect("a path");
    let host = |a: u32, b: u32| json!([[["prefix", true, 2], [a, b]]]);
    let mut lines = vec![begin(routing)];
    lines.extend(request(0, 1_000_000, idle(), host(0, 0), 0, 0));
    let changes = json!({ "0": { "in_flight": 1 } });
    // The same prompt: a was sent it, and the log believes that b has it.
    lines.extend(request(1, 1_002_000, changes, host(0, 10), 1, 0));
    let (all, ..) = resimulated(folder.path(), &lines);
    let cause = &all["causes"][0];
    let what = (
        &cause["kind"],
        &cause["signal"],
        &cause["example"]["is_decisive"],
    );
    assert_eq!(
        what,
        (&json!("prefix"), &json!("cached blocks"), &json!(true)),
        "{all}"
    );
}

#[test]
fn where_each_request_went_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lines = vec![begin("round-robin")];
    // Both to a: the second ought to have gone to b, the third goes to a in either case.
    for (serial, to) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
        let changes = match serial {
            0 => idle(),
            1 => json!({ "0": { "in_flight": 1, "dispatched_tokens": 160 } }),
            _ => json!({}),
        };
        let at = 1_000_000 + 1_000 * serial as i64;
        lines.extend(request(serial, at, changes, json!([]), to, 100 * serial));
    }
    let (all, code, text) = resimulated(folder.path(), &lines);
    assert_eq!(
        (&all["compared"], &all["equal"], code),
        (&json!(4), &json!(3), 3)
    );
    // It was told the same: it is its own place in the round that differs.
    assert_eq!(all["causes"][0]["kind"], json!("memory"), "{all}");
    assert!(
        text.contains("3 of 4 to the same server (75.0 %): disagrees"),
        "{text}"
    );
    // A log of less than a run: what is served is simulated, what has no end is counted.
    lines.retain(|line| line["serial"] != json!(3));
    let (all, ..) = resimulated(folder.path(), &lines);
    assert_eq!(
        (&all["compared"], &all["unfinished"]),
        (&json!(3), &json!(1))
    );
}
