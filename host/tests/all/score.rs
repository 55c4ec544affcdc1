//! Scoring of hostile and broken candidates: each is contained, its report names its mistake, and
//! the score of the next candidate does not change.

mod cache;
mod harness;
mod honest;
mod sandbox;
mod scaling;
mod server;
mod splits;
mod suites;
mod syntax;

pub(crate) use harness::{SUITE, Scoring, data, timeless};
use harness::{innocent, score_of, zoo};
use serde_json::Value;
use std::path::Path;

/// Every candidate of the zoo: file, kind of its problem, what the message says, the line. Those
/// without a problem just score badly.
const ZOO: &[(&str, &str, &str, u64)] = &[
    (
        "breaks-under-load",
        "runtime",
        "breaks-under-load.lua:9: too much of it",
        9,
    ),
    ("chunks", "lint", "unknown global \"loadstring\"", 4),
    ("clock", "lint", "unknown global \"os\"", 4),
    ("coroutine-bomb", "limit", "the policy exceeded its", 0),
    (
        "deep-recursion",
        "runtime",
        "deep-recursion.lua:5: stack overflow",
        5,
    ),
    (
        "delay-for-ever",
        "limit",
        "exceeded its budget of instructions for a run",
        0,
    ),
    (
        "delay-nothing",
        "runtime",
        "delay takes microseconds from 1 to 1e15",
        4,
    ),
    ("error-of-no-text", "runtime", "error-of-no-text.lua", 0),
    ("files", "lint", "unknown global \"io\"", 4),
    ("first-instance", "", "", 0),
    ("global-state", "lint", "unknown global \"runs\"", 4),
    ("global-table", "lint", "unknown global \"_G\"", 4),
    (
        "hang-at-load",
        "limit",
        "hang-at-load.lua:3: the policy exceeded its budget of instructions for a call",
        3,
    ),
    (
        "hang-caught",
        "limit",
        "exceeded its budget of instructions for a call",
        0,
    ),
    (
        "address-order",
        "nondeterministic",
        "it decides otherwise the second time",
        0,
    ),
    (
        "cheap-errors",
        "limit",
        "exceeded its budget of instructions for a call",
        0,
    ),
    ("format-error", "runtime", "format-error.lua:4: invalid", 4),
    (
        "long-joins",
        "limit",
        "exceeded its budget of instructions for a call",
        0,
    ),
    (
        "weak-table",
        "runtime",
        "weak-table.lua:4: weak tables (__mode) are not allowed",
        4,
    ),
    (
        "hang-per-call",
        "limit",
        "exceeded its budget of instructions for a call",
        0,
    ),
    ("hang-plain", "lint", "this loop never ends", 4),
    (
        "hold-for-ever",
        "limit",
        "exceeded its budget of instructions for a run",
        0,
    ),
    ("hold-long", "", "", 0),
    (
        "index-beyond",
        "runtime",
        "route returned 2; expected a position from 1 to 1",
        0,
    ),
    (
        "index-fraction",
        "runtime",
        "route returned 1.5; expected a position",
        0,
    ),
    (
        "index-nothing",
        "runtime",
        "route returned nothing (nil); expected a position",
        0,
    ),
    (
        "index-text",
        "runtime",
        "route returned the text \"instance_1\"; expected a position",
        0,
    ),
    (
        "index-zero",
        "runtime",
        "route returned 0; expected a position",
        0,
    ),
    ("infinite-score", "", "", 0),
    (
        "key-nan",
        "runtime",
        "key returned NaN; expected a number",
        0,
    ),
    (
        "library-state",
        "runtime",
        "library-state.lua:4: attempt to modify a readonly table",
        4,
    ),
    (
        "long-error",
        "runtime",
        "long-error.lua:4: very long very long",
        4,
    ),
    ("memory-bomb", "limit", "exceeded its 32 MiB of memory", 0),
    ("memory-leak", "limit", "exceeded its 32 MiB of memory", 0),
    (
        "metatable-of-texts",
        "runtime",
        "metatable-of-texts.lua:4",
        4,
    ),
    (
        "nan-score",
        "runtime",
        "score for instance 1 returned NaN; expected a number",
        0,
    ),
    ("no-policy", "policy", "fills no hook", 0),
    (
        "no-such-field",
        "lint",
        "inst has no field \"queue_deph\"; did you mean \"queue_depth\"?",
        6,
    ),
    (
        "no-such-function",
        "runtime",
        "no-such-function.lua:4: attempt to call a nil value",
        4,
    ),
    (
        "pattern-bomb",
        "limit",
        "pattern-bomb.lua:4: the policy exceeded its budget",
        4,
    ),
    ("reject-all", "", "", 0),
    ("reject-under-load", "", "", 0),
    (
        "returns-nothing",
        "policy",
        "the file returns nothing (nil); expected a table of hooks",
        0,
    ),
    (
        "sort-bomb",
        "limit",
        "exceeded its budget of instructions for a call",
        0,
    ),
    ("string-bomb", "limit", "made a text longer than 64 KiB", 0),
    (
        "string-rep-bomb",
        "runtime",
        "string.rep would make 10000000000 bytes",
        4,
    ),
    ("syntax-error", "syntax", "syntax-error.lua:6: ", 6),
    ("tells-by-lines", "runtime", "tells-by-lines.lua", 0),
    (
        "tells-figures",
        "runtime",
        "tells-figures.lua:5: figures: prompt=",
        5,
    ),
    ("terminal-error", "runtime", "terminal-error.lua:4: ", 4),
    (
        "third-instance",
        "runtime",
        "route returned 3; expected a position from 1 to 1",
        0,
    ),
    (
        "tick-bomb",
        "limit",
        "exceeded its budget of instructions for a run",
        0,
    ),
    (
        "tick-too-often",
        "policy",
        "tick_us is 1; expected whole microseconds from 1000 to 1e15",
        0,
    ),
    (
        "unopened-hook",
        "policy",
        "fills preemption, which suite tiny does not open; it opens admission, routing, scheduler",
        0,
    ),
];

