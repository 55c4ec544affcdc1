//! Crates are floors: what each may depend on.

use super::finding::{Finding, Rule};
use super::manifests::Package;
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Where the floors are written down.
pub(crate) const LIST: &str = "xtask/tidy/floors.txt";

/// The package in which flags have names.
const COMMAND_LINE: &str = "windtunnel-cli";

/// Packages of the workspace that each package may depend on.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    below: BTreeMap<String, BTreeSet<String>>,
}

impl Floors {
    /// Reads the list: `PACKAGE: PACKAGE PACKAGE ...`, from the lowest to the highest. `*` is
    /// everything before it. A package that is named may be used with all that it may use itself,
    /// unless a `!` in front of it says that it alone.
    ///
    /// # Errors
    /// When a package is named before it is listed.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut floors = Self::default();
        for line in text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let (name, rest) = line.split_once(':').context(line.to_owned())?;
            let mut below = BTreeSet::new();
            for word in rest.split_whitespace() {
                if word == "*" {
                    below.extend(floors.below.keys().cloned());
                    continue;
                }
                let only = word.strip_prefix('!');
                let other = only.unwrap_or(word);
                let Some(its) = floors.below.get(other) else {
                    bail!("{name} stands on {other}, which is not listed before it");
                };
                if only.is_none() {
                    below.extend(its.iter().cloned());
                }
                below.insert(other.to_owned());
            }
            floors.below.insert(name.trim().to_owned(), below);
        }
        Ok(floors)
    }

    /// Folders of the packages on which the command line stands, with a slash at the end.
    pub(crate) fn below_the_command_line(&self, packages: &[Package]) -> Vec<String> {
        let below = self.below.get(COMMAND_LINE);
        let is_below = |p: &&Package| below.is_some_and(|below| below.contains(&p.name));
        let packages = packages.iter().filter(is_below);
        packages.map(|p| format!("{}/", p.folder())).collect()
    }

    pub(crate) fn check(&self, packages: &[Package]) -> Vec<Finding> {
        let ours: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
        let mut findings = Vec::new();
        for package in packages {
            let mut found = |line: usize, message: String| {
                findings.push(Finding::new(Rule::Floors, &package.manifest, line, message));
            };
            let Some(below) = self.below.get(&package.name) else {
                let message = format!("{} has no floor: add it to {}", package.name, LIST);
                found(1, message);
                continue;
            };
            for used in &package.uses {
                // What tests use may be a plugin: they load it.
                let fine = below.contains(&used.name)
                    || (used.for_tests && used.name.starts_with("windtunnel-plugin-"));
                if ours.contains(used.name.as_str()) && !fine {
                    let message = format!(
                        "{} must not depend on {}: it may use {}",
                        package.name,
                        used.name,
                        match below.len() {
                            0 => "nothing of the workspace".to_owned(),
                            _ => below.iter().cloned().collect::<Vec<_>>().join(", "),
                        }
                    );
                    found(used.line, message);
                }
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::manifests::Use;

    fn package(name: &str, uses: &[&str]) -> Package {
        let used = |name: &&str| Use {
            name: name.trim_start_matches('?').to_owned(),
            for_tests: name.starts_with('?'),
            line: 7,
        };
        Package {
            name: name.into(),
            manifest: format!("{name}/Cargo.toml"),
            uses: uses.iter().map(used).collect(),
        }
    }

    #[test]
    fn a_floor_stands_on_all_below_it_and_on_nothing_else() {
        let floors = Floors::parse(
            "base:\nwindtunnel-plugin-x:\nconfig: base\nengine: config\nwork: !config\ntop: *\n",
        )
        .unwrap();
        let packages = [
            package("base", &["serde", "engine"]),
            package("windtunnel-plugin-x", &[]),
            package("config", &["?windtunnel-plugin-x"]),
            package("engine", &["config", "base", "work"]),
            package("work", &["config", "base"]),
            package("top", &["engine", "work", "base"]),
            package("new", &[]),
        ];
        let found = floors.check(&packages);
        let said: Vec<String> = found
            .iter()
            .map(|f| format!("{}:{} {}", f.file, f.line, f.message))
            .collect();
        let begins = [
            "base/Cargo.toml:7 base must not depend on engine: it may use nothing of the workspace",
            "engine/Cargo.toml:7 engine must not depend on work: it may use base, config",
            "work/Cargo.toml:7 work must not depend on base: it may use config",
            "new/Cargo.toml:1 new has no floor",
        ];
        assert_eq!(said.len(), begins.len(), "{said:#?}");
        for (said, begin) in said.iter().zip(begins) {
            assert!(said.starts_with(begin), "{said}");
        }
    }

    #[test]
    fn the_command_line_is_above_what_it_stands_on() {
        let floors = Floors::parse("base:\nwindtunnel-cli: base\ntop: *\n").unwrap();
        let packages = ["top", "windtunnel-cli", "base"].map(|name| package(name, &[]));
        assert_eq!(floors.below_the_command_line(&packages), ["base/"]);
    }

    #[test]
    fn a_floor_cannot_stand_on_what_comes_later() {
        assert!(Floors::parse("a: b\nb:\n").is_err());
    }
}
