//! Random clusters and workloads. Plain strategies, so that failures shrink.

use crate::flow_cases::{any_dispatch, flow_control};
use crate::lab::{self, Affine, Arrival, Round, built_in};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use windtunnel_base::record::Role;
use windtunnel_engine::cluster::{ClusterConfig, PoolConfig, Resize, Schedule, TransferConfig};
use windtunnel_engine::frontend::{FrontEndConfig, TraceConfig};
use windtunnel_engine::instance::{ApiServerConfig, EngineConfig, EngineRules, SchedulingConfig};
use windtunnel_policy::builtin::routing::weighted::{SCORERS, scorer_params};
use windtunnel_policy::registry::built_ins;
use windtunnel_policy::{Choice, Hook, PolicySpec};

/// Everything that defines a run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) asks: Vec<Arrival>,
    pub(crate) config: ClusterConfig,
    /// Step times by pool, as `config` has them.
    pub(crate) latencies: Vec<Affine>,
    pub(crate) policies: PolicySpec,
}

impl Case {
    /// Limits and step times of the instance of this number; of the first one without a number.
    pub(crate) fn instance(&self, i: Option<u32>) -> (&EngineConfig, &Affine) {
        let pools = self.config.pools.iter().zip(&self.latencies);
        let mut instances = pools.flat_map(|pool| (0..pool.0.instances).map(move |_| pool));
        let (pool, latency) = instances.nth(i.unwrap_or(0) as usize).expect("there");
        (&pool.engine, latency)
    }
}

const CLASSES: [&str; 6] = [
    "",
    "critical",
    "standard",
    "batch",
    "sheddable",
    "background",
];

fn an_ask() -> impl Strategy<Value = (i64, Arrival)> {
    let gap = prop_oneof![3 => Just(0i64), 2 => 0i64..100, 1 => 0i64..4000];
    let prompt = prop_oneof![1 => Just(0u32), 4 => 1u32..40, 1 => 1u32..200];
    let output = prop_oneof![1 => Just(0u32), 1 => Just(1u32), 4 => 2u32..12, 1 => 2u32..80];
    let prefix = prop_oneof![2 => Just((0u32, 0u32)), 2 => (1u32..3, 0u32..70)];
    let budget = prop_oneof![4 => Just(None), 1 => Just(Some(0u32)), 1 => (0u32..8).prop_map(Some)];
    let timeout = prop_oneof![3 => Just(0i64), 1 => 1i64..8000];
    let round = (prop_oneof![Just(0i64), 0i64..2000], 0u32..20, 0u32..12).prop_map(
        |(think, prompt, output)| Round {
            think,
            prompt,
            output,
        },
    );
    let rounds = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(round, 1..4)];
    let tenant = prop_oneof![Just(""), Just("a"), Just("b")];
    let model = prop_oneof![20 => Just(""), 1 => Just("org/model-a"), 1 => Just("Model-A"), 1 => Just("other")];
    let adapter = prop_oneof![3 => Just(""), 1 => Just("x"), 1 => Just("y"), 1 => Just("z")];
    let who = (0usize..CLASSES.len(), tenant, model, adapter);
    (gap, prompt, output, prefix, budget, timeout, rounds, who).prop_map(
        |(
            gap,
            prompt,
            output,
            prefix,
            budget,
            timeout,
            rounds,
            (class, tenant, model, adapter),
        )| {
            let ask = Arrival {
                at: 0,
                prompt,
                output,
                prefix,
                budget,
                timeout,
                class: CLASSES[class],
                tenant,
                model,
                adapter,
                rounds,
            };
            (gap, ask)
        },
    )
}

fn asks(most: usize) -> impl Strategy<Value = Vec<Arrival>> {
    prop::collection::vec(an_ask(), 1..most).prop_map(|gaps| {
        let mut at = 0;
        gaps.into_iter()
            .map(|(gap, ask)| {
                at += gap;
                Arrival { at, ..ask }
            })
            .collect()
    })
}

