//! The sandbox around code that is not trusted: what machine code can do in a worker, whose fault
//! the end of a worker is, and what a process that runs scripts itself gives up.

use crate::errors::Folder;
use crate::native::built;
use crate::score::{Scoring, data, timeless};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

mod door;
mod own;

/// Probes of every family of calls, on files in `place`, with a suite.
fn flags(place: &Path, suite: &str) -> [String; 2] {
    [
        format!("-DPLACE=\"{}\"", place.display()),
        format!("-DSUITE=\"{suite}\""),
    ]
}

fn place_for_probes(folder: &Path) -> std::path::PathBuf {
    let place = folder.join("place");
    std::fs::create_dir(&place).expect("a folder");
    std::fs::write(place.join("file"), "secret").expect("written");
    std::os::unix::fs::symlink("file", place.join("link")).expect("a link");
    place
}

/// Each probe works where there is no sandbox, but for those that only new kernels or root have: a
/// probe that always fails proves nothing.
fn probes_that_work_alone() -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let place = place_for_probes(folder.path());
    let program = folder.path().join("probes");
    let compiler = std::env::var_os("CC").unwrap_or("cc".into());
    let mut command = Command::new(compiler);
    command
        .args("-std=c11 -O2 -DALONE".split(' '))
        .args(flags(&place, &place.join("file").display().to_string()))
        .arg(data().join("probes.c"))
        .arg("-o")
        .arg(&program);
    let Ok(made) = command.output() else {
        println!("skipped: no C compiler");
        return None;
    };
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let output = Command::new(&program).stdin(Stdio::null()).output();
    let text = String::from_utf8(output.expect("it runs").stdout).expect("names");
    Some(text.split_whitespace().map(str::to_owned).collect())
}

#[cfg(target_os = "linux")]
#[test]
fn machine_code_can_compute_and_nothing_else_when_it_is_loaded_and_later() {
    let Some(alone) = probes_that_work_alone() else {
        return;
    };
    for (family, probes) in [
        ("attributes", "setxattr getxattr removexattr"),
        (
            "descriptors",
            "ioctl owner dup pipe epoll eventfd inotify o_path",
        ),
        ("threads and processes", "thread fork clone run"),
        ("network", "socket unix-socket socketpair"),
        (
            "signals",
            "kill queue pidfd timer itimer signalfd death-signal",
        ),
        ("memory", "readv memfd shm sem msg"),
        ("priorities", "priority affinity scheduler ioprio"),
        (
            "clocks and limits",
            "adjtime timerfd limit capabilities personality",
        ),
        ("files", "file suite passwd maps libraries folder errors"),
        (
            "their state",
            "stat lstat empty-path statx access readlink statfs chdir",
        ),
        (
            "writing",
            "create append chmod touch truncate rename unlink mkdir pipe-file",
        ),
    ] {
        for probe in probes.split(' ') {
            assert!(
                alone.iter().any(|a| a == probe),
                "{family}: {probe} fails everywhere"
            );
        }
    }
    let scoring = Scoring::new();
    let suite = scoring.suite();
    // Beside the suite: what lies there is not the suite's.
    let place = place_for_probes(Path::new(&suite).parent().expect("its folder"));
    let flags = flags(&place, &suite);
    let library = built::c(
        "probes",
        &data().join("probes.c"),
        &flags.each_ref().map(String::as_str),
    );
    let report = scoring.report(&library.expect("a compiler"), "--allow-native");
    let said = report["errors"][0]["message"].as_str().expect("a message");
    assert!(said.contains("works: 1; found: nothing"), "{said}");
    let left: Vec<_> = std::fs::read_dir(&place).expect("a folder").collect();
    assert_eq!(left.len(), 2);
    assert_eq!(
        std::fs::read_to_string(place.join("file")).expect("there"),
        "secret"
    );
}

