//! The system calls that exist for a process in the sandbox: those of a list, some with bounds on
//! their arguments. All others fail, those that a later kernel adds among them.

use super::fstat;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// Who is confined.
#[derive(Clone, Debug)]
pub(super) enum Calls {
    /// A worker for scripts, which copies itself and parses in a thread.
    Scripts,
    /// A worker for a plugin, before any of its code has run.
    BeforePlugin,
    /// From then on. The descriptors `kept` cannot be closed.
    Plugin { kept: Range<u64> },
    /// A process that runs scripts itself and writes its results.
    Own,
}

/// What only concerns the process itself: memory, time, threads that exist, and what is open.
const PURE: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_sched_yield,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// Looking at files: what Landlock does not refuse, and names and sizes of all.
const LOOKING: &[libc::c_long] = &[
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
];

/// Copying the process and waiting for the copy; see `fork`.
const COPYING: &[libc::c_long] = &[
    libc::SYS_pipe2,
    libc::SYS_wait4,
    libc::SYS_setitimer,
    libc::SYS_getppid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
];

/// Writing results beside their places and moving them there.
const WRITING: &[libc::c_long] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_flock,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Flags with which files are opened for reading.
const READING: libc::c_int = libc::O_CLOEXEC
    | libc::O_DIRECTORY
    | libc::O_NONBLOCK
    | libc::O_NOFOLLOW
    | libc::O_NOCTTY
    | 0o100_000
    | libc::O_LARGEFILE;
/// Those for writing, besides.
const CHANGING: libc::c_int =
    libc::O_ACCMODE | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_APPEND;

/// Advice that concerns the process's own pages only.
const ADVICE: [libc::c_int; 10] = [
    libc::MADV_NORMAL,
    libc::MADV_RANDOM,
    libc::MADV_SEQUENTIAL,
    libc::MADV_WILLNEED,
    libc::MADV_DONTNEED,
    libc::MADV_FREE,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    // MADV_POPULATE_READ, MADV_POPULATE_WRITE.
    22,
    23,
];

/// Questions about a descriptor: is it a terminal (two ways), how wide, is there anything to read;
/// and closing it when a program is started.
#[allow(
    clippy::unnecessary_cast,
    reason = "musl has these numbers as another type"
)]
const QUESTIONS: [u64; 5] = [
    libc::TCGETS as u64,
    0x802c_542a,
    libc::TIOCGWINSZ as u64,
    libc::FIONREAD as u64,
    libc::FIOCLEX as u64,
];

/// Commands of `fcntl` that only concern the process's own descriptors.
const DESCRIPTORS: [libc::c_int; 3] = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];

/// Flags with which the C libraries fork.
const FORK_FLAGS: [libc::c_int; 2] = [
    libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD,
    libc::SIGCHLD,
];

/// Flags with which the C libraries start threads: those of glibc; musl adds one without effect.
const THREAD_FLAGS: [libc::c_int; 2] = [0x003d_0f00, 0x007d_0f00];

const PR_SET_VMA: u64 = 0x5356_4d41;
/// Reads what the kernel told the process at its start.
const PR_GET_AUXV: u64 = 0x4155_5856;
const FILTER_MODE: u64 = libc::SECCOMP_SET_MODE_FILTER as u64;

#[derive(Default)]
struct Rules(BTreeMap<i64, Vec<SeccompRule>>);

type Conditions = Vec<SeccompCondition>;

/// Argument `k` of a call, as the kernel reads it: 32 or 64 bits.
fn int(k: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(k, SeccompCmpArgLen::Dword, op, value & 0xffff_ffff)
}

fn long(k: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(k, SeccompCmpArgLen::Qword, op, value)
}

impl Rules {
    fn allow(&mut self, calls: &[libc::c_long]) {
        for call in calls {
            self.0.insert(*call, vec![]);
        }
    }

    /// Allows a call where all conditions of a list hold, besides where it is allowed already.
    fn allow_if(&mut self, call: libc::c_long, all: Conditions) -> Result<(), BackendError> {
        let rules = self.0.entry(call).or_default();
        rules.push(SeccompRule::new(all)?);
        Ok(())
    }

    /// Allows a call where its argument `k` is one of `values`.
    fn allow_values(
        &mut self,
        call: libc::c_long,
        k: u8,
        values: impl IntoIterator<Item = u64>,
    ) -> Result<(), BackendError> {
        for value in values {
            self.allow_if(call, vec![int(k, SeccompCmpOp::Eq, value)?])?;
        }
        Ok(())
    }
}

