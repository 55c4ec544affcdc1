//! The queue between those who ask by HTTP and the threads that score, each with a process of its
//! own.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;
use windtunnel_score::{Ask, Report, Scorer, Trouble};

/// The answer to one question.
pub type Answer = oneshot::Receiver<Result<Report, Trouble>>;

/// Why a question was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait already.
    Full,
    /// No more are taken.
    Closed,
}

struct Job {
    ask: Ask,
    answer: oneshot::Sender<Result<Report, Trouble>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    closed: bool,
}

/// Takes questions and has them answered.
pub struct Desk {
    scorer: Scorer,
    /// Most that may wait.
    most: usize,
    queue: Mutex<Queue>,
    more: Condvar,
}

impl Desk {
    /// A desk nobody works at yet.
    pub fn new(scorer: Scorer, most: usize) -> Self {
        Self {
            scorer,
            most,
            queue: Mutex::default(),
            more: Condvar::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no panic before")
    }

    /// Takes all of these questions, or none. More than may wait are taken when nobody else waits.
    pub fn take(&self, asks: Vec<Ask>) -> Result<Vec<Answer>, Refused> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Refused::Closed);
        }
        if !queue.waiting.is_empty() && queue.waiting.len() + asks.len() > self.most {
            return Err(Refused::Full);
        }
        let answers = asks.into_iter().map(|ask| {
            let (answer, receiver) = oneshot::channel();
            queue.waiting.push_back(Job { ask, answer });
            receiver
        });
        let answers = answers.collect();
        self.more.notify_all();
        Ok(answers)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    /// Takes no more, and drops those that wait.
    pub fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.waiting.clear();
        self.more.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.waiting.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.more.wait(queue).expect("no panic before");
        }
    }

    /// Answers with the process at `place`, until the desk is closed.
    pub fn work(&self, place: usize) {
        while let Some(job) = self.next() {
            // Who asked may have gone.
            if !job.answer.is_closed() {
                let _ = job.answer.send(self.scorer.score_at(place, &job.ask));
            }
        }
    }
}
