//! Work in a fork of this process: the state of a simulation with its scripts can only be copied as
//! a whole.

use std::io;

/// Longest time for a fork, seconds; only one that hangs reaches it.
const LONGEST_SECONDS: u32 = 10;

/// Runs `work` in a fork of this process and returns its answer; the state of this process does not
/// change. The answer is empty if the fork dies.
///
/// # Errors
/// When the system refuses a fork, or this process has more than one thread.
#[cfg(target_os = "linux")]
pub fn in_fork(work: impl FnOnce() -> Vec<u8>) -> io::Result<Vec<u8>> {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    // Only this thread exists in a fork: a lock that another thread holds would stay locked.
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("only a process of one thread is copied"));
    }
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    #[allow(unsafe_code, reason = "there is no safe call that forks a process")]
    // SAFETY: this is the only thread, so the fork finds memory and locks in a consistent state. It
    // never returns from this function: it ends below, even after a panic.
    let child = unsafe { libc::fork() };
    match child {
        ..0 => Err(io::Error::last_os_error()),
        0 => {
            let _ = rustix::process::set_parent_process_death_signal(Some(
                rustix::process::Signal::KILL,
            ));
            #[allow(unsafe_code, reason = "a timer of the process")]
            // SAFETY: no handler is installed, so the alarm ends the fork.
            unsafe {
                libc::alarm(LONGEST_SECONDS);
            }
            drop(reader);
            let answer = catch_unwind(AssertUnwindSafe(work)).unwrap_or_default();
            let _ = File::from(writer).write_all(&answer);
            #[allow(
                unsafe_code,
                reason = "destructors of the parent must not run in the fork"
            )]
            // SAFETY: it does not return.
            unsafe {
                libc::_exit(0)
            }
        }
        child => {
            drop(writer);
            let mut answer = Vec::new();
            // The pipe is closed when the fork ends, in whatever way.
            let read = File::from(reader).read_to_end(&mut answer);
            let pid = rustix::process::Pid::from_raw(child);
            rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())?;
            read.map(|_| answer)
        }
    }
}

/// Forks are made on Linux only.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn in_fork(_work: impl FnOnce() -> Vec<u8>) -> io::Result<Vec<u8>> {
    let _ = LONGEST_SECONDS;
    Err(io::Error::other("processes are copied on Linux only"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_process_of_several_threads_is_not_forked() {
        let other = std::thread::spawn(std::thread::park);
        let answer = super::in_fork(|| unreachable!("no fork is made"));
        other.thread().unpark();
        other.join().expect("it only waited");
        assert!(answer.is_err_and(|e| e.to_string().contains("one thread")));
    }
}
