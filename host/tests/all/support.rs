//! Running the command, finding files.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_path_buf()
}

/// A file of JSON.
pub(crate) fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The cases in a folder, a folder each, sorted.
pub(crate) fn cases_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("case.json").is_file())
        .collect();
    cases.sort();
    cases
}

/// What a run of the command gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

thread_local! {
    /// The cache of scores of one test, gone when its thread ends: results that another build left
    /// in the user's cache must not decide whether this one passes.
    static CACHE: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

/// Runs `windtunnel` in the workspace's folder, with a cache of scores of the test's own.
pub(crate) fn windtunnel<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    command
        .current_dir(root())
        .args(args)
        .env_remove("WINDTUNNEL_LOG")
        .env_remove("COLUMNS");
    CACHE.with(|cache| command.env("WINDTUNNEL_CACHE_DIR", cache.path()));
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the command starts");
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(stderr).expect("stderr is UTF-8"),
    }
}
