//! Runs a row and collects everything that comes out.

use super::list::{Row, Step};
use super::normal::normal;
use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A part of what comes out: `exit`, `stdout`, `stderr`, or `file PATH`; with several commands in a
/// row, `stdout 2` and so on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Part {
    pub(crate) fn new(name: String, bytes: Vec<u8>) -> Self {
        Self { name, bytes }
    }
}

/// Gives each run of a row its own folder, which is removed after it.
#[derive(Clone)]
pub(crate) struct Folders {
    base: Arc<Base>,
    /// Files that are copied to `{data}`: path below it, content.
    data: Arc<Vec<(PathBuf, Vec<u8>)>>,
}

struct Base {
    path: PathBuf,
    next: AtomicUsize,
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Folders {
    pub(crate) fn new(data: &Path) -> anyhow::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // Always as long as the last time: tables are as wide as the paths in them.
        let (process, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let name = format!("windtunnel-parity-{:08}{:02}", process, made % 100);
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize()?;
        Ok(Self {
            base: Arc::new(Base {
                path,
                next: AtomicUsize::new(0),
            }),
            data: Arc::new(files(data)?),
        })
    }

    fn make(&self) -> anyhow::Result<Folder> {
        let number = self.base.next.fetch_add(1, Ordering::Relaxed);
        let path = self.base.path.join(format!("{number:05}"));
        let folder = Folder { path };
        for part in ["out", "tmp", "cache", "home"] {
            fs::create_dir_all(folder.path.join(part))
                .with_context(|| format!("cannot make {}", folder.path.display()))?;
        }
        for (name, bytes) in self.data.iter() {
            let file = folder.path.join("data").join(name);
            fs::create_dir_all(file.parent().expect("it lies in a folder"))?;
            fs::write(file, bytes)?;
        }
        Ok(folder)
    }
}

struct Folder {
    path: PathBuf,
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Folder {
    fn fill(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for part in ["out", "tmp", "data"] {
            let path = self.path.join(part).display().to_string();
            word = word.replace(&format!("{{{part}}}"), &path);
        }
        word
    }
}

/// Runs the commands of a row in `root`; gives everything that came out, without what may differ.
///
/// # Errors
/// When a command cannot be run, is killed, or its files cannot be read.
pub(crate) fn run(
    binary: &Path,
    root: &Path,
    folders: &Folders,
    row: &Row,
) -> anyhow::Result<Vec<Part>> {
    let folder = folders.make()?;
    let places = ["out", "data", "tmp"].map(|part| folder.path.join(part));
    let names = [
        (places[0].as_path(), "{out}"),
        (places[1].as_path(), "{data}"),
        (places[2].as_path(), "{tmp}"),
        (folder.path.as_path(), "{row}"),
        (root, "{root}"),
    ];
    let mut parts = Vec::new();
    for (k, step) in row.steps.iter().enumerate() {
        let output = command(binary, root, &folder, step)?
            .output()
            .with_context(|| format!("cannot run {}", step.words[0]))?;
        if step.is_compiler() {
            if !output.status.success() {
                bail!("cc: {}", String::from_utf8_lossy(&output.stderr));
            }
            continue;
        }
        let code = output.status.code();
        let code = code.with_context(|| format!("{:?} was killed", step.words))?;
        let name = |part: &str| match row.steps.len() {
            1 => part.to_owned(),
            _ => format!("{part} {}", k + 1),
        };
        parts.push(Part::new(name("exit"), code.to_string().into_bytes()));
        parts.push(Part::new(name("stdout"), normal(output.stdout, &names)));
        parts.push(Part::new(name("stderr"), normal(output.stderr, &names)));
    }
    for (path, bytes) in files(&places[0])? {
        let name = format!("file {}", path.display());
        parts.push(Part::new(name, normal(bytes, &names)));
    }
    Ok(parts)
}

fn command(binary: &Path, root: &Path, folder: &Folder, step: &Step) -> anyhow::Result<Command> {
    let words = step.words.iter().map(|word| folder.fill(word));
    let mut command = if step.is_compiler() {
        let mut command = Command::new("cc");
        command.args(words.skip(1));
        command
    } else {
        let mut command = Command::new(binary);
        command.args(words);
        command
    };
    let input = match &step.input {
        None => Stdio::null(),
        Some(name) => {
            let name = folder.fill(name);
            let file = fs::File::open(root.join(&name));
            file.with_context(|| format!("cannot open {name}"))?.into()
        }
    };
    // Nothing of the caller's surroundings gets in.
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder.path.join("home"))
        .env("WINDTUNNEL_CACHE_DIR", folder.path.join("cache"))
        // A salt of its own would give every run another holdout.
        .env(
            "WINDTUNNEL_HOLDOUT_SALT_FILE",
            root.join("host/tests/data/score/holdout-salt"),
        )
        .current_dir(root)
        .stdin(input);
    Ok(command)
}

/// All files below a folder, by path.
fn files(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    fn walk(base: &Path, folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) -> anyhow::Result<()> {
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                walk(base, &path, found)?;
            } else {
                let bytes =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                found.push((path.strip_prefix(base)?.to_owned(), bytes));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found)?;
    found.sort();
    Ok(found)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::parity::list::parse;

    /// Runs a row with the shell in place of the command, and these files as data.
    fn shell(line: &str, data: &[(&str, &str)]) -> Vec<Part> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let (process, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let name = format!("windtunnel-shell-{process}-{made}");
        let folder = std::env::temp_dir().join(name);
        for (name, text) in data {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let folders = Folders::new(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let row = parse(line).unwrap().remove(0);
        run(Path::new("/bin/sh"), Path::new("/bin"), &folders, &row).unwrap()
    }

    fn text(part: &Part) -> &str {
        std::str::from_utf8(&part.bytes).unwrap()
    }

    #[test]
    fn exit_code_output_and_written_files_are_collected_without_folders_of_the_machine() {
        let script = "cat; echo $1 >&2; echo $HOME > $1/deep; exit 3";
        let parts = shell(
            "r/a {data}/deep/script {out} < {data}/in",
            &[("deep/script", script), ("in", "given\n")],
        );
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["exit", "stdout", "stderr", "file deep"]);
        let texts: Vec<&str> = parts.iter().map(text).collect();
        assert_eq!(texts, ["3", "given\n", "{out}\n", "{row}/home\n"]);
    }

    #[test]
    fn steps_of_a_row_share_their_folders() {
        let parts = shell(
            "r/b {data}/script {out} && {data}/script {out}",
            &[("script", "cat $1/* ; echo x > $1/a"), ("b", ""), ("c", "")],
        );
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let expected = [
            "exit 1", "stdout 1", "stderr 1", "exit 2", "stdout 2", "stderr 2", "file a",
        ];
        assert_eq!(names, expected);
        assert_eq!((text(&parts[1]), text(&parts[4])), ("", "x\n"));
    }
}
