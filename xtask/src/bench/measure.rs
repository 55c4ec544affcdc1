//! How it is measured: what the kernel says of a finished process, and what valgrind counts.

use anyhow::{Context, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One run of a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// User and system time of its first thread (a simulation has no other) and of the processes it
    /// waited for (scoring has those), seconds.
    pub(super) cpu_s: Option<f64>,
    pub(super) wall_s: f64,
    /// Largest resident set seen, bytes.
    pub(super) peak: Option<u64>,
}

/// Runs a program to its end. On Linux a dead child keeps its accounts until its parent has asked
/// for its exit code, so they are read in between: nanoseconds, where `time` would round a run of
/// 20 ms to hundredths of a second.
pub(super) fn run(program: &Path, arguments: &str) -> anyhow::Result<Run> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments.split(' '))
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let accounts = format!("/proc/{}", child.id());
    let mut peak = None;
    let linux = fs::exists(format!("{accounts}/stat")).unwrap_or(false);
    while linux && !is_dead(&accounts) {
        peak = peak.max(peak_memory(&accounts));
        std::thread::sleep(Duration::from_millis(2));
    }
    let cpu_s = cpu(&accounts);
    let status = child.wait()?;
    let wall_s = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("windtunnel {arguments}\nfailed: {status}");
    }
    Ok(Run {
        cpu_s,
        wall_s,
        peak,
    })
}

/// Is the process waiting for nothing but its parent? The state follows the name, which stands in
/// brackets.
fn is_dead(accounts: &str) -> bool {
    fs::read_to_string(format!("{accounts}/stat")).map_or(true, |stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    })
}

fn cpu(accounts: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("{accounts}/schedstat")).ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9 + of_children(accounts).unwrap_or(0.0))
}

/// Processes it waited for: fields 16 and 17 of its accounts, hundredths of a second on every Linux
/// of today.
fn of_children(accounts: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("{accounts}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<u64> = rest
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    // The first one behind the name is field 3.
    Some((fields.get(16 - 3)? + fields.get(17 - 3)?) as f64 / 100.0)
}

fn peak_memory(accounts: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("{accounts}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Is valgrind there?
pub(super) fn has_valgrind() -> bool {
    Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Instructions of a run; the profile goes to `profile`, for `callgrind_annotate`.
pub(super) fn instructions(program: &Path, arguments: &str, profile: &Path) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(arguments.split(' '))
        .stdout(Stdio::null())
        .output()
        .context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind on windtunnel {arguments}\nfailed:\n{said}");
    }
    collected(&said).with_context(|| format!("valgrind gave no count:\n{said}"))
}

/// The count in callgrind's closing line, `==1== Collected : 123`.
fn collected(said: &str) -> Option<u64> {
    let (_, count) = said.lines().find_map(|l| l.split_once("Collected :"))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read() {
        let said = "==7== \n==7== Events    : Ir\n==7== Collected : 1067896324\n==7== \n";
        assert_eq!(collected(said), Some(1_067_896_324));
        assert_eq!(collected("==7== nothing"), None);
    }
}