/// The rules for what is allowed.
fn allowed(calls: &Calls) -> Result<Rules, BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let mut rules = Rules::default();
    rules.allow(PURE);
    let own = u64::from(std::process::id());
    rules.allow_values(libc::SYS_madvise, 2, ADVICE.map(|a| a as u64))?;
    rules.allow_values(libc::SYS_ioctl, 1, QUESTIONS)?;
    rules.allow_values(libc::SYS_fcntl, 1, DESCRIPTORS.map(|c| c as u64))?;
    rules.allow_values(libc::SYS_getrusage, 0, [libc::RUSAGE_SELF as u64])?;
    rules.allow_values(
        libc::SYS_prctl,
        0,
        [libc::PR_SET_NAME as u64, PR_SET_VMA, PR_GET_AUXV],
    )?;
    // Reading its limits; of setting them, see below.
    for who in [0, own] {
        let reads = vec![int(0, Eq, who)?, long(2, Eq, 0)?];
        rules.allow_if(libc::SYS_prlimit64, reads)?;
    }
    // A process may abort, and nothing else: a worker that any other signal of another ends was
    // ended from outside.
    let abort = int(2, Eq, libc::SIGABRT as u64)?;
    rules.allow_if(libc::SYS_tgkill, vec![int(0, Eq, own)?, abort])?;
    // An earlier filter answers it; of two refusals the later one would count.
    rules.allow(&[libc::SYS_clone3]);
    if let Calls::Plugin { .. } = calls {
        // Without threads, processes, and other files than those that are open, but for one that
        // its flags let be read: descriptors run out first.
        opened(&mut rules, READING)?;
        rules.allow_values(libc::SYS_sched_getaffinity, 0, [0, own])?;
        if !fstat::IS_ANSWERED {
            let by_descriptor = int(3, Eq, libc::AT_EMPTY_PATH as u64)?;
            rules.allow_if(libc::SYS_newfstatat, vec![by_descriptor])?;
        }
        return Ok(rules);
    }
    rules.allow(LOOKING);
    // The C library asks on which cores a thread may run.
    rules.allow(&[libc::SYS_sched_getaffinity]);
    rules.allow_values(libc::SYS_fcntl, 1, [libc::F_DUPFD_CLOEXEC as u64])?;
    // The process that enters the sandbox tightens it later.
    for who in [0, own] {
        rules.allow_values(libc::SYS_prlimit64, 0, [who])?;
    }
    match calls {
        Calls::Scripts => {
            opened(&mut rules, READING)?;
            rules.allow(COPYING);
            for flags in FORK_FLAGS.into_iter().chain(THREAD_FLAGS) {
                rules.allow_if(libc::SYS_clone, vec![long(0, Eq, flags as u64)?])?;
            }
            let dies = [int(0, Eq, libc::PR_SET_PDEATHSIG as u64)?, int(1, Eq, 9)?];
            rules.allow_if(libc::SYS_prctl, dies.to_vec())?;
        }
        Calls::BeforePlugin => {
            opened(&mut rules, READING)?;
            let privileges = libc::PR_SET_NO_NEW_PRIVS as u64;
            rules.allow_values(libc::SYS_prctl, 0, [privileges])?;
            let filter = vec![int(0, Eq, FILTER_MODE)?, long(1, Eq, 0)?];
            rules.allow_if(libc::SYS_seccomp, filter)?;
        }
        Calls::Own => {
            opened(&mut rules, READING | CHANGING)?;
            rules.allow(WRITING);
            // No set-user-id bits.
            let mode = vec![int(1, MaskedEq(0o7000), 0)?];
            rules.allow_if(libc::SYS_fchmod, mode)?;
            for flags in THREAD_FLAGS {
                rules.allow_if(libc::SYS_clone, vec![long(0, Eq, flags as u64)?])?;
            }
        }
        Calls::Plugin { .. } => {}
    }
    Ok(rules)
}

/// Files may be opened with these flags alone.
fn opened(rules: &mut Rules, flags: libc::c_int) -> Result<(), BackendError> {
    let no_others = SeccompCmpOp::MaskedEq(u64::from(!(flags as u32)));
    rules.allow_if(libc::SYS_openat, vec![int(2, no_others, 0)?])
}

/// A filter in which these rules have an effect, and nothing else has one.
fn filter(
    rules: Rules,
    otherwise: SeccompAction,
    effect: SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules.0, otherwise, effect, arch)?.try_into()
}

fn filters(calls: &Calls, arch: TargetArch) -> Result<Vec<BpfProgram>, BackendError> {
    use SeccompAction::{Allow, Errno, Trap};
    let mut all = Vec::new();
    if let Calls::Plugin { kept } = calls {
        let mut keep = Rules::default();
        keep.allow_values(libc::SYS_close, 0, kept.clone())?;
        all.push(filter(keep, Allow, Errno(0), arch)?);
        if fstat::IS_ANSWERED {
            let mut stat = Rules::default();
            let by_descriptor = int(3, SeccompCmpOp::Eq, libc::AT_EMPTY_PATH as u64)?;
            stat.allow_if(libc::SYS_newfstatat, vec![by_descriptor])?;
            all.push(filter(stat, Allow, Trap, arch)?);
        }
    }
    // `clone3` looks as if the kernel did not have it, so that `clone` is used, whose arguments a
    // filter can check.
    let mut missing = Rules::default();
    missing.allow(&[libc::SYS_clone3]);
    all.push(filter(missing, Allow, Errno(libc::ENOSYS as u32), arch)?);
    // The list comes last: it lets no further filter be made.
    let refused = Errno(libc::EPERM as u32);
    all.push(filter(allowed(calls)?, refused, Allow, arch)?);
    Ok(all)
}

/// Lets this process have these calls alone, for the rest of its life.
///
/// # Errors
/// When the system refuses. A processor that the compiler of filters does not know is none.
pub(super) fn apply(calls: Calls) -> io::Result<()> {
    let other = |e: &dyn std::fmt::Display| io::Error::other(e.to_string());
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(());
    };
    for filter in filters(&calls, arch).map_err(|e| other(&e))? {
        seccompiler::apply_filter(&filter).map_err(|e| other(&e))?;
    }
    Ok(())
}
