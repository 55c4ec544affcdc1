//! The pipes to a worker: neither side waits for ever, and nothing fills the memory of the caller.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

/// Longest answer of a worker, bytes.
const LONGEST_ANSWER: u64 = 64 << 20;
/// What is kept of the end of a worker's standard error, bytes.
const STDERR_TAIL: usize = 4096;

/// The ends of a worker's pipes, each with a thread.
pub(super) struct Channels {
    pub(super) jobs: Sender<Vec<u8>>,
    pub(super) answers: Receiver<io::Result<Vec<u8>>>,
    /// The end of its standard error, once that is closed.
    pub(super) stderr_tail: Receiver<Vec<u8>>,
}

impl Channels {
    /// Takes the pipes of `child`, which is ended where threads cannot be started.
    pub(super) fn of(child: &mut Child) -> io::Result<Self> {
        let started = Self::start(child);
        if started.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        started
    }

    fn start(child: &mut Child) -> io::Result<Self> {
        let mut input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let mut errors = child.stderr.take().expect("piped");
        // A worker that does not read must not block the caller, so another thread writes.
        let (jobs, queued) = channel::<Vec<u8>>();
        thread(move || {
            let _ = queued.into_iter().try_for_each(|job| input.write_all(&job));
        })?;
        // A worker that writes for ever must not fill the memory of this process.
        let (answer, answers) = sync_channel(1);
        thread(move || {
            let mut output = BufReader::new(output);
            loop {
                let mut line = Vec::new();
                let read = (&mut output)
                    .take(LONGEST_ANSWER)
                    .read_until(b'\n', &mut line);
                let ended = !matches!(read, Ok(n) if n > 0);
                if answer.send(read.map(|_| line)).is_err() || ended {
                    break;
                }
            }
        })?;
        let (send_tail, stderr_tail) = channel();
        thread(move || {
            let mut tail = Vec::new();
            let mut part = [0; 1024];
            while let Ok(n @ 1..) = errors.read(&mut part) {
                tail.extend_from_slice(&part[..n]);
                let extra = tail.len().saturating_sub(STDERR_TAIL);
                tail.drain(..extra);
            }
            let _ = send_tail.send(tail);
        })?;
        Ok(Self {
            jobs,
            answers,
            stderr_tail,
        })
    }
}

/// A thread that needs little, where the system gives it.
fn thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let small = std::thread::Builder::new().stack_size(256 << 10);
    small.spawn(work).map(drop)
}
