//! `cargo xtask tidy`: rules of the house that the compiler does not know.

mod allowed;
mod baseline;
mod circles;
mod finding;
mod flags;
mod floors;
mod lines;
pub(crate) mod manifests;
mod modules;
mod tokens;
mod tree;
mod words;

use crate::shared::root;
use allowed::Allowed;
use anyhow::{Context, bail};
use baseline::Baseline;
use finding::Finding;
use std::fs;
use std::process::ExitCode;

const HELP: &str = "Checks the rules of the house: floors, circles, length of files, flags below the command line, words, paths.

Usage: cargo xtask tidy [OPTIONS]

Options:
  --all     Show the findings that were there before their rule, too
  --renew   Write xtask/tidy/baseline.txt again; refused if the findings of a rule have become more
  --help    This text

What each rule reads is in xtask/tidy/: floors.txt, words.txt, allowed.txt, baseline.txt.";

const BASELINE: &str = "xtask/tidy/baseline.txt";

pub(crate) fn tidy(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["--all"] => {
            let fine = check(!words.is_empty())?;
            Ok(ExitCode::from(u8::from(!fine)))
        }
        ["--renew"] => renew(),
        ["--help" | "-h"] => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("unknown arguments \"{}\"\n\n{HELP}", words.join(" ")),
    }
}

/// The check as a step of all checks. `Some` is the exit code of a failure.
pub(crate) fn step() -> anyhow::Result<Option<ExitCode>> {
    Ok((!check(false)?).then_some(ExitCode::FAILURE))
}

/// All findings, those of the baseline, too.
fn findings() -> anyhow::Result<Vec<Finding>> {
    let list = |name: &str| {
        let text = fs::read_to_string(root().join(name));
        text.with_context(|| format!("cannot read {name}"))
    };
    let tree = tree::Tree::read()?;
    let packages = manifests::packages()?;
    let folders: Vec<String> = packages.iter().map(|p| p.folder().to_owned()).collect();
    let floors = floors::Floors::parse(&list(floors::LIST)?).context(floors::LIST)?;
    let words = words::Words::parse(&list("xtask/tidy/words.txt")?).context("words.txt")?;
    let allowed = Allowed::parse(&list("xtask/tidy/allowed.txt")?).context("allowed.txt")?;
    let mut findings = floors.check(&packages);
    findings.extend(manifests::check(&tree, &packages));
    findings.extend(circles::check(&tree, &folders));
    findings.extend(lines::length(&tree));
    findings.extend(flags::check(
        &tree,
        &floors.below_the_command_line(&packages),
    ));
    findings.extend(words.check(&tree));
    findings.extend(lines::paths(&tree));
    findings.extend(lines::width(&tree));
    let useless = allowed.apply(&mut findings);
    if !useless.is_empty() {
        bail!(
            "xtask/tidy/allowed.txt allows what is not there: {}",
            useless.join("; ")
        );
    }
    Ok(findings)
}

/// Prints what is wrong; gives whether nothing is.
fn check(all: bool) -> anyhow::Result<bool> {
    let findings = findings()?;
    let path = root().join(BASELINE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {BASELINE}"))?;
    let baseline = Baseline::parse(&text).context(BASELINE)?;
    let (too_many, too_large) = baseline.compare(&findings);
    if all {
        findings.iter().for_each(Finding::show);
    } else {
        too_many.iter().for_each(|finding| finding.show());
    }
    for entry in &too_large {
        println!("{BASELINE}: {entry}; write it again: cargo xtask tidy --renew");
    }
    println!(
        "tidy: {} findings, {} of them in files with more than {BASELINE} allows",
        findings.len(),
        too_many.len()
    );
    Ok(too_many.is_empty() && too_large.is_empty())
}

fn renew() -> anyhow::Result<ExitCode> {
    let path = root().join(BASELINE);
    let now = Baseline::of(&findings()?);
    // Without a file there is nothing that could grow: so a new rule gets its first entries.
    if let Ok(text) = fs::read_to_string(&path) {
        let grown = now.grown(&Baseline::parse(&text).context(BASELINE)?);
        if !grown.is_empty() {
            for (rule, now, before) in grown {
                println!("{rule}: {now} findings, {before} before; cargo xtask tidy shows them");
            }
            return Ok(ExitCode::FAILURE);
        }
    }
    fs::write(&path, now.text()).with_context(|| format!("cannot write {BASELINE}"))?;
    println!("wrote {BASELINE}");
    Ok(ExitCode::SUCCESS)
}
