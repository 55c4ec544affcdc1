//! Hostile machine code in the sandbox, and the end of worker processes.

use super::harness::{Scoring, data, innocent, score_of, timeless};
use crate::native::built;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A plugin that does `mischief` (a name in mischief.c).
fn plugin(mischief: &str, more: &[&str]) -> Option<PathBuf> {
    let flag = format!("-DMISCHIEF={mischief}");
    let home = home();
    std::fs::create_dir_all(home.join(".ssh")).expect("a folder");
    std::fs::write(home.join(".ssh/id_rsa"), "secret").expect("written");
    let home = format!("-DHOME=\"{}\"", home.display());
    let flags = [&[flag.as_str(), home.as_str()], more].concat();
    let name = format!("mischief-{mischief}{}", more.len());
    built::c(&name, &data().join("mischief.c"), &flags)
}

/// A home folder with a secret.
fn home() -> PathBuf {
    built::target().join(format!("home-{}", std::process::id()))
}

#[test]
fn machine_code_runs_only_when_it_is_allowed() {
    let Some(library) = plugin("SEGFAULT", &["-DAT_LOAD"]) else {
        return;
    };
    let report = Scoring::new().report(&library, "");
    assert_eq!(report["errors"][0]["kind"], "native");
    assert!(
        report["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("--allow-native")
    );
}

#[test]
fn machine_code_harms_only_its_own_score() {
    let scoring = Scoring::new();
    let before = timeless(scoring.report(&innocent(), "--no-cache"));
    for (mischief, kind, message) in [
        ("SEGFAULT", "crash", "signal: 11"),
        ("ABORT", "crash", "signal: 6"),
        ("MEMORY", "crash", "signal: 6"),
        ("STACK", "crash", "the candidate's process died"),
        ("EXIT", "crash", "exit status: 0"),
        ("QUIT_QUIETLY", "crash", "exit status: 0"),
        ("FORGE", "crash", "gave an answer that makes no sense"),
        ("FLOOD", "crash", "makes no sense"),
        ("CLOSE", "crash", "it closed its channel"),
        ("FORK", "runtime", "made 0 processes"),
        ("SNOOP", "runtime", "found nothing"),
        ("THREAD", "runtime", "threads: 1 0"),
    ] {
        for at_load in [&[][..], &["-DAT_LOAD"][..]] {
            let Some(library) = plugin(mischief, at_load) else {
                return;
            };
            if kind == "runtime" && !at_load.is_empty() {
                continue;
            }
            let report = scoring.report(&library, "--allow-native");
            assert_eq!(
                (&report["ok"], score_of(&report)),
                (&false.into(), -100.0),
                "{mischief}"
            );
            let error = &report["errors"][0];
            let said = error["message"].as_str().expect("a message");
            assert_eq!(error["kind"], kind, "{mischief}: {said}");
            assert!(said.contains(message), "{mischief}: {said}");
            let after = timeless(scoring.report(&innocent(), "--no-cache"));
            assert_eq!(after, before, "after {mischief}");
        }
    }
    let key = home().join(".ssh/id_rsa");
    assert_eq!(
        std::fs::read_to_string(&key).expect("still there"),
        "secret"
    );
    assert_eq!(std::fs::read_dir(home()).expect("a folder").count(), 1);
    assert!(!Path::new("/tmp/windtunnel-was-here").exists());
}

/// Its prints are discarded, and it is scored by its decisions.
#[test]
fn prints_of_machine_code_do_not_mix_with_answers() {
    let (Some(quiet), Some(loud)) = (plugin("0", &[]), plugin("GARBAGE", &["-DAT_LOAD"])) else {
        return;
    };
    let scoring = Scoring::new();
    let reports =
        [quiet, loud].map(|library| scoring.report(&library, "--allow-native --stage full"));
    assert_eq!(reports[0]["ok"], true, "{}", reports[0]);
    assert_eq!(score_of(&reports[0]), score_of(&reports[1]));
    assert_eq!(reports[0]["key"]["runs"], reports[1]["key"]["runs"]);
    let first = scoring.report(&super::harness::zoo("first-instance"), "--stage full");
    assert_eq!(
        first["key"]["runs"], reports[0]["key"]["runs"],
        "it decides as its twin"
    );
}

/// A plugin that hangs, busy or asleep, is ended after `--time-limit`.
#[test]
fn machine_code_that_hangs_is_ended() {
    let scoring = Scoring::new();
    for mischief in ["HANG", "SLEEP"] {
        let Some(library) = plugin(mischief, &[]) else {
            return;
        };
        let report = scoring.report(&library, "--allow-native --time-limit 2");
        let error = &report["errors"][0];
        assert_eq!(error["kind"], "limit", "{error}");
        let said = error["message"].as_str().expect("a message");
        assert!(
            said.contains("gave no answer within 2 s and was ended"),
            "{said}"
        );
    }
}

/// A scoring that hangs in a candidate's process.
fn hanging(scoring: &Scoring) -> Option<Child> {
    let library = plugin("SLEEP", &[])?;
    let mut command = scoring.command(&format!(
        "score --suite {} --allow-native --time-limit 600 {}",
        scoring.suite(),
        library.display()
    ));
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.stdout(Stdio::null()).spawn().expect("started");
    eventually("a worker", || !scoring.workers().is_empty());
    Some(child)
}

pub(super) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if happened() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within a minute");
}

