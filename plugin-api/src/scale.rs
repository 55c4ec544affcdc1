//! The hook that says how many instances a pool should have. Since 1.1.

use crate::table::{kind, table};
use crate::{ClusterView, Interests, PolicyError};

table! {
    /// A pool that is scaled, at the moment of a decision. What happened is counted since the
    /// policy was asked last, or since the start. A latency is of the requests that ended in that
    /// time with all their tokens, and -1 where there was none. Since 1.1.
    pub struct ScaleView {
        /// Requests that came to the cluster, for whatever pool.
        arrived: u64, "requests";
        /// Prompt tokens of those.
        arrived_prompt_tokens: u64, "tokens";
        /// Requests that ended with all their tokens on instances of the pool.
        completed: u64, "requests";
        /// Prompt tokens of those.
        completed_prompt_tokens: u64, "tokens";
        /// Output tokens of those.
        completed_output_tokens: u64, "tokens";
        /// Requests in the wait queues of the instances that take requests.
        queued: u64, "requests";
        /// Requests in their running batches.
        running: u64, "requests";
        /// Requests sent to them and not yet finished.
        in_flight: u64, "requests";
        /// Requests that wait at the front end of the cluster: held by its gateway, or because no
        /// instance takes requests.
        held: u64, "requests";
        /// Tokens for which the KV cache of one instance has room.
        kv_capacity_tokens: u64, "tokens";
        /// Interval at which the policy is asked.
        interval_us: i64, "us";
        /// Mean time until an instance that is started takes requests.
        startup_us: i64, "us";
        /// Target for the time to first token, of requests that name no class; 0 = none.
        slo_ttft_us: i64, "us";
        /// Target for a request's mean inter-token latency; 0 = none.
        slo_itl_us: i64, "us";
        /// Target for end-to-end latency; 0 = none.
        slo_e2e_us: i64, "us";
        /// KV utilisation of the instances that take requests, 0 to 1: the mean.
        kv_utilization_mean: f64, "";
        /// The highest.
        kv_utilization_max: f64, "";
        /// Time to first token: the mean.
        ttft_mean_us: f64, "us";
        /// Its 99th percentile.
        ttft_p99_us: f64, "us";
        /// Mean inter-token latency of a request: the mean.
        itl_mean_us: f64, "us";
        /// Its 99th percentile.
        itl_p99_us: f64, "us";
        /// End-to-end latency: the mean.
        e2e_mean_us: f64, "us";
        /// Its 99th percentile.
        e2e_p99_us: f64, "us";
        /// What an instance costs, US dollars per hour; 0 = unknown.
        cost_per_hour: f64, "";
        /// Instances that take requests.
        ready: u32, "instances";
        /// Instances that are being started.
        loading: u32, "instances";
        /// Instances that finish what they have and then go.
        draining: u32, "instances";
        /// Least instances. An answer below counts as this.
        min: u32, "instances";
        /// Most instances. An answer above counts as this.
        max: u32, "instances";
        /// Position of the pool in the cluster.
        index: u32, "position";
        /// The pool by name; 0 = the cluster's only pool, which has no name.
        pool: u32, "";
        /// What its instances do where some prefill for others: 0 whole requests, 1 they prefill,
        /// 2 they decode.
        role: u32, "";
        /// GPUs that an instance takes; 0 = unknown.
        gpus: u32, "";
        /// Largest batch that an instance runs.
        max_batch_size: u32, "requests";
    }
}

/// Says how many instances a pool should have, started ones included and those that go not. Each
/// pool that is scaled has a policy of its own. Since 1.1.
pub trait Scale {
    /// What this policy reads of the single instances.
    fn interests(&self) -> Interests {
        Interests::ALL
    }
    /// How many instances `pool` should have. `cluster.instances` are those of the pool that take
    /// requests, read at this moment.
    ///
    /// # Errors
    /// When the policy cannot answer; the run ends.
    fn replicas(&mut self, pool: &ScaleView, cluster: &ClusterView<'_>)
    -> Result<u32, PolicyError>;
}
