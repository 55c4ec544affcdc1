//! Automation of the workspace: `cargo xtask <command>`.
//!
//! `test` is what a change must pass. It runs the checks from the cheapest to the dearest, stops at
//! the first that fails, and leaves with its exit code. The last line says how many tests passed
//! and failed. `docs` writes what is generated. `bench` measures what runs cost; nothing depends on
//! it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command for people"
)]

mod bench;
mod parity;
mod python;

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const HELP: &str = "Automation of the windtunnel workspace.

Usage: cargo xtask <command>

Commands:
  test    Format, lints, documentation and all tests, those of the Python package, too; the last line counts the tests
  docs    Write the files that are made of the code (docs --help)
  parity  Compare all output of the command with what it was (parity --help)
  bench   What whole runs cost: CPU seconds, memory, instructions (bench --help)
  help    This text";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => test(),
        ["docs", ..] => docs(&arguments[1..]),
        ["parity", ..] => parity::parity(&arguments[1..]),
        ["bench", ..] => bench::bench(&arguments[1..]),
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!(
                "error: unknown command \"{}\"\n\n{HELP}",
                arguments.join(" ")
            );
            Ok(ExitCode::from(2))
        }
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_path_buf()
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from)
}

fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments.split(' ')).current_dir(root());
    command
}

/// Writes what is made of the code. That needs the library, so it is a program of its own.
fn docs(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = cargo("run --quiet --package windtunnel-docs --");
    let status = command.args(arguments).status();
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    Ok(exit_code(status)?.unwrap_or(ExitCode::SUCCESS))
}

/// Everything a change must pass.
fn test() -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let mut count = Count::default();
    let code = checks()
        .and_then(|code| match code {
            None => tests(&mut count),
            failed => Ok(failed),
        })
        .inspect_err(|_| count.failed += 1);
    println!(
        "\n{} in {}: {} passed, {} failed",
        if matches!(code, Ok(None)) {
            "Done"
        } else {
            "Stopped"
        },
        duration(start),
        count.passed,
        count.failed
    );
    Ok(code?.unwrap_or(ExitCode::SUCCESS))
}

/// Steps without tests of their own. `Some` is the exit code of the one that failed.
fn checks() -> anyhow::Result<Option<ExitCode>> {
    let mut doc = cargo("doc --workspace --no-deps --quiet");
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let steps = [
        ("format", cargo("fmt --all --check")),
        (
            "lints",
            cargo("clippy --workspace --all-targets --quiet -- -D warnings"),
        ),
        ("documentation", doc),
    ];
    for (name, mut command) in steps {
        let failed = step(name, || {
            let status = command.status();
            exit_code(status.with_context(|| format!("cannot run {command:?}"))?)
        })?;
        if failed.is_some() {
            return Ok(failed);
        }
    }
    Ok(None)
}

/// All tests, with nextest where it is installed. It leaves out the examples in the documentation,
/// so those run after it.
fn tests(count: &mut Count) -> anyhow::Result<Option<ExitCode>> {
    let nextest = cargo("nextest --version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    let steps: &[(&str, &str)] = if nextest {
        &[
            (
                "tests (nextest)",
                // Not all targets: that would run the benchmarks, too.
                "nextest run --workspace --lib --bins --tests --cargo-quiet",
            ),
            (
                "documentation examples",
                "test --workspace --doc --quiet --no-fail-fast",
            ),
        ]
    } else {
        // Output of passing tests is shown: the oracle sweep says there how many cases ran.
        &[(
            "tests",
            "test --workspace --no-fail-fast --quiet -- --show-output",
        )]
    };
    for (name, arguments) in steps {
        let failed = step(name, || counted(cargo(arguments), count))?;
        if failed.is_some() {
            return Ok(failed);
        }
    }
    step("python tests", || python::tests(count))
}

