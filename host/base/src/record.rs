//! What a run leaves behind. The engine fills these; summaries and reports only read them.

mod clock;
mod gateway;
mod kv_events;
mod observations;
mod scaling;
mod series;
mod split;
mod steps;

pub use gateway::{GatewayTimes, GatewayTotals, TurnedAway};
pub use kv_events::{KvChange, KvEvent};
pub use observations::{InstanceSnapshot, RoutingObservation, RoutingObservations};
pub use scaling::{NodePoolRecord, PoolCounts, PoolScaling, ScalingRecord};
pub use series::{Series, SeriesBin, Span};
pub use split::SplitRecord;
pub use steps::{RanStep, StepRun, StepShare};

use crate::fault::RunFault;
use crate::request::{Detail, Request, RequestId, Sym, Symbols};
use std::sync::Arc;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not running: waiting, refused, or never routed: see [`Outcome`].
    Queued,
    /// In a running batch when the run ended.
    Running,
    /// Finished. As in the reference simulator, also if the gateway evicted it.
    Completed,
    /// Its client gave up.
    TimedOut,
}

/// What became of a request; finer than [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    // Digests of runs count them by their place: new ones are the last.
    /// Finished.
    Completed,
    /// Finished at the model's length limit.
    LengthCapped,
    /// Its client gave up.
    TimedOut,
    /// An instance can never serve it.
    Dropped,
    /// Refused by the admission policy.
    Rejected,
    /// No instance serves its model.
    Unroutable,
    /// Refused by the server of an instance, which had as many requests as it takes.
    RequestsQueued,
    /// Refused by the server of an instance, which had as many prompt tokens to compute as it
    /// takes.
    TokensQueued,
    /// In a running batch when the run ended.
    Running,
    /// In a wait queue when the run ended.
    Queued,
    /// On its way to an instance or its queue when the run ended.
    InTransit,
    /// Refused by the gateway, whose queue was full.
    GatewayFull,
    /// It left the queue of the gateway to make room for a more important one.
    Shed,
    /// It left the queue of the gateway when it had been there as long as it may.
    Expired,
    /// The gateway took it back from an instance for more important ones.
    Evicted,
    /// In the queue of the gateway when the run ended, or before it as no instance took requests.
    Held,
    /// Lost on an instance that failed, and its client did not send it again.
    Failed,
}

/// One request's results. Times are microseconds; absent means that the thing never happened.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Order of arrival within the run, from 0.
    pub serial: u64,
    /// Name.
    pub id: RequestId,
    /// When the client sent it.
    pub arrival_us: i64,
    /// Prompt length, tokens.
    pub prompt_tokens: u32,
    /// Prompt tokens that were in the prefix cache at the first admission to a batch; absent if it
    /// never came to one.
    pub cached_tokens: Option<u32>,
    /// True output length, tokens.
    pub output_tokens: u32,
    /// Output tokens produced (0 unless completed).
    pub generated_tokens: u32,
    /// How far it has come.
    pub state: State,
    /// What became of it.
    pub outcome: Outcome,
    /// Instance it was sent to.
    pub instance: Option<u32>,
    /// The data-parallel rank of that instance; none if it is one engine.
    pub rank: Option<u32>,
    /// Pool of that instance; none if the pool has no name.
    pub pool: Sym,
    /// Admission to the running batch minus arrival.
    pub scheduling_delay_us: Option<i64>,
    /// Time to first token.
    pub ttft_us: Option<i64>,
    /// End-to-end latency; completed requests only.
    pub e2e_us: Option<i64>,
    /// Sum of the inter-token gaps; completed requests only.
    pub itl_sum_us: i64,
    /// Mean inter-token latency; completed requests of at least two output tokens only.
    pub mean_itl_us: Option<f64>,
    /// How often it was preempted.
    pub preemptions: u32,
    /// How often its client sent it again, as it was lost on an instance that failed.
    pub retries: u32,
    /// Client's deadline; 0 = none.
    pub deadline_us: i64,
    /// Time-to-first-token target; 0 = none.
    pub slo_ttft_us: i64,
    /// SLO class as given.
    pub slo_class: Sym,
    /// Tenant.
    pub tenant: Sym,
    /// Client.
    pub client: Sym,
    /// Model asked for.
    pub model: Sym,
    /// LoRA adapter.
    pub adapter: Sym,
    /// The priority that the client sent, as vLLM takes it.
    pub client_priority: i32,
    /// Session.
    pub session: Sym,
    /// Round within the session.
    pub round: u32,
    /// Shared-prefix group.
    pub prefix_group: Sym,
    /// Prompt tokens that belong to it.
    pub prefix_tokens: u32,
    /// Did the client stream?
    pub streaming: bool,
    /// How many drafts of speculative decoding are right, where its trace says it.
    pub accepted: Option<Arc<[u32]>>,
    /// What only exports show.
    pub detail: Option<Arc<Detail>>,
    /// Its way through several instances; none if one served it.
    pub split: Option<Box<SplitRecord>>,
    /// Its time at the gateway; none without flow control.
    pub gateway: Option<Box<GatewayTimes>>,
}

