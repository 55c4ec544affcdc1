//! Comparisons: a policy with itself, with a worse one, with one that does not work; and what each
//! split shows.

use crate::errors::Folder;
use crate::support::{Ran, windtunnel};
use serde_json::Value;

/// The suite of these tests.
pub(crate) const SUITE: &str = "host/tests/data/contest/suite.yaml";
const ALL_TO_ONE: &str = "host/tests/data/contest/all-to-one.lua";

fn compare(args: &str) -> Ran {
    let args = format!("compare {args} --suite {SUITE}");
    windtunnel(args.split_whitespace())
}

fn json(args: &str) -> Value {
    let ran = compare(&format!("{args} --json"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn a_policy_differs_from_itself_by_exactly_zero() {
    for name in ["least-loaded", ALL_TO_ONE] {
        let outcome = json(&format!("{name} {name}"));
        for standing in outcome["candidates"].as_array().expect("all") {
            assert_eq!(standing["total"]["difference"], 0.0);
            assert_eq!(standing["total"]["ci95"], serde_json::json!([0.0, 0.0]));
            assert_eq!(standing["total"]["significant"], false);
            for scenario in standing["scenarios"].as_array().expect("all") {
                assert_eq!(scenario["difference"], 0.0);
            }
        }
    }
}

#[test]
fn differences_are_antisymmetric() {
    let better = json(&format!("{ALL_TO_ONE} round-robin --seeds 3"));
    let worse = json(&format!("round-robin {ALL_TO_ONE} --seeds 3"));
    let (better, worse) = (
        &better["candidates"][1]["total"],
        &worse["candidates"][1]["total"],
    );
    assert_eq!(better["significant"], true);
    assert_eq!(worse["significant"], true);
    let number = |v: &Value| v.as_f64().expect("a number");
    assert!(number(&better["ci95"][0]) > 0.0, "{better}");
    let sum = number(&better["difference"]) + number(&worse["difference"]);
    assert!(sum.abs() < 1e-9, "{sum}");
}

#[test]
fn a_comparison_does_not_depend_on_processes_or_other_candidates() {
    let alone = json(&format!("round-robin {ALL_TO_ONE} --jobs 1"));
    let together = json(&format!("round-robin {ALL_TO_ONE} least-loaded --jobs 3"));
    assert_eq!(alone["candidates"][1], together["candidates"][1]);
}

#[test]
fn val_shows_only_differences_and_holdout_only_the_total() {
    let train = json("round-robin least-loaded");
    assert!(train["candidates"][1]["objectives"]["ttft_mean"].is_f64());
    let val = json("round-robin least-loaded --split val");
    assert_eq!(val["candidates"][1]["scenarios"][0]["id"], "hidden");
    assert!(val["candidates"][1].get("objectives").is_none());
    let ran = compare("round-robin least-loaded --split holdout --json");
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);
    let holdout: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(holdout["candidates"][1].get("scenarios").is_none());
    assert!(holdout["candidates"][1]["total"]["difference"].is_f64());
}

#[test]
fn seeds_are_added_until_the_difference_is_certain() {
    let seeds = |args: &str| json(args)["seeds"].as_u64().expect("seeds");
    // The suite allows 4 and starts with 2; a difference of nothing is certain at once.
    let automatic = format!("{ALL_TO_ONE} round-robin --seeds auto");
    assert_eq!(seeds(&automatic), 4);
    assert_eq!(seeds("round-robin round-robin --seeds auto"), 2);
    assert_eq!(seeds("round-robin least-loaded --seeds 1"), 1);
    let one = json("round-robin least-loaded --seeds 1");
    assert!(one["candidates"][1]["total"]["ci95"].is_null());
}

#[test]
fn a_candidate_that_does_not_work_is_a_row_and_no_error() {
    let folder = Folder::with(&[(
        "bad.lua",
        "return { route = function() return nil + 1 end }",
    )]);
    let bad = folder.path().join("bad.lua").display().to_string();
    let ran = compare(&format!("round-robin {bad} least-loaded"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("does not work"), "{}", ran.stdout);
    assert!(ran.stdout.contains("bad.lua:1"), "{}", ran.stdout);
    let outcome = json(&format!("round-robin {bad} least-loaded"));
    assert_eq!(outcome["candidates"][1]["ok"], false);
    assert!(outcome["candidates"][1]["total"].is_null());
    assert_eq!(outcome["candidates"][2]["ok"], true);
    // Nothing can be compared with a baseline that does not work.
    let outcome = json(&format!("{bad} least-loaded"));
    assert!(outcome["candidates"][1]["total"].is_null());
}

#[test]
fn wrong_arguments_are_refused() {
    for (args, says) in [
        ("round-robin", "2 values required"),
        (
            "round-robin nobody",
            "\"nobody\" is no policy, file or folder",
        ),
        (
            "round-robin jsq --seeds none",
            "--seeds is \"none\"; expected auto, or 1 to 1000",
        ),
        ("round-robin jsq --no-cache", "--no-cache has no effect"),
        ("round-robin jsq --jobs 0", "--jobs must be at least 1"),
    ] {
        let ran = compare(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
        assert!(ran.stderr.contains(says), "{args}\n{}", ran.stderr);
    }
}
