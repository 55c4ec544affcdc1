//! The worker processes in which candidates run. A process is reused as long as it behaves. Each
//! has a slot: runs of the same scenarios in the same slot find their traffic in memory.

use super::candidate::Candidate;
use super::protocol::{Answer, Job, SuiteText, Task};
use super::report::{Problem, ProblemKind};
use super::sandbox::cpu_seconds;
use super::suite::Suite;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Longest answer of a worker, bytes.
const LONGEST_ANSWER: u64 = 64 << 20;
/// What is kept of the end of a worker's standard error, bytes.
const STDERR_TAIL: usize = 4096;

/// While a worker is waited for: how often it is seen whether that still makes sense.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// How a worker is started: a program that calls [`serve`](super::worker::serve).
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// Path of the program.
    pub program: PathBuf,
    /// Arguments before those of the worker.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
}

/// Replaces [`WorkerCommand::for_this_program`] where this library is part of another program.
static FOR_THIS_PROGRAM: OnceLock<WorkerCommand> = OnceLock::new();

impl WorkerCommand {
    /// The `worker` command of this program.
    ///
    /// # Errors
    /// When the path of this program is unknown.
    pub fn for_this_program() -> io::Result<Self> {
        if let Some(command) = FOR_THIS_PROGRAM.get() {
            return Ok(command.clone());
        }
        Ok(Self {
            program: std::env::current_exe()?,
            args: vec!["worker".into()],
            env: Vec::new(),
        })
    }

    /// Makes this the result of [`for_this_program`](Self::for_this_program), for programs that are
    /// not the command line. Only the first call has an effect.
    pub fn use_for_this_program(self) {
        let _ = FOR_THIS_PROGRAM.set(self);
    }
}

/// Slots for worker processes.
pub struct Workers {
    command: WorkerCommand,
    /// Longest time for a job.
    time_limit: Duration,
    slots: Vec<Mutex<Option<WorkerProcess>>>,
    cancelled: AtomicBool,
    /// By slot: what is set when nobody waits for its tasks any more.
    unwanted: Vec<Mutex<Option<Arc<AtomicBool>>>>,
}