/// Candidates that look suspicious and do nothing wrong.
const HARMLESS: &[&str] = &["reads-addresses", "second-run", "unordered"];

#[test]
fn every_candidate_of_the_zoo_is_known() {
    let files = std::fs::read_dir(data().join("zoo")).expect("the zoo");
    let mut files: Vec<String> = files
        .map(|f| {
            f.expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    files.sort();
    let listed = ZOO
        .iter()
        .map(|(name, ..)| *name)
        .chain(HARMLESS.iter().copied());
    let mut listed: Vec<String> = listed.map(|name| format!("{name}.lua")).collect();
    listed.sort();
    assert_eq!(files, listed);
}

#[test]
fn bad_candidates_are_contained_and_their_reports_name_the_mistake() {
    let scoring = Scoring::new();
    let before = timeless(scoring.report(&innocent(), "--no-cache"));
    let default = score_of(&scoring.report(Path::new("round-robin"), ""));
    // All of them, an innocent one after each, in the same processes.
    let mut order = Vec::new();
    for (name, ..) in ZOO {
        order.push(zoo(name).display().to_string());
        order.push(innocent().display().to_string());
    }
    let reports = scoring
        .score(&format!("--no-cache --jobs 1 {}", order.join(" ")))
        .reports();
    assert_eq!(reports.len(), 2 * ZOO.len());
    for (pair, (name, kind, message, line)) in reports.chunks(2).zip(ZOO) {
        let bad = &pair[0];
        assert!(score_of(bad) < default, "{name}: {bad}");
        assert_eq!(timeless(pair[1].clone()), before, "after {name}");
        if kind.is_empty() {
            assert_eq!(bad["ok"], true, "{name}");
            continue;
        }
        assert_eq!(
            (&bad["ok"], score_of(bad)),
            (&false.into(), -100.0),
            "{name}"
        );
        let error = &bad["errors"][0];
        let said = error["message"].as_str().expect("a message");
        assert_eq!(error["kind"], *kind, "{name}: {said}");
        assert!(
            said.contains(message) && said.len() < 1100,
            "{name}: {said}"
        );
        assert!(!said.contains(|c: char| c.is_control()), "{name}: {said:?}");
        if *line > 0 {
            let file = error["file"].as_str().expect("a file");
            assert!(file.ends_with(&format!("{name}.lua")), "{file}");
            assert_eq!(error["line"], *line, "{name}");
            let snippet = error["snippet"].as_str().expect("a snippet");
            assert!(snippet.contains(&format!("{line}: ")), "{name}: {snippet}");
        }
        if let Some((_, hint)) = message.split_once("did you mean ") {
            assert_eq!(error["hint"], format!("did you mean {hint}"), "{name}");
        }
        if *kind == "runtime" {
            assert!(error["scenario"].is_string(), "{name}: {error}");
        }
        // What smaller clusters did not show.
        if *name == "breaks-under-load" {
            assert_eq!(
                (&bad["stage"], &error["scenario"]),
                (&"quick".into(), &"heavy".into())
            );
        }
    }
}

/// The script engine accepts deeper nesting than the lint.
#[test]
fn a_deeply_nested_script_works_without_lint() {
    let scoring = Scoring::new();
    let file = scoring.cache.path().join("deep.lua");
    let (open, close) = ("(".repeat(700), ")".repeat(700));
    let text = format!("return {{ route = function() return {open}1{close} end }}");
    std::fs::write(&file, text).expect("written");
    let report = scoring.report(&file, "--stage smoke");
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["features"]["ast_nodes"], 0.0);
    let warning = report["warnings"][0]["message"].as_str();
    assert!(warning.expect("a warning").contains("nested too deeply"));
}

#[test]
fn harmless_ones_score_the_same_every_time_and_whatever_came_before() {
    let scoring = Scoring::new();
    let all: Vec<String> = HARMLESS
        .iter()
        .map(|name| zoo(name).display().to_string())
        .collect();
    let together = scoring
        .score(&format!("--no-cache --jobs 1 {}", all.join(" ")))
        .reports();
    let mut backwards = all.clone();
    backwards.reverse();
    let again = scoring
        .score(&format!("--no-cache --jobs 2 {}", backwards.join(" ")))
        .reports();
    for ((one, two), name) in together.iter().zip(again.iter().rev()).zip(HARMLESS) {
        assert_eq!(one["ok"], true, "{name}: {one}");
        assert_eq!(timeless(one.clone()), timeless(two.clone()), "{name}");
        let alone = scoring.report(&zoo(name), "--no-cache");
        assert_eq!(timeless(alone), timeless(one.clone()), "{name}");
    }
}

/// Files that only a program would write.
#[test]
fn files_that_are_no_scripts_are_bad_candidates() {
    let scoring = Scoring::new();
    let folder = tempfile::tempdir().expect("a folder");
    let deep = |n: usize| format!("return {}1{}", "(".repeat(n), ")".repeat(n)).into_bytes();
    let blocks = |n: usize| ("do ".repeat(n) + &"end ".repeat(n)).into_bytes();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        (
            "bytecode.lua",
            b"\x1bLuaQ\0\x01\x04\x08\xff".to_vec(),
            "it is not UTF-8 text",
        ),
        (
            "chunk.lua",
            b"\x06\x03\x01\x02".to_vec(),
            "compiled chunks are refused",
        ),
        (
            "null.lua",
            b"return { route = function() return 1 end }\0".to_vec(),
            "not a text file",
        ),
        ("empty.lua", Vec::new(), "the file returns nothing (nil)"),
        (
            "large.lua",
            vec![b'-'; 33_000],
            "the script has 33000 bytes; a candidate's may have 32768",
        ),
        ("huge.lua", deep(10_000_000), "it is larger than 256 KiB"),
        ("deep.lua", deep(15_000), "deep.lua:1"),
        ("blocks.lua", blocks(4_000), "blocks.lua:1"),
        (
            "bundle.yaml",
            b"routing: {polcy: jsq}\n".to_vec(),
            "bundle.yaml:1:11: unknown key \"polcy\"",
        ),
    ];
    for (name, bytes, message) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let report = scoring.report(&path, "");
        assert_eq!(
            (&report["ok"], score_of(&report)),
            (&false.into(), -100.0),
            "{name}"
        );
        let said = report["errors"][0]["message"].as_str().expect("a message");
        assert!(said.contains(message), "{name}: {said}");
        assert_ne!(report["errors"][0]["kind"], "crash", "{name}: {said}");
    }
    for missing in ["none.lua", "none.yaml", "none.so"] {
        let path = folder.path().join(missing);
        let scored = scoring.score(&path.display().to_string());
        assert_eq!((scored.code, scored.stdout.as_str()), (Some(2), ""));
        assert!(scored.stderr.contains("no such file"), "{}", scored.stderr);
    }
}

