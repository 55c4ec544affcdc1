//! Flags of a gateway that holds requests back while the instances are saturated.

use clap::Args;
use windtunnel_sim::FlowControlSpec;

/// What a gateway holds back, for how long, and whom it turns away.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Flow control")]
pub struct FlowControlArgs {
    /// A gateway holds admitted requests back while the instances are saturated
    #[arg(long)]
    pub flow_control: bool,
    /// What tells that they are: never, utilization (wait queue and KV cache of the instances, as
    /// scraped), or concurrency (requests in flight) [default: never]
    #[arg(long, value_name = "DETECTOR")]
    pub saturation_detector: Option<String>,
    /// Wait-queue length at which an instance is saturated (with --saturation-detector
    /// utilization) [default: 5]
    #[arg(long, value_name = "N")]
    pub queue_depth_threshold: Option<f64>,
    /// KV utilisation at which it is (with --saturation-detector utilization) [default: 0.8]
    #[arg(long, value_name = "SHARE")]
    pub kv_cache_util_threshold: Option<f64>,
    /// Most requests of an instance (with --saturation-detector concurrency) [default: 100]
    #[arg(long, value_name = "N")]
    pub max_concurrency: Option<u32>,
    /// Saturation up to which requests of the lowest priority may go, those between up to what lies
    /// evenly between it and 1 [default: 1]
    #[arg(long, value_name = "SHARE")]
    pub usage_limit_threshold: Option<f64>,
    /// Dispatch policy, which of the held requests goes next: fifo, priority, slo-deadline, or
    /// FILE.lua [default: fifo, under blis rules the same as priority]
    #[arg(long, value_name = "POLICY")]
    pub dispatch_order: Option<String>,
    /// Whose turn it is: global-strict (who came first), or round-robin (tenants one after the
    /// other) [default: global-strict]
    #[arg(long, value_name = "POLICY")]
    pub fairness_policy: Option<String>,
    /// Microseconds by which requests of a class are to go on, for slo-deadline:
    /// critical=100000,standard=500000
    #[arg(long, value_name = "TARGETS")]
    pub slo_targets: Option<String>,
    /// Most requests that the gateway holds; 0 = no limit [default: 0]
    #[arg(long, value_name = "N")]
    pub max_gateway_queue_depth: Option<u64>,
    /// Most requests of one priority that it holds; 0 = no limit [default: 0]
    #[arg(long, value_name = "N")]
    pub per_band_capacity: Option<u64>,
    /// A full queue makes room for a more important request instead of refusing it
    #[arg(long)]
    pub queue_shedding: bool,
    /// Longest time for which it holds a request, microseconds; 0 = no limit [default: 0]
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    pub request_ttl: Option<i64>,
    /// Interval at which it looks again while it holds requests, microseconds [default: 1000]
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    pub dispatch_tick_interval: Option<i64>,
    /// Takes sheddable requests back from saturated instances while it holds others
    #[arg(long)]
    pub in_flight_eviction: bool,
}

impl FlowControlArgs {
    /// What was said with them.
    pub fn spec(&self) -> FlowControlSpec {
        FlowControlSpec {
            enabled: self.flow_control,
            saturation_detector: self.saturation_detector.clone(),
            queue_depth_threshold: self.queue_depth_threshold,
            kv_cache_util_threshold: self.kv_cache_util_threshold,
            max_concurrency: self.max_concurrency,
            usage_limit_threshold: self.usage_limit_threshold,
            fairness_policy: self.fairness_policy.clone(),
            slo_targets: self.slo_targets.clone(),
            max_gateway_queue_depth: self.max_gateway_queue_depth,
            per_band_capacity: self.per_band_capacity,
            queue_shedding: self.queue_shedding,
            request_ttl_us: self.request_ttl,
            dispatch_tick_interval_us: self.dispatch_tick_interval,
            in_flight_eviction: self.in_flight_eviction,
        }
    }
}
