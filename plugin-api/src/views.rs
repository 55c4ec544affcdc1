//! What a policy sees: plain data, fixed width, units in the field docs.

/// A request as every hook may see it. The true output length is not in here.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestView {
    /// Number of the request in order of arrival within this run, from 0. Unique.
    pub serial: u64,
    /// When the client sent it, microseconds.
    pub arrival_us: i64,
    /// Client gives up at this time, microseconds; 0 = never.
    pub deadline_us: i64,
    /// Time-to-first-token target of this request, microseconds; 0 = none.
    pub slo_ttft_us: i64,
    /// Equal for two requests exactly when their whole prompts are equal.
    pub prompt_key: u64,
    /// Prompt length, tokens.
    pub prompt_tokens: u32,
    /// SLO class, an opaque number that is equal for equal class names.
    pub slo_class: u32,
    /// Cluster-level priority of the class: higher is more important, negative may be shed.
    pub class_priority: i32,
    /// Tenant, an opaque number; 0 = no tenant.
    pub tenant: u32,
    /// Session, an opaque number; 0 = no session.
    pub session: u32,
    /// Round within the session, from 0.
    pub round: u32,
    /// Shared-prefix group, an opaque number; 0 = none.
    pub prefix_group: u32,
    /// Tokens of the prompt that belong to the shared prefix group.
    pub prefix_tokens: u32,
    /// Model asked for, an opaque number; 0 = the cluster's default model.
    pub model: u32,
}

/// One serving instance as the front end sees it.
///
/// `in_flight` and `dispatched_tokens` are counted by the front end itself and always fresh. Everything else is scraped
/// from the instance and read at `scraped_us`; before the first scrape it is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InstanceView {
    /// Index of the instance in the cluster.
    pub index: u32,
    /// Requests in the wait queue.
    pub queue_depth: u32,
    /// Requests in the running batch.
    pub batch_size: u32,
    /// Requests dispatched and not yet finished (fresh).
    pub in_flight: u32,
    /// KV blocks in use.
    pub kv_used_blocks: u32,
    /// KV blocks in all.
    pub kv_total_blocks: u32,
    /// KV blocks not in use, `kv_total_blocks - kv_used_blocks` at the last scrape (0 before it).
    pub kv_free_blocks: u32,
    /// Preemptions so far.
    pub preemptions: u32,
    /// `kv_used_blocks / kv_total_blocks`, 0..=1.
    pub kv_utilization: f64,
    /// Prefix-cache hits / lookups so far, in blocks, 0..=1.
    pub cache_hit_rate: f64,
    /// Prompt tokens of the requests in flight (fresh).
    pub dispatched_tokens: u64,
    /// When the scraped fields were read, microseconds; 0 before the first scrape.
    pub scraped_us: i64,
    /// Largest batch the instance runs, requests.
    pub max_batch_size: u32,
    /// Tokens a KV block holds.
    pub block_size: u32,
}

impl InstanceView {
    /// Age of the scraped fields at `now_us`, microseconds.
    #[must_use]
    pub fn age_us(&self, now_us: i64) -> i64 {
        now_us - self.scraped_us
    }

    /// Requests waiting, running and in flight. A request in flight that already waits or runs counts twice, as the
    /// reference simulator counts it; for equal instances the order is the same.
    #[must_use]
    pub fn effective_load(&self) -> u64 {
        u64::from(self.queue_depth) + u64::from(self.batch_size) + u64::from(self.in_flight)
    }
}

/// Per-request signals that cost something to compute, so they are asked for, not passed.
///
/// A policy that calls one of these must declare it in its [`Interests`](crate::Interests), else it reads zeros.
pub trait Signals {
    /// Leading prompt blocks that instance `i` holds, by its own cache events, as old as the cache-signal delay.
    fn precise_prefix_blocks(&self, i: usize) -> u32;
    /// Leading prompt blocks that the front end believes instance `i` holds, from its own record of past dispatches.
    fn approximate_prefix_blocks(&self, i: usize) -> u32;
    /// Full KV blocks of the prompt.
    fn prompt_blocks(&self) -> u32;
}

/// Signals of nothing: every prefix misses. For tests of policies.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSignals;

impl Signals for NoSignals {
    fn precise_prefix_blocks(&self, _i: usize) -> u32 {
        0
    }
    fn approximate_prefix_blocks(&self, _i: usize) -> u32 {
        0
    }
    fn prompt_blocks(&self) -> u32 {
        0
    }
}

/// The cluster at the moment of a decision.
#[derive(Clone, Copy)]
pub struct ClusterView<'a> {
    /// Now, microseconds.
    pub now_us: i64,
    /// The instances that can serve the request; a router answers with an index into this slice.
    pub instances: &'a [InstanceView],
    /// Lazy per-request signals; indices are those of `instances`.
    pub signals: &'a dyn Signals,
}

/// A request in an instance's wait queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueuedView {
    /// The request.
    pub request: RequestView,
    /// When it entered this wait queue, microseconds.
    pub enqueued_us: i64,
    /// Its instance-level priority (lower is more urgent).
    pub priority: f64,
    /// How often it was preempted here.
    pub preemptions: u32,
}

/// A request in an instance's running batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunningView {
    /// The request.
    pub request: RequestView,
    /// Its instance-level priority (lower is more urgent).
    pub priority: f64,
    /// Tokens computed so far: prompt plus generated.
    pub computed_tokens: u32,
    /// KV blocks it holds.
    pub kv_blocks: u32,
    /// How often it was preempted here.
    pub preemptions: u32,
}
