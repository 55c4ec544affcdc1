//! Automation of the workspace: `cargo xtask <command>`.
//!
//! `check` is for the minutes between edits, `test` is what a change must pass, `tidy` a part of
//! both. `parity` guards changes that must not change a figure. `docs` writes what is generated,
//! `dist` what is released. `fuzz` looks for inputs that break a parser, `bench` measures what runs
//! cost, `vllm-oracle` asks vLLM itself; nothing waits for these three.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command for people"
)]

mod bench;
mod check;
mod fuzz;
mod oracle;
mod parity;
mod shared;
mod test;
mod tidy;

use shared::{cargo, run};
use std::process::ExitCode;

const HELP: &str = "Automation of the windtunnel workspace.

Usage: cargo xtask <command>

Commands:
  check   Format, lints and unit tests of the packages that changed (check --help)
  test    Format, rules, lints, documentation and all tests, those of the Python package, too;
          the last line counts the tests
  tidy    The rules of the house: floors, circles, length, flags, words (tidy --help)
  docs    Write the files that are made of the code (docs --help)
  dist    Make what people install: an archive, a wheel, checksums (dist --help)
  parity  Compare all output of the command with what it was (parity --help)
  fuzz    Run the fuzz targets for a time (fuzz --help)
  bench   What whole runs cost: CPU seconds, memory, instructions (bench --help)
  vllm-oracle
          Random cases against vLLM's own scheduler; needs Python and vLLM (vllm-oracle --help)
  help    This text";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => test::test(),
        ["check", ..] => check::check(&arguments[1..]),
        ["dist", ..] => program("windtunnel-dist", &arguments[1..]),
        ["docs", ..] => program("windtunnel-docs", &arguments[1..]),
        ["parity", ..] => parity::parity(&arguments[1..]),
        ["tidy", ..] => tidy::tidy(&arguments[1..]),
        ["fuzz", ..] => fuzz::fuzz(&arguments[1..]),
        ["bench", ..] => bench::bench(&arguments[1..]),
        ["vllm-oracle", ..] => oracle::oracle(&arguments[1..]),
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

/// Runs a program of its own: it needs more crates than everyone should wait for.
fn program(package: &str, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = cargo(&format!("run --quiet --package {package} --"));
    command.args(arguments);
    Ok(run(command)?.unwrap_or(ExitCode::SUCCESS))
}
