//! The worker processes in which candidates run. A process is reused as long as it behaves. Each
//! has a slot: runs of the same scenarios in the same slot find their traffic in memory.

use super::candidate::Candidate;
use super::channels::Channels;
use super::protocol::{Answer, Job, Ready, SuiteText, Task};
use super::report::{Problem, ProblemKind};
use super::sandbox::{self, cpu_seconds};
use super::suite::Suite;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Longest time from the start of a worker to its first message; only a host that is at its end
/// takes that long.
const LONGEST_START: Duration = Duration::from_secs(60);

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
    /// As many again as are told: the second half has processes that lay out their memory
    /// otherwise.
    slots: Vec<Mutex<Option<WorkerProcess>>>,
    cancelled: AtomicBool,
    /// By slot: what is set when nobody waits for its tasks any more.
    unwanted: Vec<Mutex<Option<Arc<AtomicBool>>>>,
}

struct WorkerProcess {
    child: Child,
    channels: Channels,
    /// Digest of the suite that it was sent last.
    suite: Option<String>,
    /// It runs a compiled plugin.
    native: bool,
    /// It lays out its memory otherwise than others.
    elsewhere: bool,
    /// Limits of this host that are lower than a worker's.
    low_limits: Vec<String>,
}

/// Why there is no answer to a job.
enum Failure {
    /// By the candidate's own doing.
    Candidate(Box<Problem>),
    /// The process was ended from outside: by a person, or by a system without memory.
    Outside(String),
    /// By a limit or a failure of this host.
    Host(String),
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        Self::Candidate(problem)
    }
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
            slots: (0..2 * slots.max(1)).map(|_| Mutex::new(None)).collect(),
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
        let unwanted = self.unwanted[slot % self.slots()]
            .lock()
            .expect("no panic before");
        let unwanted = unwanted.as_ref().is_some_and(|f| f.load(Ordering::Relaxed));
        unwanted || self.cancelled.load(Ordering::Relaxed)
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len() / 2
    }

    /// The slot beside `slot` whose processes lay out their memory otherwise.
    #[must_use]
    pub fn elsewhere(&self, slot: usize) -> usize {
        self.slots() + slot
    }

    /// Runs a task of a candidate in the worker of a slot. Whatever the candidate does to the
    /// process is a problem in the answer; what others do to it is none.
    ///
    /// # Errors
    /// When no worker can be started; when one ends, and the limits of this host or somebody else
    /// may be why; or after [`cancel`](Self::cancel).
    pub fn run(
        &self,
        slot: usize,
        suite: &Suite,
        candidate: &Candidate,
        task: Task,
    ) -> io::Result<Answer> {
        let native = candidate.is_native();
        let elsewhere = slot >= self.slots();
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
        // A reused worker may have failed because of an earlier candidate, so a fresh one decides;
        // and a second one, where the first was ended from outside.
        let mut ended = String::new();
        for _ in 0..2 {
            let mut worker = self.start(suite, candidate, native)?;
            worker.elsewhere = elsewhere;
            let answer = self.run_in(worker, &mut slot, suite, candidate, &task, &cancelled);
            if answer.is_err() && cancelled() {
                return interrupted();
            }
            match answer {
                Ok(answer) => return Ok(answer),
                Err(Failure::Candidate(problem)) => {
                    return Ok(Answer {
                        problems: vec![*problem],
                        ..Answer::default()
                    });
                }
                Err(Failure::Outside(how)) => ended = how,
                Err(Failure::Host(why)) => return Err(io::Error::other(why)),
            }
        }
        Err(io::Error::other(format!(
            "the process of a candidate was ended from outside, twice ({ended}): by somebody, or \
             because the system ran out of memory; the candidate is not judged"
        )))
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
    ) -> Result<Answer, Failure> {
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
            elsewhere: worker.elsewhere,
        };
        worker.suite = Some(key);
        let mut answer = worker.send(&job, self.time_limit, cancelled)?;
        if worker.native && answer.suite_error.is_some() {
            // The references have run on this suite before: the machine code has written this.
            return Err(implausible().into());
        }
        if !answer.is_plausible(task, suite.file.objectives.len()) {
            return Err(implausible().into());
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
        let cannot = |e: &io::Error| {
            let why = sandbox::explained(e);
            io::Error::new(
                e.kind(),
                format!("cannot start a process for candidates: {why}"),
            )
        };
        let mut child = spawn(command).map_err(|e| cannot(&e))?;
        let channels = Channels::of(&mut child);
        let mut worker = WorkerProcess {
            child,
            channels: channels.map_err(|e| cannot(&e))?,
            suite: None,
            native,
            elsewhere: false,
            low_limits: Vec::new(),
        };
        worker.low_limits = worker.ready()?.low_limits;
        Ok(worker)
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
    if spawner.is_none() {
        let (orders, queued) = channel::<Order>();
        // With the usual stack: what starts a process is not ours.
        std::thread::Builder::new().spawn(move || {
            for (mut command, answer) in queued {
                let _ = answer.send(command.spawn());
            }
        })?;
        *spawner = Some((here, orders));
    }
    let (answer, child) = channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (_, orders) = spawner.as_ref().ok_or_else(gone)?;
    orders.send((command, answer)).map_err(|_| gone())?;
    drop(spawner);
    child.recv().map_err(|_| gone())?
}

