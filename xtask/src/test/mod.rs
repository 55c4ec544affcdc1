//! `cargo xtask test`: what a change must pass.
//!
//! It runs the steps from the cheapest to the dearest, stops at the first that fails, and leaves
//! with its exit code. The last line says how many tests passed and failed. All steps build with
//! the same settings, so that each crate is compiled once to be checked and once to be run; what
//! cargo says about it is shown, so that no step is silent for long.

mod count;
mod deny;
mod examples;
mod python;

use crate::shared::{self, cargo, has};
use crate::tidy;
use count::{Count, counted};
use std::process::ExitCode;
use std::time::Instant;

/// Packages without tests in Rust. What the benchmarks need is not compiled, and the Python module
/// is built by its own step.
pub(crate) const WITHOUT_TESTS: [&str; 2] = ["windtunnel-benches", "windtunnel-python"];

/// Everything a change must pass.
pub(crate) fn test() -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let mut count = Count::default();
    let code = run(start, &mut count).inspect_err(|_| count.failed += 1);
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

/// Runs the steps. `Some` is the exit code of the one that failed.
fn run(start: Instant, count: &mut Count) -> anyhow::Result<Option<ExitCode>> {
    let environment = python::prepare();
    let mut documentation = cargo("doc --workspace --no-deps");
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    let tested = WITHOUT_TESTS.map(|name| format!(" --exclude {name}"));
    let tested = format!("--workspace{}", tested.concat());
    let build = format!("test --no-run {tested} --lib --bins --tests");
    let tests = if has("nextest") {
        // Not all targets: that would run the benchmarks, too.
        format!("nextest run {tested} --lib --bins --tests --cargo-quiet")
    } else {
        // Output of passing tests is shown: the oracle sweep says there how many cases ran.
        format!("test {tested} --lib --bins --tests --no-fail-fast --quiet -- --show-output")
    };
    let documented = format!("test {tested} --doc --no-fail-fast");

    type Work<'a> = Box<dyn FnOnce(&mut Count) -> anyhow::Result<Option<ExitCode>> + 'a>;
    fn plain<'a>(command: std::process::Command) -> Work<'a> {
        Box::new(move |_| shared::run(command))
    }
    let steps: [(&str, Work); 10] = [
        ("format", plain(cargo("fmt --all --check"))),
        ("tidy", Box::new(|_| tidy::step())),
        ("dependencies", Box::new(|_| deny::step())),
        (
            "lints",
            plain(cargo("clippy --workspace --all-targets -- -D warnings")),
        ),
        ("documentation", plain(documentation)),
        ("build of the tests", plain(cargo(&build))),
        ("tests", Box::new(|count| counted(cargo(&tests), count))),
        (
            "examples in the documentation",
            Box::new(|count| counted(cargo(&documented), count)),
        ),
        (
            "examples",
            Box::new(|count| examples::examples(&tested, count)),
        ),
        (
            "python tests",
            Box::new(|count| python::tests(environment, count)),
        ),
    ];
    for (name, work) in steps {
        let failed = step(name, start, || work(count))?;
        if failed.is_some() {
            return Ok(failed);
        }
    }
    Ok(None)
}

/// Runs a step under a title, and says how long it took and when that was.
pub(crate) fn step(
    name: &str,
    start: Instant,
    run: impl FnOnce() -> anyhow::Result<Option<ExitCode>>,
) -> anyhow::Result<Option<ExitCode>> {
    println!("==> {name}");
    let begin = Instant::now();
    let failed = run()?;
    let verdict = if failed.is_some() { "FAILED" } else { "ok" };
    println!(
        "==> {name}: {verdict}, {}, {} since the start",
        duration(begin),
        duration(start)
    );
    Ok(failed)
}

fn duration(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
