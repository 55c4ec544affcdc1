//! What a cluster is made of: pools of equal instances, and the front end before them.

use super::events::Events;
use super::queue_limits::QueueLimits;
use super::scaling::Scaling;
use super::schedule::Schedule;
use crate::adapters::AdapterCosts;
use crate::frontend::FrontEndConfig;
use crate::instance::EngineConfig;
use crate::kv::KvTiers;
use crate::latency::{EstimateErrors, Estimator, LatencyModel};
use crate::ranks::Ranks;
use std::fmt;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::record::Role;

/// How KV caches move between instances that prefill and instances that decode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransferConfig {
    /// Bandwidth of each instance's link, GB/s (10^9 bytes); 0 = without limit.
    pub bandwidth_gb_s: f64,
    /// Time of a transfer besides that of its bytes, microseconds.
    pub base_latency_us: f64,
    /// Time to describe a range of KV blocks to the transfer, microseconds, and the blocks of a
    /// range, at least 1: neighbours in memory are merged.
    pub descriptor_us: f64,
    /// See `descriptor_us`.
    pub blocks_per_descriptor: u32,
    /// Time of a message from the front end to an instance that prefills for another one, and from
    /// that to the one that decodes, microseconds.
    pub hop_us: i64,
    /// Transfers at once share the bandwidth: those from one instance, and those to one. Under the
    /// reference's rules all transfers, by the number under way when each starts.
    pub contention: bool,
    /// Longest time for which an instance keeps a KV cache that nobody fetches, microseconds; two
    /// instances that wait for each other's blocks get out of that by it.
    pub kept_us: i64,
    /// Which requests are encoded by an instance for that, where there are any.
    pub encode: EncodeDecider,
}

impl Default for TransferConfig {
    fn default() -> Self {
        Self {
            bandwidth_gb_s: 25.0,
            base_latency_us: 50.0,
            descriptor_us: 0.0,
            blocks_per_descriptor: 1,
            hop_us: 0,
            contention: false,
            // vLLM's default for its Mooncake connector (`VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT`,
            // 0.32).
            kept_us: 480_000_000,
            encode: EncodeDecider::Never,
        }
    }
}

impl TransferConfig {
    /// Time that a byte takes over a link which nobody else uses, microseconds.
    #[must_use]
    pub fn us_per_byte(&self) -> f64 {
        match self.bandwidth_gb_s {
            gb if gb > 0.0 => 1.0 / (gb * BYTES_PER_US),
            _ => 0.0,
        }
    }
}

/// Bytes per microsecond of a GB/s.
pub(super) const BYTES_PER_US: f64 = 1000.0;

/// Which requests the reference simulator sends to an instance that encodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodeDecider {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those with images, audio or video.
    Multimodal,
}

/// Equal instances.
#[derive(Clone)]
pub struct PoolConfig {
    /// Name, by which policies and reports tell pools apart. A cluster's only pool may have none.
    pub name: String,
    /// What its instances do.
    pub role: Role,
    /// Instances, at least 1; those included that come later.
    pub instances: u32,
    /// The data-parallel ranks that each instance is; KV blocks, limits and step times are those of
    /// a rank.
    pub ranks: Ranks,
    /// Limits and rules of each. The cluster sets `horizon_us` and `token_events`.
    pub engine: EngineConfig,
    /// What the server of each refuses.
    pub queue_limits: QueueLimits,
    /// Step times of each.
    pub latency: Arc<dyn LatencyModel>,
    /// GPUs that an instance takes (tensor times data parallelism); 0 = unknown.
    pub gpus_per_instance: u32,
    /// Name of the GPU; empty = unknown.
    pub gpu: String,
    /// Tiers below the KV blocks of each, as the reference has them.
    pub kv_tiers: Option<Arc<KvTiers>>,
    /// What the LoRA adapters of each cost, where they are loaded for the requests that wait for
    /// them; else they are loaded by the steps that need them.
    pub adapters: Option<Arc<AdapterCosts>>,
    /// Bytes of the KV cache of a token that each GPU has to send, if its instances prefill for
    /// others.
    pub kv_bytes_per_token: f64,
}

impl fmt::Debug for PoolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolConfig")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("instances", &self.instances)
            .field("ranks", &self.ranks)
            .field("engine", &self.engine)
            .field("queue_limits", &self.queue_limits)
            .field("gpus_per_instance", &self.gpus_per_instance)
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

