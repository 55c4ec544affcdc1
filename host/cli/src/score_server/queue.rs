//! The queue between HTTP requests and the threads that score, each with a worker process of its
//! own.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;
use windtunnel_score::{Report, ScoreRequest, Scorer, ScoringError};

/// The answer to one request.
pub type Answer = oneshot::Receiver<Result<Report, ScoringError>>;

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
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
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

    /// Adds all of these requests, or none. An empty queue accepts more than its capacity.
    pub fn submit(&self, requests: Vec<ScoreRequest>) -> Result<Vec<Answer>, Refused> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Refused::Closed);
        }
        if !waiting.jobs.is_empty() && waiting.jobs.len() + requests.len() > self.capacity {
            return Err(Refused::Full);
        }
        let answers = requests.into_iter().map(|request| {
            let (answer, receiver) = oneshot::channel();
            waiting.jobs.push_back(Job { request, answer });
            receiver
        });
        let answers = answers.collect();
        self.changed.notify_all();
        Ok(answers)
    }

    /// Number of requests that wait.
    pub fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Accepts no more requests, and drops those that wait.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.jobs.clear();
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
                let report = self.scorer.score_in_slot(slot, &job.request);
                let _ = job.answer.send(report);
            }
        }
    }
}
