//! Pools that a policy scales.

use crate::cases::{Case, case, split, two_pools};
use crate::lab::{self, Arrival, BY_HAND, ask, built_in, fresh, roomy};
use crate::properties::{cases, simulate, simulate_plainly, text};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use windtunnel_base::record::{Outcome, PoolCounts, RequestRecord, RunRecord, ScalingRecord};
use windtunnel_engine::cluster::{ClusterConfig, Delay, Drain, NodePool, PoolScaling};
use windtunnel_engine::instance::{EngineConfig, EngineRules};
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, Scale, ScaleView};
use windtunnel_policy::registry::built_ins;
use windtunnel_policy::{Choice, Custom, Hook, PolicySpec};

/// Has a pool of `config` scaled: it has as many places as instances, of which `initial` are there.
pub(crate) fn scale_pool(config: &mut ClusterConfig, k: usize, initial: u32, scaling: PoolScaling) {
    let counts = config.initial().collect::<Vec<_>>();
    let (initials, pools) = (&mut config.schedule.initial, &mut config.scaling.pools);
    if initials.is_empty() {
        *initials = counts;
    }
    pools.resize(config.pools.len(), None);
    initials[k] = initial;
    pools[k] = Some(scaling);
}

/// Asked every millisecond; an instance takes half of one to start.
const MS: PoolScaling = PoolScaling {
    interval_us: 1_000,
    min: 0,
    startup: Delay {
        mean_us: 500.0,
        stddev_us: 0.0,
    },
    drain: Drain::Wait,
    gpu_usd_per_hour: 0.0,
};

/// A cluster of up to six instances, of which one is there.
pub(crate) fn scaled_cluster() -> ClusterConfig {
    cluster(roomy(EngineRules::VLLM), 1, 6, MS)
}

fn cluster(engine: EngineConfig, initial: u32, max: u32, scaling: PoolScaling) -> ClusterConfig {
    let mut config = fresh(max, engine);
    scale_pool(&mut config, 0, initial, scaling);
    config
}

fn policies(scale: Choice) -> PolicySpec {
    PolicySpec {
        routing: built_in(Hook::Routing, "least-loaded", &[]),
        scale,
        ..PolicySpec::default()
    }
}

/// So many instances from each moment on, whatever happens.
#[derive(Clone)]
struct Plan(Vec<(i64, u32)>);

impl Scale for Plan {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        let past = self.0.iter().rfind(|(at, _)| *at <= cluster.now_us);
        Ok(past.map_or(pool.ready + pool.loading, |(_, n)| *n))
    }
}

fn plan(steps: &[(i64, u32)]) -> Choice {
    let plan = Plan(steps.to_vec());
    Custom::scale("plan", move |_| plan.clone()).into()
}

fn run(config: ClusterConfig, scale: Choice, asks: &[Arrival]) -> RunRecord {
    lab::run(config, BY_HAND, &policies(scale), asks)
}

fn scaling(record: &RunRecord) -> &ScalingRecord {
    record.scaling.as_ref().expect("pools are scaled")
}

/// (time, ready, loading, draining).
fn timeline(record: &RunRecord) -> Vec<(i64, u32, u32, u32)> {
    let counts = |c: &PoolCounts| (c.at_us, c.ready, c.loading, c.draining);
    scaling(record).timeline.iter().map(counts).collect()
}

fn instances(record: &RunRecord) -> Vec<Option<u32>> {
    record.requests.iter().map(|r| r.instance).collect()
}

