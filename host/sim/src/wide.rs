//! Instances that are a pipeline of stages, or lie on several nodes: what a run says of them, and
//! what of it changes nothing.

use crate::settings::Given;
use windtunnel_base::input::InputError;
use windtunnel_config::pool::{EngineSpec, ParallelSpec, PoolSpec};
use windtunnel_engine::instance::EngineConfig;
use windtunnel_engine::latency::{DEFAULT_GPUS_PER_NODE, LatencyModelKind, Nodes, Resolved, Setup};
use windtunnel_engine::profile::EngineProfile;

/// Stages, nodes and links as a pool says.
pub(crate) fn set_up(setup: &mut Setup, spec: &ParallelSpec) {
    setup.pp = spec.pipeline.unwrap_or(1);
    setup.nodes = Nodes {
        gpus_per_node: spec.gpus_per_node,
        inter_node_gb_s: spec.inter_node_bandwidth,
        inter_node_us: spec.inter_node_latency_us,
        intra_node_gb_s: spec.intra_node_bandwidth,
    };
}

/// Refuses what a pool says of nodes and links where its instances have no such messages.
pub(crate) fn check_effects(
    spec: &PoolSpec,
    given: &Given,
    resolved: &Resolved,
) -> Result<(), InputError> {
    let p = &spec.parallel;
    let kind = resolved.latency_kind;
    // What another pool says is not this one's.
    let said = |all: &[(&'static str, bool)]| -> Vec<&'static str> {
        let given = all.iter().filter(|(_, is_given)| *is_given);
        given.map(|(name, _)| *name).collect()
    };
    let of_nodes = said(&[("gpus_per_node", p.gpus_per_node.is_some())]);
    let between = said(&[
        ("inter_node_bandwidth", p.inter_node_bandwidth.is_some()),
        ("inter_node_latency", p.inter_node_latency_us.is_some()),
    ]);
    let within = said(&[("intra_node_bandwidth", p.intra_node_bandwidth.is_some())]);
    let Some(spread) = resolved.spread else {
        let because = match kind {
            LatencyModelKind::Blackbox | LatencyModelKind::Profile | LatencyModelKind::Ticks => {
                format!("with latency model {kind}, which knows whole steps and no messages")
            }
            _ => "under blis rules, as that simulator knows no nodes".to_owned(),
        };
        let all = [of_nodes, between, within].concat();
        return given.reject_unless(&all, false, &because);
    };
    let gpus = spread.gpus();
    let or_else_several = gpus > DEFAULT_GPUS_PER_NODE;
    given.reject_unless(
        &of_nodes,
        spread.nodes() > 1 || or_else_several,
        &format!("with {gpus} GPUs per instance (`tp` x `pp` x `dp`), which fit on one node"),
    )?;
    given.reject_unless(
        &between,
        spread.nodes() > 1,
        &format!(
            "with {gpus} GPUs per instance (`tp` x `pp` x `dp`) on one node of {} (`gpus_per_node`)",
            spread.gpus_per_node
        ),
    )?;
    given.reject_unless(
        &within,
        spread.sends_within_node(),
        "where no stage of a pipeline (`pp`) sends to another one on its node",
    )
}

/// What a pipeline of stages asks of its engine. vLLM 0.32 schedules it asynchronously, too; those
/// before turn that off, and refuse who asks for it.
pub(crate) fn check_engine(
    engine: &mut EngineConfig,
    spec: &EngineSpec,
    profile: EngineProfile,
    resolved: &Resolved,
) -> Result<(), InputError> {
    if resolved.pp == 1 {
        return Ok(());
    }
    let pp = resolved.pp;
    let refuse = |message: String| Err(InputError::new(message));
    if profile.is_simulator() {
        return refuse(format!(
            "`pp` {pp} with `engine` {profile}: that simulator has no pipeline parallelism"
        ));
    }
    if spec.num_speculative_tokens.is_some_and(|n| n > 0) {
        return refuse(format!(
            "`num_speculative_tokens` with `pp` {pp}: what drafts take on the stages of a pipeline is not known here"
        ));
    }
    if profile < EngineProfile::Vllm0_32 {
        if spec.async_scheduling == Some(true) {
            return refuse(format!(
                "`async_scheduling` with `pp` {pp}: {profile} has no asynchronous scheduling with pipeline parallelism"
            ));
        }
        engine.rules.async_scheduling = false;
    }
    Ok(())
}