impl RequestRecord {
    /// The record of a request that no instance has served yet.
    #[must_use]
    pub fn unserved(serial: u64, request: &Request, state: State, outcome: Outcome) -> Self {
        Self {
            serial,
            id: request.id.clone(),
            arrival_us: request.arrival_us,
            prompt_tokens: request.prompt_tokens(),
            cached_tokens: None,
            output_tokens: request.output_tokens(),
            generated_tokens: 0,
            state,
            outcome,
            instance: None,
            rank: None,
            pool: Sym::NONE,
            scheduling_delay_us: None,
            ttft_us: None,
            e2e_us: None,
            itl_sum_us: 0,
            mean_itl_us: None,
            preemptions: 0,
            retries: 0,
            deadline_us: request.deadline_us,
            slo_ttft_us: request.slo_ttft_us,
            slo_class: request.slo_class,
            tenant: request.tenant,
            client: request.client,
            model: request.model,
            adapter: request.adapter,
            client_priority: request.client_priority,
            session: request.session,
            round: request.round,
            prefix_group: request.prefix_group,
            prefix_tokens: request.prefix_tokens,
            streaming: request.streaming,
            accepted: request.accepted.clone(),
            detail: request.detail.clone(),
            split: None,
            gateway: None,
        }
    }

    /// Arrival plus end-to-end latency.
    #[must_use]
    pub fn completion_us(&self) -> Option<i64> {
        self.e2e_us.map(|e2e| self.arrival_us + e2e)
    }
}

/// Takes the record of every request when it is done with, in that order.
pub trait Recorder {
    /// One more record; `symbols` are the names in it.
    fn record(&mut self, request: RequestRecord, symbols: &Symbols);
}

impl Recorder for Vec<RequestRecord> {
    fn record(&mut self, request: RequestRecord, _symbols: &Symbols) {
        self.push(request);
    }
}

/// What the instances of a pool do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Prefill and decode.
    #[default]
    Serve,
    /// Prefill only; the KV cache moves to an instance that decodes.
    Prefill,
    /// Decode only, from a KV cache that another instance computed, or with a prefill of their own.
    Decode,
    /// Encode images, audio and video, in the reference simulator: which costs nothing there.
    Encode,
    /// Nothing: the reference simulator sends nothing to instances that are left over.
    Idle,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Serve,
        Self::Prefill,
        Self::Decode,
        Self::Encode,
        Self::Idle,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Idle => "idle",
        }
    }

    /// Its number in [`InstanceView::role`](windtunnel_plugin_api::InstanceView).
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Do its instances prefill for others?
    #[must_use]
    pub fn prefills(self) -> bool {
        matches!(self, Self::Serve | Self::Prefill)
    }

    /// Do its instances decode?
    #[must_use]
    pub fn decodes(self) -> bool {
        matches!(self, Self::Serve | Self::Decode)
    }
}

/// A pool of equal instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRecord {
    /// Its name; none if it is the only pool and was given no name.
    pub name: Sym,
    /// What its instances do.
    pub role: Role,
    /// Instances.
    pub instances: u32,
    /// Data-parallel ranks that each instance is; 1 = it is one engine.
    pub ranks: u32,
    /// Name of the GPU; empty = unknown.
    pub gpu: String,
    /// GPUs that an instance takes; 0 = unknown.
    pub gpus_per_instance: u32,
}