#[test]
fn instances_start_when_the_policy_says_so_and_take_requests_after_their_delay() {
    let config = cluster(roomy(EngineRules::VLLM), 1, 4, MS);
    // Four that take longer than all of this, one while the others start, and three after that.
    let mut asks: Vec<_> = (0..4).map(|_| ask(0, 10, 60)).collect();
    asks.push(ask(1_400, 10, 60));
    asks.extend([1_600, 1_700, 1_800].map(|at| ask(at, 10, 60)));
    let hpa = built_in(Hook::Scale, "hpa-concurrency", &[("target", 1.0)]);
    let record = run(config, hpa, &asks);
    let start = [Some(0); 5].into_iter();
    assert_eq!(
        instances(&record),
        start.chain([1, 2, 3].map(Some)).collect::<Vec<_>>()
    );
    assert_eq!(
        timeline(&record)[..3],
        [(0, 1, 0, 0), (1_000, 1, 3, 0), (1_500, 4, 0, 0)]
    );
    let pool = &scaling(&record).pools[0];
    assert_eq!((pool.ups, pool.started, pool.most), (1, 3, 4));
    // Those that start take GPUs, too: one for all of the time, three from 1,000 on.
    let ended = scaling(&record).ended_us;
    assert_eq!(pool.instance_us, i128::from(ended + 3 * (ended - 1_000)));
}

#[test]
fn an_instance_starts_on_a_node_with_room_or_waits_for_one() {
    // Two GPUs an instance, four a node: one node is there, one more may come, after 3,000.
    let mut config = cluster(roomy(EngineRules::VLLM), 1, 6, MS);
    config.pools[0].gpus_per_instance = 2;
    config.scaling.nodes = vec![NodePool {
        name: "nodes".to_owned(),
        gpu: config.pools[0].gpu.clone(),
        gpus_per_node: 5,
        initial: 1,
        min: 1,
        max: 2,
        provisioning: Delay {
            mean_us: 3_000.0,
            stddev_us: 0.0,
        },
        idle_us: 2_000,
        usd_per_hour: Some(36.0),
    }];
    // Five are asked for at 1,000: one has room, two wait for the node, two beyond it for good.
    let scale = plan(&[(500, 6), (9_500, 1)]);
    let record = run(config, scale, &[ask(0, 10, 1_500), ask(20_000, 10, 2)]);
    let counts = |c: &PoolCounts| (c.at_us, c.ready, c.loading, c.pending);
    let seen: Vec<_> = scaling(&record).timeline.iter().map(counts).collect();
    assert_eq!(
        seen[..6],
        [
            (0, 1, 0, 0),
            (1_000, 1, 1, 4),
            (1_500, 2, 0, 4),
            (4_000, 2, 2, 2),
            (4_500, 4, 0, 2),
            (10_000, 1, 0, 0),
        ]
    );
    let told = scaling(&record);
    assert_eq!((told.pending, told.still_pending), (4, 0));
    assert_eq!(told.pending_us, 2 * 3_000 + 2 * 9_000);
    // The second node: asked for at 1,000, empty from 10,000 on, given back at 12,000.
    let nodes = &told.nodes[0];
    assert_eq!((nodes.most, nodes.provisioned, nodes.returned), (2, 1, 1));
    assert_eq!(nodes.node_us, i128::from(told.ended_us) + 11_000);
}

#[test]
fn requests_wait_where_there_is_no_instance() {
    let config = cluster(roomy(EngineRules::VLLM), 0, 2, MS);
    let keda = built_in(Hook::Scale, "keda", &[("cooldown_s", 0.002)]);
    let record = run(config, keda.clone(), &[ask(100, 10, 2), ask(20_000, 10, 2)]);
    // Seen at 1,000 and there at 1,500; a prompt of 10 tokens takes 110.
    assert_eq!(record.requests[0].ttft_us, Some(1_510));
    assert_eq!(record.requests[1].ttft_us, Some(1_610));
    assert_eq!((scaling(&record).held, scaling(&record).most_held), (2, 1));
    let seen = timeline(&record);
    assert_eq!(
        seen[..3],
        [(0, 0, 0, 0), (1_000, 0, 1, 0), (1_500, 1, 0, 0)]
    );
    // Idle since 2,000, when nothing was in flight any more; active last at 1,000.
    assert_eq!(seen[3], (3_000, 0, 0, 0));
    // A policy that never lets anybody come ends the run with what waits.
    let config = cluster(roomy(EngineRules::VLLM), 0, 2, MS);
    let record = run(config, plan(&[(0, 0)]), &[ask(100, 10, 2)]);
    assert_eq!(record.requests[0].outcome, Outcome::Held);
}

