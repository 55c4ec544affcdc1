//! The packages of the workspace, from `cargo metadata`, and what their manifests must say.

use super::finding::{Finding, Rule};
use super::tree::Tree;
use crate::shared::{cargo, root};
use anyhow::{Context, bail};
use serde_json::Value;

/// A package of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Package {
    pub name: String,
    /// Its manifest, from the workspace's folder.
    pub manifest: String,
    /// The packages that it depends on.
    pub uses: Vec<Use>,
}

/// A dependency.
#[derive(Debug)]
pub(crate) struct Use {
    pub name: String,
    /// Only its tests and benchmarks need it.
    pub for_tests: bool,
    /// Where its manifest says so.
    pub line: usize,
}

impl Package {
    /// Its folder, from the workspace's folder, without a slash at the end.
    pub(crate) fn folder(&self) -> &str {
        self.manifest
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
    }
}

/// All packages of the workspace.
///
/// # Errors
/// When cargo cannot read the manifests.
pub(crate) fn packages() -> anyhow::Result<Vec<Package>> {
    let output = cargo("metadata --no-deps --offline --format-version 1").output()?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let data: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = data["packages"].as_array().context("no packages")?;
    packages.iter().map(package).collect()
}

fn package(data: &Value) -> anyhow::Result<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = text(&data["manifest_path"]);
    let source = std::fs::read_to_string(&manifest).with_context(|| manifest.clone())?;
    let relative = std::path::Path::new(&manifest).strip_prefix(root())?;
    let uses = data["dependencies"].as_array().into_iter().flatten();
    let uses = uses.map(|used| {
        let name = text(&used["name"]);
        Use {
            line: line_of(&source, &name),
            for_tests: used["kind"] == "dev",
            name,
        }
    });
    Ok(Package {
        name: text(&data["name"]),
        manifest: relative.display().to_string().replace('\\', "/"),
        uses: uses.collect(),
    })
}

fn line_of(manifest: &str, name: &str) -> usize {
    let at = manifest.lines().position(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    });
    at.map_or(1, |k| k + 1)
}

/// Every package takes its Rust version and lints from the workspace, where the lint stands that
/// knows which functions that version has.
pub(crate) fn check(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut need = |file: &str, line: &str, why: &str| {
        let text = tree.text(file).unwrap_or_default();
        if !text.lines().any(|found| found.trim() == line) {
            let message = format!("`{line}` is missing: {why}");
            findings.push(Finding::new(Rule::Manifests, file, 1, message));
        }
    };
    need(
        "Cargo.toml",
        "incompatible_msrv = \"warn\"",
        "what the oldest Rust does not have is found by clippy",
    );
    for package in packages {
        for (line, why) in [
            (
                "rust-version.workspace = true",
                "all packages need the same Rust",
            ),
            (
                "edition.workspace = true",
                "all packages speak the same Rust",
            ),
            (
                "workspace = true",
                "[lints] of the workspace hold for all packages",
            ),
        ] {
            need(&package.manifest, line, why);
        }
    }
    // clippy.toml would win over the manifests.
    for file in ["clippy.toml", ".clippy.toml"] {
        let text = tree.text(file).unwrap_or_default();
        if let Some(k) = text.lines().position(|line| line.starts_with("msrv")) {
            let message = "the Rust version stands in Cargo.toml: drop it here".to_owned();
            findings.push(Finding::new(Rule::Manifests, file, k + 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_without_the_workspaces_version_or_lints_are_found() {
        let good = "[package]\nrust-version.workspace = true\nedition.workspace = true\n[lints]\nworkspace = true\n";
        let bad = "[package]\nrust-version = \"1.80\"\nedition.workspace = true\n";
        let workspace = "[workspace.lints.clippy]\nincompatible_msrv = \"warn\"\n";
        let tree = Tree::of(&[
            ("Cargo.toml", workspace),
            ("a/Cargo.toml", good),
            ("b/Cargo.toml", bad),
            ("clippy.toml", "\nmsrv = \"1.80\"\n"),
        ]);
        let packages = ["a", "b"].map(|name| Package {
            manifest: format!("{name}/Cargo.toml"),
            ..Package::default()
        });
        let files: Vec<String> = check(&tree, &packages)
            .into_iter()
            .map(|f| f.file)
            .collect();
        assert_eq!(files, ["b/Cargo.toml", "b/Cargo.toml", "clippy.toml"]);
        assert_eq!(
            check(&Tree::of(&[("a/Cargo.toml", good)]), &packages[..1]).len(),
            1
        );
    }

    #[test]
    fn the_workspace_is_read() {
        let packages = packages().unwrap();
        let own = packages
            .iter()
            .find(|p| p.name == "xtask")
            .expect("this one");
        assert_eq!(
            (own.folder(), own.manifest.as_str()),
            ("xtask", "xtask/Cargo.toml")
        );
        let used = own.uses.iter().find(|u| u.name == "anyhow").expect("used");
        assert!(used.line > 1 && !used.for_tests);
    }
}
