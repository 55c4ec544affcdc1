//! The processes in which candidates work, kept for the next one as long as they behave. Each has a
//! place, and whoever uses the same place for the same scenarios finds their traffic there.

use super::candidate::Candidate;
use super::protocol::{Answer, Job, SuiteText, Task};
use super::report::{Problem, ProblemKind};
use super::suite::Suite;
use super::walls::cpu_seconds;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Longest answer that a worker may give, bytes.
const LONGEST_ANSWER: u64 = 64 << 20;
/// What is kept of a worker's last words, bytes.
const LAST_WORDS: usize = 4096;

/// How a worker is started: a program that calls [`serve`](super::worker::serve).
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// Program.
    pub program: PathBuf,
    /// Its arguments before those of the worker.
    pub args: Vec<String>,
    /// All that it finds in its environment.
    pub env: Vec<(String, String)>,
}

/// What stands in for [`WorkerCommand::own`] where this library is part of another program.
static OWN: OnceLock<WorkerCommand> = OnceLock::new();

impl WorkerCommand {
    /// This program's own `worker` command.
    ///
    /// # Errors
    /// When the program's place is unknown.
    pub fn own() -> io::Result<Self> {
        if let Some(own) = OWN.get() {
            return Ok(own.clone());
        }
        Ok(Self {
            program: std::env::current_exe()?,
            args: vec!["worker".into()],
            env: Vec::new(),
        })
    }

    /// From now on this is what [`own`](Self::own) gives: for programs that are not the command
    /// line. The first one stays.
    pub fn be_own(self) {
        let _ = OWN.set(self);
    }
}

/// Workers that wait for jobs.
pub struct Pool {
    command: WorkerCommand,
    /// Longest time for a job.
    wall: Duration,
    places: Vec<Mutex<Option<Worker>>>,
    cancelled: AtomicBool,
}

