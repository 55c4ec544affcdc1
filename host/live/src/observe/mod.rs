//! Sends a workload to a live server at its own times, and measures what comes back.
//!
//! The clock decides when a request is sent, never the answers to others, unless the workload is a
//! closed loop. What is measured of a request counts from when it was sent; how late that was is
//! measured, too.

mod answers;
mod clock;
mod dispatch;
mod export;
mod kv_counters;
mod prompt;
mod send;
mod summary;

pub use dispatch::{Observation, Progress, Stop, observe};
pub use export::{write_itl, write_jsonl};
pub use prompt::{Prompts, probe};
pub use send::Chunk;
pub use summary::{Summary, summarize};

use crate::client::Client;
use serde_json::{Map, Value};
use std::time::Duration;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Request;
use windtunnel_workload::trace_v2::observed::ObservedRow;

/// How completions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

impl Api {
    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// How prompts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptFormat {
    /// Lists of token ids: prompts have the very lengths of the workload.
    Tokens,
    /// Words.
    Text,
}

/// What stands in prompts for the answers of a session's earlier rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// What the server answered.
    Real,
    /// Words or tokens that are made for it, as for every other token.
    Made,
}

/// How a server is observed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model that is asked for.
    pub model: String,
    /// How completions are asked for.
    pub api: Api,
    /// Are answers streamed?
    pub streaming: bool,
    /// Most requests at once; what is due meanwhile is held back.
    pub max_concurrency: Option<usize>,
    /// Time after which a request without a deadline is given up.
    pub timeout: Option<Duration>,
    /// Requests at the start that only warm the server up.
    pub warm_up: u64,
    /// Outputs have the lengths of the workload: `min_tokens` is sent beside `max_tokens`.
    pub constrained: bool,
    /// `ignore_eos` is sent, too.
    pub ignore_eos: bool,
    /// What stands for earlier answers.
    pub answers: Answers,
    /// Keys that are added to every body.
    pub extra: Map<String, Value>,
    /// The prefix cache's counters are read before and after.
    pub scrape_kv: bool,
    /// No request that arrives from then on is sent, microseconds.
    pub horizon_us: i64,
}

/// What was measured of a request.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The request.
    pub request: Request,
    /// Its row in a trace.
    pub row: ObservedRow,
    /// When it was sent, microseconds after the start; later than the arrival by how late it was.
    pub sent_us: i64,
    /// What of that it was held back by the limit on requests at once, microseconds.
    pub held_us: i64,
    /// The events with tokens, in order.
    pub chunks: Vec<Chunk>,
    /// Is it one of those that only warm up?
    pub warm_up: bool,
}

impl Observed {
    /// How late it was sent, without what it was held back for on purpose, microseconds.
    #[must_use]
    pub fn late_us(&self) -> i64 {
        (self.sent_us - self.request.arrival_us - self.held_us).max(0)
    }
}

/// The model to ask a server for: `asked`, or the first that it serves.
///
/// # Errors
/// When the server does not say what it serves, or does not serve that model.
pub async fn served_model(client: &Client, asked: Option<&str>) -> Result<String, InputError> {
    let models = client.models().await?;
    let Some(first) = models.list.first() else {
        return Err(models.wrong("it serves no model"));
    };
    let model = asked.map_or(Ok(first), |asked| models.find(asked))?;
    Ok(model.name.clone())
}
