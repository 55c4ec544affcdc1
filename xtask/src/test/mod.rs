//! `cargo xtask test`: what a change must pass.
//!
//! It runs the checks from the cheapest to the dearest, stops at the first that fails, and leaves
//! with its exit code. The last line says how many tests passed and failed.

mod count;
mod python;

use crate::shared::{cargo, exit_code};
use anyhow::Context;
use count::{Count, counted};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

/// Everything a change must pass.
pub(crate) fn test() -> anyhow::Result<ExitCode> {
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