struct Worker {
    child: Child,
    jobs: Sender<Vec<u8>>,
    answers: Receiver<io::Result<Vec<u8>>>,
    words: Receiver<Vec<u8>>,
    /// The suite it was given last.
    suite: Option<String>,
    native: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pool {
    /// Room for so many workers; none runs yet.
    #[must_use]
    pub fn new(command: WorkerCommand, wall: Duration, places: usize) -> Self {
        Self {
            command,
            wall,
            places: (0..places.max(1)).map(|_| Mutex::new(None)).collect(),
            cancelled: AtomicBool::new(false),
        }
    }

    /// From now on every task ends at once with [`Interrupted`](io::ErrorKind::Interrupted); those
    /// at hand are finished.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// How many workers there can be.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Has the worker at `place` do `task`. Whatever the candidate does to it is the candidate's
    /// problem.
    ///
    /// # Errors
    /// When no worker can be started, or after [`cancel`](Self::cancel).
    pub fn run(
        &self,
        place: usize,
        suite: &Suite,
        candidate: &Candidate,
        task: Task,
    ) -> io::Result<Answer> {
        let native = candidate.is_native();
        // Held while the worker works: a place is for one job at a time.
        let mut there = self.places[place].lock().expect("no panic before");
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let known = if native { None } else { there.take() };
        if let Some(worker) = known
            && let Ok(answer) = self.ask(worker, &mut there, suite, candidate, &task)
        {
            return Ok(answer);
        }
        // What ended a worker that others had used before may be their doing: a fresh one tells.
        let worker = self.start(suite, candidate, native)?;
        let answer = self.ask(worker, &mut there, suite, candidate, &task);
        Ok(answer.unwrap_or_else(|problem| Answer {
            problems: vec![*problem],
            ..Answer::default()
        }))
    }

    /// Asks a worker and puts it back if it is still good.
    fn ask(
        &self,
        mut worker: Worker,
        there: &mut Option<Worker>,
        suite: &Suite,
        candidate: &Candidate,
        task: &Task,
    ) -> Result<Answer, Box<Problem>> {
        let key = suite.digest();
        let job = Job {
            suite: (worker.suite.as_ref() != Some(&key)).then(|| SuiteText {
                origin: suite.origin.clone(),
                text: suite.text.clone(),
                traces: suite.traces.clone(),
            }),
            candidate: candidate.clone(),
            task: task.clone(),
            cpu_s: cpu_seconds(self.wall),
        };
        worker.suite = Some(key);
        let mut answer = worker.ask(&job, self.wall)?;
        if worker.native && answer.suite_error.is_some() {
            // The suite was flown without it before: machine code can write what it likes.
            return Err(nonsense());
        }
        if !answer.is_sane(task, suite.file.objectives.len()) {
            return Err(nonsense());
        }
        let problems = answer.problems.iter_mut();
        problems.chain(&mut answer.warnings).for_each(Problem::tame);
        // One that met a limit has seen something hostile: the next candidate gets another.
        let tried = answer.problems.iter().any(|p| p.kind == ProblemKind::Limit);
        if !worker.native && !tried && answer.suite_error.is_none() {
            *there = Some(worker);
        }
        Ok(answer)
    }

    fn start(&self, suite: &Suite, candidate: &Candidate, native: bool) -> io::Result<Worker> {
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
        // Ctrl-C is for the parent: it ends its workers, or lets them finish.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = spawn(command)?;
        let mut input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let errors = child.stderr.take().expect("piped");
        // A worker that reads nothing must not hold up who writes to it.
        let (job, jobs) = channel::<Vec<u8>>();
        std::thread::spawn(move || jobs.into_iter().try_for_each(|job| input.write_all(&job)));
        // Nor may one that writes for ever fill the memory of who reads.
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
        let (word, words) = channel();
        std::thread::spawn(move || {
            let mut last = Vec::new();
            let mut errors = errors;
            let mut part = [0; 1024];
            while let Ok(n @ 1..) = errors.read(&mut part) {
                last.extend_from_slice(&part[..n]);
                let extra = last.len().saturating_sub(LAST_WORDS);
                last.drain(..extra);
            }
            let _ = word.send(last);
        });
        Ok(Worker {
            child,
            jobs: job,
            answers,
            words,
            suite: None,
            native,
        })
    }
}

/// Starts a process from a thread that never ends: on Linux the parent that a child's death signal
/// hangs on is a thread.
fn spawn(command: Command) -> io::Result<Child> {
    type Wish = (Command, Sender<io::Result<Child>>);
    // A process that was forked off this one has the channel, but not the thread: it needs its own.
    static SPAWNER: Mutex<Option<(u32, Sender<Wish>)>> = Mutex::new(None);
    let mut spawner = SPAWNER.lock().expect("no panic before");
    let here = std::process::id();
    if let Some(other) = spawner.take_if(|(of, _)| *of != here) {
        std::mem::forget(other);
    }
    let (_, wish) = spawner.get_or_insert_with(|| {
        let (wish, wishes) = channel::<Wish>();
        std::thread::spawn(move || {
            for (mut command, answer) in wishes {
                let _ = answer.send(command.spawn());
            }
        });
        (here, wish)
    });
    let (answer, child) = channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    wish.send((command, answer)).map_err(|_| gone())?;
    drop(spawner);
    child.recv().map_err(|_| gone())?
}

impl Worker {
    /// Asks and waits for the answer; a worker that gives none is no good any more.
    fn ask(&mut self, job: &Job, wall: Duration) -> Result<Answer, Box<Problem>> {
        let mut line = serde_json::to_vec(job).map_err(|e| crash(&e.to_string()))?;
        line.push(b'\n');
        if self.jobs.send(line).is_err() {
            return Err(self.crashed());
        }
        let start = (Instant::now(), self.processor_time());
        loop {
            match self.answers.recv_timeout(wall) {
                Ok(Ok(line)) if line.ends_with(b"\n") => {
                    return serde_json::from_slice(&line).map_err(|_| nonsense());
                }
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Err(self.crashed()),
                // On a busy machine it may not have had its time.
                Err(RecvTimeoutError::Timeout) if self.waits_for_a_core(start, wall) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let message = format!(
                        "the candidate's process gave no answer within {} s and was ended",
                        wall.as_secs()
                    );
                    return Err(Box::new(Problem::new(ProblemKind::Limit, "", message)));
                }
            }
        }
    }

    /// Has it work to do, but no core to do it on? Patience has an end all the same.
    fn waits_for_a_core(&self, start: (Instant, Option<Duration>), wall: Duration) -> bool {
        let (Some(before), Some(now)) = (start.1, self.processor_time()) else {
            return false;
        };
        start.0.elapsed() < wall * 10 && self.state() == Some('R') && now - before < wall / 2
    }

    /// What the system says of the process, behind its name.
    fn status(&self) -> Option<Vec<String>> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        Some(rest.split_whitespace().map(str::to_owned).collect())
    }

    /// `R` is running or ready to.
    fn state(&self) -> Option<char> {
        self.status()?.first()?.chars().next()
    }

    /// Processor time that it has taken.
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
        let words = self
            .words
            .recv_timeout(Duration::from_secs(1))
            .unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let last = words.lines().rfind(|line| !line.trim().is_empty());
        let last = last.map_or(String::new(), |line| format!(": {}", line.trim()));
        let out_of_memory = words.contains("memory allocation of");
        let out_of_time = how.contains("SIGXCPU") || how.contains("signal: 24");
        let mut problem = crash(&format!("the candidate's process died ({how}){last}"));
        if out_of_memory || out_of_time {
            problem.kind = ProblemKind::Limit;
        }
        problem.tame();
        problem
    }

    /// How it ended by itself, within a second; else it is ended.
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

fn nonsense() -> Box<Problem> {
    crash("the candidate's process gave an answer that makes no sense")
}
