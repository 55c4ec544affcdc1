//! Leaderboards: entries are reproducible, tampering is detected, and pages show them.

use crate::compare::SUITE;
use crate::errors::Folder;
use crate::support::{Ran, windtunnel};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const ALL_TO_ONE: &str = "host/tests/data/contest/all-to-one.lua";

/// A leaderboard in a temporary folder.
struct Board(Folder);

impl Board {
    /// With the references and one script.
    fn filled() -> Self {
        let board = Self(Folder::with(&[]));
        let ran = board.ask(&format!(
            "add {ALL_TO_ONE} --references --author <b>me</b> --iterations 3 --cost 1.5"
        ));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        board
    }

    fn place(&self) -> PathBuf {
        self.0.path().join("board")
    }

    fn ask_on(&self, suite: &str, args: &str) -> Ran {
        let place = self.place().display().to_string();
        let args = format!("leaderboard {args} --suite {suite} --board {place}");
        windtunnel(args.split_whitespace())
    }

    fn ask(&self, args: &str) -> Ran {
        self.ask_on(SUITE, args)
    }

    fn read(&self, file: &str) -> Value {
        let text = fs::read_to_string(self.place().join(file)).expect("there");
        serde_json::from_str(&text).expect("JSON")
    }

    fn change(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = self.read(file);
        change(&mut value);
        fs::write(self.place().join(file), value.to_string()).expect("written");
    }

    /// What `verify` says of an entry that was tampered with.
    fn refused(&self, entry: &str) -> String {
        let ran = self.ask(&format!("verify {entry}"));
        assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.starts_with("DIFFERENT"), "{}", ran.stdout);
        assert!(ran.stderr.contains("leaderboard renew"), "{}", ran.stderr);
        ran.stdout
    }
}

#[test]
fn entries_are_complete_and_reproduce_bit_for_bit() {
    let board = Board::filled();
    let ran = board.ask("verify --jobs 1");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let says = "same      all-to-one\nsame      least-loaded\nsame      round-robin\n";
    assert_eq!(ran.stdout, says);
    assert!(
        board
            .place()
            .join("all-to-one/candidate/all-to-one.lua")
            .is_file()
    );
    for split in ["train", "val", "holdout"] {
        let report = board.read(&format!("all-to-one/{split}.json"));
        assert_eq!(report["split"], split);
        assert_eq!(report["candidate"], "all-to-one");
    }
    let holdout = fs::read_to_string(board.place().join("all-to-one/holdout.json")).expect("there");
    assert!(!holdout.contains("secret"), "{holdout}");
    // Nothing is left behind.
    let mut names: Vec<String> = fs::read_dir(board.place())
        .expect("there")
        .map(|f| f.expect("fine").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["all-to-one", "least-loaded", "round-robin"]);
}

#[test]
fn tampering_is_distinguished_from_a_change_of_the_engine() {
    let board = Board::filled();
    let by = |amount: f64| {
        move |r: &mut Value| r["score"] = (r["score"].as_f64().expect("a number") + amount).into()
    };
    board.change("all-to-one/val.json", by(3.0));
    let says = board.refused("all-to-one");
    assert!(
        says.contains("val: score") && says.contains("with the same engine"),
        "{says}"
    );
    board.change("all-to-one/val.json", |r| {
        r["key"]["engine"] = "windtunnel 0.0.0#0".into()
    });
    let says = board.refused("all-to-one");
    assert!(
        says.contains("the engine has changed since (it was windtunnel 0.0.0#0)"),
        "{says}"
    );
    assert_eq!(board.ask("verify all-to-one --split train").code, 0);
    // Another engine with the same results is no difference.
    board.change("least-loaded/train.json", |r| {
        r["key"]["engine"] = "windtunnel 0.0.0#0".into()
    });
    let ran = board.ask("verify least-loaded");
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("made by another engine"),
        "{}",
        ran.stdout
    );
    // Runs that end alike in their score but not in their requests.
    board.change("round-robin/holdout.json", |r| {
        r["key"]["runs"] = "0".into()
    });
    assert!(
        board
            .refused("round-robin")
            .contains("holdout: other key, with the same engine")
    );

    let board = Board::filled();
    let script = board.place().join("all-to-one/candidate/all-to-one.lua");
    fs::write(
        &script,
        "return { route = function(req, insts) return #insts end }",
    )
    .expect("written");
    assert!(
        board
            .refused("all-to-one")
            .contains("the report is of another candidate")
    );
    fs::remove_file(script).expect("removed");
    assert!(board.refused("all-to-one").contains("cannot read"));
    // The others are looked at all the same.
    fs::write(board.place().join("round-robin/entry.json"), "{bad").expect("written");
    let ran = board.ask("verify");
    assert_eq!(ran.code, 2);
    let says: Vec<&str> = ran.stdout.lines().collect();
    let [_, _, fine, broken, why] = says[..] else {
        panic!("{}", ran.stdout);
    };
    assert_eq!(
        (fine, broken),
        ("same      least-loaded", "DIFFERENT round-robin")
    );
    assert!(why.contains("round-robin/entry.json:1:2:"), "{why}");
}

