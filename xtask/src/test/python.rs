//! The tests of the Python package, in an environment of their own below `target/`.
//!
//! The environment holds the test requirements and is kept between runs, as long as they stay what
//! they were; the package is built and installed anew each time, as a user would install it but
//! without optimisation.

use super::count::{Count, counted};
use crate::shared::{root, run};
use anyhow::{Context, anyhow, bail};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::JoinHandle;

/// The oldest Python that the package supports.
const OLDEST: (u32, u32) = (3, 11);

/// What a Python may be called; the first that is new enough is taken.
const NAMES: [&str; 7] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python",
    "py",
];

/// An environment that is being made: it takes minutes, once, which the compiler uses meanwhile.
pub(crate) type Environment = JoinHandle<anyhow::Result<Result<PathBuf, String>>>;

/// Begins to make the environment.
pub(crate) fn prepare() -> Environment {
    std::thread::spawn(|| {
        let Some(python) = find() else {
            return Ok(Err(format!(
                "there is no Python {}.{} or newer with venv; looked for {}",
                OLDEST.0,
                OLDEST.1,
                NAMES.join(", ")
            )));
        };
        let made = environment(&python)?;
        Ok(made.ok_or_else(|| {
            "the test requirements could not be installed (see above); is there a network?"
                .to_owned()
        }))
    })
}

/// Builds and installs the package, and runs its tests. Without a Python, or without a way to the
/// test requirements, it says so loudly and skips them; not where the environment variable `CI` is
/// set.
pub(crate) fn tests(
    environment: Environment,
    count: &mut Count,
) -> anyhow::Result<Option<ExitCode>> {
    let made = environment.join();
    let environment = match made.map_err(|_| anyhow!("the environment broke off (see above)"))?? {
        Ok(environment) => environment,
        Err(why) => return skipped(&why),
    };
    let mut install = inside(&environment);
    install.args("-m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall".split(' '));
    install.args(["--config-settings=build-args=--profile dev", "./python"]);
    let failed = run(install)?;
    if failed.is_some() {
        return Ok(failed);
    }
    let mut pytest = inside(&environment);
    // The tests of a file after each other, those of several files at once.
    pytest
        .args("-m pytest -q -rs -p no:cacheprovider -n 2 --dist loadfile python/tests".split(' '));
    counted(pytest, count)
}

fn skipped(why: &str) -> anyhow::Result<Option<ExitCode>> {
    let line = "!".repeat(100);
    println!("{line}\n!! THE PYTHON TESTS WERE SKIPPED: {why}\n{line}");
    if std::env::var_os("CI").is_some() {
        bail!("the Python tests cannot be skipped where CI is set");
    }
    Ok(None)
}

/// A Python that is new enough and can make environments.
fn find() -> Option<PathBuf> {
    let fine = |name: &&str| {
        let test = format!("import sys, venv, ensurepip; sys.exit(sys.version_info < {OLDEST:?})");
        let mut command = Command::new(name);
        command.args(["-c", &test]);
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    };
    NAMES.into_iter().find(fine).map(PathBuf::from)
}

/// The environment with the test requirements, made if it is not there; `None` if they cannot be
/// had.
fn environment(python: &Path) -> anyhow::Result<Option<PathBuf>> {
    let requirements = root().join("python/tests/requirements.txt");
    let text = fs::read_to_string(&requirements).context("python/tests/requirements.txt")?;
    let version = Command::new(python).arg("--version").output()?.stdout;
    let mut hasher = DefaultHasher::new();
    (&text, version).hash(&mut hasher);
    let folder = root().join("target").join("python");
    let environment = folder.join(format!("{:016x}", hasher.finish()));
    // Written when everything is in its place.
    let complete = environment.join("complete");
    if complete.exists() {
        return Ok(Some(environment));
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the old environment")?;
    }
    let mut make = Command::new(python);
    make.args(["-m", "venv"]).arg(&environment);
    if !make.status()?.success() {
        bail!("cannot make a virtual environment: {make:?}");
    }
    println!("installing the test requirements, once");
    let mut install = inside(&environment);
    install.args("-m pip install --quiet --disable-pip-version-check -r".split(' '));
    install.arg(&requirements);
    if !install.status()?.success() {
        return Ok(None);
    }
    fs::write(&complete, text)?;
    Ok(Some(environment))
}

/// The environment's Python, in the workspace, with its own commands (maturin) first.
fn inside(environment: &Path) -> Command {
    let folder = environment.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let mut path = vec![folder.clone()];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut command = Command::new(folder.join("python"));
    command
        .current_dir(root())
        .env("PATH", std::env::join_paths(path).unwrap_or_default())
        .env("VIRTUAL_ENV", environment)
        .env_remove("PYTHONPATH");
    command
}
