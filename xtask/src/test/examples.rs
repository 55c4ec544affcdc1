//! The programs in `examples/` folders are run: each must end well and print something.
//!
//! They are built with the settings of the tests, so that nothing is compiled a second time for
//! them.

use super::count::Count;
use crate::shared::{cargo, exit_code, root};
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Builds the examples of `packages` (flags of cargo) and runs them, each a test.
pub(super) fn examples(packages: &str, count: &mut Count) -> anyhow::Result<Option<ExitCode>> {
    let flags = "--profile test --examples --message-format json-render-diagnostics";
    let mut build = cargo(&format!("build {packages} {flags}"));
    let output = build.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {build:?}"))?;
    if let Some(code) = exit_code(output.status)? {
        return Ok(Some(code));
    }
    let programs = programs(&String::from_utf8_lossy(&output.stdout));
    if programs.is_empty() {
        bail!("there are no examples; `cargo build` names none that it built");
    }
    let mut failed = false;
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        match run(program) {
            Ok(lines) => {
                println!("example {name}: ok, {lines} lines");
                count.passed += 1;
            }
            Err(why) => {
                println!("example {name}: FAILED, {why:#}");
                count.failed += 1;
                failed = true;
            }
        }
    }
    Ok(failed.then_some(ExitCode::FAILURE))
}

/// The examples among what cargo says that it built, in order of their names.
fn programs(messages: &str) -> Vec<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut found: Vec<PathBuf> = messages
        .filter(|message: &Value| message["target"]["kind"][0] == "example")
        .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .collect();
    found.sort();
    found
}

/// Runs a program; how many lines it prints.
fn run(program: &Path) -> anyhow::Result<usize> {
    let output = Command::new(program)
        .current_dir(root())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("it ended with {}: {}", output.status, errors.trim());
    }
    let printed = String::from_utf8(output.stdout).context("its output is not UTF-8")?;
    match printed
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count()
    {
        0 => bail!("it printed nothing"),
        lines => Ok(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_told_from_what_else_was_built() {
        let message = |kind: &str, executable: &str| {
            let target = format!(r#"{{"kind":["{kind}"],"name":"x"}}"#);
            format!(
                r#"{{"reason":"compiler-artifact","target":{target},"executable":{executable}}}"#
            )
        };
        let messages = [
            message("example", r#""target/b""#),
            message("lib", "null"),
            message("bin", r#""target/c""#),
            message("example", r#""target/a""#),
            "no JSON".to_owned(),
        ];
        let expected = [PathBuf::from("target/a"), PathBuf::from("target/b")];
        assert_eq!(programs(&messages.join("\n")), expected);
    }

    #[test]
    fn a_program_that_fails_or_prints_nothing_is_refused() {
        let silent = run(Path::new("true")).expect_err("refused");
        assert_eq!(silent.to_string(), "it printed nothing");
        let failed = run(Path::new("false")).expect_err("refused").to_string();
        assert!(
            failed.starts_with("it ended with exit status: 1"),
            "{failed}"
        );
        assert_eq!(run(Path::new("pwd")).expect("output"), 1);
    }
}
