//! Steps that data-parallel ranks take together, in every step-time model that can tell.

use super::{LatencyModel, LatencyModelKind, Nodes, Setup, StepAggregates, StepItem, resolve};
use std::sync::Arc;
use windtunnel_config::Defaults;

fn model(kind: LatencyModelKind, dp: u32, gpus_per_node: Option<u32>) -> Arc<dyn LatencyModel> {
    let mut setup = Setup::new("qwen/qwen3-30b-a3b", Defaults::builtin().clone());
    setup.gpu = Some("H100".into());
    (setup.tp, setup.dp) = (Some(1), dp);
    setup.latency = Some(kind);
    setup.nodes = Nodes {
        gpus_per_node,
        ..Nodes::default()
    };
    resolve(&setup).expect("a deployment").latency
}

fn batch(decodes: u32, prompt: u32) -> StepAggregates {
    let mut step = StepAggregates::default();
    step.add_decodes(decodes, 1000);
    if prompt > 0 {
        step.add(StepItem {
            new_tokens: prompt,
            context: 0,
            prompt_tokens: prompt,
            is_prefill: true,
        });
    }
    step
}

const KINDS: [LatencyModelKind; 3] = [
    LatencyModelKind::KernelTables,
    LatencyModelKind::Roofline,
    LatencyModelKind::TrainedPhysics,
];

#[test]
fn equal_ranks_take_what_their_tokens_take_shared_out_evenly() {
    for kind in [LatencyModelKind::KernelTables, LatencyModelKind::Roofline] {
        let model = model(kind, 2, None);
        for rank in [batch(64, 0), batch(0, 1024), batch(32, 2000)] {
            let mut all = rank;
            all.merge(&rank);
            let together = model.together_us(&[rank, rank]).expect("it can tell");
            let evenly = model.step_us(&all, &mut std::iter::empty());
            // The parts of a step that were measured never get faster with more tokens, each by
            // itself or all together.
            let apart = (together - evenly).abs() as f64 / evenly as f64;
            assert!(apart < 1e-3, "{kind}: {together} {evenly}");
        }
    }
}

#[test]
fn a_step_is_as_long_as_that_of_the_rank_with_the_most_to_do() {
    for kind in KINDS {
        for gpus_per_node in [None, Some(1)] {
            let model = model(kind, 2, gpus_per_node);
            let us = |a, b| model.together_us(&[a, b]).expect("it can tell");
            let nothing = batch(1, 0);
            for rank in [batch(64, 0), batch(0, 4096), batch(200, 700)] {
                let alone = us(rank, nothing);
                assert_eq!(alone, us(nothing, rank), "{kind}");
                for other in [batch(3, 0), batch(64, 0), batch(0, 900)] {
                    assert!(us(rank, other) >= alone, "{kind} {gpus_per_node:?}");
                }
            }
            // As many tokens on one rank take longer than on both.
            let (split, apart) = (
                us(batch(0, 2048), batch(0, 2048)),
                us(batch(0, 4096), nothing),
            );
            assert!(split < apart, "{kind}: {split} {apart}");
        }
    }
}

#[test]
fn a_lone_engine_and_whole_steps_know_no_ranks() {
    let one = model(LatencyModelKind::Roofline, 1, None);
    assert_eq!(one.together_us(&[batch(1, 0)]), None);
}