/// A cluster: its instances are numbered through the pools in their order.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Pools of equal instances, at least one. All have the same block size.
    pub pools: Vec<PoolConfig>,
    /// How KV caches move, where some instances prefill and some decode.
    pub transfer: TransferConfig,
    /// The steps of all instances begin and end together, when the longest of them ends, and KV
    /// caches move at once.
    pub lockstep: bool,
    /// When instances come and go.
    pub schedule: Schedule,
    /// Which pools are scaled by policies.
    pub scaling: Scaling,
    /// What happens to instances besides.
    pub events: Events,
    /// Settings of the front end.
    pub front: FrontEndConfig,
    /// Seed of the random numbers that policies draw, and of the predictor's errors.
    pub seed: u64,
    /// Nothing happens after this time, microseconds; `i64::MAX` = no end.
    pub horizon_us: i64,
}

impl ClusterConfig {
    /// A cluster of one unnamed pool that serves, up to the horizon of `engine`, behind a front
    /// end with the default settings.
    #[must_use]
    pub fn single(instances: u32, engine: EngineConfig, latency: Arc<dyn LatencyModel>) -> Self {
        Self {
            horizon_us: engine.horizon_us,
            pools: vec![PoolConfig {
                name: String::new(),
                role: Role::Serve,
                instances,
                ranks: Ranks::default(),
                engine,
                queue_limits: QueueLimits::default(),
                latency,
                gpus_per_instance: 0,
                gpu: String::new(),
                kv_tiers: None,
                adapters: None,
                kv_bytes_per_token: 0.0,
            }],
            transfer: TransferConfig::default(),
            lockstep: false,
            schedule: Schedule::default(),
            scaling: Scaling::default(),
            events: Events::default(),
            front: FrontEndConfig::default(),
            seed: 0,
        }
    }

    /// Instances of all pools.
    #[must_use]
    pub fn instances(&self) -> u32 {
        let counts = self.pools.iter().map(|pool| pool.instances);
        counts.fold(0, u32::saturating_add)
    }

    /// Do instances come and go, or slow down, other than by a schedule?
    #[must_use]
    pub fn instances_change(&self) -> bool {
        self.scaling.is_on() || !self.events.all.is_empty()
    }

    /// Instances that take requests at the start, pool by pool.
    pub fn initial(&self) -> impl Iterator<Item = u32> + '_ {
        let initial = &self.schedule.initial;
        let pools = self.pools.iter().enumerate();
        pools.map(|(k, pool)| initial.get(k).copied().unwrap_or(pool.instances))
    }

    /// Most requests that all instances run at once.
    #[must_use]
    pub fn slots(&self) -> u64 {
        let slots = |pool: &PoolConfig| {
            let engines = u64::from(pool.instances) * u64::from(pool.ranks.count);
            engines.saturating_mul(pool.engine.max_num_seqs.into())
        };
        self.pools.iter().map(slots).fold(0, u64::saturating_add)
    }

    /// Are requests split: do some instances only prefill, or only decode?
    #[must_use]
    pub fn splits(&self) -> bool {
        self.pools.iter().any(|pool| pool.role != Role::Serve)
    }

    /// The instances whose role does something, by number.
    pub(super) fn who(&self, does: impl Fn(Role) -> bool) -> Vec<u32> {
        let roles = self.pools.iter();
        let roles = roles.flat_map(|pool| std::iter::repeat_n(pool.role, pool.instances as usize));
        let numbered = (0..).zip(roles).filter(|(_, role)| does(*role));
        numbered.map(|(i, _)| i).collect()
    }

    /// Do the pools have names? Then records and reports name them.
    #[must_use]
    pub fn names_pools(&self) -> bool {
        self.pools.iter().any(|pool| !pool.name.is_empty())
    }

    /// Can this cluster be simulated?
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&self) -> Result<(), ClusterError> {
        if self.pools.is_empty() {
            return Err(ClusterError::NoPools);
        }
        for (k, pool) in self.pools.iter().enumerate() {
            let name = || pool.name.clone();
            if pool.instances == 0 {
                return Err(ClusterError::EmptyPool(name()));
            }
            if pool.name.is_empty() && self.pools.len() > 1 {
                return Err(ClusterError::NoName(k));
            }
            if self.pools[..k].iter().any(|other| other.name == pool.name) {
                return Err(ClusterError::SameName(name()));
            }
            let first = self.pools[0].engine.block_size;
            if pool.engine.block_size != first {
                return Err(ClusterError::BlockSizes {
                    pool: name(),
                    tokens: pool.engine.block_size,
                    first,
                });
            }
        }
        let has = |does: fn(Role) -> bool| self.pools.iter().any(|pool| does(pool.role));
        for (role, does) in [
            (Role::Prefill, Role::prefills as fn(Role) -> bool),
            (Role::Decode, Role::decodes),
        ] {
            if !has(does) {
                return Err(ClusterError::NobodyDoes(role));
            }
        }
        let splits = self.splits();
        let limited = |pool: &&PoolConfig| {
            splits && pool.role == Role::Decode && pool.queue_limits != QueueLimits::default()
        };
        if let Some(pool) = self.pools.iter().find(limited) {
            return Err(ClusterError::LimitsOfDecodePool(pool.name.clone()));
        }
        if self.instances() == u32::MAX {
            return Err(ClusterError::TooManyInstances);
        }
        self.check_ranks()
    }
}