/// Two instances of one place each, with three requests each, of which one goes at 1,000.
fn drained(drain: Drain) -> RunRecord {
    let engine = EngineConfig {
        max_num_seqs: 1,
        ..roomy(EngineRules::VLLM)
    };
    let config = cluster(engine, 2, 2, PoolScaling { drain, ..MS });
    let asks: Vec<_> = (0..4).map(|k| ask(k, 10, 20)).collect();
    run(config, plan(&[(0, 1)]), &asks)
}

#[test]
fn an_instance_that_goes_finishes_or_gives_back_what_it_has() {
    // Each takes 110 + 19 * 110 = 2,200, on its own.
    let wait = drained(Drain::Wait);
    assert_eq!(instances(&wait), [Some(0), Some(1), Some(0), Some(1)]);
    let last = wait.requests[3].completion_us().expect("completed");
    assert_eq!(
        timeline(&wait),
        [(0, 2, 0, 0), (1_000, 1, 0, 1), (last, 1, 0, 0)]
    );
    let redirect = drained(Drain::Redirect);
    assert_eq!(instances(&redirect), [Some(0), Some(1), Some(0), Some(0)]);
    let running = redirect.requests[1].completion_us().expect("completed");
    assert_eq!(timeline(&redirect)[2], (running, 1, 0, 0));
    assert_eq!(scaling(&redirect).taken_back, 1);
    let immediate = drained(Drain::Immediate);
    assert_eq!(instances(&immediate), [Some(0); 4]);
    assert_eq!(timeline(&immediate), [(0, 2, 0, 0), (1_000, 1, 0, 0)]);
    assert_eq!(scaling(&immediate).taken_back, 2);
    for record in [&wait, &redirect, &immediate] {
        let completed = |r: &RequestRecord| r.outcome == Outcome::Completed;
        assert!(record.requests.iter().all(completed));
        assert_eq!(scaling(record).pools[0].stopped, 1);
    }
    // Its time counts from its arrival, whatever it got before.
    let again = &immediate.requests[1];
    assert!(again.ttft_us > Some(2_200), "{again:?}");
    assert_eq!(again.generated_tokens, 20);
}

#[test]
fn the_youngest_goes_first_and_who_comes_again_has_an_empty_cache() {
    let config = cluster(roomy(EngineRules::VLLM), 1, 2, MS);
    // Until 20,000 there are two, then one, and two again from 31,500 on.
    let scale = plan(&[(0, 2), (20_000, 1), (31_000, 2)]);
    let shared = |at| Arrival {
        prefix: (1, 64),
        ..ask(at, 10, 200)
    };
    // Pairs, of which each instance gets one.
    let asks: Vec<_> = [5_000, 40_000, 80_000]
        .into_iter()
        .flat_map(|at| [shared(at), shared(at + 1)])
        .collect();
    let record = run(config, scale, &asks);
    assert_eq!(instances(&record), [0, 1, 0, 1, 0, 1].map(Some));
    let cached: Vec<_> = record.requests.iter().map(|r| r.cached_tokens).collect();
    assert_eq!(cached, [0, 0, 64, 0, 64, 64].map(Some));
    assert_eq!(record.instances[1].completed, 3);
    let draining: Vec<_> = timeline(&record)
        .into_iter()
        .filter(|t| t.0 >= 20_000)
        .collect();
    assert_eq!(draining[0], (20_000, 1, 0, 1));
}

/// Keeps what it sees.
struct Watcher(Arc<Mutex<Vec<ScaleView>>>);

impl Scale for Watcher {
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        assert_eq!(cluster.instances.len(), pool.ready as usize);
        let queued: u32 = cluster.instances.iter().map(|i| i.queue_depth).sum();
        assert_eq!(u64::from(queued), pool.queued);
        self.0.lock().expect("one thread").push(*pool);
        Ok(pool.ready + pool.loading)
    }
}

