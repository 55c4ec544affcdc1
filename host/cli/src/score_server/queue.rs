//! The queue between HTTP requests and the threads that score, each with a worker process of its
//! own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;
use windtunnel_score::{Report, ScoreRequest, Scorer, ScoringError};

/// The answer to one request.
pub type Answer = oneshot::Receiver<Result<Report, ScoringError>>;

/// Answers in the order of their requests. When this is dropped, nobody wants them any more: what
/// waits is taken out of the queue, and what runs is ended.
pub struct Answers {
    /// One for each request.
    pub all: Vec<Answer>,
    unwanted: Arc<AtomicBool>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

/// Why requests are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many are waiting.
    Full,
    /// The queue is closed.
    Closed,
}

struct Job {
    request: ScoreRequest,
    answer: oneshot::Sender<Result<Report, ScoringError>>,
    unwanted: Arc<AtomicBool>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Waiting {
    /// Drops what nobody waits for.
    fn sweep(&mut self) {
        self.jobs.retain(|job| !job.answer.is_closed());
    }
}

/// A queue of score requests with the scorer that answers them.
pub struct JobQueue {
    scorer: Scorer,
    /// Most requests that may wait.
    capacity: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl JobQueue {
    /// An empty queue, which no thread serves yet.
    pub fn new(scorer: Scorer, capacity: usize) -> Self {
        Self {
            scorer,
            capacity,
            waiting: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic before")
    }

    /// Most requests that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds all of these requests, or none. An empty queue accepts more than its capacity.
    pub fn submit(&self, requests: Vec<ScoreRequest>) -> Result<Answers, Refused> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Refused::Closed);
        }
        waiting.sweep();
        if !waiting.jobs.is_empty() && waiting.jobs.len() + requests.len() > self.capacity {
            return Err(Refused::Full);
        }
        let unwanted = Arc::new(AtomicBool::new(false));
        let answers = requests.into_iter().map(|request| {
            let (answer, receiver) = oneshot::channel();
            waiting.jobs.push_back(Job {
                request,
                answer,
                unwanted: Arc::clone(&unwanted),
            });
            receiver
        });
        let all = answers.collect();
        self.changed.notify_all();
        Ok(Answers { all, unwanted })
    }

    /// Number of requests that wait.
    pub fn len(&self) -> usize {
        let mut waiting = self.lock();
        waiting.sweep();
        waiting.jobs.len()
    }

    /// Accepts no more requests, drops those that wait, and ends those that run.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.jobs.clear();
        self.scorer.runner().workers.cancel();
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).expect("no panic before");
        }
    }

    /// Answers requests with the worker in `slot`, until the queue is closed.
    pub fn serve(&self, slot: usize) {
        while let Some(job) = self.next() {
            // The client may have closed its connection.
            if !job.answer.is_closed() {
                let report = self
                    .scorer
                    .score_while_wanted(slot, &job.request, &job.unwanted);
                let _ = job.answer.send(report);
            }
        }
    }
}
