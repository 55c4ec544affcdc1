//! Feedback: it names the mistakes of a candidate, is short and deterministic, and does not change
//! scores.

use crate::score::{SUITE, Scoring, data, timeless};
use serde_json::Value;
use windtunnel_score::feedback::{MOST_TOKENS, tokens};

const PREFIXES: &str = "host/tests/data/score/prefix-suite.yaml";

fn text(report: &Value) -> &str {
    report["feedback"].as_str().expect("feedback")
}

/// The piece of a kind.
fn piece<'a>(report: &'a Value, kind: &str) -> &'a str {
    let items = report["feedback_items"].as_array().expect("pieces");
    let item = items.iter().find(|i| i["kind"] == kind);
    let item = item.unwrap_or_else(|| panic!("no {kind}: {}", text(report)));
    item["text"].as_str().expect("a text")
}

fn scored(suite: &str, candidate: &str, args: &str) -> Value {
    let scoring = Scoring::new();
    let run = scoring.run(&format!(
        "score --suite {suite} --stage full --json {args} {candidate}"
    ));
    run.report()
}

/// A script in a file of its own.
fn script(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.lua");
    std::fs::write(&file, text).expect("written");
    let name = file.display().to_string();
    (folder, name)
}

#[test]
fn a_hotspot_is_named_with_its_time_and_always_in_the_same_words() {
    let candidate = data().join("zoo/first-instance.lua").display().to_string();
    let report = scored(SUITE, &candidate, "--jobs 1");
    let item = piece(&report, "imbalance");
    let all = "load imbalance: instance_0 (insts[1]) got 100 % of the requests (fair 33 %";
    assert!(
        item.contains(all) && item.contains(" t=") && item.contains("elsewhere"),
        "{item}"
    );
    assert!(text(&report).starts_with("SCORE -"), "{}", text(&report));
    assert!(tokens(text(&report)) <= MOST_TOKENS);
    for args in ["--jobs 1", "--jobs 3"] {
        let again = scored(SUITE, &candidate, args);
        assert_eq!(timeless(again), timeless(report.clone()), "{args}");
    }
    let rows = piece(&report, "worst_requests");
    assert_eq!(rows.lines().count(), 4, "{rows}");
}

#[test]
fn lost_prefix_hits_are_counted_and_unread_signals_named() {
    let report = scored(PREFIXES, "policies/routing/jsq.lua", "");
    let item = piece(&report, "prefix");
    assert!(item.contains("prefix hits thrown away: "), "{item}");
    assert!(
        item.contains("s of prefill were done again") && item.contains("under prefix-affinity"),
        "{item}"
    );
    let signals = piece(&report, "signals");
    assert!(
        signals.contains("never read, though it varies here: precise_prefix_blocks"),
        "{signals}"
    );
    // A router that follows prefixes alone is not item to do so.
    let (_folder, follower) = script(
        "return { score = function(req, inst) return inst:precise_prefix_blocks() - inst.in_flight / 100 end }",
    );
    let report = scored(PREFIXES, &follower, "");
    let items = report["feedback_items"].as_array().expect("pieces").iter();
    assert!(
        !items.clone().any(|i| i["kind"] == "prefix"),
        "{}",
        text(&report)
    );
}

#[test]
fn constant_signals_that_are_read_are_named() {
    let (_folder, reader) = script(
        "return { score = function(req, inst) return inst.preemptions - inst.queue_depth - req.tenant end }",
    );
    let report = scored(PREFIXES, &reader, "");
    let signals = piece(&report, "signals");
    assert!(signals.contains("scraped fields were"), "{signals}");
    assert!(
        signals.contains("always the same here: ") && signals.contains("req.tenant"),
        "{signals}"
    );
}

#[test]
fn a_mistake_is_shown_with_its_lines_and_a_hint() {
    let typo = data().join("zoo/no-such-field.lua").display().to_string();
    let report = scored(SUITE, &typo, "");
    let item = piece(&report, "lint");
    assert!(item.contains("no-such-field.lua:6"), "{item}");
    assert!(
        item.contains("\"queue_deph\"; did you mean \"queue_depth\"?"),
        "{item}"
    );
    assert!(item.contains("\n>") && item.contains("6:"), "{item}");
    assert!(
        text(&report).contains("failed before it ran"),
        "{}",
        text(&report)
    );

    let late = data()
        .join("zoo/breaks-under-load.lua")
        .display()
        .to_string();
    let report = scored(SUITE, &late, "");
    let item = piece(&report, "runtime");
    assert!(item.starts_with("ERROR runtime [heavy] (hook "), "{item}");
    assert!(
        item.contains(" on request_") && item.contains("\n> 9: "),
        "{item}"
    );
    assert!(
        text(&report).contains("It works in 4 of 6 runs."),
        "{}",
        text(&report)
    );
}

