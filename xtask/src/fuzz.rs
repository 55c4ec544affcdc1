//! `cargo xtask fuzz`: all fuzz targets in turn, for a time.

use crate::shared::{cargo, has, root, run, target};
use anyhow::{Context, bail};
use std::fs;
use std::process::ExitCode;

const HELP: &str = "Runs the fuzz targets in fuzz/ in turn, each for its share of the time. Needs cargo-fuzz.

Usage: cargo xtask fuzz --minutes N [OPTIONS]

Options:
  --minutes N     How long for all of them
  --target NAME   Only this target
  --help          This text

What is found on the way is kept in target/fuzz/; an input that fails a target ends the run, and is in fuzz/artifacts/.
Add it to fuzz/corpus/ with its repair: the tests replay the corpus.";

#[derive(Debug, PartialEq)]
struct Options {
    minutes: u64,
    target: Option<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let (mut minutes, mut target) = (None, None);
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let mut value = || {
                rest.next()
                    .with_context(|| format!("{flag} needs a value\n\n{HELP}"))
            };
            match flag.as_str() {
                "--minutes" => {
                    let text = value()?;
                    let number = text.parse().ok().filter(|&n| n > 0);
                    let number = number
                        .with_context(|| format!("--minutes is {text}; expected 1 or more"))?;
                    minutes = Some(number);
                }
                "--target" => target = Some(value()?.clone()),
                other => bail!("unknown option {other}\n\n{HELP}"),
            }
        }
        let minutes = minutes.with_context(|| format!("--minutes is missing\n\n{HELP}"))?;
        Ok(Self { minutes, target })
    }
}

pub(crate) fn fuzz(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    let all = targets()?;
    let chosen: Vec<String> = match options.target {
        None => all,
        Some(name) if all.contains(&name) => vec![name],
        Some(name) => bail!("no target \"{name}\"; there are: {}", all.join(", ")),
    };
    if !has("fuzz") {
        bail!("this needs cargo-fuzz: cargo install cargo-fuzz --locked");
    }
    let seconds = (options.minutes * 60 / chosen.len() as u64).max(1);
    for name in &chosen {
        println!("==> {name}: {seconds} s");
        let own = target().join("fuzz").join(name);
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        // What is new goes to the first folder; the corpus in the project stays what it is.
        let mut command = cargo("fuzz run");
        command
            .arg(name)
            .arg(&own)
            .arg(root().join("fuzz/corpus").join(name))
            .args(["--", &format!("-max_total_time={seconds}"), "-timeout=20"])
            // Sanitizers are unstable; the toolchain of the project has them nevertheless.
            .env("RUSTC_BOOTSTRAP", "1");
        if let Some(code) = run(command)? {
            println!("==> {name}: FAILED; the input is in fuzz/artifacts/{name}/");
            return Ok(code);
        }
        println!("==> {name}: ok");
    }
    Ok(ExitCode::SUCCESS)
}

/// Names of the targets: the files in fuzz/fuzz_targets.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_must_be_given() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        let options = parse("--minutes 30 --target trace").unwrap();
        assert_eq!(
            (options.minutes, options.target.as_deref()),
            (30, Some("trace"))
        );
        for wrong in ["", "--minutes", "--minutes 0", "--minutes x", "--hours 1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_target_of_the_manifest_has_a_corpus() {
        let names = targets().unwrap();
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        assert_eq!(names.len(), manifest.matches("[[bin]]").count());
        for name in names {
            assert!(root().join("fuzz/corpus").join(&name).is_dir(), "{name}");
        }
    }
}
