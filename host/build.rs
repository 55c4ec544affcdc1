//! Puts the scoring suites into the program, and a fingerprint of everything that results depend on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What results depend on, besides the suites: relative to this crate. Of the libraries in use, their versions.
const ENGINE: [&str; 6] = [
    "src",
    "../plugin-api/src",
    "../policies",
    "../defaults.yaml",
    "../model_configs",
    "../Cargo.lock",
];

/// What lies there but only makes use of results.
const ASIDE: [&str; 7] = [
    "src/main.rs",
    "src/cli",
    "src/report",
    "src/score/certify.rs",
    "src/score/compare.rs",
    "src/score/leaderboard",
    "src/score/tune",
];

fn main() -> io::Result<()> {
    let here = PathBuf::from(env("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for place in ENGINE {
        println!("cargo:rerun-if-changed={place}");
        list(&here.join(place), &mut files)?;
    }
    files.retain(|file| !ASIDE.iter().any(|aside| file.starts_with(here.join(aside))));
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        hasher.update(
            file.strip_prefix(&here)
                .unwrap_or(file)
                .to_string_lossy()
                .as_bytes(),
        );
        hasher.update(&fs::read(file)?);
    }
    let digest = hasher.finalize().to_hex();
    println!("cargo:rustc-env=WINDTUNNEL_ENGINE={}", &digest[..12]);

    let suites = here.join("../suites");
    println!("cargo:rerun-if-changed=../suites");
    let text = format!(
        "const SUITES: &[(&str, &str)] = &{};\nconst WORKLOADS: &[(&str, &str)] = &{};\n",
        table(&suites, "")?,
        table(&suites.join("workloads"), "workloads/")?,
    );
    fs::write(Path::new(&env("OUT_DIR")).join("suites.rs"), text)
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// All files below `place`.
fn list(place: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if place.is_file() {
        files.push(place.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(place)? {
        list(&entry?.path(), files)?;
    }
    Ok(())
}

/// The YAML files of a folder as (name, text); names of workloads keep their ending.
fn table(folder: &Path, prefix: &str) -> io::Result<String> {
    let mut rows: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = if prefix.is_empty() {
                stem.into_owned()
            } else {
                format!("{prefix}{stem}.yaml")
            };
            let path = path.canonicalize()?;
            rows.push(format!(
                "({name:?}, include_str!({:?}))",
                path.to_string_lossy()
            ));
        }
    }
    rows.sort();
    Ok(format!("[{}]", rows.join(", ")))
}
