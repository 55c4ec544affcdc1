//! The documentation as a site: `cargo xtask docs --site`.
//!
//! The pages are the project's Markdown files, as they lie in it; `docs/SUMMARY.md` says in which
//! order. What only a program can write comes beside: a page per command, of its help, and the
//! Python package's classes and functions, of their docstrings. mdBook makes the site, which needs
//! no network and no server. Every link in it is followed.

mod commands;
mod links;

use crate::shared::root;
use anyhow::{Context, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// What makes the site; both are installed below `target/`.
const MDBOOK: &str = "mdbook@0.5.4";
/// What writes the Python package's pages.
const GRIFFE: &str = "griffe2md==1.5.1";

/// Order of the pages, seen from the folder in which it lies.
const SUMMARY: &str = "docs/SUMMARY.md";
/// The page below which each command has its own.
const COMMAND_LINE: &str = "docs/reference/command-line.md";
/// The page below which the Python package's classes and functions are.
const PYTHON: &str = "python/index.md";

const BOOK: &str = r#"[book]
title = "windtunnel"
description = "A wind tunnel for LLM-serving policies"
language = "en"

[output.html]
preferred-dark-theme = "navy"
no-section-label = true
# Two hyphens begin a flag.
smart-punctuation = false

[output.html.fold]
enable = true
level = 0

[output.html.print]
enable = false
"#;

/// Makes the site in a folder; what was there is replaced.
pub(crate) fn build(out: &Path) -> anyhow::Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let mdbook = mdbook(&target)?;
    let source = target.join("site-source");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    let mut stage = Stage {
        source: source.join("src"),
        pages: BTreeSet::new(),
        folders: BTreeMap::new(),
    };
    let text = fs::read_to_string(root().join(SUMMARY)).context(SUMMARY)?;
    let mut summary = stage.summary(&text)?;
    let commands: Vec<(String, String)> = commands::pages(windtunnel_cli::command());
    for (name, text) in &commands {
        stage.write(&commands_place(name), text)?;
    }
    insert_below(
        &mut summary,
        COMMAND_LINE,
        commands
            .iter()
            .map(|(name, _)| (name.clone(), commands_place(name))),
    )?;
    let api = "python/api.md".to_owned();
    stage.write(&api, &python_api(&target)?)?;
    insert_below(
        &mut summary,
        PYTHON,
        [("Classes and functions".to_owned(), api)],
    )?;
    let folders = stage.write_folders()?;
    if !folders.is_empty() {
        summary += "\n# Files\n\n";
        for folder in folders {
            summary += &format!("- [{folder}]({folder}/index.md)\n");
        }
    }
    fs::write(stage.source.join("SUMMARY.md"), summary)?;
    fs::write(source.join("book.toml"), BOOK)?;

    run(Command::new(mdbook)
        .arg("build")
        .arg(&source)
        .arg("--dest-dir")
        .arg(out))?;
    let followed = links::check(out)?;
    println!(
        "{}: {} pages, {followed} links followed",
        out.join("index.html").display(),
        stage.pages.len() + commands.len() + 1
    );
    Ok(())
}

fn commands_place(name: &str) -> String {
    format!("docs/reference/commands/{}.md", name.replace(' ', "-"))
}

/// Where the pages are put together before they become a site.
struct Stage {
    source: PathBuf,
    /// Pages of the summary, from the workspace's folder.
    pages: BTreeSet<String>,
    /// Folders that are linked to, with the files in them.
    folders: BTreeMap<String, Vec<String>>,
}

