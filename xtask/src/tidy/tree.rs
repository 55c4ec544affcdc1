//! The files of the workspace that people write.

use crate::shared::root;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::process::Command;

/// Files that are no one's prose: data, and what is made of the code.
const LEFT_OUT: &[&str] = &[
    "LICENSE",
    "docs/examples/",
    "docs/reference/hooks.md",
    "fuzz/corpus/",
    "leaderboard/",
    "plugin-api/include/",
    "policies/windtunnel.",
    "xtask/parity/",
    "xtask/tidy/",
];

/// Texts by path in the workspace.
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// What git knows, and what it would know after `git add`.
    ///
    /// # Errors
    /// When git cannot be asked.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let output = Command::new("git")
            .args("ls-files -z --cached --others --exclude-standard".split(' '))
            .current_dir(root())
            .output()
            .context("cannot run git")?;
        if !output.status.success() {
            bail!("git: {}", String::from_utf8_lossy(&output.stderr));
        }
        let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
        let mut files = BTreeMap::new();
        for name in names.split('\0').filter(|name| is_read(name)) {
            // A file that is deleted but not yet from git's index, or that is no text.
            if let Ok(text) = std::fs::read_to_string(root().join(name)) {
                files.insert(name.to_owned(), text);
            }
        }
        Ok(Self(files))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self(files.iter().map(owned).collect())
    }

    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// All files, by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// Is it a text that a person wrote?
fn is_read(path: &str) -> bool {
    let ends = [
        "rs", "md", "lua", "luau", "py", "pyi", "c", "h", "sh", "toml", "yaml", "txt",
    ];
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    ends.contains(&end)
        && !LEFT_OUT.iter().any(|part| path.starts_with(part))
        // Data of tests, but not the programs among it.
        && (!path.contains("/tests/data/") || matches!(end, "rs" | "lua" | "c"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_made_files_are_left_out() {
        for path in [
            "host/src/lib.rs",
            "docs/guide/sweep.md",
            "host/tests/data/x.lua",
            "Cargo.toml",
        ] {
            assert!(is_read(path), "{path}");
        }
        for path in [
            "host/tests/data/oracle/x.yaml",
            "a.json",
            "policies/windtunnel.lua",
            "Cargo.lock",
        ] {
            assert!(!is_read(path), "{path}");
        }
    }
}
