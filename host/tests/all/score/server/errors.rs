//! Wrong and hostile requests, and wrong flags.

use super::harness::{Server, innocent};
use crate::score::harness::Scoring;
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;

#[test]
fn wrong_requests_are_refused_with_the_reason() {
    let server = Server::start("--jobs 1");
    for (method, path, body, status, message) in [
        (
            "POST",
            "/evaluate",
            "",
            400,
            "the body is not what it should be: EOF",
        ),
        (
            "POST",
            "/evaluate",
            "{",
            400,
            "the body is not what it should be: EOF",
        ),
        (
            "POST",
            "/evaluate",
            "[]",
            400,
            "the body is not what it should be",
        ),
        (
            "POST",
            "/evaluate",
            "\u{0}\u{1}",
            400,
            "the body is not what it should be",
        ),
        ("POST", "/evaluate", "{}", 400, "missing field `candidate`"),
        (
            "POST",
            "/evaluate",
            "{\"candidate\": 5}",
            400,
            "expected Lua text, or an object with Lua texts by hook",
        ),
        (
            "POST",
            "/evaluate",
            "{\"candidate\": {}}",
            400,
            "expected Lua text, or an object with Lua texts by hook",
        ),
        (
            "POST",
            "/evaluate",
            "{\"candidate\": {\"routng\": \"\"}}",
            400,
            "unknown hook \"routng\"; did you mean \"routing\"?",
        ),
        (
            "POST",
            "/evaluate",
            "{\"candidate\": {\"routing\": 1}}",
            400,
            "routing: expected Lua text",
        ),
        (
            "POST",
            "/evaluate",
            "{\"candidate\": \"\", \"exmaple_id\": \"light\"}",
            400,
            "unknown field `exmaple_id`",
        ),
        (
            "POST",
            "/evaluate_examples",
            "{\"candidate\": \"\", \"example_ids\": []}",
            400,
            "example_ids is empty",
        ),
        (
            "POST",
            "/score",
            "{\"candidate\": \"\", \"split\": \"test\"}",
            400,
            "unknown variant `test`",
        ),
        (
            "POST",
            "/score",
            "{\"candidate\": \"\", \"split\": \"holdout\"}",
            403,
            "--allow-holdout",
        ),
        (
            "POST",
            "/score",
            "{\"candidate\": \"\", \"stage\": \"quik\"}",
            400,
            "unknown stage \"quik\"; did you mean \"quick\"?",
        ),
        (
            "POST",
            "/score",
            "{\"candidate\": \"\", \"seeds\": 0}",
            400,
            "seeds is \"0\"; expected auto, or 1 to 1000",
        ),
        (
            "POST",
            "/score",
            "{\"candidate\": \"\", \"scenarios\": [\"ligt\"]}",
            400,
            "did you mean \"light\"?",
        ),
        ("GET", "/evaluate", "", 405, "/evaluate does not take GET"),
        (
            "POST",
            "/evalute",
            "{}",
            404,
            "unknown path \"/evalute\"; did you mean \"/evaluate\"?",
        ),
        ("GET", "/../../etc/passwd", "", 404, "unknown path"),
    ] {
        let (code, answer) = server.request(method, path, body.as_bytes());
        let said = answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{path} {body}: {answer}"));
        assert_eq!(code, status, "{path} {body}: {said}");
        assert!(said.contains(message), "{path} {body}: {said}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(server.request("POST", "/evaluate", deep.as_bytes()).0, 400);
    assert_eq!(
        server
            .request("POST", "/evaluate", b"{\"candidate\": \"\xff\"}")
            .0,
        400
    );
    let long = format!("{{\"candidate\": \"{}\"}}", "x".repeat(2 << 20));
    let head = format!(
        "POST /evaluate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        long.len()
    );
    let answer = server.send(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for nonsense in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "POST /evaluate HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
    ] {
        let answer = server.send_and_close(nonsense.as_bytes());
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{nonsense:?}: {answer}"
        );
    }
    // A client that goes away before it is answered.
    let mut gone = TcpStream::connect(&server.address).expect("connected");
    let body = json!({ "candidate": innocent() }).to_string();
    write!(
        gone,
        "POST /evaluate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    drop(gone);
    // After all this it still works, and none of it was taken from the budget but those that had a
    // candidate.
    let (status, health) = server.get("/health");
    assert_eq!((status, &health["ok"]), (200, &json!(true)));
    assert!(health["budget"]["used"].as_u64() <= Some(2), "{health}");
    assert_eq!(
        server.report(&json!({ "candidate": innocent() }))["ok"],
        true
    );
    let (_, suite) = server.get("/suite");
    assert_eq!(
        suite["scenarios"],
        json!({ "train": ["light", "heavy", "long"], "val": ["secret-val"] })
    );
    assert!(!suite.to_string().contains("holdout"));
}

#[test]
fn wrong_flags_are_refused_and_public_addresses_warned_of() {
    let scoring = Scoring::new();
    let suite = scoring.suite();
    for (flags, message) in [
        (
            "--listen here",
            "--listen is \"here\"; expected a port, or an IP address and a port such as 127.0.0.1:8080",
        ),
        ("--listen 70000", "--listen is \"70000\"; expected a port"),
        (
            "--listen 192.0.2.1:80",
            "--listen: cannot listen on 192.0.2.1:80: ",
        ),
        (
            "--allow-native",
            "--allow-native has no effect here: candidates come as Lua text",
        ),
        ("--queue 0", "--queue must be at least 1, found 0"),
        ("--max-seeds 0", "--max-seeds must be at least 1, found 0"),
        (
            "--allow-host here:80",
            "--allow-host is \"here:80\"; expected a name such as scores.example.org, without a port",
        ),
        (
            "--token-file Cargo.toml",
            "a token has at least 16 characters",
        ),
        ("--jobs 0", "--jobs must be at least 1, found 0"),
        ("--suite none", "unknown suite \"none\""),
    ] {
        let flags = if flags.starts_with("--suite") {
            flags.to_owned()
        } else {
            format!("--suite {suite} {flags}")
        };
        let scored = scoring.run(&format!("score-server {flags}"));
        assert_eq!(
            (scored.code, scored.stdout.as_str()),
            (Some(2), ""),
            "{flags}"
        );
        assert!(scored.stderr.contains(message), "{}", scored.stderr);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let scored = scoring.run(&format!("score-server --suite {suite} --listen {port}"));
    assert_eq!(scored.code, Some(2));
    assert!(
        scored.stderr.contains("address in use") || scored.stderr.contains("in use"),
        "{}",
        scored.stderr
    );
    // At the end of its input it ends at once: the input is empty here.
    let scored = scoring.run(&format!(
        "score-server --suite {suite} --listen 0.0.0.0:0 --until-stdin-closes"
    ));
    assert_eq!(scored.code, Some(0));
    assert!(
        scored
            .stderr
            .starts_with("warning: whoever reaches 0.0.0.0:"),
        "{}",
        scored.stderr
    );
}
