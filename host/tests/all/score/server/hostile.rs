//! Clients that mean no good: pages of other sites, connections without end, requests without
//! measure.

use super::harness::{Server, innocent};
use crate::score::sandbox::{eventually, send};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use windtunnel_base::input::visible;

fn head(server: &Server, length: usize, headers: &str) -> String {
    format!(
        "POST /score HTTP/1.1\r\nContent-Length: {length}\r\nConnection: close\r\n{}\r\n",
        headers.replace("HERE", &server.address)
    )
}

#[test]
fn pages_of_other_sites_and_strangers_are_refused() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "0123456789abcdef\n").expect("written");
    let server = Server::start(&format!(
        "--jobs 1 --allow-host scores.example --token-file {}",
        token.path().display()
    ));
    let body = br#"{"candidate": "return {}", "stage": "smoke"}"#;
    let bearer = "Authorization: Bearer 0123456789abcdef\r\n";
    let kind = "Content-Type: application/json\r\n";
    for (headers, status) in [
        (format!("Host: HERE\r\n{kind}{bearer}"), 200),
        (format!("Host: scores.example\r\n{kind}{bearer}"), 200),
        (
            format!("Host: HERE\r\nOrigin: http://HERE\r\n{kind}{bearer}"),
            200,
        ),
        (format!("Host: evil.example\r\n{kind}{bearer}"), 403),
        (
            format!("Host: HERE\r\nOrigin: http://evil.example\r\n{kind}{bearer}"),
            403,
        ),
        (
            format!("Host: HERE\r\nSec-Fetch-Site: cross-site\r\n{kind}{bearer}"),
            403,
        ),
        (
            format!("Host: HERE\r\nContent-Type: text/plain\r\n{bearer}"),
            415,
        ),
        (
            format!("Host: HERE\r\nSec-Fetch-Site: none\r\n{bearer}"),
            415,
        ),
        (format!("Host: HERE\r\n{bearer}"), 200),
        (format!("Host: HERE\r\n{kind}"), 401),
        (
            format!("Host: HERE\r\n{kind}{}", bearer.replace("ef", "ff")),
            401,
        ),
        (format!("{kind}{bearer}"), 400),
    ] {
        let head = head(&server, body.len(), &headers);
        let (found, answer) = server.exchange(&head, body);
        assert_eq!(found, status, "{headers}: {answer}");
        assert_eq!(answer["error"].is_string(), status != 200, "{answer}");
    }
    let (status, _) = server.get("/health");
    assert_eq!(status, 401, "nothing is told without the token");
}

#[test]
fn what_is_refused_costs_nothing() {
    let server = Server::start("--jobs 1 --max-requests 2880");
    let text = innocent();
    let many: Vec<&str> = vec!["light"; 5000];
    for (body, said) in [
        (
            json!({ "candidate": text, "scenarios": ["nope"] }),
            "unknown scenario",
        ),
        (
            json!({ "candidate": text, "scenarios": [] }),
            "the list is empty",
        ),
        (
            json!({ "candidate": text, "scenarios": many }),
            "is named twice",
        ),
        (
            json!({ "candidate": text, "scenarios": ["secret-holdout"] }),
            "unknown scenario",
        ),
        (
            json!({ "candidate": text, "seeds": 1000 }),
            "takes at most 4",
        ),
        (
            json!({ "candidate": text, "seeds": "5" }),
            "takes at most 4",
        ),
        (
            json!({ "candidate": text, "id": "x".repeat(201) }),
            "at most 200 characters",
        ),
    ] {
        let (status, answer) = server.post("/score", &body);
        let told = answer["error"].as_str().unwrap_or_default();
        assert!(status == 400 && told.contains(said), "{status} {told}");
    }
    for twice in [
        r#"{"candidate": "return {}", "candidate": "return {}"}"#,
        r#"{"candidate": {"routing": "return {}", "routing": "x"}}"#,
        r#"{"candidate": "return {}", "params": {"a": 1, "a": 2}}"#,
        r#"{"candidate": "return {}", "p\u0061rams": {}, "params": {"a": 2}}"#,
    ] {
        let (status, answer) = server.request("POST", "/score", twice.as_bytes());
        let told = answer["error"].as_str().unwrap_or_default();
        assert!(
            status == 400 && told.contains("stands there twice"),
            "{told}"
        );
    }
    let (_, health) = server.get("/health");
    assert_eq!(health["budget"]["used"], 0);
    let small = Server::start("--jobs 1 --max-requests 1440");
    assert_eq!(
        small.post("/evaluate", &json!({ "candidate": text })).0,
        200
    );
    let (status, answer) = small.post("/evaluate_examples", &json!({ "candidate": text }));
    let told = answer["error"].as_str().unwrap_or_default();
    assert!(
        status == 400 && told.contains("this costs 1920 simulated requests"),
        "{told}"
    );
}

