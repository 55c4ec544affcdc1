//! What passes between the servers, which speak HTTP, and the engine, which passes the time.

use tokio::sync::{mpsc, oneshot};

/// A request, as the engine takes it.
pub struct Job {
    /// Its number, given by the servers.
    pub number: u64,
    /// Server.
    pub server: usize,
    /// Its name.
    pub id: String,
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens of the answer.
    pub output: Vec<u32>,
    /// What its client allows, tokens.
    pub max_tokens: u32,
    /// LoRA adapter, by name.
    pub adapter: Option<String>,
    /// Prompts with another salt share no cache.
    pub cache_salt: Option<String>,
    /// Priority in vLLM's sense: lower is more urgent.
    pub priority: i32,
    /// Is the answer streamed?
    pub streaming: bool,
    /// Where news of it go. When nobody is there any more, it is taken back.
    pub news: mpsc::UnboundedSender<News>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The server has it.
    Taken,
    /// The server's queue is full.
    Refused,
    /// It has so many output tokens now.
    Tokens(u32),
    /// It is over.
    Ended {
        /// What it came to.
        end: End,
        /// Prompt tokens that were cached.
        cached_tokens: u32,
    },
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of its tokens are there.
    Complete,
    /// So are all that the model's length allows.
    Length,
    /// The engine can never serve it.
    Impossible,
    /// It was lost when its server crashed.
    Lost,
}

/// What the servers ask of the engine.
pub enum Command {
    /// Serve a request.
    Serve(Box<Job>),
    /// Nobody waits for the request of this number any more.
    GiveUp(u64),
    /// Metrics of a server, in the format of Prometheus.
    Metrics(usize, oneshot::Sender<String>),
    /// The load of a server.
    Load(usize, oneshot::Sender<Load>),
    /// Steps of a server take so many times as long as they should.
    Slow(usize, f64),
    /// A server crashes: its requests are lost, its cache is empty.
    Crash(usize),
    /// All is over.
    End,
}

/// The load of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests in the batch.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Tokens in KV blocks.
    pub tokens: u64,
    /// Tokens that fit into KV blocks.
    pub most_tokens: u64,
    /// Requests that may run at once.
    pub most_running: u32,
}

impl Load {
    /// Share of the KV blocks in use, 0 to 1.
    pub fn usage(&self) -> f64 {
        self.tokens as f64 / self.most_tokens.max(1) as f64
    }
}
