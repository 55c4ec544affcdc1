//! The policies of a gateway in front of real servers, chosen as those of a run.

use crate::choose::{ClusterFacts, bundle, choose};
use crate::disaggregation_spec::DisaggregationSpec;
use crate::settings::{Given, below};
use crate::spec::{PoliciesSpec, RunSpec};
use windtunnel_base::input::InputError;
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_config::flow_control::FlowControlSpec;
use windtunnel_engine::instance::Preset;
use windtunnel_policy::PolicySpec;

/// What decides inside an engine, where no gateway reaches, or between engines that share work.
const ELSEWHERE: [&str; 8] = [
    "policies.scheduling_policy",
    "policies.scheduler",
    "policies.priority",
    "policies.preemption",
    "policies.disaggregation",
    "policies.dispatch",
    "policies.prefill_routing",
    "policies.decode_routing",
];

/// Admission and routing of a gateway in front of so many servers.
///
/// # Errors
/// When a policy is unknown or wrong, a parameter fits none, or a policy decides what no gateway
/// decides.
pub fn policies_of_a_gateway(
    policies: &PoliciesSpec,
    instances: u32,
) -> Result<PolicySpec, InputError> {
    let run = RunSpec {
        policies: policies.clone(),
        ..RunSpec::default()
    };
    let given = Given::of(&run);
    for place in ELSEWHERE {
        let because = "in a gateway: batches, queues and KV caches are the servers' own";
        given.reject_unless(&below(place), false, because)?;
    }
    let bundle = bundle(policies)?;
    let (disaggregation, flow_control) =
        (DisaggregationSpec::default(), FlowControlSpec::default());
    let autoscale = AutoscaleSpec::default();
    let cluster = ClusterFacts {
        instances,
        rules: Preset::Vllm,
        splits: false,
        disaggregation: &disaggregation,
        keeps_script_log: false,
        pools: &[],
        flow_control: &flow_control,
        autoscale: &autoscale,
        pool_names: &[],
        in_ticks: false,
        as_xpusim: false,
    };
    Ok(choose(policies, &bundle, &[], &given, &cluster)?.spec)
}
