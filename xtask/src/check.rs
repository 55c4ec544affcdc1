//! `cargo xtask check`: format, lints and unit tests of the packages that changed.

use crate::shared::{cargo, has, root, run};
use crate::tidy::manifests::{Package, packages};
use crate::{test, tidy};
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::time::Instant;

const HELP: &str =
    "Checks the packages that changed: format, rules of the house, lints, unit tests.

Usage: cargo xtask check [OPTIONS]

Options:
  --since REV     Compare with this commit [default: where this branch left main]
  --dependents    The packages that depend on the changed ones, too
  --help          This text

What has not been committed counts, too. `cargo xtask test` runs everything.";

/// Files outside of packages that are built into one.
const BUILT_IN: [(&str, &str); 6] = [
    ("defaults.yaml", "windtunnel-config"),
    ("hardware_config.json", "windtunnel-config"),
    ("model_configs/", "windtunnel-config"),
    ("policies/", "windtunnel-policy"),
    ("suites/", "windtunnel-score"),
    ("leaderboard/", "windtunnel-score"),
];

/// Files that change how every package is built.
const OF_ALL: [&str; 3] = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"];

#[derive(Debug, Default, PartialEq)]
struct Options {
    since: Option<String>,
    dependents: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            match flag.as_str() {
                "--since" => {
                    let revision = rest.next();
                    let revision = revision.with_context(|| format!("{flag} needs a value"))?;
                    options.since = Some(revision.clone());
                }
                "--dependents" => options.dependents = true,
                other => bail!("unknown option {other}\n\n{HELP}"),
            }
        }
        Ok(options)
    }
}

pub(crate) fn check(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    let start = Instant::now();
    let packages = packages()?;
    let changed = changed(
        &packages,
        &files(options.since.as_deref())?,
        options.dependents,
    );
    let names: Vec<&str> = changed.iter().map(String::as_str).collect();
    match names[..] {
        [] => println!("no package has changed"),
        _ => println!("changed: {}", names.join(", ")),
    }
    let chosen = |names: &[&str]| -> String {
        let flags = names.iter().map(|name| format!(" --package {name}"));
        flags.collect()
    };
    let mut steps = vec![("format", cargo("fmt --all --check"))];
    if !names.is_empty() {
        let lints = format!("clippy{} --all-targets -- -D warnings", chosen(&names));
        steps.push(("lints", cargo(&lints)));
    }
    let tested: Vec<&str> = names
        .iter()
        .filter(|name| !test::WITHOUT_TESTS.contains(name))
        .copied()
        .collect();
    if !tested.is_empty() {
        let tests = if has("nextest") {
            let run = "--lib --bins --no-tests pass --cargo-quiet";
            format!("nextest run{} {run}", chosen(&tested))
        } else {
            format!("test{} --lib --bins --quiet", chosen(&tested))
        };
        steps.push(("unit tests", cargo(&tests)));
    }
    let failed = test::step("tidy", start, tidy::step)?;
    if let Some(code) = failed {
        return Ok(code);
    }
    for (name, command) in steps {
        if let Some(code) = test::step(name, start, || run(command))? {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Files that are not what they are in a commit, by path.
fn files(since: Option<&str>) -> anyhow::Result<Vec<String>> {
    let since = match since {
        Some(revision) => revision.to_owned(),
        // Without a branch of that name: what is not committed.
        None => git("merge-base main HEAD").unwrap_or_else(|_| "HEAD".to_owned()),
    };
    let mut command = Command::new("git");
    command.args(["diff", "--name-only", since.trim()]);
    let mut files = output(&mut command)?;
    files += &git("ls-files --others --exclude-standard")?;
    Ok(files.lines().map(str::to_owned).collect())
}

fn git(arguments: &str) -> anyhow::Result<String> {
    output(Command::new("git").args(arguments.split(' ')))
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("git: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("a file's name is not UTF-8")
}

/// The packages in which the files lie, or into which they are built.
fn changed(packages: &[Package], files: &[String], dependents: bool) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    for file in files {
        if OF_ALL.contains(&file.as_str()) {
            return packages.iter().map(|p| p.name.clone()).collect();
        }
        let lies_in = |p: &&Package| {
            let rest = file.strip_prefix(p.folder());
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        // Packages lie in each other's folders: the innermost.
        let package = packages.iter().filter(lies_in);
        if let Some(package) = package.max_by_key(|p| p.folder().len()) {
            changed.insert(package.name.clone());
        }
        for (begin, name) in BUILT_IN {
            if file.starts_with(begin) {
                changed.insert(name.to_owned());
            }
        }
    }
    loop {
        let uses = |p: &&Package| p.uses.iter().any(|used| changed.contains(&used.name));
        let more: BTreeSet<String> = packages
            .iter()
            .filter(uses)
            .map(|p| p.name.clone())
            .collect();
        if !dependents || more.is_subset(&changed) {
            return changed;
        }
        changed.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::manifests::Use;

    fn packages() -> Vec<Package> {
        let package = |name: &str, folder: &str, uses: &[&str]| Package {
            name: name.into(),
            manifest: format!("{folder}/Cargo.toml"),
            uses: uses
                .iter()
                .map(|name| Use {
                    name: (*name).into(),
                    for_tests: false,
                    line: 1,
                })
                .collect(),
        };
        vec![
            package("windtunnel", "host", &["windtunnel-config"]),
            package("windtunnel-base", "host/base", &["serde"]),
            package("windtunnel-config", "host/config", &["windtunnel-base"]),
            package("xtask", "xtask", &[]),
        ]
    }

    fn names(files: &[&str], dependents: bool) -> Vec<String> {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        changed(&packages(), &files, dependents)
            .into_iter()
            .collect()
    }

    #[test]
    fn files_belong_to_the_innermost_package() {
        assert_eq!(names(&["host/base/src/lib.rs"], false), ["windtunnel-base"]);
        assert_eq!(
            names(&["host/src/main.rs", "docs/x.md"], false),
            ["windtunnel"]
        );
        assert!(names(&["hosting/a.rs", "README.md"], true).is_empty());
    }

    #[test]
    fn what_is_built_into_a_package_changes_it_and_the_workspace_changes_all() {
        assert_eq!(names(&["defaults.yaml"], false), ["windtunnel-config"]);
        assert_eq!(names(&["Cargo.lock"], false).len(), 4);
    }

    #[test]
    fn dependents_of_dependents_follow() {
        let expected = ["windtunnel", "windtunnel-base", "windtunnel-config"];
        assert_eq!(names(&["host/base/src/lib.rs"], true), expected);
    }

    #[test]
    fn options_are_read() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        assert_eq!(parse("").unwrap(), Options::default());
        let options = parse("--since HEAD~2 --dependents").unwrap();
        assert_eq!(options.since.as_deref(), Some("HEAD~2"));
        assert!(options.dependents);
        assert!(parse("--since").is_err() && parse("--all").is_err());
    }
}