fn rules() -> impl Strategy<Value = EngineRules> {
    let any_rules = prop::array::uniform14(any::<bool>()).prop_map(|b| EngineRules {
        keep_tokens_on_preemption: b[0],
        one_step_at_a_time: b[1],
        // A step without tokens is no step where outputs are awaited.
        recompute_last_block: b[2] || b[6],
        find_all_copies: b[3],
        kv_for_last_token: b[4],
        async_scheduling: b[5],
        visible_at_step_end: b[6],
        gaps_are_elapsed_time: b[7],
        first_scheduling_counts: b[8],
        exact_model_tags: b[9],
        prefill_yields_token: true,
        prefiller_yields_token: false,
        v0_kv_blocks: false,
        keep_step_fractions: false,
        phases_apart: false,
        acts_on_events_alone: false,
        prompts_move_together: false,
        gateway_waits_for_ticks: b[9],
        gateway_fifo_by_priority: false,
        gateway_admits_all: false,
        data_parallel_ranks: b[13],
        adapters_are_there_or_not: false,
        // Under the reference's rules, blocks that were found are not always held.
        reuse_unfindable_first: b[10] && b[6],
        spare_lone_prefill: b[11],
        clamp_output_budget: b[12],
        decoder_fetches_kv: b[13],
    });
    prop_oneof![Just(EngineRules::BLIS), Just(EngineRules::VLLM), any_rules]
}

fn api_server() -> impl Strategy<Value = ApiServerConfig> {
    let time = |most: u32| prop_oneof![1 => Just(0.0), 2 => (0..most).prop_map(f64::from)];
    let times = (1u32..4, time(400), time(4), time(120));
    let takes_time = times.prop_map(|(count, request, prompt_token, output)| ApiServerConfig {
        count,
        times_us: [request, prompt_token, output],
        of_model_us: [0.0; 2],
    });
    prop_oneof![1 => Just(ApiServerConfig::default()), 1 => takes_time]
}

fn engine() -> impl Strategy<Value = EngineConfig> {
    let blocks = prop_oneof![2 => 1u64..12, 2 => 12u64..80, 1 => Just(10_000u64)];
    let running = prop_oneof![1 => 1u32..6, 2 => Just(256u32), 1 => Just(u32::MAX)];
    let budget =
        prop_oneof![1 => 1u32..12, 1 => 12u32..256, 2 => Just(2048u32), 1 => Just(u32::MAX)];
    let threshold = prop_oneof![2 => Just(0u32), 1 => 1u32..40];
    let limit = prop_oneof![3 => Just(0u64), 1 => 20u64..150];
    let horizon = prop_oneof![2 => Just(i64::MAX), 1 => 1i64..20_000];
    let loras = prop_oneof![1 => Just((0u32, 0i64)), 1 => (1u32..3, 0i64..300)];
    (
        blocks,
        1u32..33,
        running,
        budget,
        threshold,
        limit,
        horizon,
        rules(),
        loras,
        api_server(),
    )
        .prop_map(
            |(
                blocks,
                block_size,
                max_num_seqs,
                budget,
                threshold,
                limit,
                horizon,
                rules,
                loras,
                api_server,
            )| {
                EngineConfig {
                    total_kv_blocks: blocks,
                    block_size,
                    max_num_seqs,
                    max_num_batched_tokens: budget,
                    long_prefill_token_threshold: threshold,
                    max_model_len: limit,
                    horizon_us: horizon,
                    rules,
                    token_events: false,
                    scheduling: SchedulingConfig {
                        max_loras: loras.0,
                        lora_load_us: loras.1,
                        api_server,
                        ..SchedulingConfig::default()
                    },
                    plain: false,
                }
            },
        )
}

fn latency() -> impl Strategy<Value = Affine> {
    let small = || prop_oneof![Just(0i64), 0i64..30];
    (
        prop_oneof![Just(0i64), 1i64..200],
        0i64..4,
        small(),
        0i64..3,
        small(),
        0i64..2,
        small(),
        small(),
    )
        .prop_map(
            |(base, prefill, decode, context, queueing, per_token, output_token, post)| Affine {
                base,
                per_prefill_token: prefill,
                per_decode: decode,
                per_context_block: context,
                queueing,
                queueing_per_token: per_token,
                output_token,
                post_decode: post,
            },
        )
}

fn admission() -> impl Strategy<Value = Choice> {
    let admission = |name, values: &[(&str, f64)]| built_in(Hook::Admission, name, values);
    prop_oneof![
        12 => Just(admission("always-admit", &[])),
        1 => token_bucket(),
        1 => tier_shed(),
        1 => gaie_legacy(1.0..10.0),
        1 => Just(admission("reject-all", &[])),
    ]
}

pub(crate) fn token_bucket() -> impl Strategy<Value = Choice> {
    (10.0..300.0, 100.0..100_000.0).prop_map(|(capacity, refill_rate)| {
        let values = [("capacity", capacity), ("refill_rate", refill_rate)];
        built_in(Hook::Admission, "token-bucket", &values)
    })
}

