//! What an instance reports to its cluster.

use super::part::Part;
use super::slot::Slot;
use windtunnel_base::fault::RunFault;
use windtunnel_base::record::{KvEvent, RequestRecord};
use windtunnel_base::request::{FinishReason, Request};
use windtunnel_plugin_api::RequestView;

/// What an instance reports to its cluster.
#[derive(Debug)]
pub enum InstanceEvent {
    /// A request left for good.
    Finished(Box<FinishedRequest>),
    /// A request produced its first token.
    FirstToken {
        /// The request.
        view: RequestView,
        /// Time to first token, microseconds.
        ttft_us: i64,
    },
    /// A request has new tokens, where [every token](super::Instance::report_tokens) is
    /// reported.
    Tokens {
        /// Number of the request.
        serial: u64,
        /// Output tokens that it has now.
        output_tokens: u32,
        /// When its client has them, microseconds; may be later than now.
        at_us: i64,
    },
    /// A request was preempted: it lost its place in the batch.
    Preempted {
        /// The request.
        view: RequestView,
        /// Output tokens it had produced.
        output_tokens: u32,
    },
    /// There are blocks for the KV cache of a prompt that another instance computed.
    WantsKv {
        /// Number of the request.
        serial: u64,
        /// What to say when it has arrived.
        slot: Slot,
        /// Tokens of it that are not cached here.
        tokens: u32,
    },
    /// Its prefix cache changed.
    Kv(KvEvent),
    /// A policy failed or gave an unusable answer; the run cannot go on.
    Fault(RunFault),
}

/// A request that left its instance.
#[derive(Debug)]
pub struct FinishedRequest {
    /// The request.
    pub request: Request,
    /// The request as policies see it.
    pub view: RequestView,
    /// Its results.
    pub record: RequestRecord,
    /// What of it this instance did.
    pub part: Part,
    /// Its first inter-token gap, microseconds, where another instance computed the prompt.
    pub first_gap_us: Option<i64>,
    /// Why it ended.
    pub reason: FinishReason,
    /// When it ended here, microseconds (the end of its last step).
    pub at_us: i64,
    /// When its client had the last of it, microseconds.
    pub seen_us: i64,
    /// Output tokens it had produced.
    pub output_tokens: u32,
    /// Output tokens that a follow-up prompt contains: those whose KV was computed.
    pub processed_tokens: u32,
}
