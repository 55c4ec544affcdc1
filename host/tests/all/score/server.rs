//! The score server: GEPA's protocol, whole reports, wrong and hostile requests, its end.

use super::lab::{Scoring, data, score_of, timeless, zoo};
use super::walls::{eventually, send};
use crate::support::root;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

/// A server, ended when it is dropped.
struct Server {
    child: Child,
    address: String,
    ready: Value,
    scoring: Scoring,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of an answer.
type Answer = (u16, Value);

impl Server {
    fn start(flags: &str) -> Self {
        let scoring = Scoring::new();
        let mut command = scoring.command(&format!(
            "score-server --suite {} --until-stdin-closes {flags}",
            scoring.suite()
        ));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let url = ready["url"].as_str().expect("an address");
        let address = url.strip_prefix("http://").expect("http").to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        Self {
            child,
            address,
            ready,
            scoring,
        }
    }

    /// Sends what is given, says that this is all, and reads to the end.
    fn cut(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends what is given and reads to the end.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        // A server that has read enough may close before all is written.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("UTF-8")
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        let answer = self.raw(&[head.as_bytes(), body].concat());
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).expect("a status").parse();
        let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
        assert!(
            head.to_lowercase()
                .contains("content-type: application/json"),
            "{head}"
        );
        (status.expect("a number"), body)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, b"")
    }

    /// What `/score` says of a candidate.
    fn report(&self, body: &Value) -> Value {
        let (status, report) = self.post("/score", body);
        assert_eq!(status, 200, "{report}");
        report
    }

    /// What the command says of the same.
    fn by_command(&self, text: &str, flags: &str) -> Value {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("candidate.lua");
        std::fs::write(&file, text).expect("written");
        let suite = self.scoring.suite();
        let mut command = self.scoring.command(&format!(
            "score --suite {suite} --json --no-cache {flags} candidate.lua"
        ));
        command.current_dir(folder.path());
        let output = command.output().expect("the command starts");
        timeless(serde_json::from_slice(&output.stdout).expect("a report"))
    }
}

fn text_of(name: &str) -> String {
    let path = root().join(zoo(name));
    std::fs::read_to_string(path).expect("a candidate")
}

fn innocent() -> String {
    std::fs::read_to_string(data().join("innocent.lua")).expect("a candidate")
}

