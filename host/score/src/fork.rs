//! Work in a copy of this process: what cannot be copied piece by piece, such as the state of
//! scripts, is copied as a whole.

use std::io;

/// Longest time for a copy by the clock of the machine, seconds: only a broken one needs it.
const LONGEST_SECONDS: u32 = 10;

/// Does `work` in a copy of this process and gives what it answers; nothing of it is left behind.
/// An empty answer is one that never came.
///
/// # Errors
/// When no copy can be made: the system refuses, or this process has more threads than this one.
#[cfg(target_os = "linux")]
pub fn in_a_copy(work: impl FnOnce() -> Vec<u8>) -> io::Result<Vec<u8>> {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    // In a copy only this thread goes on: a lock that another one held would stay locked.
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("only a process of one thread is copied"));
    }
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    #[allow(unsafe_code, reason = "there is no safe call that copies a process")]
    // SAFETY: this is the only thread, so the copy finds memory and locks in a consistent state. It
    // returns to nobody: whatever happens in it, it ends below.
    let child = unsafe { libc::fork() };
    match child {
        ..0 => Err(io::Error::last_os_error()),
        0 => {
            let _ = rustix::process::set_parent_process_death_signal(Some(
                rustix::process::Signal::KILL,
            ));
            #[allow(unsafe_code, reason = "a timer of the process")]
            // SAFETY: no handler is installed, so the alarm ends the copy.
            unsafe {
                libc::alarm(LONGEST_SECONDS);
            }
            drop(reader);
            let answer = catch_unwind(AssertUnwindSafe(work)).unwrap_or_default();
            let _ = File::from(writer).write_all(&answer);
            #[allow(
                unsafe_code,
                reason = "nothing of the original's is run on the way out"
            )]
            // SAFETY: it does not return.
            unsafe {
                libc::_exit(0)
            }
        }
        child => {
            drop(writer);
            let mut answer = Vec::new();
            // It ends when the copy does, in whatever way.
            let read = File::from(reader).read_to_end(&mut answer);
            let pid = rustix::process::Pid::from_raw(child);
            rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())?;
            read.map(|_| answer)
        }
    }
}

/// Copies are made on Linux only.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn in_a_copy(_work: impl FnOnce() -> Vec<u8>) -> io::Result<Vec<u8>> {
    let _ = LONGEST_SECONDS;
    Err(io::Error::other("processes are copied on Linux only"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_process_of_several_threads_is_not_copied() {
        let other = std::thread::spawn(std::thread::park);
        let answer = super::in_a_copy(|| unreachable!("no copy is made"));
        other.thread().unpark();
        other.join().expect("it only waited");
        assert!(answer.is_err_and(|e| e.to_string().contains("one thread")));
    }
}