pub(crate) fn tier_shed() -> impl Strategy<Value = Choice> {
    (0u32..20, -3i32..5).prop_map(|(threshold, min_priority)| {
        let values = [
            ("threshold", threshold.into()),
            ("min_priority", min_priority.into()),
        ];
        built_in(Hook::Admission, "tier-shed", &values)
    })
}

pub(crate) fn gaie_legacy(queue_limit: Range<f64>) -> impl Strategy<Value = Choice> {
    (queue_limit, 0.1..1.0).prop_map(|(queue_limit, kv_limit)| {
        let values = [("queue_limit", queue_limit), ("kv_limit", kv_limit)];
        built_in(Hook::Admission, "gaie-legacy", &values)
    })
}

fn routing() -> impl Strategy<Value = Choice> {
    let routing = |name| built_in(Hook::Routing, name, &[]);
    prop_oneof![
        1 => Just(routing("round-robin")),
        1 => Just(routing("least-loaded")),
        1 => Just(routing("prefix-affinity")),
        1 => Just(routing("always-busiest")),
        1 => Just(routing("lora-affinity")),
        1 => two_weights(),
        3 => weighted(1..5, SCORERS.len()),
        2 => sticky(),
    ]
}

pub(crate) fn two_weights() -> impl Strategy<Value = Choice> {
    (0.1..2.0, 0.1..2.0).prop_map(|(cache, load)| {
        let values = [("cache_weight", cache), ("load_weight", load)];
        built_in(Hook::Routing, "weighted", &values)
    })
}

/// How many scorers the reference simulator has: the first ones of the table, and those of the
/// script `weighted`.
pub(crate) const OF_THE_REFERENCE: usize = 10;

/// Weighted routing with some of the first `of` scorers, in the order of the table.
pub(crate) fn weighted(scorers: Range<usize>, of: usize) -> impl Strategy<Value = Choice> {
    let all: Vec<&str> = SCORERS[..of].iter().map(|scorer| scorer.name).collect();
    prop::sample::subsequence(all, scorers).prop_flat_map(|names| {
        let weights = prop::collection::vec(0.1..3.0f64, names.len());
        (Just(names), weights).prop_map(|(names, weights)| {
            let params = scorer_params(names.into_iter().zip(weights)).expect("scorers");
            Choice::built_in(Hook::Routing, "weighted", &params).expect("a built-in policy")
        })
    })
}

/// Weighted routing with filters, a picker and settings of scorers.
pub(crate) fn sticky() -> impl Strategy<Value = Choice> {
    let settings = (
        (0.0..1.0f64, 0.0..50.0f64, 0.0..0.5f64),
        (0u32..4, 0u32..3, 0u32..2, 0u32..200),
        (0.1..3.0f64, 0.1..3.0f64, 1.0..500.0f64),
    );
    settings.prop_map(|((threshold, penalty, exploration), numbers, scorers)| {
        let (picker, signal, pin, most) = numbers;
        let (token_load, active, full) = scorers;
        let values = [
            ("affinity_threshold", threshold),
            ("max_ttft_penalty_ms", penalty),
            ("exploration", exploration),
            ("picker", picker.into()),
            ("prefix_signal", signal.into()),
            ("session_pin", pin.into()),
            ("max_prefix_tokens", most.into()),
            ("token_load", token_load),
            ("active_requests", active),
            ("token_load_tokens", full),
            ("no_hit_lru", 0.5),
        ];
        built_in(Hook::Routing, "weighted", &values)
    })
}

/// Any built-in policy of a hook whose policies have no parameters.
pub(crate) fn any_of(hook: Hook) -> impl Strategy<Value = Choice> {
    let all: Vec<Choice> = built_ins(hook).iter().map(Choice::from).collect();
    prop::sample::select(all)
}

fn policies() -> impl Strategy<Value = PolicySpec> {
    let budgets =
        prop_oneof![3 => Just(Vec::new()), 1 => (0.0..1.0).prop_map(|b| vec![("a".to_owned(), b)])];
    (
        admission(),
        budgets,
        routing(),
        any_of(Hook::Priority),
        any_of(Hook::Scheduler),
        any_of(Hook::Preemption),
        any_dispatch(),
    )
        .prop_map(
            |(admission, tenant_budgets, routing, priority, scheduler, preemption, dispatch)| {
                PolicySpec {
                    admission,
                    tenant_budgets,
                    routing,
                    priority,
                    scheduler,
                    preemption,
                    dispatch,
                    ..PolicySpec::default()
                }
            },
        )
}

/// A whole run of up to `most` requests, sessions not counted, in which instances may come and go.
pub(crate) fn scaled(most: usize) -> impl Strategy<Value = Case> {
    (case(most), resizes()).prop_map(|(mut case, changes)| {
        resize(&mut case.config, changes);
        case
    })
}