/// A candidate cannot learn of other splits, neither by its error messages nor by where it fails.
#[test]
fn reports_on_val_and_holdout_are_redacted() {
    let scoring = Scoring::new();
    for split in ["val", "holdout"] {
        let mut told = Vec::new();
        for name in ["tells-figures", "tells-by-lines"] {
            let flags = format!("--split {split} --scenario secret-{split}");
            let flags = if split == "val" {
                flags
            } else {
                format!("--split {split}")
            };
            let report = scoring.report(&zoo(name), &flags);
            assert_eq!(report["ok"], false);
            let errors = report["errors"].as_array().expect("errors");
            assert_eq!(errors.len(), 1);
            let keys: Vec<&String> = errors[0].as_object().expect("an object").keys().collect();
            assert_eq!(keys, ["kind", "message"]);
            assert_eq!(
                errors[0]["message"],
                format!("it fails in the split {split} (runtime), of which no more is told")
            );
            let text = report.to_string();
            assert!(
                !text.contains("figures:") && !text.contains("secret"),
                "{text}"
            );
            told.push(report);
        }
        let fine = scoring.report(&innocent(), &format!("--split {split}"));
        assert_eq!(fine["ok"], true);
        for key in ["objectives", "regressions", "feedback_items"] {
            let empty = fine[key].as_object().map_or(0, |o| o.len())
                + fine[key].as_array().map_or(0, Vec::len);
            assert_eq!(empty, 0, "{split} {key}");
        }
        assert!(fine["score_ci95"].is_array() && fine["worst"].is_null() && fine["feedback"] == "");
        let scenarios = fine["scenarios"].as_array().expect("a list");
        if split == "holdout" {
            assert!(scenarios.is_empty());
            continue;
        }
        let keys: Vec<&String> = scenarios[0]
            .as_object()
            .expect("an object")
            .keys()
            .collect();
        assert_eq!(keys, ["id", "score"]);
    }
    let scored = scoring.score("--split holdout --scenario secret-holdout round-robin");
    assert_eq!(scored.code, Some(2));
    assert_eq!(
        scored.stderr,
        "error: the split holdout is scored as a whole: only its total is told\n"
    );
}