/// Runs a step under a title and says how long it took.
fn step(
    name: &str,
    run: impl FnOnce() -> anyhow::Result<Option<ExitCode>>,
) -> anyhow::Result<Option<ExitCode>> {
    println!("==> {name}");
    let start = Instant::now();
    let failed = run()?;
    let verdict = if failed.is_some() { "FAILED" } else { "ok" };
    println!("==> {name}: {verdict}, {}", duration(start));
    Ok(failed)
}

fn duration(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

fn exit_code(status: std::process::ExitStatus) -> anyhow::Result<Option<ExitCode>> {
    if status.success() {
        return Ok(None);
    }
    let Some(code) = status.code() else {
        bail!("the step was killed: {status}");
    };
    Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

/// Tests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    /// Adds what a runner's closing line says: `test result: ok. 3 passed; 1 failed; ...` (cargo
    /// test), `Summary [ 1.2s] 9 tests run: 8 passed (1 slow), 1 failed, 0 skipped` (nextest) or `1
    /// failed, 8 passed, 1 skipped in 1.23s (0:00:01)` (pytest).
    fn read(&mut self, line: &str) {
        // The output of a passing test, indented, may hold a `test result` of its own.
        if !(line.starts_with("test result:")
            || line.trim_start().starts_with("Summary [")
            || is_pytests(line))
        {
            return;
        }
        let words: Vec<&str> = line.split([' ', ',', ';']).collect();
        for pair in words.windows(2) {
            if let Ok(n) = pair[0].parse::<u64>() {
                match pair[1] {
                    "passed" => self.passed += n,
                    // A test that timed out or could not start has not passed either.
                    "failed" | "timed" | "exec" | "error" | "errors" => self.failed += n,
                    _ => {}
                }
            }
        }
    }
}

/// Is it pytest's closing line? It begins with a count and ends with a time.
fn is_pytests(line: &str) -> bool {
    let line = line.trim_matches(['=', ' ', '\n']);
    let begins = line.starts_with(|c: char| c.is_ascii_digit());
    let kinds = ["passed", "failed", "error", "skipped"];
    begins
        && kinds.iter().any(|kind| line.contains(kind))
        && line.rsplit_once(" in ").is_some_and(|(_, time)| {
            time.split_once('s')
                .is_some_and(|(n, _)| n.parse::<f64>().is_ok())
        })
}

/// Runs a test runner, passes its output on line by line and counts its tests.
fn counted(mut command: Command, count: &mut Count) -> anyhow::Result<Option<ExitCode>> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let errors = child.stderr.take().expect("piped");
    let out = child.stdout.take().expect("piped");
    let errors = std::thread::spawn(move || pass_on(errors, std::io::stderr()));
    let seen = [
        pass_on(out, std::io::stdout())?,
        errors.join().expect("no panic")?,
    ];
    for one in seen {
        count.passed += one.passed;
        count.failed += one.failed;
    }
    exit_code(child.wait()?)
}

fn pass_on(from: impl Read, mut to: impl Write) -> std::io::Result<Count> {
    let mut count = Count::default();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        count.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_runners_are_counted() {
        let mut count = Count::default();
        for line in [
            "test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.01s",
            "     Summary [   1.234s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 4 skipped",
            "    test result: ok. 1 passed; 0 failed; shown again by nextest",
            "oracle: 9 passed by",
            "2 failed, 40 passed, 1 skipped, 1 warning in 61.20s (0:01:01)\n",
            "=== 1 passed, 1 error in 0.20s ===",
            "E   3 passed in the year 2000",
            "7 passed in silence",
        ] {
            count.read(line);
        }
        assert_eq!(
            count,
            Count {
                passed: 51,
                failed: 6
            }
        );
    }

    #[test]
    fn output_passes_through_unchanged() {
        let mut out = Vec::new();
        let text = b"a\n\xff\ntest result: ok. 1 passed; 0 failed;\nend".as_slice();
        assert_eq!(pass_on(text, &mut out).unwrap().passed, 1);
        assert_eq!(out, text);
    }
}
