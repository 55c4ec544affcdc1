//! What a process that flies candidates may not do: live longer than its parent, take all memory, write files, see secrets, talk to the
//! network, start programs or signal others. A script cannot even try; these walls stand for compiled plugins, and in case a script
//! ever breaks out.

use std::fs::File;
use std::io;
use std::path::PathBuf;
#[cfg(unix)]
use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

/// Address space of a worker, bytes.
pub const MEMORY: u64 = 4 << 30;
/// CPU time for one job, seconds.
pub const CPU_SECONDS: u64 = 60;

/// How strict the walls are.
#[derive(Clone, Debug, Default)]
pub struct Walls {
    /// Machine code of strangers will run here.
    pub native: bool,
    /// Files and folders that may be read, besides those of the system.
    pub read: Vec<PathBuf>,
}

/// The channels to the parent. From here on the standard ones lead nowhere, so that nobody writes among the answers.
///
/// # Errors
/// When they cannot be moved.
#[cfg(unix)]
pub fn take_channels() -> io::Result<(File, File)> {
    close_inherited();
    let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let output: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok((input.into(), output.into()))
}

/// Closes everything but the standard channels.
#[cfg(target_os = "linux")]
fn close_inherited() {
    #[allow(
        unsafe_code,
        reason = "this is the first thing the process does: nobody holds what is closed"
    )]
    // SAFETY: no descriptor above 2 is owned by anything in this process yet.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn close_inherited() {}

/// Builds the walls around this process. They cannot be taken down again.
///
/// # Errors
/// When the system refuses a limit.
#[cfg(unix)]
pub fn build(walls: &Walls) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let hard = |n: u64| Rlimit {
        current: Some(n),
        maximum: Some(n),
    };
    setrlimit(Resource::As, hard(MEMORY))?;
    setrlimit(Resource::Core, hard(0))?;
    setrlimit(Resource::Fsize, hard(0))?;
    setrlimit(Resource::Nofile, hard(64))?;
    #[cfg(target_os = "linux")]
    linux::build(walls)?;
    #[cfg(not(target_os = "linux"))]
    let _ = walls;
    Ok(())
}

/// Grants CPU time for one more job.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn grant_cpu() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let until = Duration::new(used.tv_sec as u64, 0).as_secs() + 1 + CPU_SECONDS;
    let limit = Rlimit {
        current: Some(until),
        ..getrlimit(Resource::Cpu)
    };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::Walls;
    use landlock::{
        ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules,
    };
    use rustix::process::{DumpableBehavior, Signal};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };
    use std::io;

    /// What the loader of plugins reads.
    const SYSTEM: [&str; 6] = [
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/dev/null",
        "/proc/self",
    ];

    pub(super) fn build(walls: &Walls) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        rustix::thread::set_no_new_privs(true)?;
        let other = |e: &dyn std::fmt::Display| io::Error::other(e.to_string());
        files(walls).map_err(|e| other(&e))?;
        // A processor that the filter's compiler does not know has the other walls.
        if let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) {
            let filter = calls(walls, arch).map_err(|e| other(&e))?;
            seccompiler::apply_filter(&filter).map_err(|e| other(&e))?;
        }
        Ok(())
    }

    /// Nothing may be written, and only what is needed read; as far as the kernel can do that.
    fn files(walls: &Walls) -> Result<(), landlock::RulesetError> {
        let abi = ABI::V3;
        let there = SYSTEM.iter().map(std::path::PathBuf::from);
        let readable = there
            .chain(walls.read.iter().cloned())
            .filter(|p| p.exists());
        Ruleset::default()
            .handle_access(AccessFs::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
            .restrict_self()?;
        Ok(())
    }

    /// System calls that fail.
    fn calls(walls: &Walls, arch: TargetArch) -> Result<BpfProgram, seccompiler::BackendError> {
        let mut refused: Vec<libc::c_long> = vec![
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
        ];
        if walls.native {
            refused.extend([libc::SYS_clone3]);
            #[cfg(target_arch = "x86_64")]
            refused.extend([libc::SYS_fork, libc::SYS_vfork]);
        }
        let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
            refused.into_iter().map(|call| (call, vec![])).collect();
        let only_if = |arg, op, value| {
            let condition = SeccompCondition::new(arg, SeccompCmpArgLen::Qword, op, value)?;
            SeccompRule::new(vec![condition])
        };
        // A process may signal itself: that is how it aborts.
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_tgkill, vec![only_if(0, SeccompCmpOp::Ne, own)?]);
        if walls.native {
            // A thread is fine, a process is not.
            let thread = libc::CLONE_THREAD as u64;
            let no_thread = only_if(0, SeccompCmpOp::MaskedEq(thread), 0)?;
            rules.insert(libc::SYS_clone, vec![no_thread]);
        }
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
    }
}
