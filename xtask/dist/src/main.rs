//! `cargo xtask dist`: what people install who do not compile.
//!
//! An archive with the command, its manual pages, completions, documents and policies; a wheel for
//! Python that carries the command, too; what both consist of (CycloneDX); checksums of all files.
//! Building twice from one commit gives the same archive.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command for people"
)]

mod archive;
mod components;
mod shared;
mod wheel;

use anyhow::{Context, bail, ensure};
use components::Components;
use sha2::{Digest, Sha256};
use shared::{cargo, output, run, sorted, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str =
    "Makes what people install: an archive of the command, a wheel for Python, a list
of components and checksums.

Usage: cargo xtask dist [OPTIONS]

Options:
  --out DIR    Folder to write to, emptied before [default: target/dist-files]
  --no-wheel   Leave out the wheel, which needs a Python 3.11 or newer with venv
  --help       This text";

/// Most bytes of the archive: it is downloaded by hand and by every CI run that uses it.
const LARGEST_ARCHIVE: u64 = 20_000_000;

struct Options {
    out: PathBuf,
    wheel: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        out: target().join("dist-files"),
        wheel: true,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            "--out" => {
                let folder = arguments.next().context("--out needs a folder")?;
                options.out = std::path::absolute(folder)?;
            }
            "--no-wheel" => options.wheel = false,
            other => {
                eprintln!("error: unknown argument \"{other}\"\n\n{HELP}");
                return Ok(ExitCode::from(2));
            }
        }
    }
    make(&options)?;
    Ok(ExitCode::SUCCESS)
}

/// The machine that rustc builds for, as `x86_64-unknown-linux-gnu`.
fn host() -> anyhow::Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let said = String::from_utf8(said)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn make(options: &Options) -> anyhow::Result<()> {
    let host = host()?;
    let out = &options.out;
    if out.exists() {
        // Only what an earlier call made is removed.
        ensure!(
            out.join("SHA256SUMS").exists() || fs::read_dir(out)?.next().is_none(),
            "{} has other files; --out needs a folder of its own",
            out.display()
        );
        fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;

    run(&mut cargo(
        "build --profile dist --locked --package windtunnel",
    ))?;
    let file = format!("windtunnel{}", std::env::consts::EXE_SUFFIX);
    let program = target().join("dist").join(file);
    let size = fs::metadata(&program)?.len();
    println!("{}: {:.1} MB", program.display(), size as f64 / 1e6);

    let name = format!("windtunnel-{}-{host}", env!("CARGO_PKG_VERSION"));
    let components = Components::of_target(&host)?;
    let archive = out.join(format!("{name}.tar.zst"));
    archive::write(&program, &components.notices()?, &name, &archive)?;
    let size = fs::metadata(&archive)?.len();
    if size > LARGEST_ARCHIVE {
        bail!("the archive has {size} bytes, more than {LARGEST_ARCHIVE}");
    }
    fs::write(out.join(format!("{name}.cdx.json")), components.list())?;
    if options.wheel {
        wheel::build(out)?;
    }
    fs::write(out.join("SHA256SUMS"), checksums(out)?)?;
    for entry in sorted(out)? {
        let size = fs::metadata(&entry)?.len();
        println!("{}: {:.1} MB", entry.display(), size as f64 / 1e6);
    }
    Ok(())
}

/// SHA-256 of the files of a folder, as `sha256sum --check` reads it.
fn checksums(folder: &Path) -> anyhow::Result<String> {
    let mut lines = String::new();
    for path in sorted(folder)? {
        let digest = Sha256::digest(fs::read(&path)?);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        lines += &format!("{digest}  {name}\n");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "abc").unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        // The examples of the standard, FIPS 180-4.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            checksums(folder.path()).unwrap(),
            format!("{empty}  a\n{abc}  b\n")
        );
    }
}