impl Stage {
    /// Copies all pages of a summary and what they link to; the summary, seen from the workspace's
    /// folder.
    fn summary(&mut self, text: &str) -> anyhow::Result<String> {
        let mut moved = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("](") {
            let (link, after) = after.split_once(')').context("a link without an end")?;
            let page = resolved(SUMMARY, link)?;
            ensure!(
                self.pages.insert(page.clone()),
                "{SUMMARY} has {page} twice"
            );
            moved += &format!("{before}]({})", as_index(&page));
            rest = after;
        }
        moved += rest;
        for page in self.pages.clone() {
            let text = fs::read_to_string(root().join(&page));
            let text = text.with_context(|| format!("{SUMMARY} names {page}"))?;
            self.write(&page, &text)?;
            self.copy_linked(&page, &text)?;
        }
        Ok(moved)
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let file = self.source.join(as_index(path));
        fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        fs::write(&file, as_index(text)).with_context(|| format!("cannot write {}", file.display()))
    }

    fn copy(&self, path: &str) -> anyhow::Result<()> {
        let file = self.source.join(path);
        fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        fs::copy(root().join(path), &file).with_context(|| format!("cannot copy {path}"))?;
        Ok(())
    }

    /// Copies the files that a page links to. Other pages have to be in the summary.
    fn copy_linked(&mut self, page: &str, text: &str) -> anyhow::Result<()> {
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#', ' ']).next().unwrap_or_default();
            let Ok(path) = resolved(page, link) else {
                continue;
            };
            let there = root().join(&path);
            if link.is_empty() || link.contains(':') || !there.exists() {
                continue;
            }
            if there.is_dir() {
                self.list(&path)?;
            } else if !path.ends_with(".md") {
                self.copy(&path)?;
            } else if !self.pages.contains(&path) {
                bail!("{page} links to {path}, which is not in {SUMMARY}");
            }
        }
        Ok(())
    }

    /// Copies the files of a folder that is linked to.
    fn list(&mut self, folder: &str) -> anyhow::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(root().join(folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() && !name.starts_with('.') && !name.ends_with(".md") {
                self.copy(&format!("{folder}/{name}"))?;
                files.push(name);
            }
        }
        files.sort();
        self.folders.insert(folder.to_owned(), files);
        Ok(())
    }

    /// Writes a page for each folder that is linked to; their names.
    fn write_folders(&self) -> anyhow::Result<Vec<String>> {
        let own = |folder: &String| self.pages.contains(&format!("{folder}/README.md"));
        let listed = || self.folders.iter().filter(|(folder, _)| !own(folder));
        for (folder, files) in listed() {
            let mut page = format!("# {folder}\n\n");
            for name in files {
                page += &format!("- [{name}](<{name}>)\n");
            }
            self.write(&format!("{folder}/index.md"), &page)?;
        }
        Ok(listed().map(|(folder, _)| folder.clone()).collect())
    }
}

/// Places and texts with the pages of folders under the name that they have in a site.
fn as_index(text: &str) -> String {
    text.replace("README.md", "index.md")
}

/// The place that `link` means on `page`, both from the workspace's folder.
fn resolved(page: &str, link: &str) -> anyhow::Result<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for component in Path::new(link).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop().context("a link out of the project")?;
            }
            Component::Normal(name) => parts.push(name.to_str().context("a name in UTF-8")?),
            _ => bail!("{page}: {link} is no place in the project"),
        }
    }
    Ok(parts.join("/"))
}