#[test]
fn a_policy_sees_what_happened_since_it_was_asked() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let engine = EngineConfig {
        max_num_seqs: 2,
        ..roomy(EngineRules::VLLM)
    };
    let mut config = cluster(engine, 1, 2, MS);
    config.scaling.targets_us = [7, 8, 9];
    let mut asks = vec![ask(0, 10, 3), ask(1_100, 20, 40)];
    asks.extend([1_200, 1_300].map(|at| ask(at, 10, 40)));
    let views = Arc::clone(&seen);
    let watcher = Custom::scale("watcher", move |_| Watcher(Arc::clone(&views)));
    run(config, watcher.into(), &asks);
    let seen = seen.lock().expect("one thread");
    let first = seen[0];
    assert_eq!((first.arrived, first.arrived_prompt_tokens), (1, 10));
    assert_eq!((first.completed, first.completed_output_tokens), (1, 3));
    // 110 for the prompt, 110 for each of the two other tokens.
    assert_eq!((first.ttft_mean_us, first.ttft_p99_us), (110.0, 110.0));
    assert_eq!((first.itl_mean_us, first.e2e_mean_us), (110.0, 330.0));
    assert_eq!(
        (first.slo_ttft_us, first.slo_itl_us, first.slo_e2e_us),
        (7, 8, 9)
    );
    assert_eq!(
        (first.ready, first.min, first.max, first.in_flight),
        (1, 0, 2, 0)
    );
    let second = seen[1];
    assert_eq!((second.arrived, second.completed), (3, 0));
    assert_eq!((second.running, second.queued, second.in_flight), (2, 1, 3));
    assert_eq!((second.ttft_mean_us, second.e2e_p99_us), (-1.0, -1.0));
    assert!(second.kv_utilization_mean > 0.0);
}

/// Wants what depends on all that it sees.
struct Erratic {
    salt: u64,
}

impl Scale for Erratic {
    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        let mut hash = self.salt;
        let scraped = cluster.instances.iter().map(|i| {
            u64::from(i.kv_used_blocks) + 100 * u64::from(i.batch_size) + i.decode_context_tokens
        });
        for word in [
            cluster.now_us as u64,
            pool.completed,
            pool.queued,
            pool.running,
            pool.in_flight,
            pool.held,
            pool.ttft_mean_us.to_bits(),
            pool.itl_p99_us.to_bits(),
            pool.kv_utilization_mean.to_bits(),
        ]
        .into_iter()
        .chain(scraped)
        {
            hash = (hash ^ word)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(29);
        }
        Ok((hash % 5) as u32)
    }
}

pub(crate) fn settings() -> impl Strategy<Value = (PoolScaling, u64, u32)> {
    (
        200i64..3_000,
        0u32..2,
        (0.0..2_000.0f64, prop_oneof![Just(0.0), 0.0..800.0f64]),
        prop::sample::select(Drain::ALL.to_vec()),
        any::<u64>(),
        0u32..4,
    )
        .prop_map(
            |(interval_us, min, (mean_us, stddev_us), drain, salt, initial)| {
                let scaling = PoolScaling {
                    interval_us,
                    min,
                    startup: Delay { mean_us, stddev_us },
                    drain,
                    gpu_usd_per_hour: 0.0,
                };
                (scaling, salt, initial)
            },
        )
}

pub(crate) fn erratic(salt: u64) -> Choice {
    Custom::scale("erratic", move |_| Erratic { salt }).into()
}