/// The same on instances that are there from the start to the end.
pub(crate) fn case(most: usize) -> impl Strategy<Value = Case> {
    let delay = || prop_oneof![2 => Just(0i64), 1 => 1i64..3000];
    let trace = prop_oneof![3 => Just(None), 1 => (0usize..4).prop_map(Some)];
    let instances = prop_oneof![2 => Just(1u32), 1 => 2u32..6];
    let tight = prop_oneof![1 => Just(None), 2 => (0u64..8).prop_map(Some)];
    let flow = prop_oneof![2 => Just(None), 1 => flow_control().prop_map(Some)];
    let cluster = (
        instances,
        delay(),
        delay(),
        delay(),
        delay(),
        trace,
        tight,
        flow,
    );
    (asks(most), engine(), cluster, latency(), policies()).prop_map(
        |(asks, mut engine, cluster, latency, policies)| {
            let (instances, admission, routing, refresh, cache, trace, tight, flow) = cluster;
            // Mostly the pool is just too small for all of them at once.
            if let Some(spare) = tight {
                engine.total_kv_blocks = largest(&asks, &engine) + spare;
            } else if largest(&asks, &engine) > engine.total_kv_blocks {
                // A request that outgrows the pool is preempted for ever: only a horizon ends that.
                engine.horizon_us = engine.horizon_us.min(10_000);
            }
            // Of equals, the first one is preempted, which then comes behind the other and has it
            // preempted: two may take turns for ever.
            if policies.preemption == built_in(Hook::Preemption, "priority-first", &[]) {
                engine.horizon_us = engine.horizon_us.min(10_000);
            }
            let fresh = lab::timed(lab::fresh(instances, engine), latency);
            let config = ClusterConfig {
                front: FrontEndConfig {
                    admission_latency_us: admission,
                    routing_latency_us: routing,
                    snapshot_refresh_us: refresh,
                    cache_signal_delay_us: cache,
                    flow_control: flow,
                    trace: TraceConfig {
                        decisions: trace.is_some(),
                        counterfactual_k: trace.unwrap_or(0),
                        observations: false,
                        kv_events: false,
                        steps: false,
                        series: None,
                    },
                    ..fresh.front
                },
                ..fresh
            };
            Case {
                asks,
                config,
                latencies: vec![latency],
                policies,
            }
        },
    )
}

/// A run on two pools of different size, limits, rules and step times.
pub(crate) fn two_pools(most: usize) -> impl Strategy<Value = Case> {
    let parts = (case(most), engine(), latency(), 1u32..4, resizes());
    parts.prop_map(|(mut case, engine, latency, instances, changes)| {
        let first = &mut case.config.pools[0];
        first.name = "first".into();
        let second = PoolConfig {
            name: "second".into(),
            instances,
            engine: EngineConfig {
                block_size: first.engine.block_size,
                ..engine
            },
            latency: Arc::new(latency),
            gpus_per_instance: 2,
            ..first.clone()
        };
        if largest(&case.asks, &second.engine) > second.engine.total_kv_blocks {
            case.config.horizon_us = case.config.horizon_us.min(10_000);
        }
        case.config.pools.push(second);
        case.latencies.push(latency);
        resize(&mut case.config, changes);
        case
    })
}

/// Changes of pools: (time, which of them, instances).
fn resizes() -> impl Strategy<Value = Vec<(i64, usize, u32)>> {
    let resize = (prop_oneof![Just(0i64), 0i64..6000], 0usize..3, 1u32..4);
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(resize, 1..4)]
}

/// Has instances come and go.
pub(crate) fn resize(config: &mut ClusterConfig, mut changes: Vec<(i64, usize, u32)>) {
    changes.sort_unstable();
    let pools = config.pools.len();
    let resizes = changes.into_iter().map(|(at_us, pool, instances)| Resize {
        at_us,
        pool: pool % pools,
        instances,
    });
    let schedule = Schedule {
        initial: config.pools.iter().map(|pool| pool.instances).collect(),
        resizes: resizes.collect(),
    };
    for (k, pool) in config.pools.iter_mut().enumerate() {
        pool.instances = schedule.ever(k, pool.instances);
    }
    config.schedule = schedule;
}

