//! A gateway that holds requests back, as plain data: the same in a run's file and in a policy
//! bundle.

use serde::{Deserialize, Serialize};
use windtunnel_base::input::is_default;

/// A gateway that holds requests back while the instances are saturated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowControlSpec {
    /// There is one.
    #[serde(skip_serializing_if = "is_default")]
    pub enabled: bool,
    /// What tells that the instances are saturated: `never` (if not given), `utilization`, or
    /// `concurrency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_detector: Option<String>,
    /// Wait-queue length at which an instance is saturated, for `utilization`; 5 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_depth_threshold: Option<f64>,
    /// KV utilisation at which it is; 0.8 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_util_threshold: Option<f64>,
    /// Most requests of an instance, for `concurrency`; 100 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Saturation up to which requests of the lowest priority may go, 0 to 1; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_limit_threshold: Option<f64>,
    /// Whose turn it is of equal priority: `global-strict` (if not given: who came first), or
    /// `round-robin` (tenants one after the other).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness_policy: Option<String>,
    /// Time by which requests of a class are to go on, microseconds, for those without a target of
    /// their own: `class=100000,class=500000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_targets: Option<String>,
    /// Most requests that it holds; 0, and if not given, no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_gateway_queue_depth: Option<u64>,
    /// Most requests of one priority that it holds; 0, and if not given, no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_band_capacity: Option<u64>,
    /// A full queue makes room for a more important request.
    #[serde(skip_serializing_if = "is_default")]
    pub queue_shedding: bool,
    /// Longest time for which it holds a request, microseconds; 0, and if not given, no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_ttl_us: Option<i64>,
    /// Interval at which it looks again, microseconds; 1,000 if not given or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch_tick_interval_us: Option<i64>,
    /// Takes sheddable requests back from saturated instances for those that are not sheddable.
    #[serde(skip_serializing_if = "is_default")]
    pub in_flight_eviction: bool,
}
