//! What all commands need: the workspace's folder, cargo, exit codes.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from)
}

/// Cargo with arguments, words with a space between them, in the workspace's folder.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments.split(' ')).current_dir(root());
    command
}

/// `Some` is the exit code of what failed.
pub(crate) fn exit_code(status: std::process::ExitStatus) -> anyhow::Result<Option<ExitCode>> {
    if status.success() {
        return Ok(None);
    }
    let Some(code) = status.code() else {
        bail!("the step was killed: {status}");
    };
    Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

/// Runs a command, which shows its own output; `Some` is its exit code if it failed.
pub(crate) fn run(mut command: Command) -> anyhow::Result<Option<ExitCode>> {
    let status = command.status();
    exit_code(status.with_context(|| format!("cannot run {command:?}"))?)
}

/// Builds windtunnel in a profile: where it is, and the exit code if that failed.
pub(crate) fn build(profile: &str) -> anyhow::Result<(PathBuf, Option<ExitCode>)> {
    let failed = run(cargo(&format!(
        "build --profile {profile} --package windtunnel"
    )))?;
    let file = format!("windtunnel{}", std::env::consts::EXE_SUFFIX);
    Ok((target().join(profile).join(file), failed))
}

/// Is this subcommand of cargo installed?
pub(crate) fn has(subcommand: &str) -> bool {
    let mut command = cargo(subcommand);
    command.arg("--version");
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}