#[test]
fn feedback_reveals_nothing_of_other_splits() {
    for split in ["val", "holdout"] {
        let report = scored(
            PREFIXES,
            "policies/routing/jsq.lua",
            &format!("--split {split}"),
        );
        assert_eq!(text(&report), "");
        assert_eq!(report["feedback_items"], serde_json::json!([]));
    }
    let report = scored(PREFIXES, "policies/routing/jsq.lua", "");
    for secret in ["4711", "1004714", "-val", "holdout"] {
        assert!(
            !report["feedback_items"].to_string().contains(secret),
            "{secret}"
        );
    }
}

#[test]
fn regret_is_high_where_it_should_be_and_leaves_scores_alone() {
    let scoring = Scoring::new();
    let explained = |candidate: &str, args: &str| -> Value {
        let run = scoring.run(&format!(
            "explain --suite {SUITE} --json {args} {candidate}"
        ));
        run.report()
    };
    let regret = |explained: &Value| explained["regret"]["mean_ms"].as_f64().expect("regret");
    let (bad, good) = (
        explained("policies/routing/always-busiest.lua", "--scenario light"),
        explained("policies/routing/least-tokens.lua", "--scenario light"),
    );
    if cfg!(target_os = "linux") {
        assert_eq!(bad["regret"]["none"], Value::Null);
        assert!(regret(&bad) > 1_000.0, "{bad:#}");
        assert!(
            regret(&good) < 50.0 && 20.0 * regret(&good) < regret(&bad),
            "{good:#}"
        );
    }
    // An inspection changes no score: alternatives are tried in forks.
    let busiest = "policies/routing/always-busiest.lua";
    let alone = scored(SUITE, "policies/routing/jsq.lua", "--jobs 1");
    let run = Scoring::new().run(&format!(
        "score --suite {SUITE} --stage full --jobs 1 --json {busiest} policies/routing/jsq.lua"
    ));
    assert_eq!(timeless(run.reports()[1].clone()), timeless(alone));
}

#[test]
fn an_explanation_shows_observations_and_consequences_of_alternatives() {
    let scoring = Scoring::new();
    let run = scoring.run(&format!(
        "explain --suite {SUITE} --requests 2 policies/routing/jsq.lua"
    ));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let jsq = &run.stdout;
    assert!(jsq.contains("where it is worst: score"), "{jsq}");
    assert!(
        jsq.contains("in_flight") || jsq.contains("queue_depth"),
        "{jsq}"
    );
    assert!(
        jsq.contains("\n1. ") && jsq.contains("\n2. ") && !jsq.contains("\n3. "),
        "{jsq}"
    );
    assert!(jsq.contains("TTFT"), "{jsq}");

    let run = scoring.run(&format!(
        "explain --suite {SUITE} --scenario secret-val least-loaded"
    ));
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr
            .contains("unknown scenario of tiny@1 train \"secret-val\""),
        "{}",
        run.stderr
    );
    let run = scoring.run(&format!("explain --suite {SUITE} --scenario light sjf"));
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr
            .contains("it neither routes nor says where prompts are computed"),
        "{}",
        run.stderr
    );
    // A candidate that does not work is explained by its report.
    let typo = data().join("zoo/no-such-field.lua").display().to_string();
    let run = scoring.run(&format!("explain --suite {SUITE} --json {typo}"));
    assert_eq!(run.report()["ok"], false);
}