#[test]
fn it_speaks_the_protocol_of_gepas_evaluation_server() {
    let server = Server::start("--jobs 2 --max-evals 20");
    assert_eq!(server.ready["suite"], "tiny@1");
    let text = innocent();
    let all = server.by_command(&text, "");
    let (status, whole) = server.post("/evaluate", &json!({ "candidate": text }));
    assert_eq!((status, score_of(&whole)), (200, score_of(&all)));
    assert_eq!(whole["info"]["scores"], all["objectives"]);
    assert_eq!(
        whole["budget"],
        json!({ "exhausted": false, "max_evals": 20, "used": 1, "remaining_evals": 19 })
    );
    assert_eq!(whole["info"]["_budget"], whole["budget"]);
    let one = |id: &str| {
        let (status, answer) =
            server.post("/evaluate", &json!({ "candidate": text, "example_id": id }));
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let heavy = one("heavy");
    assert_eq!(
        score_of(&heavy),
        score_of(&server.by_command(&text, "--scenario heavy"))
    );
    assert_eq!(heavy["info"]["Scenario"], "heavy");
    let val = one("secret-val");
    assert_eq!(
        score_of(&val),
        score_of(&server.by_command(&text, "--split val"))
    );
    let keys: Vec<&String> = val["info"].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["Scenario", "_budget"], "no more than the score");

    let (status, many) = server.post(
        "/evaluate_examples",
        &json!({ "candidate": text, "example_ids": ["heavy", "secret-val", "heavy"] }),
    );
    assert_eq!(status, 200);
    assert_eq!(
        many["scores"],
        json!({ "heavy": heavy["score"], "secret-val": val["score"] })
    );
    assert_eq!(
        many["average_score"],
        json!((score_of(&heavy) + score_of(&val)) / 2.0)
    );
    assert_eq!(
        (&many["num_evaluated"], &many["errors"]),
        (&json!(2), &json!({}))
    );
    assert_eq!(many["infos"]["heavy"]["scores"], heavy["info"]["scores"]);
    let (_, many) = server.post("/evaluate_examples", &json!({ "candidate": text }));
    let ids: Vec<&String> = many["scores"].as_object().expect("scores").keys().collect();
    assert_eq!(ids, ["light", "heavy", "long", "secret-val"]);
    let (_, valid) = server.post("/validate", &json!({ "candidate": text }));
    assert_eq!(
        (&valid["val_score"], &valid["best_val_score"]),
        (&val["score"], &val["score"])
    );

    let (_, bad) = server.post(
        "/evaluate",
        &json!({ "candidate": text_of("no-such-field") }),
    );
    assert_eq!(score_of(&bad), -100.0);
    assert!(
        bad["info"]["Error"]
            .as_str()
            .expect("an error")
            .contains("did you mean \"queue_depth\"?")
    );
    assert_eq!(bad["info"]["scores"]["ttft_mean"], -100.0);

    let (_, status) = server.get("/status");
    assert_eq!(
        (&status["task"], &status["total_evals"]),
        (&json!("tiny@1"), &json!(11))
    );
    // Scores of single scenarios do not compare with those of all.
    assert_eq!(status["best_score"], whole["score"]);
    let (_, task) = server.get("/task");
    assert_eq!(
        (
            &task["has_dataset"],
            &task["train_size"],
            &task["val_size"],
            &task["test_size"]
        ),
        (&json!(true), &json!(3), &json!(1), &json!(0))
    );
    for id in ["secret-holdout", "hevy", ""] {
        let (status, answer) =
            server.post("/evaluate", &json!({ "candidate": text, "example_id": id }));
        assert_eq!(status, 400);
        let said = answer["error"].as_str().expect("an error");
        assert!(said.starts_with("Unknown or sealed example_id: "), "{said}");
        assert_eq!(
            said.contains("did you mean \"heavy\"?"),
            id == "hevy",
            "{said}"
        );
    }
    // Nine are left: four and four go, then there is room for one alone.
    for _ in 0..2 {
        assert_eq!(
            server
                .post("/evaluate_examples", &json!({ "candidate": text }))
                .0,
            200
        );
    }
    let (status, answer) = server.post("/evaluate_examples", &json!({ "candidate": text }));
    assert_eq!(
        (status, &answer["error"]),
        (429, &json!("Budget exhausted"))
    );
    assert_eq!(
        server.post("/evaluate", &json!({ "candidate": text })).0,
        200
    );
    let (status, answer) = server.post("/evaluate", &json!({ "candidate": text }));
    assert_eq!(
        (status, &answer["budget"]["exhausted"]),
        (429, &json!(true))
    );
}