impl WorkerProcess {
    /// Waits until it is in its sandbox. What goes wrong before is no candidate's fault.
    fn ready(&mut self) -> io::Result<Ready> {
        let cannot =
            |why: String| io::Error::other(format!("cannot start a process for candidates: {why}"));
        match self.channels.answers.recv_timeout(LONGEST_START) {
            Ok(Ok(line)) if line.ends_with(b"\n") => {
                serde_json::from_slice(&line).map_err(|e| cannot(format!("it says {e}")))
            }
            Err(RecvTimeoutError::Timeout) => {
                let seconds = LONGEST_START.as_secs();
                Err(cannot(format!("it was not ready within {seconds} s")))
            }
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                let (status, said) = self.last_words();
                let how = status.map_or("it closed its channel".into(), |s| s.to_string());
                let mut lines = said.lines().rev();
                let last = lines.find(|line| !line.starts_with("note: "));
                let last = last.unwrap_or_default();
                let last = last.trim_start_matches("error: ");
                Err(cannot(match status.and_then(|s| s.code()) {
                    Some(_) if !last.is_empty() => last.to_owned(),
                    _ => format!("it died at once ({how}): {last}"),
                }))
            }
        }
    }

    /// Sends a job and waits for the answer. A worker without an answer cannot be used again.
    fn send(
        &mut self,
        job: &Job,
        time_limit: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Answer, Failure> {
        let mut line = serde_json::to_vec(job).map_err(|e| Failure::Host(e.to_string()))?;
        line.push(b'\n');
        if self.channels.jobs.send(line).is_err() {
            return Err(self.crashed());
        }
        let start = (Instant::now(), self.processor_time());
        let mut limit = time_limit;
        loop {
            let left = limit.saturating_sub(start.0.elapsed());
            match self.channels.answers.recv_timeout(left.min(BETWEEN_LOOKS)) {
                Ok(Ok(line)) if line.ends_with(b"\n") => {
                    return serde_json::from_slice(&line).map_err(|_| implausible().into());
                }
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Err(self.crashed()),
                Err(RecvTimeoutError::Timeout) if cancelled() => {
                    return Err(crash("cancelled").into());
                }
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
                    return Err(Box::new(Problem::new(ProblemKind::Limit, "", message)).into());
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

    /// How it ended, and the end of what it printed. It is ended, if it has not.
    fn last_words(&mut self) -> (Option<ExitStatus>, String) {
        let status = self.end();
        let tail = &self.channels.stderr_tail;
        let stderr = tail
            .recv_timeout(Duration::from_secs(1))
            .unwrap_or_default();
        (status, String::from_utf8_lossy(&stderr).trim().to_owned())
    }

    /// Why it ended without an answer.
    fn crashed(&mut self) -> Failure {
        let (status, said) = self.last_words();
        let last = said.lines().last().unwrap_or_default().trim();
        let how = status.map_or("it closed its channel".to_owned(), |s| s.to_string());
        if status.is_some_and(is_from_outside) {
            return Failure::Outside(how);
        }
        // Scripts do not exit: that is a worker that cannot read its jobs or write its answers.
        if !self.native && status.is_some_and(|s| s.code() == Some(1)) {
            return Failure::Host(format!("a process for candidates failed ({how}): {last}"));
        }
        let last = match last {
            "" => String::new(),
            _ => format!(": {last}"),
        };
        if !self.low_limits.is_empty() {
            let limits = self.low_limits.join(", ");
            return Failure::Host(format!(
                "the process of a candidate died ({how}){last}, and the candidate is not judged: this \
                 process is limited more than those of candidates are meant to be: {limits}"
            ));
        }
        let out_of_memory = said.contains("memory allocation of");
        let out_of_time = how.contains("SIGXCPU") || how.contains("signal: 24");
        let mut problem = crash(&format!("the candidate's process died ({how}){last}"));
        if out_of_memory || out_of_time {
            problem.kind = ProblemKind::Limit;
        }
        problem.sanitize();
        Failure::Candidate(problem)
    }

    /// The exit status, if it ends by itself within a second; else it is killed.
    fn end(&mut self) -> Option<ExitStatus> {
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

/// Whether a process was ended by a signal that it cannot have sent to itself, as its sandbox lets
/// it send none but SIGABRT, and that does not come of what it computes.
fn is_from_outside(status: ExitStatus) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::ExitStatusExt;
        // What a fault, an abort, or the limit of processor time sends.
        let own = [
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGABRT,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGSEGV,
            libc::SIGXCPU,
            libc::SIGXFSZ,
            libc::SIGPIPE,
            libc::SIGSYS,
        ];
        status.signal().is_some_and(|s| !own.contains(&s))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = status;
        false
    }
}

fn crash(message: &str) -> Box<Problem> {
    Box::new(Problem::new(ProblemKind::Crash, "", message))
}

fn implausible() -> Box<Problem> {
    crash("the candidate's process gave an answer that makes no sense")
}
