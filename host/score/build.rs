//! Puts the scoring suites into the program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let suites = PathBuf::from(env("CARGO_MANIFEST_DIR")).join("../../suites");
    println!("cargo:rerun-if-changed={}", suites.display());
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