#[test]
fn its_reports_are_those_of_the_command_whatever_else_is_asked() {
    let server = Server::start("--jobs 2 --no-cache");
    let text = innocent();
    let questions = [
        (json!({ "candidate": text }), text.clone(), ""),
        (
            json!({ "candidate": text, "stage": "full", "seeds": 3 }),
            text.clone(),
            "--stage full --seeds 3",
        ),
        (
            json!({ "candidate": text, "split": "val" }),
            text.clone(),
            "--split val",
        ),
        (
            json!({ "candidate": text, "scenarios": ["long"], "seeds": "auto" }),
            text.clone(),
            "--scenario long --seeds auto",
        ),
        (
            json!({ "candidate": text_of("unordered"), "incumbent": 50 }),
            text_of("unordered"),
            "--incumbent 50",
        ),
        (
            json!({ "candidate": text_of("breaks-under-load") }),
            text_of("breaks-under-load"),
            "",
        ),
        (
            json!({ "candidate": text_of("hang-per-call") }),
            text_of("hang-per-call"),
            "",
        ),
        (
            json!({ "candidate": text_of("memory-leak"), "stage": "full" }),
            text_of("memory-leak"),
            "--stage full",
        ),
        (
            json!({ "candidate": "return {" }),
            "return {".to_owned(),
            "",
        ),
    ];
    let expected: Vec<Value> = questions
        .iter()
        .map(|(_, text, flags)| server.by_command(text, flags))
        .collect();
    assert!(expected[0]["ok"] == true && expected[5]["ok"] == false);
    // All at once, twice, in different orders.
    std::thread::scope(|scope| {
        for turn in 0..2 {
            for k in 0..questions.len() {
                let k = if turn == 0 {
                    k
                } else {
                    questions.len() - 1 - k
                };
                let (server, questions, expected) = (&server, &questions, &expected);
                scope.spawn(move || {
                    let report = timeless(server.report(&questions[k].0));
                    assert_eq!(report, expected[k], "{}", questions[k].2);
                });
            }
        }
    });
    let by_hook = json!({ "routing": text, "scheduler": "return { key = function(req) return req.arrival_us end }" });
    let report = server.report(&json!({ "id": "both", "candidate": by_hook, "params": {} }));
    assert_eq!(
        (&report["ok"], &report["candidate"]),
        (&json!(true), &json!("both"))
    );
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
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
        let (code, answer) = server.ask(method, path, body.as_bytes());
        let said = answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{path} {body}: {answer}"));
        assert_eq!(code, status, "{path} {body}: {said}");
        assert!(said.contains(message), "{path} {body}: {said}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(server.ask("POST", "/evaluate", deep.as_bytes()).0, 400);
    assert_eq!(
        server
            .ask("POST", "/evaluate", b"{\"candidate\": \"\xff\"}")
            .0,
        400
    );
    let long = format!("{{\"candidate\": \"{}\"}}", "x".repeat(2 << 20));
    let head = format!(
        "POST /evaluate HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        long.len()
    );
    let answer = server.raw(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for nonsense in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "POST /evaluate HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
    ] {
        let answer = server.cut(nonsense.as_bytes());
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
        "POST /evaluate HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
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
fn holdout_is_told_where_it_is_allowed_as_a_whole() {
    let server = Server::start("--allow-holdout");
    let text = innocent();
    let report = server.report(&json!({ "candidate": text, "split": "holdout" }));
    assert_eq!(
        timeless(report),
        server.by_command(&text, "--split holdout")
    );
    let (status, answer) = server.post(
        "/score",
        &json!({ "candidate": text, "split": "holdout", "scenarios": ["secret-holdout"] }),
    );
    assert_eq!(status, 400, "{answer}");
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let server = Server::start("--jobs 1 --queue 2 --no-cache");
    let slow = json!({ "candidate": text_of("tick-bomb") });
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| server.post("/evaluate", &slow).0))
            .collect();
        let found: Vec<u16> = asked
            .into_iter()
            .map(|a| a.join().expect("answered"))
            .collect();
        let count = |status| found.iter().filter(|s| **s == status).count();
        assert_eq!(count(200) + count(503), 6, "{found:?}");
        assert!(count(200) >= 2 && count(503) >= 1, "{found:?}");
    });
    let (_, health) = server.get("/health");
    assert_eq!(health["waiting"], 0);
    assert_eq!(
        server.report(&json!({ "candidate": innocent() }))["ok"],
        true
    );
}

#[cfg(target_os = "linux")]
#[test]
fn it_ends_when_it_is_told_and_leaves_nobody_behind() {
    for how in ["INT", "TERM", "KILL", "stdin"] {
        let mut server = Server::start("--jobs 2");
        assert_eq!(
            server.report(&json!({ "candidate": innocent() }))["ok"],
            true
        );
        assert!(!server.scoring.workers().is_empty());
        match how {
            "stdin" => drop(server.child.stdin.take()),
            signal => send(signal, &server.child.id().to_string()),
        }
        let status = server.child.wait().expect("it ends");
        assert_eq!(status.success(), how != "KILL", "{how}: {status}");
        eventually("the end of its workers", || {
            server.scoring.workers().is_empty()
        });
        assert!(TcpStream::connect(&server.address).is_err());
    }
}

/// What is being scored when it is told to end comes to its end; what waits is told.
#[cfg(target_os = "linux")]
#[test]
fn those_who_wait_are_answered_when_it_ends() {
    let mut server = Server::start("--jobs 1 --no-cache");
    let slow = json!({ "candidate": text_of("tick-bomb") });
    let found: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| server.post("/evaluate", &slow).0))
            .collect();
        eventually("a queue", || server.get("/health").1["waiting"] == 2);
        send("TERM", &server.child.id().to_string());
        asked
            .into_iter()
            .map(|a| a.join().expect("answered"))
            .collect()
    });
    let count = |status| found.iter().filter(|s| **s == status).count();
    assert_eq!((count(200), count(503)), (1, 2), "{found:?}");
    assert!(server.child.wait().expect("it ends").success());
}

#[test]
fn wrong_flags_are_refused_and_other_addresses_warned_of() {
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
