//! What a process that flies candidates may not do: live longer than its parent, take all memory,
//! write files, see secrets, talk to the network, start programs or signal others. A script cannot
//! even try; these walls stand for compiled plugins, and in case a script ever breaks out.

use std::fs::File;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Address space of a worker, bytes.
pub const MEMORY: u64 = 4 << 30;
/// CPU time for one job, seconds, where the time limit is no longer.
const CPU_SECONDS: u64 = 60;

/// How strict the walls are.
#[derive(Clone, Debug, Default)]
pub struct Walls {
    /// Machine code of strangers will run here.
    pub native: bool,
    /// The process that this one shall not outlive.
    pub parent: Option<u32>,
    /// Files and folders that may be read, besides those of the system.
    pub read: Vec<PathBuf>,
}

/// The channels to the parent. From here on the standard ones lead nowhere, so that nobody writes
/// among the answers.
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

/// CPU time for a job that may take `wall`, seconds: a busy one meets that limit, and one that the
/// parent lost sight of this.
#[must_use]
pub fn cpu_seconds(wall: std::time::Duration) -> u64 {
    CPU_SECONDS.max(wall.as_secs())
}

/// Grants so many seconds of CPU time for one more job; whoever runs machine code gets it once, for
/// there is one job.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn grant_cpu(walls: &Walls, seconds: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let until = used.tv_sec as u64 + 1 + seconds;
    let now = getrlimit(Resource::Cpu);
    let until = now.maximum.map_or(until, |most| most.min(until));
    let limit = Rlimit {
        current: Some(until),
        maximum: if walls.native {
            Some(until)
        } else {
            now.maximum
        },
    };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::Walls;
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

    /// What the loader of plugins reads.
    const SYSTEM: [&str; 6] = [
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/dev/null",
        "/proc/self",
    ];

    /// System calls that are refused: what reaches the network, other processes, other programs, or
    /// what belongs to the whole machine; and what changes files in ways that Landlock knows
    /// nothing of.
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

    /// Of `fcntl`: whom a descriptor's signals go to, and which.
    const OWNERS: [libc::c_int; 3] = [libc::F_SETOWN, 10, 15];

    pub(super) fn build(walls: &Walls) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that.
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
        if walls.parent.is_some() && parent != walls.parent {
            return Err(io::Error::other("the parent is gone"));
        }
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        rustix::thread::set_no_new_privs(true)?;
        let other = |e: &dyn std::fmt::Display| io::Error::other(e.to_string());
        files(walls).map_err(|e| other(&e))?;
        // A processor that the filter's compiler does not know has the other walls.
        if let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) {
            for filter in [missing(arch), calls(walls, arch)] {
                let filter = filter.map_err(|e| other(&e))?;
                seccompiler::apply_filter(&filter).map_err(|e| other(&e))?;
            }
        }
        Ok(())
    }

    /// Nothing may be written, and only what is needed read; as far as the kernel can do that.
    fn files(walls: &Walls) -> Result<(), landlock::RulesetError> {
        let abi = ABI::V6;
        let there = SYSTEM.iter().map(std::path::PathBuf::from);
        let readable = there
            .chain(walls.read.iter().cloned())
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

    /// How the C libraries copy a process.
    const COPIES: &[libc::c_int] = &[
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
            // The same calls by their other numbers (x32).
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

    /// A call that looks as if the kernel did not have it, so that the other one is taken, which
    /// can be looked into.
    fn missing(arch: TargetArch) -> Result<BpfProgram, BackendError> {
        let rules = BTreeMap::from([(libc::SYS_clone3, vec![])]);
        filter(rules, libc::ENOSYS, arch)
    }

    /// System calls that fail.
    fn calls(walls: &Walls, arch: TargetArch) -> Result<BpfProgram, BackendError> {
        use SeccompCmpOp::{Eq, MaskedEq, Ne};
        let mut rules: Rules = REFUSED.iter().map(|call| (*call, vec![])).collect();
        let when = |arg, length, op, value| SeccompCondition::new(arg, length, op, value);
        let (long, int) = (SeccompCmpArgLen::Qword, SeccompCmpArgLen::Dword);
        // A process may signal itself: that is how it aborts. And limit itself.
        let own = u64::from(std::process::id());
        let not_self = when(0, int.clone(), Ne, own)?;
        rules.insert(
            libc::SYS_tgkill,
            vec![SeccompRule::new(vec![not_self.clone()])?],
        );
        let limits = SeccompRule::new(vec![not_self, when(0, int.clone(), Ne, 0)?])?;
        rules.insert(libc::SYS_prlimit64, vec![limits]);
        // A thread is fine, a process is not; but where no machine code of strangers runs, we copy
        // ourselves (`fork`).
        let mut process = vec![when(
            0,
            long.clone(),
            MaskedEq(libc::CLONE_THREAD as u64),
            0,
        )?];
        if !walls.native {
            for copy in COPIES {
                process.push(when(0, long.clone(), Ne, *copy as u64)?);
            }
        }
        rules.insert(libc::SYS_clone, vec![SeccompRule::new(process)?]);
        let is = |arg, value| SeccompRule::new(vec![when(arg, int.clone(), Eq, value as u64)?]);
        let owners = OWNERS.into_iter().map(|command| is(1, i64::from(command)));
        rules.insert(libc::SYS_fcntl, owners.collect::<Result<_, _>>()?);
        // The same by ioctl.
        let owners = [0x8901, 0x8902].into_iter().map(|command| is(1, command));
        rules.insert(libc::SYS_ioctl, owners.collect::<Result<_, _>>()?);
        // It dies with its parent, whatever it would like.
        if walls.native {
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
        grant_cpu(&Walls::default(), 100_000).expect("granted");
        let now = getrlimit(Resource::Cpu).current;
        setrlimit(Resource::Cpu, before).expect("as it was");
        assert!(now.is_none_or(|s| s >= 100_000), "{now:?}");
    }
}
