//! Cases in which the fast path once left the plain one, each shrunk from a random run.

use crate::cases::Case;
use crate::lab::{Affine, Arrival, Round, ask, built_in, fresh, roomy, timed};
use crate::properties::{simulate, simulate_plainly, text};
use windtunnel_engine::instance::{EngineConfig, EngineRules, SchedulingConfig};
use windtunnel_policy::{Hook, PolicySpec};

/// Both paths give the same on one instance.
fn both_paths_agree(
    engine: EngineConfig,
    latency: Affine,
    policies: PolicySpec,
    asks: Vec<Arrival>,
) {
    let case = Case {
        asks,
        config: timed(fresh(1, engine), latency),
        latencies: vec![latency],
        policies,
    };
    let fast = simulate(&case).expect("a run");
    let plain = simulate_plainly(&case).expect("a run");
    assert_eq!(text(&fast.record), text(&plain.record));
    assert_eq!(fast.kv_used, plain.kv_used);
}

/// A preemption can leave no step in flight. Then all tokens are known, and what a block holds is
/// known a step earlier than while one runs.
#[test]
fn tokens_are_known_where_no_step_is_in_flight() {
    let engine = EngineConfig {
        total_kv_blocks: 32,
        block_size: 8,
        max_num_seqs: 5,
        max_num_batched_tokens: 13,
        long_prefill_token_threshold: 3,
        horizon_us: 10_000,
        ..roomy(EngineRules::VLLM)
    };
    let latency = Affine {
        base: 5,
        per_prefill_token: 1,
        per_decode: 14,
        queueing_per_token: 1,
        ..Affine::default()
    };
    let policies = PolicySpec {
        preemption: built_in(Hook::Preemption, "priority-first", &[]),
        ..PolicySpec::default()
    };
    let with_prefix = |tokens, ask| Arrival {
        prefix: (1, tokens),
        ..ask
    };
    let asks = vec![
        with_prefix(46, ask(0, 18, 6)),
        with_prefix(49, ask(0, 6, 0)),
        ask(0, 88, 4),
        with_prefix(6, ask(0, 150, 0)),
        ask(0, 4, 54),
        ask(1, 0, 0),
        with_prefix(56, ask(1, 160, 0)),
    ];
    both_paths_agree(engine, latency, policies, asks);
}

fn two_adapters(rules: EngineRules) -> EngineConfig {
    EngineConfig {
        scheduling: SchedulingConfig {
            max_loras: 2,
            lora_load_us: 154,
            ..SchedulingConfig::default()
        },
        ..roomy(rules)
    }
}

fn with(adapter: &'static str, ask: Arrival) -> Arrival {
    Arrival { adapter, ..ask }
}

/// The adapter of a request that goes on decoding alone was used later than that of one which has
/// finished: the other one makes room for a third.
#[test]
fn decoding_alone_counts_as_use_of_an_adapter() {
    let engine = EngineConfig {
        total_kv_blocks: 6,
        block_size: 10,
        max_num_batched_tokens: 34,
        ..two_adapters(EngineRules::BLIS)
    };
    let gives_up = Arrival {
        timeout: 2544,
        ..ask(1, 34, 15)
    };
    let asks = vec![
        ask(0, 0, 0),
        with("y", gives_up),
        with("z", ask(871, 0, 3)),
        with("x", ask(2546, 0, 0)),
        ask(2546, 1, 0),
        with("y", ask(2702, 0, 0)),
    ];
    let latency = Affine {
        base: 158,
        per_context_block: 1,
        ..Affine::default()
    };
    both_paths_agree(engine, latency, PolicySpec::default(), asks);
}

/// A request that is passed over for its adapter keeps nobody out, also where it would not fit.
#[test]
fn who_is_passed_over_for_an_adapter_keeps_nobody_out() {
    let engine = EngineConfig {
        total_kv_blocks: 21,
        block_size: 4,
        scheduling: SchedulingConfig {
            max_loras: 1,
            ..SchedulingConfig::default()
        },
        ..roomy(EngineRules::BLIS)
    };
    let first_rounds = Arrival {
        rounds: vec![Round::default()],
        ..ask(0, 1, 0)
    };
    let later_rounds = [(13, 7), (0, 7), (11, 1)];
    let grows = Arrival {
        prefix: (1, 7),
        rounds: later_rounds
            .map(|(prompt, output)| Round {
                think: 0,
                prompt,
                output,
            })
            .into(),
        ..ask(1, 34, 0)
    };
    let mut asks = vec![ask(0, 0, 0); 5];
    asks.extend([
        ask(0, 0, 2),
        Arrival {
            prefix: (1, 20),
            ..ask(0, 21, 8)
        },
        ask(0, 0, 0),
        ask(0, 0, 0),
        with("y", first_rounds),
        with("x", ask(1, 0, 3)),
        with("y", grows),
    ]);
    let latency = Affine {
        base: 42,
        queueing_per_token: 1,
        ..Affine::default()
    };
    both_paths_agree(engine, latency, PolicySpec::default(), asks);
}
