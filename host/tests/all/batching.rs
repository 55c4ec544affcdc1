//! The hook `batching` through the command: listed, checked, begun, run and scored.

use crate::score::{Scoring, data};
use crate::support::windtunnel;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

fn json(line: &str) -> Value {
    let ran = windtunnel(words(line));
    assert_eq!(ran.code, 0, "{line}\n{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn strategies_are_listed_as_the_policies_of_other_hooks_are() {
    let listed = json("policy list --hook batching --json");
    let listed = listed["policies"].as_array().expect("a list");
    let names = |kind: &str| -> Vec<&str> {
        let of_kind = listed.iter().filter(|p| p["kind"] == kind);
        of_kind.filter_map(|p| p["name"].as_str()).collect()
    };
    assert_eq!(names("built-in").len(), 9);
    assert_eq!(names("script"), ["step-time"]);
    let windowed = listed.iter().find(|p| p["name"] == "windowed");
    let params = windowed.expect("it is listed")["params"].clone();
    assert_eq!(params[1]["name"], "window_us");
    assert_eq!(params[1]["default"], 10_000.0);
    let shown = windtunnel(["policy", "show", "windowed"]);
    assert!(
        shown
            .stdout
            .starts_with("-- Built-in batching strategy: As greedy,")
    );
    assert!(shown.stdout.contains("hold_until_us = opens"), "its twin");
}

/// A file as `policy new` writes it is fine, runs, and changes something.
#[test]
fn a_new_file_is_fine_as_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("b.lua");
    let path = file.display();
    let made = windtunnel(words(&format!("policy new {path} --hook batching")));
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(
        made.stderr.contains("--rules vllm --batching-strategy "),
        "{}",
        made.stderr
    );
    let checked = windtunnel(words(&format!("policy check {path}")));
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    assert!(
        checked.stdout.contains("fills batching; ran on "),
        "{}",
        checked.stdout
    );
    let run = |strategy: &str| {
        json(&format!(
            "run --model llama-3.1-8b-instruct --rules vllm --num-requests 200 --rate 20 --json \
             --no-async-scheduling --batching-strategy {strategy}"
        ))
    };
    let ours = run(&format!("{path}:tokens_beside_decodes=64"));
    let scheduling = &ours["setup"]["scheduling"];
    assert_eq!(scheduling["batching_params"]["tokens_beside_decodes"], 64);
    assert_eq!(scheduling["async_scheduling"], false);
    assert_eq!(ours["completed_requests"], 200);
    let twin = run("policies/batching/continuous.lua");
    assert_ne!(ours["ttft_mean_ms"], twin["ttft_mean_ms"]);
}

#[test]
fn a_wrong_name_and_a_wrong_file_are_refused_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("b.lua");
    fs::write(
        &file,
        "return {\n  batch = function(step, head, queue)\n    return step.free_place\n  end,\n}\n",
    )
    .expect("written");
    let checked = windtunnel(words(&format!("policy check {}", file.display())));
    assert_eq!(checked.code, 2);
    let said = format!(
        "{}:3:17: error: step has no field \"free_place\"; did you mean \"free_places\"?",
        file.display()
    );
    assert!(checked.stdout.contains(&said), "{}", checked.stdout);
    fs::write(
        &file,
        "return {\n  batch = function()\n    return { max_admissions = 0 }\n  end,\n}\n",
    )
    .expect("written");
    let line = format!(
        "run --model llama-3.1-8b-instruct --rules vllm --num-requests 5 --batching-strategy {}",
        file.display()
    );
    let ran = windtunnel(words(&line));
    assert_eq!(ran.code, 2);
    let said = format!(
        "the batching strategy failed at step 0: {}:2: batch: it admits nobody",
        file.display()
    );
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
}

/// The small suite, with the hook open.
fn suite(folder: &Path) -> String {
    let text = fs::read_to_string(data().join("suite.yaml")).expect("the suite");
    let (before, rest) = text.split_once("references:\n").expect("references");
    let (_, scenarios) = rest.split_once("scenarios:\n").expect("scenarios");
    let text = format!(
        "{before}references:\n  continuous: {{batching: {{policy: continuous}}}}\n  prefill-first: {{batching: \
         {{policy: prefill-first}}}}\nscenarios:\n{scenarios}"
    );
    let text = text.replace(
        "hooks: [admission, routing, scheduler]",
        "hooks: [batching]",
    );
    for name in ["chat.yaml", "batch.yaml"] {
        fs::copy(data().join(name), folder.join(name)).expect("copied");
    }
    let path = folder.join("batching.yaml");
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn a_candidate_fills_the_hook_on_a_suite_that_opens_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let suite = suite(folder.path());
    let scoring = Scoring::new();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let report = |candidate: &str| {
        let scored = scoring.run(&format!("score --suite {suite} --json {candidate}"));
        scored.report()
    };
    let own = report(&put(
        "own.lua",
        "return { batch = function() return {} end }\n",
    ));
    assert_eq!(own["ok"], true, "{own:#}");
    let score = |report: &Value| report["score"].as_f64().expect("a score");
    assert!(
        score(&own).abs() < 20.0,
        "it decides as a reference does: {own:#}"
    );
    // A bundle with parameters decides otherwise.
    put(
        "few.lua",
        "--@param most = 1, 1..9 int  Admissions\nreturn { batch = function(step)\n  return { max_admissions = cfg.most }\nend }\n",
    );
    let few = report(&put(
        "few.yaml",
        "batching: {policy: few.lua, params: {most: 2}}\n",
    ));
    assert_eq!(few["ok"], true, "{few:#}");
    assert_ne!(score(&few), score(&own), "{few:#}");
    let stuck = report(&put(
        "stuck.lua",
        "return {\n  batch = function(step, head, queue)\n    return { max_admissions = if step.step > 30 then 0 else nil }\n  end,\n}\n",
    ));
    assert_eq!((&stuck["ok"], score(&stuck)), (&Value::Bool(false), -100.0));
    let error = &stuck["errors"][0];
    let said = |key: &str| error[key].as_str().unwrap_or_default();
    assert_eq!(
        (said("kind"), said("hook")),
        ("runtime", "batching"),
        "{error:#}"
    );
    assert_eq!(error["line"], 2, "{error:#}");
    assert!(said("message").contains(" at step "), "{error:#}");
    assert!(said("message").contains("it admits nobody"), "{error:#}");
    let few = folder.path().join("few.lua").display().to_string();
    let tuned = scoring.run(&format!("tune {few} --suite {suite} --budget 6 --json"));
    assert_eq!(tuned.code, Some(0), "{}", tuned.stderr);
    assert!(tuned.stdout.contains("\"most\""), "{}", tuned.stdout);
}