/// Every request ends once, instances are conserved, and both paths give the same.
pub(crate) fn check(case: &Case) -> Result<(), TestCaseError> {
    let fast = simulate(case).map_err(TestCaseError::fail)?;
    let plain = simulate_plainly(case).map_err(TestCaseError::fail)?;
    prop_assert_eq!(text(&fast.record), text(&plain.record));
    let record = &fast.record;
    prop_assert!(record.fault.is_none(), "{:?}", record.fault);
    let horizon = case.config.horizon_us;
    let arrived = fast
        .script
        .arrivals
        .values()
        .filter(|at| **at <= horizon)
        .count();
    prop_assert_eq!(record.requests.len(), arrived);
    for (k, request) in record.requests.iter().enumerate() {
        prop_assert_eq!(request.serial, k as u64);
        // No instance serves another model; of these there may be none for a while.
        prop_assert!(request.outcome != Outcome::Unroutable || !request.model.is_none());
    }
    let completed =
        |r: &&RequestRecord| matches!(r.outcome, Outcome::Completed | Outcome::LengthCapped);
    let counted: u64 = record.instances.iter().map(|totals| totals.completed).sum();
    let ended = record.requests.iter().filter(completed).count() as u64;
    // Elsewhere one that prefills may give the only token.
    prop_assert!(case.config.splits() || ended == counted);
    let scaled = scaling(record);
    for pool in &scaled.pools {
        let places = case.config.pools[pool.pool as usize].instances;
        prop_assert!(pool.most <= places);
        let most = i128::from(scaled.ended_us) * i128::from(places);
        prop_assert!((0..=most).contains(&pool.instance_us));
    }
    prop_assert!(scaled.timeline.is_sorted_by_key(|counts| counts.at_us));
    Ok(())
}

/// Nodes for the instances of all pools, of two kinds: few at the start, which have room for those
/// that are there then.
fn any_nodes() -> impl Strategy<Value = (u32, u32, u32, (f64, f64), i64)> {
    (
        1u32..5,
        0u32..3,
        0u32..3,
        (0.0..4_000.0f64, prop_oneof![Just(0.0), 0.0..900.0f64]),
        prop_oneof![500i64..2_000, 2_000..30_000i64],
    )
}