/// A name is what a report calls a candidate, never a path.
#[test]
fn any_name_gives_the_same_report() {
    let server = Server::start("--jobs 1");
    let score = |id: &str, text: &str| {
        let body = json!({ "candidate": text, "id": id, "stage": "smoke" });
        let mut report = server.report(&body);
        assert_eq!(report["candidate"].take(), json!(visible(id)));
        crate::score::harness::timeless(report)
    };
    for text in [
        innocent(),
        "return {".to_owned(),
        "return { route = function(r) r.x() end }".to_owned(),
    ] {
        let plain = score("a", &text);
        for id in [
            "",
            "a/",
            "..",
            ".lua",
            "a.so:b",
            "x.lua.lua",
            "/etc/passwd",
            "a.yaml",
            "x\n",
            "a\0b",
            "\u{1b}[31m",
            "\u{202e}a",
        ] {
            assert_eq!(score(id, &text), plain, "{id}");
        }
        let errors = plain["errors"].as_array().expect("a list");
        assert!(
            errors.iter().all(|e| e["file"] == "candidate.lua"),
            "{errors:?}"
        );
    }
}

/// Minutes of work.
fn endless() -> Value {
    json!({ "candidate": innocent(), "stage": "full", "seeds": 1000 })
}

fn start_and_leave(server: &Server, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(&server.address).expect("connected");
    let headers = "Host: HERE\r\nContent-Type: application/json\r\n";
    let head = head(server, body.len(), headers);
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .expect("sent");
    stream
}

#[test]
fn work_ends_with_the_client_that_wanted_it() {
    let server = Server::start("--jobs 1 --no-cache --max-seeds 1000 --queue 4");
    let used = |n: u64| server.get("/health").1["budget"]["used"].as_u64() == Some(n);
    let nobody_waits = || server.get("/health").1["waiting"] == 0;
    let running = start_and_leave(&server, &endless());
    eventually("the first is counted", || used(1));
    // Before it is taken, it has a place in the queue, and the last of the others would have none.
    eventually("the first is taken", nobody_waits);
    let waiting: Vec<TcpStream> = (0..4)
        .map(|_| start_and_leave(&server, &endless()))
        .collect();
    eventually("the others wait", || used(5));
    drop(waiting);
    eventually("nobody waits", nobody_waits);
    drop(running);
    let body = json!({ "candidate": innocent(), "stage": "smoke" });
    assert_eq!(server.report(&body)["ok"], true);
}

#[cfg(target_os = "linux")]
#[test]
fn connections_without_end_keep_nobody_out_and_do_not_outlive_a_signal() {
    let mut server = Server::start("--jobs 1 --no-cache --max-seeds 1000 --queue 1");
    let open = |part: &str| {
        let mut stream = TcpStream::connect(&server.address).expect("connected");
        let _ = stream.write_all(part.as_bytes());
        stream
    };
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(open(""));
        all.push(open("POST /score HTTP/1.1\r\nHost: x\r\nX-a: "));
        let waiting = head(
            &server,
            500_000,
            "Host: HERE\r\nContent-Type: application/json\r\n",
        );
        all.push(open(&format!("{waiting}{{")));
    }
    assert_eq!(server.get("/health").0, 200);
    let running = start_and_leave(&server, &endless());
    eventually("it is taken", || {
        server.get("/health").1["budget"]["used"] == 1
    });
    send("TERM", &server.child.id().to_string());
    assert!(server.child.wait().expect("it ends").success());
    eventually("the end of its workers", || {
        server.scoring.workers().is_empty()
    });
    drop((all, running));
}
