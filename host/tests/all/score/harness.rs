//! Runs scorings in tests: each with a suite and a cache of its own, and checks that no process is
//! left.

use crate::support::root;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The folder with the small suite and its candidates.
pub(crate) fn data() -> PathBuf {
    root().join("host/tests/data/score")
}

/// The small suite at its place in the repository.
pub(crate) const SUITE: &str = "host/tests/data/score/suite.yaml";

/// A temporary cache and suite. The worker processes have the folder of the suite in their
/// arguments.
pub(crate) struct Scoring {
    pub(crate) cache: TempDir,
    suite: TempDir,
}

/// The output of a scoring.
pub(crate) struct Scored {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scored {
    pub(crate) fn report(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// One report a line.
    pub(crate) fn reports(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("a report"))
            .collect()
    }
}

impl Scoring {
    pub(crate) fn new() -> Self {
        let folder = || tempfile::tempdir().expect("a folder");
        let (cache, suite) = (folder(), folder());
        for name in ["suite.yaml", "chat.yaml", "batch.yaml"] {
            std::fs::copy(data().join(name), suite.path().join(name)).expect("copied");
        }
        Self { cache, suite }
    }

    /// The small suite.
    pub(crate) fn suite(&self) -> String {
        self.suite.path().join("suite.yaml").display().to_string()
    }

    /// Its worker processes.
    pub(crate) fn workers(&self) -> Vec<Process> {
        let folder = self.suite.path().display().to_string();
        living(|p| p.command.contains(" worker ") && p.command.contains(&folder))
    }

    /// Runs a command to its end, and checks that none of its processes is left.
    pub(crate) fn finish(&self, mut command: Command) -> Scored {
        let output = command.output().expect("the command starts");
        let left = self.workers();
        assert!(left.is_empty(), "processes left behind: {left:?}");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Scored {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// `windtunnel ...` in the workspace's folder, with a secret in its environment.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args(args.split_whitespace())
            .current_dir(root())
            .env("WINDTUNNEL_CACHE_DIR", self.cache.path())
            .env("SECRET_TOKEN", "sesame")
            .env_remove("WINDTUNNEL_LOG")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &str) -> Scored {
        self.finish(self.command(args))
    }

    /// Scores on the small suite.
    pub(crate) fn score(&self, args: &str) -> Scored {
        self.run(&format!("score --suite {} --json {args}", self.suite()))
    }

    /// The report on one candidate.
    pub(crate) fn report(&self, candidate: &Path, args: &str) -> Value {
        let scored = self.score(&format!("{args} {}", candidate.display()));
        scored.report()
    }
}

/// A process in `/proc`.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) state: char,
    pub(crate) command: String,
}

/// The living processes that `wanted` picks.
pub(crate) fn living(wanted: impl Fn(&Process) -> bool) -> Vec<Process> {
    let all = processes().into_iter();
    all.filter(|p| !"ZX".contains(p.state) && wanted(p))
        .collect()
}

fn processes() -> Vec<Process> {
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let all = all.filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Some(Process {
            pid,
            state: rest.next()?.chars().next()?,
            command: String::from_utf8_lossy(&command).replace('\0', " "),
        })
    });
    all.collect()
}

/// A report without what depends on the clock.
pub(crate) fn timeless(mut report: Value) -> Value {
    let keys = report.as_object_mut().expect("an object");
    assert!(keys.remove("wall_ms").is_some());
    report
}

pub(crate) fn score_of(report: &Value) -> f64 {
    report["score"].as_f64().expect("a score")
}

/// A candidate of the zoo.
pub(crate) fn zoo(name: &str) -> PathBuf {
    Path::new("host/tests/data/score/zoo").join(format!("{name}.lua"))
}

/// A harmless candidate.
pub(crate) fn innocent() -> PathBuf {
    "host/tests/data/score/innocent.lua".into()
}