/// The cluster on such nodes; `gpus` are those of an instance.
fn on_nodes(
    config: &mut ClusterConfig,
    gpus: u32,
    (per_node, spare, more, (mean_us, stddev_us), idle_us): (u32, u32, u32, (f64, f64), i64),
) {
    for pool in &mut config.pools {
        pool.gpus_per_instance = gpus;
    }
    let there: u32 = config.initial().sum();
    let node = |name: &str, gpus_per_node: u32, initial: u32, max: u32| NodePool {
        name: name.to_owned(),
        gpu: config.pools[0].gpu.clone(),
        gpus_per_node,
        initial,
        min: initial / 2,
        max,
        provisioning: Delay { mean_us, stddev_us },
        idle_us,
        usd_per_hour: None,
    };
    let initial = there.div_ceil(per_node);
    config.scaling.nodes = vec![
        node("small", gpus * per_node, initial, (initial + more).max(1)),
        // Some GPUs are over.
        node("large", gpus * (per_node + 1) + gpus - 1, 0, spare.max(1)),
    ];
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn instances_on_nodes_wait_for_room_and_gpus_are_conserved(
        case in case(30),
        (scaling, salt, initial) in settings(),
        places in 1u32..6,
        gpus in 1u32..3,
        nodes in any_nodes(),
    ) {
        let mut case = case;
        case.config.pools[0].instances = places;
        scale_pool(&mut case.config, 0, initial.min(places), PoolScaling {
            min: scaling.min.min(places),
            ..scaling
        });
        on_nodes(&mut case.config, gpus, nodes);
        case.policies.scale = erratic(salt);
        check(&case)?;
        let fast = simulate(&case).map_err(TestCaseError::fail)?;
        let told = fast.record.scaling.as_ref().expect("pools are scaled");
        prop_assert_eq!(told.nodes.len(), 2);
        for (pool, config) in told.nodes.iter().zip(&case.config.scaling.nodes) {
            prop_assert!(pool.most <= config.max.max(config.initial));
            prop_assert!(pool.returned <= pool.provisioned + u64::from(config.initial));
            let most = i128::from(told.ended_us) * i128::from(pool.most);
            prop_assert!((0..=most).contains(&pool.node_us));
        }
        // Instances take no more GPUs than nodes have.
        let taken: i128 = told.pools.iter().map(|p| p.instance_us * i128::from(p.gpus_per_instance)).sum();
        let there: i128 = told.nodes.iter().map(|p| p.node_us * i128::from(p.gpus_per_node)).sum();
        prop_assert!(taken <= there, "{} of {}", taken, there);
        prop_assert!(told.still_pending <= told.pending);
        prop_assert!(told.pending > 0 || told.pending_us == 0);
    }

    #[test]
    fn random_scaling_is_as_fast_as_plain_and_conserves_requests(
        case in case(30),
        (scaling, salt, initial) in settings(),
        places in 1u32..5,
    ) {
        let mut case = case;
        case.config.pools[0].instances = places;
        scale_pool(&mut case.config, 0, initial.min(places), PoolScaling {
            min: scaling.min.min(places),
            ..scaling
        });
        case.policies.scale = erratic(salt);
        check(&case)?;
    }

    #[test]
    fn scaled_pools_beside_each_other_conserve_requests(
        case in two_pools(30),
        first in settings(),
        second in settings(),
    ) {
        let mut case = case;
        case.config.schedule = Default::default();
        for (k, (scaling, _, initial)) in [first, second].into_iter().enumerate() {
            let places = case.config.pools[k].instances;
            scale_pool(&mut case.config, k, initial.min(places), PoolScaling {
                min: scaling.min.min(places),
                ..scaling
            });
        }
        case.policies.scale = erratic(first.1);
        check(&case)?;
    }

    #[test]
    fn scaled_pools_that_prefill_and_decode_conserve_requests(
        case in split(30),
        (scaling, salt, initial) in settings(),
    ) {
        let mut case = case;
        prop_assume!(case.config.schedule.resizes.is_empty() && !case.config.lockstep);
        for k in 0..case.config.pools.len() {
            let places = case.config.pools[k].instances;
            scale_pool(&mut case.config, k, initial.clamp(1, places), PoolScaling {
                min: 1,
                drain: Drain::Wait,
                ..scaling
            });
        }
        case.policies.scale = erratic(salt);
        check(&case)?;
    }
}

/// A scaling policy with windows that are open for a few decisions.
pub(crate) fn any_scale() -> impl Strategy<Value = Choice> {
    let policies: Vec<_> = built_ins(Hook::Scale).iter().collect();
    let numbers = prop::collection::vec(0.0..1.0f64, 8);
    (prop::sample::select(policies), numbers).prop_map(|(policy, numbers)| {
        let values = policy.params.iter().zip(numbers).map(|(param, x)| {
            let value = match param.name.as_ref() {
                "instances" => (5.0 * x).floor(),
                "predictor" => (3.0 * x).floor(),
                "window" => 1.0 + (6.0 * x).floor(),
                "target" if policy.name == "hpa-kv" => 0.05 + 0.9 * x,
                "target" => 0.5 + 4.0 * x,
                "down_window_s" | "up_window_s" | "cooldown_s" => 0.004 * x,
                "up_percent" | "tokens_per_second" => 200.0 * x,
                "up_instances" | "ttft_ms" | "itl_ms" => 3.0 * x,
                "activation" => 0.0,
                "headroom" => 0.8 * x,
                _ => 0.1 + 0.8 * x,
            };
            (param.name.to_string(), value)
        });
        let values: Vec<_> = values.collect();
        Choice::built_in(Hook::Scale, policy.name, &values).expect("within their ranges")
    })
}

/// Has the first pool scaled between 0 and four instances.
pub(crate) fn scale_first(case: &mut Case, interval_us: i64) {
    case.config.pools[0].instances = 4;
    case.config.scaling.targets_us = [400, 150, 0];
    let scaling = PoolScaling { interval_us, ..MS };
    scale_pool(&mut case.config, 0, 1, scaling);
}