#[test]
fn features_tell_policies_apart_and_equal_behaviour_has_equal_fingerprints() {
    let features = |candidate: &str| {
        let run = Scoring::new().score(&format!("--stage smoke {candidate}"));
        let report = run.report();
        (
            report["features"].clone(),
            report["key"]["behaviour"].clone(),
        )
    };
    let documented =
        std::fs::read_to_string(crate::support::root().join("docs/reference/feedback.md"));
    let documented = documented.expect("the document");
    let number = |features: &Value, name: &str| features[name].as_f64().expect("a feature");
    let (first, _) = features(&data().join("zoo/first-instance.lua").display().to_string());
    for name in first.as_object().expect("features").keys() {
        assert!(documented.contains(&format!("| `{name}` |")), "{name}");
    }
    assert_eq!(number(&first, "decision_entropy"), 0.0);
    assert!(number(&first, "state_bytes") < 64.0, "{first}");
    assert!(number(&first, "units_per_call") < 5.0);
    let (turn, by_turn) = features("policies/routing/round-robin.lua");
    assert_eq!(number(&turn, "agreement.round-robin"), 1.0);
    assert!(number(&turn, "decision_entropy") > 1.99);
    let (twin, also_by_turn) = features("round-robin");
    assert_eq!(
        (number(&twin, "ast_nodes"), number(&twin, "loc")),
        (0.0, 0.0)
    );
    assert_eq!(by_turn, also_by_turn);
    let (least, by_load) = features("policies/routing/least-loaded.lua");
    assert_ne!(by_turn, by_load);
    let agree = number(&least, "agreement.least-loaded");
    assert!(agree > number(&turn, "agreement.least-loaded"), "{least}");
    let memory = tempfile::NamedTempFile::with_suffix(".lua").expect("a file");
    let text = "local seen = {} return { route = function(req, insts) seen[#seen + 1] = req.serial return 1 end }";
    std::fs::write(memory.path(), text).expect("written");
    let (memory, _) = features(&memory.path().display().to_string());
    let state = number(&memory, "state_bytes");
    // 300 numbers of 16 bytes in a table that doubles.
    assert!((4800.0..20_000.0).contains(&state), "{state} bytes");
    let (prefix, _) = features("policies/routing/dynamo-kv.lua");
    assert!(
        number(&prefix, "cache_vs_load") > number(&least, "cache_vs_load"),
        "{prefix} {least}"
    );
}

/// Only of scripts it is known which signals they read.
#[test]
fn signals_of_a_built_in_router_are_not_guessed() {
    let folder = crate::errors::Folder::with(&[
        (
            "a.lua",
            "return { admit = function(req, insts) return true end }",
        ),
        (
            "b.yaml",
            "admission: {policy: a.lua}\nrouting: {policy: least-loaded}\n",
        ),
        (
            "c.yaml",
            "admission: {policy: a.lua}\nrouting: {policy: jsq}\n",
        ),
    ]);
    let read = |bundle: &str| {
        let bundle = folder.path().join(bundle).display().to_string();
        text(&scored(SUITE, &bundle, "")).contains("never read")
    };
    assert!(read("c.yaml") && !read("b.yaml"));
}

/// The worker of this test fails at every inspection.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_inspection_changes_no_score_and_is_an_error_of_explain() {
    use windtunnel_score::{
        Candidate, ProblemKind, ScoreRequest, Scorer, Settings, Suite, workers,
    };
    let scoring = Scoring::new();
    let suite = Suite::open(&scoring.suite(), None).expect("the suite");
    let read = suite.readable().into_iter();
    let read: Vec<String> = read
        .map(|file| format!("--read {}", file.display()))
        .collect();
    // Dies as by a fault.
    let script = r#"sed -u '/"inspect"/{s/.*/broken/;q}' | "$0" worker $1 || kill -s SEGV $$"#;
    let program = env!("CARGO_BIN_EXE_windtunnel");
    let args = ["-c", script, program, &read.join(" ")];
    let scorer = Scorer::new(Settings {
        jobs: 1,
        worker: workers::WorkerCommand {
            program: "/bin/sh".into(),
            args: args.map(str::to_owned).to_vec(),
            env: Vec::new(),
        },
        ..Settings::for_this_host().expect("settings")
    });
    let candidate = Candidate::open("jsq").expect("a policy");
    let request = ScoreRequest::new(candidate, std::sync::Arc::new(suite));
    assert!(scorer.score(&request, &|_| {}).expect("a report").ok);
    let explained = scorer.explain(&request, 2, &|_| {}).expect("an answer");
    let report = explained.expect_err("no inspection");
    assert!(!report.ok);
    assert_eq!(report.errors[0].kind, ProblemKind::Crash);
    assert!(report.errors[0].scenario.is_some());
}
