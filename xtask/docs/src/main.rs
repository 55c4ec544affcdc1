//! `cargo xtask docs`: files of the project that are made of its code, and the site of its
//! documents.
//!
//! It is a program of its own, because it needs the whole library and `xtask` does not.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command for people"
)]

mod hooks;
mod python;
mod shared;
mod site;
mod stubs;

use anyhow::{Context, bail};
use shared::root;
use std::fs;
use std::process::ExitCode;

const HELP: &str = "Writes the files that are made of the code.

Usage: cargo xtask docs [--check | --site [DIR]]

Options:
  --check       Write nothing; fail if a file is not what it would be
  --site [DIR]  Make the site of the documents instead [default: target/site]; installs mdBook
                below target/ the first time, and needs Python 3.11 with venv";

/// Every generated file: its path in the workspace, and its text.
fn generated() -> Vec<(&'static str, String)> {
    vec![
        (
            "plugin-api/include/windtunnel_plugin.h",
            windtunnel_plugin_api::header(),
        ),
        ("policies/windtunnel.d.luau", stubs::luau()),
        ("policies/windtunnel.lua", stubs::emmy()),
        ("docs/reference/hooks.md", hooks::page()),
        ("python/lib/windtunnel/_commands/run.py", python::run()),
        (
            "python/lib/windtunnel/_commands/replay.py",
            python::replay(),
        ),
        ("python/lib/windtunnel/_commands/sweep.py", python::sweep()),
        ("python/lib/windtunnel/_commands/plan.py", python::plan()),
        ("python/lib/windtunnel/_scenarios.py", python::scenarios()),
        ("python/lib/windtunnel/_views.py", python::views()),
        (
            "docs/reference/score.schema.json",
            windtunnel_score::report::schema(),
        ),
    ]
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => {
            for (path, text) in stale()? {
                let file = root().join(path);
                let folder = file.parent().context("a file lies in a folder")?;
                fs::create_dir_all(folder).with_context(|| format!("cannot make {folder:?}"))?;
                fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
                println!("wrote {path}");
            }
            Ok(ExitCode::SUCCESS)
        }
        ["--check"] => {
            let stale: Vec<&str> = stale()?.into_iter().map(|(path, _)| path).collect();
            if !stale.is_empty() {
                bail!("run `cargo xtask docs`: {} changed", stale.join(", "));
            }
            Ok(ExitCode::SUCCESS)
        }
        ["--site"] => {
            site::build(&root().join("target/site"))?;
            Ok(ExitCode::SUCCESS)
        }
        ["--site", folder] => {
            site::build(&std::path::absolute(folder)?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["--help" | "-h"] => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!(
                "error: unknown arguments \"{}\"\n\n{HELP}",
                arguments.join(" ")
            );
            Ok(ExitCode::from(2))
        }
    }
}

/// The generated files that are not what they should be.
fn stale() -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut stale = Vec::new();
    for (path, text) in generated() {
        let file = root().join(path);
        let there = file.exists().then(|| fs::read_to_string(&file));
        let there = there
            .transpose()
            .with_context(|| format!("cannot read {path}"))?;
        if there.as_ref() != Some(&text) {
            stale.push((path, text));
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_files_are_what_the_code_says() {
        let stale: Vec<&str> = stale()
            .expect("readable")
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?}");
    }
}
