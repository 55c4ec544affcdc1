//! What a run says of prefill and decode on instances of their own.

use serde::{Deserialize, Serialize};
use windtunnel_base::input::is_default;

/// Prefill and decode on instances of their own. Which those are is said by the roles of the run's
/// pools, or here, by counts of the instances of one pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DisaggregationSpec {
    /// Instances that prefill, the first ones of the run's only pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_instances: Option<u32>,
    /// Instances that decode, which come next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_instances: Option<u32>,
    /// Instances that do both, which come next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_decode_instances: Option<u32>,
    /// Instances that encode images, audio and video, which come next; under blis rules only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode_instances: Option<u32>,
    /// Tensor parallelism of those that prefill, if not that of the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tp: Option<u32>,
    /// Their GPU type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_hardware: Option<String>,
    /// Their step-time model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_latency_model: Option<String>,
    /// Their most tokens of prompt and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_max_model_len: Option<u64>,
    /// Tensor parallelism of those that decode, if not that of the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tp: Option<u32>,
    /// Their GPU type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_hardware: Option<String>,
    /// Their step-time model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_latency_model: Option<String>,
    /// Their most tokens of prompt and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_max_model_len: Option<u64>,
    /// Where time is abstract: the steps of all instances begin and end together, and each place of
    /// a batch is a worker of its own, as in TickSim.
    #[serde(skip_serializing_if = "is_default")]
    pub lockstep: bool,
    /// Tokens of the disaggregation policy `prefix-threshold`; 16 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_threshold: Option<u32>,
    /// Which requests an instance that encodes is chosen for: `never` (if not given), `always`, or
    /// `multimodal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode_decider: Option<String>,
    /// Bandwidth of an instance's link, GB/s (10^9 bytes); 25 if not given, 0 = without limit.
    /// Where time is abstract: KV caches of whole prompts per tick; without limit if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_bandwidth: Option<f64>,
    /// Time of a transfer besides that of its bytes, milliseconds; 0.05 if not given. Where time is
    /// abstract: ticks; 0 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_base_latency: Option<f64>,
    /// Time to describe a range of KV blocks to the transfer, milliseconds (ticks where time is
    /// abstract); 0 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_descriptor_time: Option<f64>,
    /// KV blocks of a range: neighbours in memory that are merged into one; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_descriptor_blocks: Option<u32>,
    /// Time of a message from the front end to the instance that prefills, and from that to the one
    /// that decodes, milliseconds (ticks where time is abstract); 0 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_latency: Option<f64>,
    /// Transfers at once share bandwidth. If not given, they do; under blis rules they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_contention: Option<bool>,
}