/// Adds pages to the summary, one step below a page that is in it.
fn insert_below(
    summary: &mut String,
    page: &str,
    below: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<()> {
    let line = summary
        .lines()
        .find(|line| line.ends_with(&format!("({page})")));
    let line = line.with_context(|| format!("{SUMMARY} has no {page}"))?;
    let indent = line.len() - line.trim_start().len() + 2;
    let added: String = below
        .into_iter()
        .map(|(title, path)| format!("\n{:indent$}- [{title}]({path})", ""))
        .collect();
    let at = summary.find(line).context("it was found")? + line.len();
    summary.insert_str(at, &added);
    Ok(())
}

/// mdBook, installed once.
fn mdbook(target: &Path) -> anyhow::Result<PathBuf> {
    let folder = target.join("tools");
    let program = folder
        .join("bin")
        .join(format!("mdbook{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        println!("installing {MDBOOK}, once");
        let mut install = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        install
            .args(["install", "--quiet", "--locked", MDBOOK])
            .args(["--no-default-features", "--features", "search", "--root"])
            .arg(&folder);
        run(&mut install)?;
    }
    Ok(program)
}

/// The Python package's classes and functions, as Markdown. Nothing is imported.
fn python_api(target: &Path) -> anyhow::Result<String> {
    let environment = target.join("site-python");
    let bin = environment.join(if cfg!(windows) { "Scripts" } else { "bin" });
    if !bin.exists() {
        let mut make = Command::new("python3");
        run(make.args(["-m", "venv"]).arg(&environment))
            .context("the Python package's pages need Python 3.11 or newer with venv")?;
    }
    let mut install = Command::new(bin.join("python"));
    install.args("-m pip install --quiet --disable-pip-version-check".split(' '));
    run(install.arg(GRIFFE))?;
    let mut write = Command::new(bin.join("griffe2md"));
    write
        .arg("windtunnel")
        .current_dir(root().join("python/lib"));
    let output = write.output().context("cannot run griffe2md")?;
    ensure!(
        output.status.success(),
        "griffe2md: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("# Classes and functions\n\n{}", anchored(&text)))
}

/// The same with a place that links find at every heading with a name in code, and without links to
/// names that have none: those of Python itself, and of what is private.
fn anchored(text: &str) -> String {
    let name = |line: &str| {
        let heading = line.starts_with('#').then_some(line)?;
        Some(heading.split('`').nth(1)?.to_owned())
    };
    let names: BTreeSet<String> = text.lines().filter_map(name).collect();
    let mut placed = String::new();
    for line in text.lines() {
        if let Some(name) = name(line) {
            placed += &format!("<a id=\"{name}\"></a>\n\n");
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](#") {
            let Some((target, after)) = after.split_once(')') else {
                break;
            };
            match before.rfind('[') {
                Some(at) if !names.contains(target) => {
                    placed += &before[..at];
                    placed += &before[at + 1..];
                }
                _ => placed += &format!("{before}](#{target})"),
            }
            rest = after;
        }
        placed += rest;
        placed.push('\n');
    }
    placed
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status();
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_places_in_the_project() {
        assert_eq!(
            resolved("docs/guide/a.md", "../reference/b.md").unwrap(),
            "docs/reference/b.md"
        );
        assert_eq!(resolved("README.md", "docs").unwrap(), "docs");
        assert!(resolved("README.md", "../out").is_err());
        assert!(resolved("README.md", "/etc").is_err());
    }

    #[test]
    fn names_are_linked_where_they_have_a_heading() {
        let text = "- [**run**](#a.run) takes [int](#int), [str](#str)\n### `a.run`\n";
        assert_eq!(
            anchored(text),
            "- [**run**](#a.run) takes int, str\n<a id=\"a.run\"></a>\n\n### `a.run`\n"
        );
    }

    #[test]
    fn pages_are_added_one_step_below() {
        let mut summary = "- [A](a.md)\n  - [B](b.md)\n- [C](c.md)\n".to_owned();
        let below = [("D".to_owned(), "d.md".to_owned())];
        insert_below(&mut summary, "b.md", below.clone()).unwrap();
        assert_eq!(
            summary,
            "- [A](a.md)\n  - [B](b.md)\n    - [D](d.md)\n- [C](c.md)\n"
        );
        assert!(insert_below(&mut summary, "x.md", below).is_err());
    }

    #[test]
    fn every_page_that_is_linked_is_in_the_summary() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Stage {
            source: folder.path().to_owned(),
            pages: BTreeSet::new(),
            folders: BTreeMap::new(),
        };
        let text = fs::read_to_string(root().join(SUMMARY)).unwrap();
        stage.summary(&text).unwrap();
        assert!(stage.pages.contains("README.md") && folder.path().join("index.md").exists());
        assert!(folder.path().join("docs/reference/hooks.md").exists());
    }
}
