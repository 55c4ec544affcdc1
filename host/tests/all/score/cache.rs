//! The cache of reports and of results of references.

use super::harness::{Scoring, innocent, score_of, timeless, zoo};
use serde_json::Value;
use std::path::PathBuf;

impl Scoring {
    /// Files below a part of the cache, sorted.
    fn cached(&self, part: &str) -> Vec<PathBuf> {
        let Ok(files) = std::fs::read_dir(self.cache.path().join(part)) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = files.map(|f| f.expect("an entry").path()).collect();
        files.sort();
        files
    }

    fn of_text(&self, text: &str) -> Value {
        let path = self.cache.path().join("p.lua");
        std::fs::write(&path, text).expect("written");
        self.report(&path, "")
    }
}

/// The test marks the file in the cache, so that a cached report can be told from a new one.
#[test]
fn candidates_that_differ_in_comments_and_spacing_hit_the_cache_and_others_do_not() {
    let scoring = Scoring::new();
    let text = "return {\n  route = function(req, insts)\n    return 1 + req.serial % #insts -- one by one\n  end,\n}\n";
    let fresh = scoring.of_text(text);
    assert_eq!(fresh["ok"], true);
    let [file] = &scoring.cached("reports")[..] else {
        panic!("one report is kept");
    };
    let mut marked: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    marked["feedback"] = "from the cache".into();
    std::fs::write(file, marked.to_string()).unwrap();
    let known = |text: &str| scoring.of_text(text)["feedback"] == "from the cache";
    assert!(known(text));
    for mutant in [
        text.replace("    ", "\t"),
        text.replace('\n', " ").replace("-- one by one", ""),
        text.replace("-- one by one", "--[[ one\nby one ]]"),
        format!("--!strict\n\n\n{text}"),
        text.replace('\n', "\r\n"),
        // A field in a comment is not read, and comments direct no compiler.
        text.replace("one by one", "queue_depth"),
        format!("--!optimize 0\n{text}"),
    ] {
        assert!(known(&mutant), "{mutant}");
    }
    for other in [
        text.replace("1 +", "2 -"),
        format!("--@param weight = 1, 0..2  A weight.\n{text}"),
        text.replace(
            "return 1 + req.serial % #insts",
            "local s = '  --' return 1 + req.serial % #insts",
        ),
        text.replace(
            "return 1 + req.serial % #insts",
            "local s = ' --' return 1 + req.serial % #insts",
        ),
    ] {
        assert!(!known(&other), "{other}");
    }
    assert!(!known(&text.replace("return 1 + req", "return (1) + req")));
    // Searches write every candidate to a file of its own.
    let elsewhere = scoring.cache.path().join("q.lua");
    std::fs::write(&elsewhere, text).unwrap();
    let report = scoring.report(&elsewhere, "");
    assert_eq!(report["feedback"], "from the cache");
    assert_eq!(report["candidate"], elsewhere.display().to_string());
    let path = scoring.cache.path().join("p.lua");
    std::fs::write(&path, text).unwrap();
    for flags in [
        "--no-cache",
        "--stage full",
        "--seeds 1",
        "--split val",
        "--scenario light",
        "--incumbent 3",
    ] {
        let report = scoring.report(&path, flags);
        assert_ne!(report["feedback"], "from the cache", "{flags}");
    }
}

#[test]
fn damaged_files_of_the_cache_are_ignored() {
    let scoring = Scoring::new();
    let fresh = timeless(scoring.report(&innocent(), ""));
    let all =
        |scoring: &Scoring| [scoring.cached("reports"), scoring.cached("references")].concat();
    let files = all(&scoring);
    assert_eq!(files.len(), 2);
    for damage in [
        "",
        "{}",
        "[]",
        "null",
        "{\"schema\":",
        "[{\"run_key\":{},\"summaries\":{}}]",
        "\u{0}\u{1}",
    ] {
        for file in &files {
            std::fs::write(file, damage).unwrap();
        }
        assert_eq!(
            timeless(scoring.report(&innocent(), "")),
            fresh,
            "{damage:?}"
        );
    }
    let whole = std::fs::read(&files[1]).unwrap();
    std::fs::write(&files[1], &whole[..whole.len() / 2]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    assert_eq!(timeless(scoring.report(&innocent(), "")), fresh);
    assert_eq!(all(&scoring), files, "nothing half-written is left");
    // A folder that cannot be made is no reason to fail.
    let mut command = scoring.command(&format!(
        "score --suite {} --json {}",
        scoring.suite(),
        innocent().display()
    ));
    command.env("WINDTUNNEL_CACHE_DIR", "/dev/null/nowhere");
    assert_eq!(timeless(scoring.finish(command).report()), fresh);
}

#[test]
fn reports_on_failures_are_not_cached_and_those_on_low_scores_are() {
    let scoring = Scoring::new();
    for name in [
        "breaks-under-load",
        "syntax-error",
        "hang-per-call",
        "no-policy",
    ] {
        let report = scoring.report(&zoo(name), "");
        assert_eq!(report["ok"], false);
        assert!(scoring.cached("reports").is_empty(), "{name}");
    }
    let report = scoring.report(&zoo("reject-all"), "");
    assert_eq!(report["ok"], true);
    assert_eq!(scoring.cached("reports").len(), 1);
    assert_eq!(
        timeless(scoring.report(&zoo("reject-all"), "")),
        timeless(report)
    );
}

/// Several scorers with one cache folder, all at once, find what one alone does.
#[test]
fn scorers_that_share_a_cache_do_not_disturb_each_other() {
    let all = [innocent(), zoo("unordered"), zoo("second-run"), innocent()];
    let expected: Vec<f64> = all
        .iter()
        .map(|path| score_of(&Scoring::new().report(path, "")))
        .collect();
    let shared = tempfile::tempdir().expect("a folder");
    for _ in 0..3 {
        for part in ["references", "reports"] {
            let _ = std::fs::remove_dir_all(shared.path().join(part));
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = all
                .iter()
                .map(|path| {
                    let cache = shared.path();
                    scope.spawn(move || {
                        let scoring = Scoring::new();
                        let flags = format!("--json {}", path.display());
                        let suite = scoring.suite();
                        let mut command =
                            scoring.command(&format!("score --suite {suite} {flags}"));
                        command.env("WINDTUNNEL_CACHE_DIR", cache);
                        score_of(&scoring.finish(command).report())
                    })
                })
                .collect();
            let found: Vec<f64> = running.into_iter().map(|r| r.join().unwrap()).collect();
            assert_eq!(found, expected);
        });
    }
    let count = |part| std::fs::read_dir(shared.path().join(part)).unwrap().count();
    assert_eq!(
        (count("references"), count("reports")),
        (1, 3),
        "nothing half-written"
    );
}