impl PoolConfig {
    /// Estimates of durations on an instance of this pool.
    #[must_use]
    pub fn estimator(&self) -> Estimator {
        let limits = self.engine.step_limits();
        let Ranks {
            count, together, ..
        } = self.ranks;
        match together {
            // The step-time model knows steps of all ranks, with the tokens of all.
            true => Estimator::new(Arc::clone(&self.latency), limits.times(count)),
            false => Estimator::new(Arc::clone(&self.latency), limits).of_ranks(count),
        }
    }
}

impl ClusterConfig {
    /// What policies are told of durations on instances of pool `k`.
    #[must_use]
    pub fn estimator(&self, k: usize) -> Estimator {
        let exact = self.pools[k].estimator();
        match self.front.estimate_error {
            Some(error) if !error.is_none() => {
                exact.with_errors(EstimateErrors::new(error, self.seed, k as u64))
            }
            _ => exact,
        }
    }
}

/// Why a cluster cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterError {
    /// There are no pools.
    NoPools,
    /// The pool has no instances.
    EmptyPool(String),
    /// The pool at this position has no name although there are others.
    NoName(usize),
    /// Two pools have this name.
    SameName(String),
    /// No pool has instances that do this.
    NobodyDoes(Role),
    /// The server of this pool, which decodes, is to refuse requests.
    LimitsOfDecodePool(String),
    /// The pool's KV blocks have another size than the first pool's: policies count prompts in
    /// blocks of one size.
    BlockSizes {
        /// The pool's name.
        pool: String,
        /// Its block size, tokens.
        tokens: u32,
        /// Block size of the first pool, tokens.
        first: u32,
    },
    /// There are more instances than can be numbered.
    TooManyInstances,
    /// Data-parallel ranks are not simulated with something.
    Ranks {
        /// The pool's name.
        pool: String,
        /// Ranks of each of its instances.
        ranks: u32,
        /// With what.
        with: &'static str,
    },
    /// There are no policies for the instance of this number.
    NoHooks(u32),
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPools => f.write_str("the cluster has no pools; expected at least one"),
            Self::EmptyPool(pool) => {
                write!(f, "pool \"{pool}\" has 0 instances; expected at least 1")
            }
            Self::NoName(k) => write!(
                f,
                "pool {k} (counted from 0) has no name; expected a name for each of several pools"
            ),
            Self::SameName(pool) => {
                write!(
                    f,
                    "two pools are named \"{pool}\"; expected different names"
                )
            }
            Self::NobodyDoes(role) => write!(
                f,
                "no pool has role {} or serve; expected instances that prefill and instances that \
                 decode",
                role.name()
            ),
            Self::LimitsOfDecodePool(pool) => write!(
                f,
                "`max_num_queued_reqs` and `max_num_queued_tokens` have no effect in pool \
                 \"{pool}\", which decodes what others have taken"
            ),
            Self::BlockSizes {
                pool,
                tokens,
                first,
            } => write!(
                f,
                "pool \"{pool}\" has KV blocks of {tokens} tokens, the first pool of {first}; \
                 expected one block size in all pools"
            ),
            Self::TooManyInstances => {
                write!(
                    f,
                    "the pools have too many instances; expected less than {}",
                    u32::MAX
                )
            }
            Self::Ranks { pool, ranks, with } => {
                let of_pool = match pool.is_empty() {
                    true => String::new(),
                    false => format!(" of pool \"{pool}\""),
                };
                write!(
                    f,
                    "`dp` {ranks}{of_pool}: data-parallel ranks with a queue each are not \
                     simulated with {with}"
                )
            }
            Self::NoHooks(instance) => {
                write!(f, "there are no policies for instance {instance}")
            }
        }
    }
}

impl std::error::Error for ClusterError {}

impl From<ClusterError> for InputError {
    fn from(error: ClusterError) -> Self {
        Self::new(error.to_string())
    }
}
