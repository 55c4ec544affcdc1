//! `cargo xtask fuzz`: all fuzz targets in turn, for a time.

use crate::shared::{cargo, root, run, target};
use anyhow::{Context, bail};
use std::fs;
use std::process::{Command, ExitCode};

const HELP: &str = "Runs the fuzz targets in fuzz/ in turn, each for its share of the time. Needs nothing but this toolchain and a
C++ compiler: what the targets measure is asked of the compiler by stable flags, without sanitizers.

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
    let host = host()?;
    let built = target().join("fuzz-build");
    let mut build = cargo("build --release --manifest-path fuzz/Cargo.toml");
    build
        // With a target named, the flags are not those of build scripts and macros.
        .args(["--target", &host, "--target-dir"])
        .arg(&built)
        // The toolchain of the project has unstable flags, too, should these become such.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS.join(" "));
    if let Some(code) = run(build)? {
        return Ok(code);
    }
    let seconds = (options.minutes * 60 / chosen.len() as u64).max(1);
    for name in &chosen {
        println!("==> {name}: {seconds} s");
        let own = target().join("fuzz").join(name);
        let artifacts = root().join("fuzz/artifacts").join(name);
        for folder in [&own, &artifacts] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        // What is new goes to the first folder; the corpus in the project stays what it is.
        let mut command = Command::new(built.join(&host).join("release").join(name));
        command
            .current_dir(root())
            .arg(&own)
            .arg(root().join("fuzz/corpus").join(name))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1"]);
        if let Some(code) = run(command)? {
            println!("==> {name}: FAILED; the input is in fuzz/artifacts/{name}/");
            return Ok(code);
        }
        println!("==> {name}: ok");
    }
    Ok(ExitCode::SUCCESS)
}

/// The compiler counts which edges of the program are taken and with what it compares.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// The name of this machine's target.
fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let told = Command::new(rustc).arg("-vV").output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc -vV does not name its host")
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
