//! Counts tests by what their runners say.

use crate::shared::exit_code;
use anyhow::Context;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};

/// Tests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Count {
    pub passed: u64,
    pub failed: u64,
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
pub(crate) fn counted(mut command: Command, count: &mut Count) -> anyhow::Result<Option<ExitCode>> {
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