/// Counters of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceTotals {
    /// Its pool; none if the pool has no name.
    pub pool: Sym,
    /// Requests completed, length-capped ones included.
    pub completed: u64,
    /// Prompts computed for another instance, which decodes.
    pub prefills: u64,
    /// Requests in the wait queue at the end.
    pub still_queued: u64,
    /// Requests in the running batch at the end.
    pub still_running: u64,
    /// Requests it could never serve.
    pub dropped: u64,
    /// Requests whose client gave up.
    pub timed_out: u64,
    /// Requests completed at the length limit.
    pub length_capped: u64,
    /// Prompt tokens of the requests that passed the length checks.
    pub input_tokens: u64,
    /// Output tokens of completed requests.
    pub output_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Failures to place the last token at completion.
    pub kv_allocation_failures: u64,
    /// Prompt tokens looked up in the prefix cache: of every request once, at its first admission.
    pub prefix_queries: u64,
    /// Of these, tokens that were there.
    pub prefix_hits: u64,
    /// Of these, tokens that a cache without limits, shared by all instances, could have had: the
    /// sum of [`Request::reusable_tokens`].
    pub prefix_reusable: u64,
    /// KV blocks claimed from the prefix cache, again after every preemption. The reference calls
    /// these hits.
    pub blocks_reused: u64,
    /// KV blocks taken fresh, those of output included. The reference calls these misses.
    pub blocks_taken: u64,
    /// LoRA adapters brought to the GPU for a step.
    pub adapter_loads: u64,
    /// The same by adapter, where each is loaded for the requests that wait for it.
    pub adapter_moves: Vec<AdapterMoves>,
    /// What moved between tiers of KV blocks, where there are tiers.
    pub kv_tiers: Option<TierCounts>,
    /// KV blocks in all.
    pub kv_total_blocks: u64,
    /// Most KV blocks in use after a step's batch was formed.
    pub kv_peak_blocks: u64,
    /// Sum over steps of blocks in use x step time, block-microseconds.
    pub kv_block_time: i128,
    /// Sum of the step times, microseconds.
    pub busy_us: i64,
    /// Steps run.
    pub steps: u64,
    /// Sum over steps of the wait-queue length after the batch was formed.
    pub queue_length_sum: u64,
    /// Sum over steps of the running batch's size after it was formed.
    pub batch_size_sum: u64,
    /// Verifications of drafts: of every request in every step that had some.
    pub verifications: u64,
    /// Draft tokens verified.
    pub drafted_tokens: u64,
    /// Of these, tokens that were right.
    pub accepted_tokens: u64,
    /// Clock at the end, microseconds, at most the horizon.
    pub ended_us: i64,
    /// Inter-token gaps of completed requests: (microseconds, how many), ascending.
    pub gaps: Vec<(i64, u64)>,
    /// The steps in the order in which they ran, where they are kept.
    pub step_runs: Vec<StepRun>,
    /// The steps with the requests in them, when that was asked for.
    pub logged_steps: Vec<RanStep>,
    /// Memory in use over time, where it is counted by the byte: the earliest first.
    pub memory_uses: Vec<MemoryUse>,
    /// What it did over time, when that was asked for.
    pub series: Option<Box<Series>>,
}

/// How often an adapter came to an instance and had to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterMoves {
    /// Which.
    pub adapter: Sym,
    /// It was loaded so often.
    pub loads: u64,
    /// It made room for another so often.
    pub evictions: u64,
}

/// Counters of the tiers of KV blocks of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TierCounts {
    /// Blocks brought to the CPU.
    pub stored: u64,
    /// Blocks that the CPU had no more room for.
    pub evicted: u64,
    /// Blocks brought back to the GPU.
    pub reloaded: u64,
    /// Allocations that did not fit and for which the tiers had nothing.
    pub missed: u64,
    /// Share of the blocks stored that were evicted or, with devices below the CPU, of the fetches
    /// that the CPU had no room for.
    pub thrashing: f64,
}

/// How much of an accelerator's memory is in use, until the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryUse {
    /// From when on, microseconds.
    pub from_us: i64,
    /// Weights, KV cache and activations, bytes.
    pub bytes: f64,
}

impl InstanceTotals {
    /// Share of the looked-up prompt tokens that were in the prefix cache; `None` without lookups.
    #[must_use]
    pub fn prefix_hit_rate(&self) -> Option<f64> {
        (self.prefix_queries > 0).then(|| self.prefix_hits as f64 / self.prefix_queries as f64)
    }

    /// What the reference reports as the hit rate: blocks reused over blocks reused or taken, and
    /// allocations that tiers could not help, 0 of none. A fully cached prompt that holds no block
    /// is not in it, recomputation after a preemption is.
    #[must_use]
    pub fn reference_hit_rate(&self) -> f64 {
        let missed = self.kv_tiers.map_or(0, |tiers| tiers.missed);
        match self.blocks_reused + self.blocks_taken + missed {
            0 => 0.0,
            all => self.blocks_reused as f64 / all as f64,
        }
    }
}

