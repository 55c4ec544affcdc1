//! The wheel: the Python package, which brings the command `windtunnel`, for all versions of Python
//! from 3.11 on. It is built with maturin, in an environment of its own.

use crate::shared::{root, run, target};
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Names the version of maturin that the tests build the package with.
const REQUIREMENTS: &str = "python/tests/requirements.txt";

/// Builds it into a folder.
pub(crate) fn build(out: &Path) -> anyhow::Result<()> {
    let environment = target().join("dist-python");
    let python = environment.join(if cfg!(windows) {
        "Scripts/python"
    } else {
        "bin/python"
    });
    if !python.exists() {
        let mut make = Command::new("python3");
        run(make.args(["-m", "venv"]).arg(&environment))
            .context("the wheel needs Python 3.11 or newer with venv; --no-wheel leaves it out")?;
    }
    let requirements = fs::read_to_string(root().join(REQUIREMENTS)).context(REQUIREMENTS)?;
    let maturin = requirements
        .lines()
        .find(|line| line.starts_with("maturin=="));
    let maturin = maturin.with_context(|| format!("{REQUIREMENTS} has no maturin"))?;
    let mut install = Command::new(&python);
    install.args("-m pip install --quiet --disable-pip-version-check".split(' '));
    run(install.arg(maturin))?;
    let mut build = Command::new(&python);
    build
        .args("-m maturin build --profile dist --locked --strip --manifest-path".split(' '))
        .arg(root().join("python/Cargo.toml"))
        .arg("--out")
        .arg(out)
        .current_dir(root());
    run(&mut build)
}
