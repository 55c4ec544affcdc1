//! The sandbox of worker processes. A worker cannot outlive its parent, take all memory, write
//! files, read other files than it needs, use the network, start programs, or signal other
//! processes. Scripts have no access to any of this; the sandbox contains compiled plugins, and a
//! script that escapes from its interpreter.
//!
//! A process that runs scripts itself gets a [wider one](confine_own).

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod fstat;
#[cfg(unix)]
mod limits;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(unix)]
pub use limits::{explained, stack_is_low};

use std::fs::File;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Address space of a worker, bytes.
pub const MEMORY: u64 = 4 << 30;
/// CPU time for one job, seconds, where the time limit is no longer.
const CPU_SECONDS: u64 = 60;

/// Limits of a worker process.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// It runs a compiled plugin, whose machine code is not trusted.
    pub native: bool,
    /// Process id of the parent, which it must not outlive.
    pub parent: Option<u32>,
    /// Files and folders that may be read, besides those of the system.
    pub read: Vec<PathBuf>,
}

/// Takes the channels to the parent from standard input and output, which lead to `/dev/null` from
/// then on, so that prints of a plugin cannot mix with the answers.
///
/// # Errors
/// When the file descriptors cannot be duplicated.
#[cfg(unix)]
pub fn take_stdio() -> io::Result<(File, File)> {
    close_inherited();
    let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let output: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok((input.into(), output.into()))
}

/// Closes all file descriptors but the standard ones.
#[cfg(target_os = "linux")]
fn close_inherited() {
    #[allow(
        unsafe_code,
        reason = "this is the first thing the process does: nothing holds these descriptors"
    )]
    // SAFETY: no descriptor above 2 is owned by anything in this process yet.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn close_inherited() {}

/// Puts this process into the sandbox, for the rest of its life. The answer names the limits that
/// the one who started it had set lower than a worker has them: what dies under these is not
/// judged.
///
/// # Errors
/// When the system refuses a limit, or leaves less than a worker needs.
#[cfg(unix)]
pub fn enter(limits: &Sandbox) -> io::Result<Vec<String>> {
    let low = limits::of_worker(MEMORY)?;
    #[cfg(target_os = "linux")]
    linux::enter(limits.native, limits.parent, &limits.read)?;
    #[cfg(not(target_os = "linux"))]
    let _ = limits;
    Ok(low)
}

/// From now on, for the rest of its life, this process opens nothing but `plugins` files, one after
/// the other, which stay open; it looks up no path beside. What the plugins say of themselves and
/// do can then only be computed. All else that has to be read must have been read.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn before_machine_code(plugins: usize) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    linux::before_machine_code(plugins)?;
    #[cfg(not(target_os = "linux"))]
    let _ = plugins;
    Ok(())
}

/// Puts this process, which runs scripts itself, into a sandbox: it writes only below the folders
/// of `outputs` and to what is open, has no network, starts no programs and signals no other
/// process. It reads what its user may read. To be called before there is a second thread. The
/// answer names what the system does not limit; empty is nothing.
#[must_use]
pub fn confine_own(outputs: &[PathBuf]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    #[cfg(unix)]
    if limits::of_own().is_err() {
        missing.push("memory");
    }
    #[cfg(target_os = "linux")]
    missing.extend(linux::confine_own(outputs));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = outputs;
        missing.extend(["files", "system calls"]);
    }
    missing
}

/// CPU time for a job with a time limit, seconds. It is no less than the time limit, which the
/// parent enforces; it ends a worker whose parent no longer does.
#[must_use]
pub fn cpu_seconds(time_limit: std::time::Duration) -> u64 {
    CPU_SECONDS.max(time_limit.as_secs())
}

/// Raises the limit of CPU time for one more job. For a compiled plugin the limit is final: its
/// worker has one job.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn grant_cpu(limits: &Sandbox, seconds: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let until = used.tv_sec as u64 + 1 + seconds;
    let now = getrlimit(Resource::Cpu);
    let until = now.maximum.map_or(until, |most| most.min(until));
    // At the upper one the system sends a signal as a person would.
    let limit = Rlimit {
        current: Some(until),
        maximum: if limits.native {
            now.maximum
                .map_or(Some(until + 5), |most| Some(most.min(until + 5)))
        } else {
            now.maximum
        },
    };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::process::{Resource, getrlimit, setrlimit};
    use std::time::Duration;

    #[test]
    fn processor_time_follows_the_time_limit() {
        assert_eq!(cpu_seconds(Duration::from_secs(2)), 60);
        assert_eq!(cpu_seconds(Duration::from_secs(600)), 600);
        let before = getrlimit(Resource::Cpu);
        grant_cpu(&Sandbox::default(), 100_000).expect("granted");
        let now = getrlimit(Resource::Cpu).current;
        setrlimit(Resource::Cpu, before).expect("as it was");
        assert!(now.is_none_or(|s| s >= 100_000), "{now:?}");
    }
}