/// Counters of KV caches that moved from instance to instance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TransferTotals {
    /// Transfers started.
    pub started: u64,
    /// Requests lost because the decoding instance had no blocks when its KV cache was sent.
    pub dropped: u64,
    /// Most transfers at once.
    pub peak: u64,
    /// Sum over transfers of those under way when it started, itself included.
    pub depth_sum: u64,
    /// Do transfers share bandwidth?
    pub contention: bool,
}

/// An instance as the router saw it, kept for counterfactuals.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Instance.
    pub instance: u32,
    /// Score, higher is better.
    pub score: f64,
    /// Wait-queue length.
    pub queue_depth: u32,
    /// Running batch.
    pub batch_size: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// KV utilisation, 0..=1.
    pub kv_utilization: f64,
    /// Free KV blocks.
    pub kv_free_blocks: u32,
}

/// What a request is sent to an instance for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoutingStage {
    /// Prefill and decode.
    #[default]
    Whole,
    /// Prefill; the KV cache moves on.
    Prefill,
    /// Decode, from a KV cache that another instance computes.
    Decode,
    /// Encode what of a prompt is no text.
    Encode,
}

impl RoutingStage {
    /// Its name in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Encode => "encode",
        }
    }
}

/// One decision of the front end.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Of the admission policy.
    Admission {
        /// When.
        clock_us: i64,
        /// Request.
        id: RequestId,
        /// Was it let in?
        admitted: bool,
        /// Reason of a rejection.
        reason: String,
    },
    /// Of the router.
    Routing {
        /// When.
        clock_us: i64,
        /// Request.
        id: RequestId,
        /// What the instance is to do.
        stage: RoutingStage,
        /// Chosen instance.
        chosen: u32,
        /// Pool of that instance; none if the pool has no name.
        pool: Sym,
        /// Reason.
        reason: String,
        /// The instances that the router saw, by position; none = all.
        among: Vec<u32>,
        /// The policy's scores by position, if it scores.
        scores: Option<Vec<f64>>,
        /// Top candidates by score.
        candidates: Vec<Candidate>,
        /// Best score minus the chosen one's, at least 0.
        regret: f64,
    },
}

/// How often policies of the front end put a request off instead of deciding. Each time the router
/// has to look at it once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOff {
    /// Answers of the admission policy that were a delay.
    pub delays: u64,
    /// Answers of the router that were a hold.
    pub holds: u64,
}

/// Everything a run leaves behind.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// One per request that arrived, in order of arrival (serial); empty when another recorder took
    /// them.
    pub requests: Vec<RequestRecord>,
    /// The pools, in the order in which instances are numbered.
    pub pools: Vec<PoolRecord>,
    /// One per instance.
    pub instances: Vec<InstanceTotals>,
    /// Refused by the admission policy.
    pub rejected_by_admission: u64,
    /// Refused because no instance serves the model.
    pub rejected_by_routing: u64,
    /// Admission rejections by SLO class name as given (`standard` when empty), sorted.
    pub shed_by_class: Vec<(String, u64)>,
    /// How often policies put a request off.
    pub put_off: PutOff,
    /// What the gateway did with requests, where there is flow control.
    pub gateway: Option<GatewayTotals>,
    /// What became of the instances, where a policy says how many there are, or some fail.
    pub scaling: Option<ScalingRecord>,
    /// Decisions, when traced.
    pub decisions: Vec<Decision>,
    /// What every routing decision was made on, when that was observed.
    pub observations: RoutingObservations,
    /// What happened in the prefix caches, by time and instance, when that was asked for.
    pub kv_events: Vec<KvEvent>,
    /// What moved between the instances, where some prefill and some decode.
    pub transfers: Option<TransferTotals>,
    /// Under the rules of the reference simulator, what it calls sub-requests: the parts of split
    /// requests as the instances saw them.
    pub sub_requests: Vec<RequestRecord>,
    /// Why the run ended early, if it did.
    pub fault: Option<RunFault>,
    /// Names behind the symbols.
    pub symbols: Symbols,
}

impl RunRecord {
    /// Do the pools have names? They do if there are several; then reports name them.
    #[must_use]
    pub fn names_pools(&self) -> bool {
        self.pools.iter().any(|pool| !pool.name.is_none())
    }

    /// The role of each instance.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        let pools = self.pools.iter();
        pools.flat_map(|pool| std::iter::repeat_n(pool.role, pool.instances as usize))
    }
}