#[test]
fn changed_results_and_candidates_outside_the_entry_are_detected() {
    let board = Board(Folder::with(&[]));
    assert_eq!(board.ask(&format!("add {ALL_TO_ONE}")).code, 0);
    let kept = board.read("all-to-one/train.json");
    for (pointer, part) in [
        ("/scenarios/0/metrics/goodput", "scenarios"),
        ("/objectives/ttft_mean", "objectives"),
        ("/features/loc", "features"),
        ("/score_ci95/0", "score_ci95"),
    ] {
        board.change("all-to-one/train.json", |r| {
            *r.pointer_mut(pointer).expect(pointer) = 0.125.into();
        });
        let says = board.refused("all-to-one");
        assert!(
            says.contains(&format!("train: other {part}, with")),
            "{says}"
        );
        board.change("all-to-one/train.json", |r| *r = kept.clone());
    }
    let mine = fs::read_to_string(crate::support::root().join(ALL_TO_ONE)).expect("there");
    fs::write(board.place().join("elsewhere.lua"), mine).expect("written");
    board.change("all-to-one/entry.json", |e| {
        e["candidate"]["script"] = "../../elsewhere.lua".into();
    });
    let says = board.refused("all-to-one");
    assert!(
        says.contains("expected the name of a file in candidate/"),
        "{says}"
    );
    let ran = board.ask("renew");
    assert_eq!(ran.code, 2, "{}", ran.stdout);
}

