//! What an instance does of a request.

/// What an instance does of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Prefill; the KV cache moves on.
    Prefill,
    /// Decode, from the KV cache that another instance computed.
    Decode(RemoteKv),
}

/// The first output token of a request, where the instance that computed its prompt yielded that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstToken {
    /// When the prompt was computed, microseconds.
    pub at_us: i64,
    /// When its client had the token, microseconds after the arrival.
    pub ttft_us: i64,
}

/// Where the KV cache is that an instance needs to decode a prompt it did not compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteKv {
    /// With the other instance: there are no blocks for it here.
    There,
    /// On its way, into blocks that the request holds.
    Moving,
    /// Here.
    Here,
    /// Nowhere: a preemption freed its blocks. The prompt is computed here.
    Lost,
}
