//! What passes between connections and the thread on which policies decide.

use super::config::Config;
use super::scrape::Snapshot;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A request, as far as policies may know it.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Its name.
    pub id: String,
    /// About the tokens of its prompt.
    pub prompt: Vec<u32>,
    /// The model or adapter that it asks for.
    pub model: String,
    /// Prompts with another one share no cache.
    pub salt: String,
    /// SLO class.
    pub class: String,
    /// Tenant.
    pub tenant: String,
    /// Session.
    pub session: String,
    /// Time to first token that is wanted, microseconds; 0 = none is.
    pub slo_ttft_us: i64,
    /// Output tokens that its client allows; 0 = no limit is named.
    pub max_tokens: u32,
    /// Priority in vLLM's sense.
    pub priority: i32,
    /// Is the answer streamed?
    pub streaming: bool,
}

/// What is to become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the server of this number.
    To(usize),
    /// It is refused.
    Refused {
        /// With this status.
        status: u16,
        /// Why, in a word or two, for a header and for metrics.
        reason: &'static str,
        /// Why, in the words of the policy, if it has any.
        message: String,
    },
}

/// How a request left.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// How: `completed`, `aborted`, `broken`, `failed`.
    pub outcome: &'static str,
    /// Status of the answer.
    pub status: u16,
    /// Output tokens.
    pub output_tokens: u32,
    /// Prompt tokens that were cached, if the server says it.
    pub cached_tokens: Option<u32>,
}

/// What the deciding thread is told and asked.
pub enum Message {
    /// Where does this request go?
    Arrived(u64, Box<Meta>, oneshot::Sender<Verdict>),
    /// It failed on the server where it is: where else?
    Again(u64, oneshot::Sender<Verdict>),
    /// Its client has the first token.
    FirstToken(u64),
    /// It left.
    Left(u64, Left),
    /// What a server said of itself.
    Scraped(usize, Box<Snapshot>),
    /// There are so many servers now; these take requests.
    Members(Vec<Described>, Vec<u32>),
    /// The configuration has changed.
    Reload(Arc<Config>, oneshot::Sender<Result<(), String>>),
    /// The metrics of the gateway.
    Metrics(oneshot::Sender<String>),
    /// All is over.
    End,
}

/// A server, as policies know it before it has said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its pool.
    pub pool: String,
}