/// Scores with limits that the shell sets.
fn limited(scoring: &Scoring, limits: &str, args: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_windtunnel");
    command
        .arg("-c")
        .arg(format!("{limits}; exec {program} {args}"))
        .env("WINDTUNNEL_CACHE_DIR", scoring.cache.path())
        .current_dir(crate::support::root())
        .stdin(Stdio::null());
    let scored = scoring.finish(command);
    (scored.code, scored.stdout, scored.stderr)
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_takes_the_limits_that_there_are_and_what_is_too_little_is_told() {
    let scoring = Scoring::new();
    let script = data().join("innocent.lua");
    let args = format!(
        "score {} --suite {} --no-cache --json",
        script.display(),
        scoring.suite()
    );
    let expected = timeless(scoring.run(&args).report());
    assert_eq!(expected["ok"], true);
    for limits in [
        "ulimit -v 3500000",
        "ulimit -n 60",
        "ulimit -s 4000",
        "ulimit -f 100000 && ulimit -c 0 && ulimit -t 900",
    ] {
        let (code, stdout, stderr) = limited(&scoring, limits, &args);
        assert_eq!(code, Some(0), "{limits}: {stderr}");
        let report: Value = serde_json::from_str(&stdout).expect("a report");
        assert_eq!(timeless(report), expected, "{limits}");
    }
    for (limits, told) in [
        (
            "ulimit -v 800000",
            "the limit of the address space (ulimit -v) is 781.2 MiB; at least 1.0 GiB are needed",
        ),
        (
            "ulimit -s 1000",
            "the limit of the stack (ulimit -s) is 1000 KiB; at least 2048 KiB are needed",
        ),
        (
            "ulimit -s 100",
            "the limit of the stack (ulimit -s) is 100 KiB",
        ),
        ("ulimit -n 15", "(ulimit -n)"),
        ("ulimit -n 7", "(ulimit -n)"),
    ] {
        let (code, stdout, stderr) = limited(&scoring, limits, &args);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{limits}: {stderr}");
        assert!(
            stderr.contains("cannot start a process for candidates") && stderr.contains(told),
            "{limits}: {stderr}"
        );
    }
}

/// A scoring of a plugin that hangs, whose workers are killed as they come.
#[cfg(target_os = "linux")]
fn killed(
    scoring: &Scoring,
    signal: &str,
    times: usize,
    time_limit: u64,
) -> (Option<i32>, Vec<u8>, String) {
    let flags = ["-DMISCHIEF=SLEEP", "-DHOME=\"/none\""];
    let name = format!("asleep-{signal}-{times}");
    let library = built::c(&name, &data().join("mischief.c"), &flags).expect("a compiler");
    let mut command = scoring.command(&format!(
        "score --suite {} --allow-native --json --time-limit {time_limit} {}",
        scoring.suite(),
        library.display()
    ));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("started");
    let mut seen: Vec<u32> = Vec::new();
    while seen.len() < times {
        // One with a name of ours works: it has run the plugin, which hangs.
        let fresh = scoring
            .workers()
            .into_iter()
            .find(|w| !seen.contains(&w.pid) && w.state == 'S');
        if let Some(worker) = fresh {
            std::thread::sleep(Duration::from_millis(300));
            seen.push(worker.pid);
            let sent = Command::new("kill")
                .args(["-s", signal, &worker.pid.to_string()])
                .status();
            assert!(sent.expect("kill runs").success());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code(), output.stdout, stderr)
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_is_killed_from_outside_is_no_fault_of_the_candidate() {
    let scoring = Scoring::new();
    for signal in ["KILL", "USR1"] {
        let (code, stdout, stderr) = killed(&scoring, signal, 2, 600);
        assert_eq!((code, stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.contains("was ended from outside, twice"), "{stderr}");
    }
    // Once is not enough to give up: the second worker tells what the candidate does by itself.
    let (code, stdout, stderr) = killed(&scoring, "KILL", 1, 4);
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_slice(&stdout).expect("a report");
    assert_eq!(report["errors"][0]["kind"], "limit", "{report}");
}

#[test]
fn the_cache_replaces_links_and_reads_none() {
    let scoring = Scoring::new();
    let script = data().join("innocent.lua");
    let report = || timeless(scoring.report(&script, ""));
    let expected = report();
    let folder = Folder::with(&[("precious", "precious")]);
    let precious = folder.path().join("precious");
    for part in ["reports", "references"] {
        let cached = scoring.cache.path().join(part);
        let file = std::fs::read_dir(&cached)
            .expect("a cache")
            .next()
            .expect("a file");
        let file = file.expect("an entry").path();
        std::fs::remove_file(&file).expect("removed");
        // With the other part gone, too, both are made again.
        std::fs::remove_dir_all(scoring.cache.path().join("reports")).expect("removed");
        std::fs::create_dir(scoring.cache.path().join("reports")).expect("made");
        std::os::unix::fs::symlink(&precious, &file).expect("a link");
        assert_eq!(report(), expected);
        assert_eq!(
            std::fs::read_to_string(&precious).expect("there"),
            "precious"
        );
        assert!(
            !std::fs::symlink_metadata(&file)
                .expect("there")
                .is_symlink()
        );
    }
    // Nor is a folder elsewhere written to.
    let cached = scoring.cache.path().join("reports");
    std::fs::remove_dir_all(&cached).expect("removed");
    std::os::unix::fs::symlink(folder.path(), &cached).expect("a link");
    assert_eq!(report(), expected);
    assert_eq!(folder.names(), ["precious"]);
}