#[test]
fn a_new_version_of_the_suite_needs_a_renewal_which_counts_a_holdout_run() {
    let board = Board::filled();
    let data = crate::support::root().join("host/tests/data/contest");
    let suite = fs::read_to_string(data.join("suite.yaml")).expect("there");
    let texts = fs::read_to_string(data.join("texts.yaml")).expect("there");
    let newer = Folder::with(&[
        ("suite.yaml", &suite.replace("version: 1", "version: 2")),
        ("texts.yaml", &texts),
    ]);
    let newer = newer.path().join("suite.yaml").display().to_string();
    let ran = board.ask_on(&newer, "verify");
    assert_eq!(ran.code, 2);
    assert!(
        ran.stdout
            .contains("made with another version of the suite (contest@1"),
        "{}",
        ran.stdout
    );
    let ran = board.ask_on(&newer, "render");
    assert!(ran.stdout.contains("of another"), "{}", ran.stdout);
    assert_eq!(
        board.read("all-to-one/entry.json")["holdout_runs"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(board.ask_on(&newer, "renew").code, 0);
    assert_eq!(
        board.read("all-to-one/entry.json")["holdout_runs"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(board.ask_on(&newer, "verify").code, 0);
}

#[test]
fn folders_bundles_and_named_policies_are_entries_too() {
    let script = fs::read_to_string(crate::support::root().join(ALL_TO_ONE)).expect("there");
    let folder = Folder::with(&[
        ("b.yaml", "routing: {policy: sub/one.lua}\n"),
        ("routing.lua", &script),
    ]);
    fs::create_dir(folder.path().join("sub")).expect("made");
    folder.write("sub/one.lua", script.as_bytes());
    let here = folder.path().display().to_string();
    let board = Board(Folder::with(&[]));
    let ran = board.ask(&format!("add {here}/b.yaml jsq"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = board.ask(&format!("add {here} --name hooks"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = board.ask("verify");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert_eq!(ran.stdout, "same      b\nsame      hooks\nsame      jsq\n");
    // A bundle that reaches out of its folder cannot be kept whole.
    folder.write("sub/c.yaml", b"routing: {policy: ../routing.lua}\n");
    let ran = board.ask(&format!("add {here}/sub/c.yaml"));
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("it lies outside the folder"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_works_is_entered_beside_what_does_not() {
    let board = Board(Folder::with(&[
        (
            "bad.lua",
            "return { route = function() return nil + 1 end }",
        ),
        ("worse.lua", "return { route = function() return 0 end }"),
    ]));
    let file = |name: &str| board.0.path().join(name).display().to_string();
    let (bad, worse) = (file("bad.lua"), file("worse.lua"));
    let ran = board.ask(&format!("add {bad} {ALL_TO_ONE} {worse}"));
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for name in ["bad", "worse"] {
        let said = format!("error: {name}: does not work on train");
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    }
    assert!(ran.stdout.contains("all-to-one"), "{}", ran.stdout);
    let entries = std::fs::read_dir(board.place()).expect("a leaderboard");
    assert_eq!(entries.count(), 1);
}

#[test]
fn unsuitable_candidates_are_refused_and_nothing_is_written() {
    let board = Board(Folder::with(&[(
        "bad.lua",
        "return { route = function() return nil + 1 end }",
    )]));
    let bad = board.0.path().join("bad.lua").display().to_string();
    for (args, says) in [
        (format!("add {bad}"), "does not work on train"),
        (
            format!("add {ALL_TO_ONE} {ALL_TO_ONE}"),
            "two entries would be called all-to-one",
        ),
        (
            format!("add {ALL_TO_ONE} jsq --name x"),
            "--name is for a single candidate",
        ),
        (
            format!("add {ALL_TO_ONE} --allow-native"),
            "--allow-native has no effect",
        ),
        (format!("add {ALL_TO_ONE} --cost -1"), "--cost is -1"),
        ("add".into(), "required arguments were not provided"),
        ("render".into(), "no leaderboard"),
        ("verify".into(), "no leaderboard"),
    ] {
        let ran = board.ask(&args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
        assert!(ran.stderr.contains(says), "{args}\n{}", ran.stderr);
        assert!(!board.place().exists(), "{args}");
    }
    assert_eq!(board.ask(&format!("add {ALL_TO_ONE}")).code, 0);
    let ran = board.ask(&format!("add {ALL_TO_ONE}"));
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("--replace replaces it"),
        "{}",
        ran.stderr
    );
    assert_eq!(board.ask(&format!("add {ALL_TO_ONE} --replace")).code, 0);
    let ran = board.ask("verify all-to-tow");
    assert!(
        ran.stderr.contains("did you mean \"all-to-one\"?"),
        "{}",
        ran.stderr
    );
    let ran = board.ask("verify --no-cache");
    assert!(
        ran.stderr.contains("--no-cache has no effect"),
        "{}",
        ran.stderr
    );
}

#[test]
fn pages_are_ordered_and_self_contained_and_escape_names() {
    let board = Board::filled();
    let page = board.0.path().join("board.html").display().to_string();
    let text = board.0.path().join("board.md").display().to_string();
    let ran = board.ask(&format!("render --html {page} --md {text}"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let page = fs::read_to_string(page).expect("written");
    for outside in ["http", "src=", "@import", "url(", "<script", "<b>"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("by &lt;b&gt;me&lt;/b&gt;, 3 iterations, $1.50"));
    let text = fs::read_to_string(text).expect("written");
    assert!(text.starts_with("# Leaderboard of contest@1\n"), "{text}");
    assert!(
        text.contains("losses beyond a point weigh 1.5 times as much"),
        "{text}"
    );
    let full = "Entries are scored to the end (the stage full), however bad they look";
    assert!(text.contains(full) && page.contains(full), "{text}");
    let rows: Value =
        serde_json::from_str(&board.ask("render --by val --json").stdout).expect("JSON");
    let rows = rows.as_array().expect("rows");
    let scores: Vec<f64> = rows
        .iter()
        .map(|r| r["scores"]["val"][0].as_f64().expect("a number"))
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert_eq!(rows[2]["name"], "all-to-one");
    for row in rows {
        let score = |split: &str, k: usize| row["scores"][split][k].as_f64().expect("a number");
        let gap = row["gap"][0].as_f64().expect("a number");
        assert!((gap - (score("train", 0) - score("val", 0))).abs() < 1e-9);
        let half = row["gap"][1].as_f64();
        assert_eq!(row["overfit"], half.is_some_and(|half| gap > half));
        assert!(row["holdout_salt"].is_string());
    }
}

#[test]
fn entries_of_the_projects_leaderboards_reproduce() {
    for (suite, row) in [
        ("routing-mixed", "gaie"),
        ("routing-prefix", "llm-d"),
        ("autoscale", "keda"),
    ] {
        let args = format!("leaderboard verify {row} --suite {suite} --split val");
        let ran = windtunnel(args.split_whitespace());
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (0, ""),
            "{suite}\n{}",
            ran.stdout
        );
    }
}

#[test]
fn an_interrupted_replacement_loses_nothing_and_blocks_nothing() {
    let board = Board(Folder::with(&[]));
    assert_eq!(board.ask("add jsq").code, 0);
    let (place, old) = (board.place().join("jsq"), board.place().join(".old-jsq"));
    // Between the two renames.
    fs::rename(&place, &old).expect("renamed");
    assert_eq!(board.ask("verify jsq").stdout, "same      jsq\n");
    let ran = board.ask("add jsq");
    assert!(
        ran.stderr.contains("--replace replaces it"),
        "{}",
        ran.stderr
    );
    assert_eq!(board.ask("add jsq --replace").code, 0);
    assert!(place.is_dir() && !old.exists());
    assert_eq!(
        board.read("jsq/entry.json")["holdout_runs"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    // After them.
    fs::create_dir(&old).expect("made");
    fs::write(old.join("entry.json"), "{}").expect("written");
    assert_eq!(board.ask("add jsq --replace").code, 0);
    assert!(place.is_dir() && !old.exists());
}

#[test]
fn names_of_entries_are_used_unchanged_or_refused() {
    let folder = Folder::with(&[]);
    fs::create_dir(folder.path().join("gpt-5.2")).expect("made");
    folder.write(
        "gpt-5.2/routing.lua",
        b"return { route = function() return 1 end }",
    );
    let board = Board(Folder::with(&[]));
    let candidate = folder.path().join("gpt-5.2").display().to_string();
    for args in ["jsq --name gpt-4.1".to_owned(), candidate.clone()] {
        let ran = board.ask(&format!("add {args}"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert!(board.place().join("gpt-4.1").is_dir() && board.place().join("gpt-5.2").is_dir());
    for name in [".", "..", "/", "a/b", ".hidden", "ä"] {
        let ran = board.ask(&format!("add jsq --name {name}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{name}");
        let says = format!("an entry cannot be called \"{name}\"; expected letters");
        assert!(ran.stderr.contains(&says), "{}", ran.stderr);
    }
    let ran = board.ask(&format!("add {candidate}/.."));
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("gives no name for an entry; --name gives one"),
        "{}",
        ran.stderr
    );
}