/// A policy that says where prompts are computed.
pub(crate) fn any_decider() -> impl Strategy<Value = Choice> {
    let decider = |name: &str, values: &[(&str, f64)]| built_in(Hook::Disaggregation, name, values);
    prop_oneof![
        3 => Just(decider("always", &[])),
        1 => Just(decider("never", &[])),
        2 => (0u32..60).prop_map(move |tokens| {
            decider("prefix-threshold", &[("tokens", tokens.into())])
        }),
        2 => (-0.5..0.5f64).prop_map(move |ms| decider("least-ttft", &[("margin_ms", ms)])),
        2 => (0.0..2.0f64, 0.0..2.0f64, 0.0..0.3f64).prop_map(move |(v, ttft, itl)| {
            decider("edpp", &[("v", v), ("ttft_ms", ttft), ("itl_ms", itl)])
        }),
    ]
}

/// A run in which some instances only prefill and others only decode.
pub(crate) fn split(most: usize) -> impl Strategy<Value = Case> {
    let both = prop_oneof![2 => Just(0u32), 1 => 1u32..3];
    let transfer = (
        prop_oneof![1 => Just(0.0), 3 => 0.01..2.0f64],
        prop_oneof![1 => Just(0.0), 2 => 0.0..900.0f64],
        any::<bool>(),
        prop_oneof![2 => Just((0.0, 1)), 1 => (0.0..30.0f64, 1u32..4)],
        prop_oneof![2 => Just(0i64), 1 => 0i64..900],
    );
    let decider = any_decider();
    let parts = (
        (1u32..4, 1u32..3, both),
        engine(),
        latency(),
        transfer,
        decider,
    );
    let yields = prop_oneof![3 => Just(false), 1 => Just(true)];
    (case(most), parts, yields, resizes()).prop_map(|(mut case, parts, yields, changes)| {
        let ((prefill, decode, both), mut engine, latency, transfer, decider) = parts;
        let mut first = case.config.pools[0].clone();
        // In abstract time, where this rule is used, there is no end of blocks.
        if yields {
            engine.total_kv_blocks = 10_000;
            first.engine.total_kv_blocks = 10_000;
        }
        let rules = match first.engine.rules.visible_at_step_end {
            true => EngineRules {
                async_scheduling: first.engine.rules.async_scheduling,
                prefiller_yields_token: yields,
                ..EngineRules::VLLM
            },
            false => EngineRules::BLIS,
        };
        let pool = |name: &str, role, instances, engine: EngineConfig, latency| PoolConfig {
            name: name.to_owned(),
            role,
            instances,
            engine: EngineConfig {
                block_size: first.engine.block_size,
                rules,
                ..engine
            },
            latency: Arc::new(latency),
            kv_bytes_per_token: 1_000.0,
            ..first.clone()
        };
        let own = case.latencies[0];
        case.config.pools = vec![
            pool("prefill", Role::Prefill, prefill, first.engine, own),
            pool("decode", Role::Decode, decode, engine, latency),
        ];
        case.latencies = vec![own, latency];
        if both > 0 {
            let pools = &mut case.config.pools;
            pools.push(pool("both", Role::Serve, both, engine, latency));
            case.latencies.push(latency);
        }
        let (bandwidth_gb_s, base_latency_us, contention, descriptors, hop_us) = transfer;
        let (descriptor_us, blocks_per_descriptor) = descriptors;
        case.config.transfer = TransferConfig {
            bandwidth_gb_s,
            base_latency_us,
            descriptor_us,
            blocks_per_descriptor,
            hop_us,
            contention,
            ..TransferConfig::default()
        };
        case.policies.disaggregation = decider;
        case.policies.prefill_routing = rules
            .visible_at_step_end
            .then(|| built_in(Hook::Routing, "least-loaded", &[]));
        let tight =
            |pool: &PoolConfig| largest(&case.asks, &pool.engine) > pool.engine.total_kv_blocks;
        // Under the reference's rules, requests whose KV cache is there wait behind one that has no
        // blocks because of them, for ever. Instances that do both may wait for each other's
        // blocks, under vLLM's rules until it forgets KV caches that nobody fetches.
        if rules == EngineRules::BLIS || both > 0 || case.config.pools.iter().any(tight) {
            case.config.horizon_us = case.config.horizon_us.min(10_000);
        }
        resize(&mut case.config, changes);
        case
    })
}

/// Blocks of the largest request with its last token.
fn largest(asks: &[Arrival], engine: &EngineConfig) -> u64 {
    let blocks = |a: &Arrival| {
        let rounds = a.rounds.iter().map(|r| r.prompt + r.output).sum::<u32>();
        // An empty prompt gets room for one token more.
        let tokens = a.prefix.1 + a.prompt + a.output + rounds + 1;
        u64::from(tokens.div_ceil(engine.block_size))
    };
    asks.iter().map(blocks).max().unwrap_or(1)
}
