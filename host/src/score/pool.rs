//! The processes in which candidates work, kept for the next one as long as they behave. Each has a place, and whoever uses the same
//! place for the same scenarios finds their traffic there.

use super::candidate::Candidate;
use super::protocol::{Answer, Job, SuiteText, Task};
use super::report::{Problem, ProblemKind};
use super::suite::Suite;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

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
}

impl WorkerCommand {
    /// This program's own `worker` command.
    ///
    /// # Errors
    /// When the program's place is unknown.
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            args: vec!["worker".into()],
        })
    }
}

/// Workers that wait for jobs.
pub struct Pool {
    command: WorkerCommand,
    /// Longest time for a job.
    wall: Duration,
    places: Vec<Mutex<Option<Worker>>>,
}

struct Worker {
    child: Child,
    input: ChildStdin,
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
        }
    }

    /// How many workers there can be.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Has the worker at `place` do `task`. Whatever the candidate does to it is the candidate's problem.
    ///
    /// # Errors
    /// When no worker can be started.
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
        let known = if native { None } else { there.take() };
        let mut worker = match known {
            Some(worker) => worker,
            None => self.start(suite, candidate, native)?,
        };
        let key = suite.digest();
        let job = Job {
            suite: (worker.suite.as_ref() != Some(&key)).then(|| SuiteText {
                origin: suite.origin.clone(),
                text: suite.text.clone(),
                traces: suite.traces.clone(),
            }),
            candidate: candidate.clone(),
            task,
        };
        worker.suite = Some(key);
        match worker.ask(&job, self.wall) {
            Ok(answer) => {
                // One that met a limit has seen something hostile: the next candidate gets another.
                let tried = answer.problems.iter().any(|p| p.kind == ProblemKind::Limit);
                if !worker.native && !tried && answer.suite_error.is_none() {
                    *there = Some(worker);
                }
                Ok(answer)
            }
            Err(problem) => Ok(Answer {
                problems: vec![*problem],
                ..Answer::default()
            }),
        }
    }

    fn start(&self, suite: &Suite, candidate: &Candidate, native: bool) -> io::Result<Worker> {
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.args);
        for path in suite.readable().into_iter().chain(candidate.readable()) {
            command.arg("--read").arg(path);
        }
        if native {
            command.arg("--native");
        }
        command
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn(command)?;
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let errors = child.stderr.take().expect("piped");
        let (answer, answers) = channel();
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
            input,
            answers,
            words,
            suite: None,
            native,
        })
    }
}

/// Starts a process from a thread that never ends: on Linux the parent that a child's death signal hangs on is a thread.
fn spawn(command: Command) -> io::Result<Child> {
    type Wish = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Wish>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (wish, wishes) = channel::<Wish>();
        std::thread::spawn(move || {
            for (mut command, answer) in wishes {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(wish)
    });
    let (answer, child) = channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    let wish = spawner.lock().expect("no panic before");
    wish.send((command, answer)).map_err(|_| gone())?;
    drop(wish);
    child.recv().map_err(|_| gone())?
}

impl Worker {
    /// Asks and waits for the answer; a worker that gives none is no good any more.
    fn ask(&mut self, job: &Job, wall: Duration) -> Result<Answer, Box<Problem>> {
        let mut line = serde_json::to_vec(job).map_err(|e| Box::new(crash(&e.to_string())))?;
        line.push(b'\n');
        if self.input.write_all(&line).is_err() {
            return Err(Box::new(self.crashed()));
        }
        match self.answers.recv_timeout(wall) {
            Ok(Ok(line)) if line.ends_with(b"\n") => serde_json::from_slice(&line).map_err(|_| {
                Box::new(crash(
                    "the candidate's process gave an answer that makes no sense",
                ))
            }),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Err(Box::new(self.crashed())),
            Err(RecvTimeoutError::Timeout) => Err(Box::new(Problem::new(
                ProblemKind::Limit,
                "",
                format!(
                    "the candidate's process gave no answer within {} s and was ended",
                    wall.as_secs()
                ),
            ))),
        }
    }

    fn crashed(&mut self) -> Problem {
        let how = self
            .child
            .wait()
            .map_or_else(|e| e.to_string(), |s| s.to_string());
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
        problem
    }
}

fn crash(message: &str) -> Problem {
    Problem::new(ProblemKind::Crash, "", message)
}