/// Two candidates that differ in a name behave the same; outside train the reports do not show it.
#[test]
fn fingerprints_of_unseen_runs_do_not_compare() {
    let scoring = Scoring::new();
    let twin = |name: &str| {
        let path = scoring.cache.path().join(format!("{name}.lua"));
        let text = format!(
            "local {name} = 1\nreturn {{ route = function(req, insts) return {name} end }}"
        );
        std::fs::write(&path, text).expect("written");
        path
    };
    let (one, two) = (twin("one"), twin("two"));
    let runs = |path, flags: &str| scoring.report(path, flags)["key"]["runs"].clone();
    for (split, same) in [("train", true), ("val", false), ("holdout", false)] {
        let flags = format!("--no-cache --stage full --split {split}");
        assert_eq!(runs(&one, &flags) == runs(&two, &flags), same, "{split}");
        assert_eq!(runs(&one, &flags), runs(&one, &flags), "{split}");
    }
    let quick = scoring.report(&innocent(), "--stage quick --split holdout");
    assert!(
        quick["stopped"]["estimate"].is_null(),
        "a part of the holdout: {quick}"
    );
}

/// A stage that stops early never gives more than going all the way would have.
#[test]
fn no_stage_gives_more_than_full() {
    let scoring = Scoring::new();
    let mut all: Vec<String> = [
        "innocent",
        "zoo/first-instance",
        "zoo/reject-under-load",
        "zoo/second-run",
        "zoo/unordered",
    ]
    .iter()
    .map(|name| format!("host/tests/data/score/{name}.lua"))
    .collect();
    let names = "round-robin least-loaded always-busiest reject-all llm-d power-of-two early-rejection tier-shed sjf edf";
    all.extend(names.split(' ').map(str::to_owned));
    let all = all.join(" ");
    let full = scoring.score(&format!("--stage full {all}")).reports();
    for flags in [
        "--stage smoke",
        "--stage quick",
        "--stage auto",
        "--stage auto --incumbent 5",
        "--stage auto --incumbent -1",
    ] {
        let some = scoring.score(&format!("{flags} {all}")).reports();
        for (less, more) in some.iter().zip(&full) {
            let (less_score, more_score) = (score_of(less), score_of(more));
            assert!(less_score <= more_score, "{flags}: {less} {more}");
            assert_eq!(less["ok"], more["ok"], "{flags}: {less}");
            match less["stopped"].is_null() {
                true => assert_eq!(less_score, more_score),
                // A guess decides the order among those that were stopped, no more.
                false => assert!((-100.0..-99.0).contains(&less_score), "{flags}: {less}"),
            }
        }
    }
    for report in &full {
        assert!(report["stopped"].is_null() && report["stage"] == "full");
        assert!(score_of(report) >= -99.0);
    }
}

