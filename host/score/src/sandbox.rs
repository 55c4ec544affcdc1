//! The sandbox of worker processes. A worker cannot outlive its parent, take all memory, write
//! files, read other files than it needs, use the network, start programs, or signal other
//! processes. Scripts have no access to any of this; the sandbox contains compiled plugins, and a
//! script that escapes from its interpreter.

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

/// Puts this process into the sandbox, for the rest of its life.
///
/// # Errors
/// When the system refuses a limit.
#[cfg(unix)]
pub fn enter(limits: &Sandbox) -> io::Result<()> {
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
    linux::enter(limits)?;
    #[cfg(not(target_os = "linux"))]
    let _ = limits;
    Ok(())
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
    let limit = Rlimit {
        current: Some(until),
        maximum: if limits.native {
            Some(until)
        } else {
            now.maximum
        },
    };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::Sandbox;
    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
        path_beneath_rules,
    };
    use rustix::process::{DumpableBehavior, Signal};
    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule, TargetArch,
    };
    use std::collections::BTreeMap;
    use std::io;

    /// Paths that the dynamic loader reads.
    const SYSTEM: [&str; 6] = [
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/dev/null",
        "/proc/self",
    ];

    /// System calls that are refused: those that reach the network, other processes, other
    /// programs, or the state of the whole machine; and those that change files in ways that
    /// Landlock does not cover.
    const REFUSED: &[libc::c_long] = &[
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_execve,
        libc::SYS_execveat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_kcmp,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_setpriority,
        libc::SYS_ioprio_set,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_migrate_pages,
        libc::SYS_move_pages,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_io_uring_setup,
        libc::SYS_shmget,
        libc::SYS_msgget,
        libc::SYS_semget,
        libc::SYS_mq_open,
        libc::SYS_memfd_create,
        libc::SYS_open_by_handle_at,
        libc::SYS_fanotify_init,
        libc::SYS_reboot,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_adjtimex,
        libc::SYS_clock_adjtime,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_acct,
        libc::SYS_quotactl,
        libc::SYS_syslog,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chown,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lchown,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_utime,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_utimes,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_futimesat,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        // fchmodat2, the same number everywhere.
        452,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_utimensat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
    ];

    /// Commands of `fcntl` that set which process a descriptor signals, and with what.
    const OWNERS: [libc::c_int; 3] = [libc::F_SETOWN, 10, 15];

    pub(super) fn enter(limits: &Sandbox) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that call.
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
        if limits.parent.is_some() && parent != limits.parent {
            return Err(io::Error::other("the parent is gone"));
        }
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        rustix::thread::set_no_new_privs(true)?;
        let other = |e: &dyn std::fmt::Display| io::Error::other(e.to_string());
        files(limits).map_err(|e| other(&e))?;
        // An architecture that the filter compiler does not know has the other limits.
        if let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) {
            for filter in [missing(arch), calls(limits, arch)] {
                let filter = filter.map_err(|e| other(&e))?;
                seccompiler::apply_filter(&filter).map_err(|e| other(&e))?;
            }
        }
        Ok(())
    }

    /// Nothing may be written, and only what is needed may be read, as far as the kernel supports
    /// it.
    fn files(limits: &Sandbox) -> Result<(), landlock::RulesetError> {
        let abi = ABI::V6;
        let there = SYSTEM.iter().map(std::path::PathBuf::from);
        let readable = there
            .chain(limits.read.iter().cloned())
            .filter(|p| p.exists());
        Ruleset::default()
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
            .restrict_self()?;
        Ok(())
    }

    /// Flags with which the C libraries fork.
    const FORK_FLAGS: &[libc::c_int] = &[
        libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD,
        libc::SIGCHLD,
    ];

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    fn filter(
        rules: Rules,
        errno: libc::c_int,
        arch: TargetArch,
    ) -> Result<BpfProgram, BackendError> {
        #[cfg(target_arch = "x86_64")]
        let rules = {
            // The same calls by their x32 numbers.
            let mut rules = rules;
            let others: Vec<_> = rules
                .iter()
                .map(|(n, r)| (n | 0x4000_0000, r.clone()))
                .collect();
            rules.extend(others);
            rules
        };
        let refuse = SeccompAction::Errno(errno as u32);
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
    }

    /// `clone3` looks as if the kernel did not have it, so that `clone` is used, whose arguments a
    /// filter can check.
    fn missing(arch: TargetArch) -> Result<BpfProgram, BackendError> {
        let rules = BTreeMap::from([(libc::SYS_clone3, vec![])]);
        filter(rules, libc::ENOSYS, arch)
    }

    /// System calls that fail.
    fn calls(limits: &Sandbox, arch: TargetArch) -> Result<BpfProgram, BackendError> {
        use SeccompCmpOp::{Eq, MaskedEq, Ne};
        let mut rules: Rules = REFUSED.iter().map(|call| (*call, vec![])).collect();
        let when = |arg, length, op, value| SeccompCondition::new(arg, length, op, value);
        let (long, int) = (SeccompCmpArgLen::Qword, SeccompCmpArgLen::Dword);
        // A process may signal itself, which is how it aborts, and may limit itself.
        let own = u64::from(std::process::id());
        let not_self = when(0, int.clone(), Ne, own)?;
        rules.insert(
            libc::SYS_tgkill,
            vec![SeccompRule::new(vec![not_self.clone()])?],
        );
        let others = SeccompRule::new(vec![not_self, when(0, int.clone(), Ne, 0)?])?;
        rules.insert(libc::SYS_prlimit64, vec![others]);
        // Threads are allowed, processes are not, except for forks of a worker that runs no
        // compiled plugin (see `fork`).
        let mut process = vec![when(
            0,
            long.clone(),
            MaskedEq(libc::CLONE_THREAD as u64),
            0,
        )?];
        if !limits.native {
            for flags in FORK_FLAGS {
                process.push(when(0, long.clone(), Ne, *flags as u64)?);
            }
        }
        rules.insert(libc::SYS_clone, vec![SeccompRule::new(process)?]);
        let is = |arg, value| SeccompRule::new(vec![when(arg, int.clone(), Eq, value as u64)?]);
        let owners = OWNERS.into_iter().map(|command| is(1, i64::from(command)));
        rules.insert(libc::SYS_fcntl, owners.collect::<Result<_, _>>()?);
        // The same by ioctl.
        let owners = [0x8901, 0x8902].into_iter().map(|command| is(1, command));
        rules.insert(libc::SYS_ioctl, owners.collect::<Result<_, _>>()?);
        // A plugin must not disable the parent-death signal.
        if limits.native {
            rules.insert(
                libc::SYS_prctl,
                vec![is(0, i64::from(libc::PR_SET_PDEATHSIG))?],
            );
        }
        filter(rules, libc::EPERM, arch)
    }
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
