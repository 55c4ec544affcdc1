//! The score server: GEPA's protocol, whole reports, its queue, its end.

mod errors;
mod harness;
mod hostile;

use super::harness::{score_of, timeless};
use super::sandbox::{eventually, send};
use harness::{Server, innocent, text_of};
use serde_json::{Value, json};
use std::net::TcpStream;

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
fn its_reports_equal_those_of_the_command_under_any_load() {
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
fn holdout_is_scored_as_a_whole_if_it_is_allowed() {
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
fn it_ends_on_a_signal_or_the_end_of_its_input_and_leaves_no_process() {
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

/// When it ends, nobody waits for what runs: all are told so.
#[cfg(target_os = "linux")]
#[test]
fn waiting_requests_are_answered_when_it_ends() {
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
    assert_eq!(found, [503; 3]);
    assert!(server.child.wait().expect("it ends").success());
}