struct WorkerProcess {
    child: Child,
    jobs: Sender<Vec<u8>>,
    answers: Receiver<io::Result<Vec<u8>>>,
    /// The end of its standard error, once that is closed.
    stderr_tail: Receiver<Vec<u8>>,
    /// Digest of the suite that it was sent last.
    suite: Option<String>,
    /// It runs a compiled plugin.
    native: bool,
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Workers {
    /// A number of slots, at least one. Workers are started when they are needed.
    #[must_use]
    pub fn new(command: WorkerCommand, time_limit: Duration, slots: usize) -> Self {
        Self {
            command,
            time_limit,
            slots: (0..slots.max(1)).map(|_| Mutex::new(None)).collect(),
            cancelled: AtomicBool::new(false),
            unwanted: (0..slots.max(1)).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// From now on every task ends at once with [`Interrupted`](io::ErrorKind::Interrupted), also
    /// those that are running.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// The tasks of a slot end with [`Interrupted`](io::ErrorKind::Interrupted) once `unwanted` is
    /// set; `None` takes the last flag away.
    pub fn end_when(&self, slot: usize, unwanted: Option<Arc<AtomicBool>>) {
        *self.unwanted[slot].lock().expect("no panic before") = unwanted;
    }

    /// Nobody waits for the tasks of this slot any more.
    pub(super) fn is_cancelled(&self, slot: usize) -> bool {
        let unwanted = self.unwanted[slot].lock().expect("no panic before");
        let unwanted = unwanted.as_ref().is_some_and(|f| f.load(Ordering::Relaxed));
        unwanted || self.cancelled.load(Ordering::Relaxed)
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Runs a task of a candidate in the worker of a slot. Whatever the candidate does to the
    /// process is a problem in the answer.
    ///
    /// # Errors
    /// When no worker can be started, or after [`cancel`](Self::cancel).
    pub fn run(
        &self,
        slot: usize,
        suite: &Suite,
        candidate: &Candidate,
        task: Task,
    ) -> io::Result<Answer> {
        let native = candidate.is_native();
        let cancelled = || self.is_cancelled(slot);
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        // Locked during the whole task: a slot serves one job at a time.
        let mut slot = self.slots[slot].lock().expect("no panic before");
        if cancelled() {
            return interrupted();
        }
        let reused = if native { None } else { slot.take() };
        if let Some(worker) = reused
            && let Ok(answer) = self.run_in(worker, &mut slot, suite, candidate, &task, &cancelled)
        {
            return Ok(answer);
        }
        if cancelled() {
            return interrupted();
        }
        // A reused worker may have failed because of an earlier candidate, so a fresh one decides.
        let worker = self.start(suite, candidate, native)?;
        let answer = self.run_in(worker, &mut slot, suite, candidate, &task, &cancelled);
        if answer.is_err() && cancelled() {
            return interrupted();
        }
        Ok(answer.unwrap_or_else(|problem| Answer {
            problems: vec![*problem],
            ..Answer::default()
        }))
    }

    /// Runs a task in `worker`, which goes back to its slot if it can be used again.
    fn run_in(
        &self,
        mut worker: WorkerProcess,
        slot: &mut Option<WorkerProcess>,
        suite: &Suite,
        candidate: &Candidate,
        task: &Task,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Answer, Box<Problem>> {
        let key = suite.digest();
        let job = Job {
            suite: (worker.suite.as_ref() != Some(&key)).then(|| SuiteText {
                source: suite.source.clone(),
                text: suite.text.clone(),
                traces: suite.traces.clone(),
            }),
            candidate: candidate.clone(),
            task: task.clone(),
            cpu_s: cpu_seconds(self.time_limit),
        };
        worker.suite = Some(key);
        let mut answer = worker.send(&job, self.time_limit, cancelled)?;
        if worker.native && answer.suite_error.is_some() {
            // The references have run on this suite before: the machine code has written this.
            return Err(implausible());
        }
        if !answer.is_plausible(task, suite.file.objectives.len()) {
            return Err(implausible());
        }
        let problems = answer.problems.iter_mut();
        problems
            .chain(&mut answer.warnings)
            .for_each(Problem::sanitize);
        // A worker that met a limit has run something hostile: it is not used again.
        let limited = answer.problems.iter().any(|p| p.kind == ProblemKind::Limit);
        if !worker.native && !limited && answer.suite_error.is_none() {
            *slot = Some(worker);
        }
        Ok(answer)
    }

    fn start(
        &self,
        suite: &Suite,
        candidate: &Candidate,
        native: bool,
    ) -> io::Result<WorkerProcess> {
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.args);
        for path in suite.readable().into_iter().chain(candidate.readable()) {
            command.arg("--read").arg(path);
        }
        command.arg("--parent").arg(std::process::id().to_string());
        if native {
            command.arg("--native");
        }
        command
            .env_clear()
            .envs(self.command.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Ctrl-C goes to the parent alone, which ends its workers or lets them finish.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = spawn(command)?;
        let mut input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let errors = child.stderr.take().expect("piped");
        // A worker that does not read must not block the caller, so another thread writes.
        let (jobs, queued) = channel::<Vec<u8>>();
        std::thread::spawn(move || queued.into_iter().try_for_each(|job| input.write_all(&job)));
        // A worker that writes for ever must not fill the memory of this process.
        let (answer, answers) = sync_channel(1);
        std::thread::spawn(move || {
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
        });
        let (send_tail, stderr_tail) = channel();
        std::thread::spawn(move || {
            let mut tail = Vec::new();
            let mut errors = errors;
            let mut part = [0; 1024];
            while let Ok(n @ 1..) = errors.read(&mut part) {
                tail.extend_from_slice(&part[..n]);
                let extra = tail.len().saturating_sub(STDERR_TAIL);
                tail.drain(..extra);
            }
            let _ = send_tail.send(tail);
        });
        Ok(WorkerProcess {
            child,
            jobs,
            answers,
            stderr_tail,
            suite: None,
            native,
        })
    }
}

/// Starts a process from a thread that never ends: on Linux a child with a parent-death signal dies
/// with the thread that started it.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    // A fork of this process inherits the channel but not the thread, so the process id tells
    // whether the thread is there.
    static SPAWNER: Mutex<Option<(u32, Sender<Order>)>> = Mutex::new(None);
    let mut spawner = SPAWNER.lock().expect("no panic before");
    let here = std::process::id();
    if let Some(inherited) = spawner.take_if(|(of, _)| *of != here) {
        std::mem::forget(inherited);
    }
    let (_, orders) = spawner.get_or_insert_with(|| {
        let (orders, queued) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in queued {
                let _ = answer.send(command.spawn());
            }
        });
        (here, orders)
    });
    let (answer, child) = channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    orders.send((command, answer)).map_err(|_| gone())?;
    drop(spawner);
    child.recv().map_err(|_| gone())?
}

impl WorkerProcess {
    /// Sends a job and waits for the answer. A worker without an answer cannot be used again.
    fn send(
        &mut self,
        job: &Job,
        time_limit: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Answer, Box<Problem>> {
        let mut line = serde_json::to_vec(job).map_err(|e| crash(&e.to_string()))?;
        line.push(b'\n');
        if self.jobs.send(line).is_err() {
            return Err(self.crashed());
        }
        let start = (Instant::now(), self.processor_time());
        let mut limit = time_limit;
        loop {
            let left = limit.saturating_sub(start.0.elapsed());
            match self.answers.recv_timeout(left.min(BETWEEN_LOOKS)) {
                Ok(Ok(line)) if line.ends_with(b"\n") => {
                    return serde_json::from_slice(&line).map_err(|_| implausible());
                }
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Err(self.crashed()),
                Err(RecvTimeoutError::Timeout) if cancelled() => return Err(crash("cancelled")),
                Err(RecvTimeoutError::Timeout) if start.0.elapsed() < limit => {}
                // On a busy machine it may not have had its share of the processor.
                Err(RecvTimeoutError::Timeout) if self.waits_for_a_core(start, time_limit) => {
                    limit += time_limit;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let message = format!(
                        "the candidate's process gave no answer within {} s and was ended",
                        time_limit.as_secs()
                    );
                    return Err(Box::new(Problem::new(ProblemKind::Limit, "", message)));
                }
            }
        }
    }

    /// Whether it is runnable but has had little processor time. After ten time limits it no longer
    /// matters.
    fn waits_for_a_core(&self, start: (Instant, Option<Duration>), time_limit: Duration) -> bool {
        let (Some(before), Some(now)) = (start.1, self.processor_time()) else {
            return false;
        };
        start.0.elapsed() < time_limit * 10
            && self.state() == Some('R')
            && now - before < time_limit / 2
    }

    /// The fields of `/proc/PID/stat` after the name of the process.
    fn status(&self) -> Option<Vec<String>> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        Some(rest.split_whitespace().map(str::to_owned).collect())
    }

    /// State of the process; `R` is running or runnable.
    fn state(&self) -> Option<char> {
        self.status()?.first()?.chars().next()
    }

    /// Processor time that it has used.
    fn processor_time(&self) -> Option<Duration> {
        let status = self.status()?;
        let ticks = |k: usize| status.get(k)?.parse::<u64>().ok();
        // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux.
        Some(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }

    fn crashed(&mut self) -> Box<Problem> {
        let how = self.end().map_or_else(
            || "it closed its channel".to_owned(),
            |status| status.to_string(),
        );
        let stderr = self
            .stderr_tail
            .recv_timeout(Duration::from_secs(1))
            .unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr);
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        let last = last.map_or(String::new(), |line| format!(": {}", line.trim()));
        let out_of_memory = stderr.contains("memory allocation of");
        let out_of_time = how.contains("SIGXCPU") || how.contains("signal: 24");
        let mut problem = crash(&format!("the candidate's process died ({how}){last}"));
        if out_of_memory || out_of_time {
            problem.kind = ProblemKind::Limit;
        }
        problem.sanitize();
        problem
    }

    /// The exit status, if it ends by itself within a second; else it is killed.
    fn end(&mut self) -> Option<std::process::ExitStatus> {
        for _ in 0..100 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

fn crash(message: &str) -> Box<Problem> {
    Box::new(Problem::new(ProblemKind::Crash, "", message))
}

fn implausible() -> Box<Problem> {
    crash("the candidate's process gave an answer that makes no sense")
}