/// Sends a signal to a process, or to a group with a minus before its number.
pub(super) fn send(signal: &str, whom: &str) {
    let sent = Command::new("kill")
        .args(["-s", signal, "--", whom])
        .status();
    assert!(sent.expect("kill runs").success());
}

#[cfg(target_os = "linux")]
#[test]
fn workers_die_with_their_parent_however_it_dies() {
    for signal in ["KILL", "INT", "TERM"] {
        let scoring = Scoring::new();
        let Some(mut child) = hanging(&scoring) else {
            return;
        };
        // Ctrl-C reaches the whole group, the others the process.
        let group = if signal == "INT" { "-" } else { "" };
        send(signal, &format!("{group}{}", child.id()));
        child.wait().expect("it ends");
        eventually("the end of its workers", || scoring.workers().is_empty());
    }
}

/// A worker that is killed between two candidates does not change the next report.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_dies_between_candidates_is_replaced() {
    let scoring = Scoring::new();
    let suite = windtunnel_score::Suite::open(&scoring.suite(), None).expect("the suite");
    let settings = windtunnel_score::Settings {
        jobs: 2,
        worker: windtunnel_score::workers::WorkerCommand {
            program: env!("CARGO_BIN_EXE_windtunnel").into(),
            args: vec!["worker".into()],
            env: Vec::new(),
        },
        allow_native: false,
        cache: None,
        reuse_reports: false,
        time_limit: Duration::from_secs(60),
    };
    let scorer = windtunnel_score::Scorer::new(settings);
    let text = std::fs::read_to_string(data().join("innocent.lua")).expect("a script");
    let candidate = windtunnel_score::Candidate::of_text("innocent.lua", text);
    let request = windtunnel_score::ScoreRequest::new(candidate, std::sync::Arc::new(suite));
    let score = || -> Value {
        let report = scorer.score(&request, &|_| {}).expect("a report");
        timeless(serde_json::to_value(report).expect("JSON"))
    };
    let before = score();
    assert_eq!(before["ok"], true);
    for signal in ["KILL", "TERM"] {
        let workers = scoring.workers();
        assert_eq!(workers.len(), 2);
        for worker in &workers {
            send(signal, &worker.pid.to_string());
        }
        eventually("their end", || scoring.workers().is_empty());
        assert_eq!(score(), before);
    }
    drop(scorer);
    assert!(scoring.workers().is_empty());
}

#[test]
fn a_worker_ends_with_its_input() {
    let scoring = Scoring::new();
    let mut child = scoring
        .command("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("read");
    assert_eq!(line, "{\"ready\":true,\"low_limits\":[]}\n");
    drop(child.stdin.take());
    line.clear();
    output.read_line(&mut line).expect("read");
    assert_eq!(line, "");
    assert!(child.wait().expect("it ends").success());
}
