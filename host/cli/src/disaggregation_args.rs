//! Flags of prefill and decode on instances of their own.

use clap::Args;
use windtunnel_sim::DisaggregationSpec;

/// Which instances prefill and which decode, and how KV caches move between them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Prefill and decode apart")]
pub struct DisaggregationArgs {
    /// Of the instances, the first N only prefill; their KV caches move to those that
    /// decode
    #[arg(long, value_name = "N")]
    pub prefill_instances: Option<u32>,
    /// The next N decode
    #[arg(long, value_name = "N")]
    pub decode_instances: Option<u32>,
    /// The next N do both
    #[arg(long, value_name = "N")]
    pub prefill_decode_instances: Option<u32>,
    /// The next N encode images, audio and video; under blis rules, where that costs
    /// nothing
    #[arg(long, value_name = "N")]
    pub encode_instances: Option<u32>,
    /// The steps of all instances begin and end together, and each place of a batch is a
    /// worker of its own, as in TickSim; with --latency-model ticks
    #[arg(long)]
    pub lockstep: bool,
    /// Disaggregation policy, which prompts are computed by an instance that prefills:
    /// always, never, prefix-threshold (those of which the decoding instance lacks more
    /// tokens than --pd-prefix-threshold), or FILE.lua [default: always; under blis rules
    /// never]
    #[arg(long, value_name = "POLICY")]
    pub pd_decider: Option<String>,
    /// Tokens of --pd-decider prefix-threshold [default: 16]
    #[arg(long, value_name = "TOKENS")]
    pub pd_prefix_threshold: Option<u32>,
    /// Which requests an encoding instance is chosen for: never, always, multimodal
    #[arg(long, value_name = "DECIDER")]
    pub encode_decider: Option<String>,
    /// Bandwidth of an instance's link, GB/s; 0 = without limit [default: 25]. In ticks: KV
    /// caches of whole prompts per tick [default: 0]
    #[arg(long, alias = "transfer-bandwidth", value_name = "GB/S")]
    pub pd_transfer_bandwidth: Option<f64>,
    /// Time of a transfer besides that of its bytes, milliseconds [default: 0.05]. In ticks:
    /// ticks [default: 0]
    #[arg(long, alias = "transfer-latency", value_name = "MS")]
    pub pd_transfer_base_latency: Option<f64>,
    /// Time to describe a range of KV blocks to the transfer, milliseconds or ticks
    /// [default: 0]
    #[arg(long, value_name = "MS")]
    pub pd_transfer_descriptor_time: Option<f64>,
    /// KV blocks of such a range: neighbours in memory that are merged [default: 1]
    #[arg(long, value_name = "N")]
    pub pd_transfer_descriptor_blocks: Option<u32>,
    /// Time of a message from the front end to the instance that prefills, and from that to
    /// the one that decodes, milliseconds or ticks [default: 0]
    #[arg(long, value_name = "MS")]
    pub pd_hop_latency: Option<f64>,
    /// Transfers at once share the bandwidth: yes or no [default: yes; under blis rules
    /// no]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub pd_transfer_contention: Option<bool>,
    /// Routing policy for instances that prefill [default: that of --routing-policy]
    #[arg(long, value_name = "POLICY")]
    pub prefill_routing_policy: Option<String>,
    /// Scorers of that policy, if it is weighted
    #[arg(long, value_name = "SCORERS")]
    pub prefill_routing_scorers: Option<String>,
    /// Routing policy for instances that decode [default: that of --routing-policy]
    #[arg(long, value_name = "POLICY")]
    pub decode_routing_policy: Option<String>,
    /// Scorers of that policy, if it is weighted
    #[arg(long, value_name = "SCORERS")]
    pub decode_routing_scorers: Option<String>,
    /// Tensor parallelism of instances that prefill [default: --tp]
    #[arg(long, value_name = "N")]
    pub prefill_tp: Option<u32>,
    /// Their GPU type [default: --hardware]
    #[arg(long, alias = "prefill-xpu", value_name = "GPU")]
    pub prefill_hardware: Option<String>,
    /// Their step-time model [default: --latency-model]
    #[arg(long, value_name = "MODEL")]
    pub prefill_latency_model: Option<String>,
    /// Their most tokens of prompt and output [default: --max-model-len]
    #[arg(long, value_name = "TOKENS")]
    pub prefill_max_model_len: Option<u64>,
    /// Tensor parallelism of instances that decode [default: --tp]
    #[arg(long, value_name = "N")]
    pub decode_tp: Option<u32>,
    /// Their GPU type [default: --hardware]
    #[arg(long, alias = "decode-xpu", value_name = "GPU")]
    pub decode_hardware: Option<String>,
    /// Their step-time model [default: --latency-model]
    #[arg(long, value_name = "MODEL")]
    pub decode_latency_model: Option<String>,
    /// Their most tokens of prompt and output [default: --max-model-len]
    #[arg(long, value_name = "TOKENS")]
    pub decode_max_model_len: Option<u64>,
}

impl DisaggregationArgs {
    /// What was said with them.
    pub fn spec(&self) -> DisaggregationSpec {
        DisaggregationSpec {
            prefill_instances: self.prefill_instances,
            decode_instances: self.decode_instances,
            prefill_decode_instances: self.prefill_decode_instances,
            encode_instances: self.encode_instances,
            prefill_tp: self.prefill_tp,
            prefill_hardware: self.prefill_hardware.clone(),
            prefill_latency_model: self.prefill_latency_model.clone(),
            prefill_max_model_len: self.prefill_max_model_len,
            decode_tp: self.decode_tp,
            decode_hardware: self.decode_hardware.clone(),
            decode_latency_model: self.decode_latency_model.clone(),
            decode_max_model_len: self.decode_max_model_len,
            lockstep: self.lockstep,
            prefix_threshold: self.pd_prefix_threshold,
            encode_decider: self.encode_decider.clone(),
            transfer_bandwidth: self.pd_transfer_bandwidth,
            transfer_base_latency: self.pd_transfer_base_latency,
            transfer_descriptor_time: self.pd_transfer_descriptor_time,
            transfer_descriptor_blocks: self.pd_transfer_descriptor_blocks,
            hop_latency: self.pd_hop_latency,
            transfer_contention: self.pd_transfer_contention,
        }
    }
}