#[test]
fn reports_do_not_depend_on_the_number_of_processes() {
    let scoring = Scoring::new();
    for name in [
        "breaks-under-load",
        "hang-per-call",
        "memory-leak",
        "tells-by-lines",
        "first-instance",
    ] {
        let one = scoring.report(&zoo(name), "--no-cache --jobs 1 --stage full --seeds 3");
        for jobs in [2, 5] {
            let many = scoring.report(
                &zoo(name),
                &format!("--no-cache --jobs {jobs} --stage full --seeds 3"),
            );
            assert_eq!(timeless(one.clone()), timeless(many), "{name}");
        }
    }
    let batch = "innocent.lua zoo/unordered.lua zoo/breaks-under-load.lua innocent.lua zoo/reject-under-load.lua";
    let batch = batch
        .replace("innocent", "host/tests/data/score/innocent")
        .replace("zoo/", "host/tests/data/score/zoo/");
    let reports = |jobs: usize| -> Vec<Value> {
        let scored = scoring.score(&format!("--no-cache --jobs {jobs} {batch}"));
        scored.reports().into_iter().map(timeless).collect()
    };
    assert_eq!(reports(1), reports(2));
    assert_eq!(reports(1), reports(3));
    let alone = timeless(scoring.report(&innocent(), "--no-cache --jobs 2"));
    assert_eq!(reports(2)[0], alone);
}

#[test]
fn printed_reports_have_no_escape_sequences() {
    let scoring = Scoring::new();
    let path = zoo("terminal-error").display().to_string();
    let scored = scoring.run(&format!("score --suite {} {path}", scoring.suite()));
    assert_eq!(scored.code, Some(0));
    assert!(scored.stdout.contains("does not work"));
    let bad = |c: char| c.is_control() && c != '\n';
    assert!(!scored.stdout.contains(bad), "{:?}", scored.stdout);
}
