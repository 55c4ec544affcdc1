//! The archive: unpacked into `/usr/local` or `~/.local`, everything is where it belongs.

use crate::shared::{output, root, run, target};
use anyhow::{Context, ensure};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders and files of the project that come with the program, below `share/windtunnel`.
const SHARED: [&str; 8] = [
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "docs",
    "examples",
    "policies",
    "suites",
];
/// How hard zstd tries, of 22.
const LEVEL: i32 = 19;

/// Completions: shell, and where its packages put them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/windtunnel"),
    ("zsh", "share/zsh/site-functions/_windtunnel"),
    ("fish", "share/fish/vendor_completions.d/windtunnel.fish"),
];

/// A file of the archive.
struct Item {
    /// Below the archive's one folder.
    path: PathBuf,
    from: Content,
    executable: bool,
}

enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Writes the archive `to`, whose one folder is called `name`. `notices` are the licences of the
/// crates in the program.
pub(crate) fn write(
    program: &Path,
    notices: &[(String, Vec<PathBuf>)],
    name: &str,
    to: &Path,
) -> anyhow::Result<()> {
    let manual = target().join("manual");
    if manual.exists() {
        fs::remove_dir_all(&manual)?;
    }
    run(Command::new(program).arg("man").arg(&manual))?;

    let mut items = vec![Item {
        path: Path::new("bin").join(program.file_name().context("a program has a name")?),
        from: Content::File(program.to_owned()),
        executable: true,
    }];
    for (shell, path) in COMPLETIONS {
        let script = output(Command::new(program).args(["completions", shell]))?;
        items.push(Item {
            path: path.into(),
            from: Content::Bytes(script),
            executable: false,
        });
    }
    collect(&manual, Path::new("share/man/man1"), &mut items)?;
    for shared in SHARED {
        let path = Path::new("share/windtunnel").join(shared);
        collect(&root().join(shared), &path, &mut items)?;
    }
    for (component, files) in notices {
        for file in files {
            let place = Path::new("share/windtunnel/licences").join(component);
            let name = file.file_name().context("a file has a name")?;
            collect(file, &place.join(name), &mut items)?;
        }
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    ensure!(
        items.windows(2).all(|pair| pair[0].path != pair[1].path),
        "two files of the archive have one place"
    );
    let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    pack(&items, name, BufWriter::new(file))
}

/// Adds a file, or the files of a folder and of those in it.
fn collect(from: &Path, path: &Path, items: &mut Vec<Item>) -> anyhow::Result<()> {
    if from.is_file() {
        items.push(Item {
            path: path.to_owned(),
            from: Content::File(from.to_owned()),
            executable: false,
        });
        return Ok(());
    }
    for entry in crate::shared::sorted(from)? {
        let name = entry.file_name().context("an entry has a name")?;
        collect(&entry, &path.join(name), items)?;
    }
    Ok(())
}

/// Packs the items; nothing of this machine, not its time either, gets in.
fn pack(items: &[Item], name: &str, to: impl Write) -> anyhow::Result<()> {
    let packed = zstd::Encoder::new(to, LEVEL)?;
    let mut archive = tar::Builder::new(packed);
    for item in items {
        let bytes = match &item.from {
            Content::File(path) => {
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            Content::Bytes(bytes) => bytes.clone(),
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(if item.executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        let path = Path::new(name).join(&item.path);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    archive.into_inner()?.finish()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn an_archive_has_its_files_and_no_trace_of_when_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/file"), "text").unwrap();
        let packed = || {
            let mut items = vec![Item {
                path: "bin/run".into(),
                from: Content::Bytes(b"code".to_vec()),
                executable: true,
            }];
            collect(folder.path(), Path::new("share"), &mut items).unwrap();
            let mut bytes = Vec::new();
            pack(&items, "all", &mut bytes).unwrap();
            bytes
        };
        let bytes = packed();
        let mut archive = tar::Archive::new(zstd::Decoder::new(bytes.as_slice()).unwrap());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let path = entry.path().unwrap().display().to_string();
            found.push((path, entry.header().mode().unwrap(), text));
        }
        assert_eq!(
            found,
            [
                ("all/bin/run".to_owned(), 0o755, "code".to_owned()),
                ("all/share/deep/file".to_owned(), 0o644, "text".to_owned()),
            ]
        );
        let file = File::open(folder.path().join("deep/file")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(packed(), bytes);
    }
}
