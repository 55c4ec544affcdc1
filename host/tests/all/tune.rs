//! The search of parameters: it finds an evident optimum, does not depend on the number of
//! processes, and prints how to use the result.

use crate::compare::SUITE;
use crate::errors::Folder;
use crate::support::{Ran, windtunnel};
use serde_json::Value;

const DITHER: &str = "host/tests/data/contest/dither.lua";

fn tune(args: &str) -> Ran {
    let args = format!("tune {args} --suite {SUITE}");
    windtunnel(args.split_whitespace())
}

fn json(args: &str) -> Value {
    let ran = tune(&format!("{args} --json"));
    assert_eq!(ran.code, 0, "{args}\n{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn both_methods_find_an_evident_optimum_and_the_holdout_confirms_it() {
    for method in ["cma-es", "tpe"] {
        let found = json(&format!(
            "{DITHER} --method {method} --budget 120 --holdout"
        ));
        assert_eq!(found["improved"], true);
        let twist = found["params"]["twist"].as_f64().expect("a number");
        assert_eq!(
            found["params"]["steps"], 7.0,
            "{method}: {}",
            found["params"]
        );
        assert!((0.2..0.45).contains(&twist), "{method}: {twist}");
        assert_eq!(found["holdout"]["significant"], true);
        assert!(found["holdout"]["ci95"][0].as_f64().expect("a number") > 50.0);
        assert_eq!(found["evaluations"], 120);
    }
}

#[test]
fn the_result_does_not_depend_on_processes_or_the_cache() {
    let one = json(&format!("{DITHER} --budget 40 --jobs 1 --no-cache"));
    let three = json(&format!("{DITHER} --budget 40 --jobs 3"));
    assert_eq!(one, three);
    let other = json(&format!("{DITHER} --budget 40 --seed 2"));
    assert_ne!(one["params"], other["params"]);
}

#[test]
fn the_written_script_has_the_new_defaults_and_the_reported_score() {
    let folder = Folder::with(&[]);
    let file = folder.path().join("tuned.lua").display().to_string();
    let ran = tune(&format!("{DITHER} --budget 60 --out {file}"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("windtunnel score"), "{}", ran.stdout);
    assert!(ran.stderr.contains("60 of 60 points"), "{}", ran.stderr);
    let found = json(&format!("{DITHER} --budget 60"));
    let text = std::fs::read_to_string(&file).expect("written");
    let steps = format!(
        "--@param steps = {}, 0..20 int  7 is best",
        found["params"]["steps"].as_f64().expect("a number")
    );
    assert!(text.contains(&steps), "{text}");
    let args = format!("score {file} --suite {SUITE} --stage full --json");
    let report: Value =
        serde_json::from_str(&windtunnel(args.split_whitespace()).stdout).expect("JSON");
    assert_eq!(report["score"], found["finalists"][0]["train"]["score"]);
    // The same as JSON, for a folder or a bundle.
    let file = folder.path().join("params.json").display().to_string();
    let ran = tune(&format!("{DITHER} --budget 60 --out {file}"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let values: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("written")).expect("JSON");
    assert_eq!(values, found["params"]);
    assert!(
        ran.stdout.contains("--policy-param steps="),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_named_policy_is_tuned_through_its_script() {
    let found = json("weighted --budget 12");
    assert_eq!(found["params"].as_object().expect("values").len(), 10);
    assert_eq!(found["default"]["params"]["precise_prefix_cache"], 2.0);
}

#[test]
fn parameters_of_bundles_start_with_the_bundles_values() {
    let script = std::fs::read_to_string(crate::support::root().join(DITHER)).expect("there");
    let folder = Folder::with(&[
        ("dither.lua", &script),
        (
            "b.yaml",
            "admission: {policy: dither.lua, params: {steps: 9}}\nrouting: {policy: llm-d, params: {kv: 1}}\n",
        ),
    ]);
    let bundle = folder.path().join("b.yaml").display().to_string();
    let found = json(&format!("{bundle} --budget 8"));
    assert_eq!(found["default"]["params"]["admission.steps"], 9.0);
    assert_eq!(found["default"]["params"]["routing.kv"], 1.0);
    assert_eq!(found["default"]["params"]["routing.queue"], 2.0);
    let out = folder.path().join("x.lua").display().to_string();
    let ran = tune(&format!("{bundle} --budget 8 --out {out}"));
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("is not one script"), "{}", ran.stderr);
}

#[test]
fn policies_without_parameters_are_refused_before_the_search() {
    let folder = Folder::with(&[(
        "bad.lua",
        "--@param a = 1, 0..2\nreturn { route = function() return cfg.a + nil end }",
    )]);
    let bad = folder.path().join("bad.lua").display().to_string();
    for (args, says) in [
        ("round-robin", "has nothing to tune"),
        ("nobody", "is no policy, file or folder"),
        ("weighted --budget 0", "--budget must be at least 1"),
        ("weighted --out tuned.txt", "ends in .lua or .json"),
        (
            "weighted --out nowhere/tuned.lua",
            "there is no folder nowhere",
        ),
        (bad.as_str(), "does not work"),
    ] {
        let ran = tune(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
        assert!(ran.stderr.contains(says), "{args}\n{}", ran.stderr);
    }
}

#[test]
fn a_missing_holdout_is_refused_before_the_search() {
    let data = crate::support::root().join("host/tests/data/contest");
    let text = |name: &str| std::fs::read_to_string(data.join(name)).expect("there");
    let suite = text("suite.yaml");
    let (suite, _) = suite.split_once("  holdout:").expect("a holdout");
    let folder = Folder::with(&[("suite.yaml", suite), ("texts.yaml", &text("texts.yaml"))]);
    let suite = folder.path().join("suite.yaml").display().to_string();
    let args = format!("tune {DITHER} --suite {suite} --budget 12 --holdout");
    let ran = windtunnel(args.split_whitespace());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert_eq!(
        ran.stderr,
        "error: contest@1: the split holdout has no scenarios\n"
    );
}
